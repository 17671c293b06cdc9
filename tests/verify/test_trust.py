"""Whom a registry vouches for: the enclave that was asked about, and no other that a node may name."""

import asyncio
from dataclasses import replace

import pytest

from og_integrations.client.chain._jsonrpc import Fetching
from og_integrations.errors import ConfigurationError, DiscoveryError
from og_integrations.protocol.proof._enclave import KNOWN_PCR_HASH, Enclave
from og_integrations.protocol.proof._verification import TrustDecision
from og_integrations.verify import Verifier
from og_integrations.verify._trust import RegistryTrust
from tests.protocol.captures import ENCLAVE
from tests.protocol.own_enclave import enclave

LISTED = replace(ENCLAVE, pcr_hash=KNOWN_PCR_HASH)


class Registry(RegistryTrust):
    """A registry with one answer, whatever it is asked for."""

    def __init__(self, answer: Enclave | None) -> None:
        super().__init__("devnet", registry_address="0x" + "11" * 20)
        self.answer = answer
        self.asked = 0

    def _read(self, tee_id: str) -> Fetching[tuple[Enclave | None, bool]]:
        self.asked += 1
        yield from ()
        return self.answer, False


def test_enclave_of_the_registry_is_asked_about_once() -> None:
    registry = Registry(LISTED)
    decision = registry.decide(LISTED.tee_id)
    assert decision == registry.decide(LISTED.tee_id) == asyncio.run(registry.adecide(LISTED.tee_id))
    assert (decision.level, decision.enclave, registry.asked) == ("registry", LISTED, 1)
    assert "not active any more" in decision.detail


def test_registry_that_refuses_to_answer_does_not_vouch() -> None:
    """A contract may revert for whom it does not list: that is an answer."""

    class Refusing(Registry):
        def _read(self, tee_id: str) -> Fetching[tuple[Enclave | None, bool]]:
            yield from ()
            raise DiscoveryError("The node refused eth_call: execution reverted.")

    expected = TrustDecision(None, "The node refused eth_call: execution reverted.", None, answered=True)
    assert Refusing(None).decide(LISTED.tee_id) == expected


def test_registry_that_was_away_is_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for each of many files, but not never again either."""

    class Away(Registry):
        def _read(self, tee_id: str) -> Fetching[tuple[Enclave | None, bool]]:
            self.asked += 1
            yield from ()
            error = DiscoveryError("No connection.")
            error.answered = False
            raise error

    registry, now = Away(None), 1000.0
    monkeypatch.setattr("og_integrations.verify._trust.time.monotonic", lambda: now)
    assert [registry.decide(LISTED.tee_id).answered for _ in range(3)] == [False] * 3
    assert registry.asked == 1
    now += 60
    registry.decide(LISTED.tee_id)
    assert registry.asked == 2


@pytest.mark.parametrize("ids", [["0x12"], ["x"], [""], "0x12"])
def test_what_is_no_id_is_refused(ids: list[str]) -> None:
    """A typo must not read as "another enclave"; no flag of a command is mentioned."""
    with pytest.raises(ConfigurationError, match="is no enclave id, expected 0x and 64 hex digits") as caught:
        Verifier.tee_ids(ids)
    assert "--" not in str(caught.value)


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
    decision = Registry(answer).decide(LISTED.tee_id)
    assert decision.level is None
    assert said in decision.detail
