"""The judge as a library: a file, its bytes or what was read; both ways; no printing, no flags, no keys of a node."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from og_integrations.devnet import Devnet
from og_integrations.verify import SavedExchange, Verdict, Verifier
from og_integrations.verify._bundle import load_bundle

API_KEY = "V2aPiKeY0123456789"


def both_ways(verifier: Verifier, saved: str | Path | bytes | SavedExchange) -> Verdict:
    """Return the verdict, which is the same when it is awaited."""
    verdict = verifier.verify(saved)
    assert asyncio.run(verifier.averify(saved)) == verdict
    return verdict


def test_file_bytes_and_what_was_read_have_one_verdict(receipt_file: Path) -> None:
    verifier = Verifier.unsafe_file_key()
    forms: list[str | Path | bytes | SavedExchange] = [
        receipt_file, str(receipt_file), receipt_file.read_bytes(), load_bundle(receipt_file),
    ]  # fmt: skip
    verdicts = [both_ways(verifier, form) for form in forms]
    assert [verdict.status for verdict in verdicts] == ["verified"] * 4
    assert verdicts == [verdicts[0]] * 4
    assert verdicts[0].to_json()["checks"][0] == {
        "id": "proof", "result": "pass", "detail": "signature, hashes, time and id are there",
    }  # fmt: skip


def test_registry_is_named_by_arguments(network: Devnet, receipt_file: Path) -> None:
    """Without a variable of the environment, and without a wallet."""
    verdict = both_ways(Verifier.registry(network.network), receipt_file)
    assert verdict.verified
    with Devnet() as other:
        assert both_ways(Verifier.registry(other.network), receipt_file).step == "enclave-trusted"


def test_ids_are_believed(network: Devnet, receipt_file: Path) -> None:
    assert both_ways(Verifier.tee_ids([network.enclaves[0].tee_id.upper().replace("0X", "0x")]), receipt_file).verified
    for nobody in ([], ["0x" + "11" * 32]):
        verdict = both_ways(Verifier.tee_ids(nobody), receipt_file)
        assert (verdict.status, verdict.step) == ("failed", "enclave-trusted")


@pytest.mark.parametrize("nothing", ["missing.json", b"", b"[]", Path("no/such/file")])
def test_what_is_no_exchange_is_malformed(nothing: Any) -> None:
    verdict = both_ways(Verifier.unsafe_file_key(), nothing)
    assert (verdict.status, verdict.step, verdict.verified) == ("malformed", "input", False)


def test_registry_that_is_away_leaves_it_undecided_and_shows_no_key(network: Devnet, receipt_file: Path) -> None:
    """A node's provider puts its key into the URL."""
    network.inject("dead_registry", times=1)
    verifier = Verifier.registry(network.network, registry_rpc_url=f"{network.rpc_url}/v2/{API_KEY}")
    verdict = verifier.verify(receipt_file)
    assert (verdict.status, verdict.step) == ("undecided", "enclave-trusted")
    assert {check.id: check.result for check in verdict.checks}["enclave-trusted"] == "skip"
    assert API_KEY not in repr(verdict) + json.dumps(verdict.to_json()) + repr(verifier)


def test_no_message_speaks_of_flags(saved: Any) -> None:
    """Who reads them has a function before him."""
    saved["receipt"]["payment"] = None
    verdicts = [
        Verifier.tee_ids([]).verify(json.dumps(saved).encode()),
        Verifier.unsafe_file_key().verify(json.dumps(saved | {"exchange": None}).encode()),
        Verifier.unsafe_file_key().verify(json.dumps(saved["exchange"] | {"path": "/x"}).encode()),
    ]
    assert {verdict.status for verdict in verdicts} == {"failed", "malformed"}
    assert "--" not in repr(verdicts).replace("-----", "")
