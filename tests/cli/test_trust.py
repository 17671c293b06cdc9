"""Whom a registry vouches for: the enclave that was asked about, and no other that a node may name."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from og_integrations.cli.trust import trust_registry
from og_integrations.errors import DiscoveryError
from og_integrations.protocol.proof.enclave import KNOWN_PCR_HASH, Enclave
from tests.protocol.captures import ENCLAVE
from tests.protocol.own_enclave import enclave

LISTED = replace(ENCLAVE, pcr_hash=KNOWN_PCR_HASH)


@dataclass
class Reader:
    """A registry with one answer, whatever it is asked for."""

    answer: Enclave | None
    address: str = "0x" + "11" * 20
    asked: int = 0

    def enclave(self, tee_id: str) -> Enclave | None:
        self.asked += 1
        return self.answer

    def is_active(self, tee_id: str) -> bool:
        return False


def test_enclave_of_the_registry_is_asked_about_once() -> None:
    reader: Any = Reader(LISTED)
    trust = trust_registry(reader)
    assert trust(LISTED.tee_id) == trust(LISTED.tee_id)
    assert (trust(LISTED.tee_id).trust, trust(LISTED.tee_id).enclave, reader.asked) == ("registry", LISTED, 1)
    assert "not active any more" in trust(LISTED.tee_id).detail


def test_registry_that_refuses_to_answer_does_not_vouch() -> None:
    """A contract may revert for whom it does not list: that is an answer."""

    class Refusing(Reader):
        def enclave(self, tee_id: str) -> Enclave | None:
            raise DiscoveryError("The node refused eth_call: execution reverted.")

    reader: Any = Refusing(None)
    assert trust_registry(reader)(LISTED.tee_id) == (None, "The node refused eth_call: execution reverted.", None, True)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "does not list"),
        (replace(enclave(), pcr_hash=KNOWN_PCR_HASH), "is not one of 1"),
        (replace(LISTED, public_key=enclave().public_key), "altered or is broken"),
        (replace(LISTED, enabled=False), "is disabled in the registry"),
    ],
    ids=["nobody", "another", "another-key", "disabled"],
)
def test_registry_that_does_not_vouch(answer: Enclave | None, said: str) -> None:
    reader: Any = Reader(answer)
    vouch = trust_registry(reader)(LISTED.tee_id)
    assert vouch.trust is None
    assert said in vouch.detail
