"""`settlement --inclusion`: in which published batch a receipt's hashes are, and what is said where there is none."""

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from og_integrations.cli import main
from og_integrations.client import Client, collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.protocol.proof._inclusion import Inclusion, verify_inclusion
from og_integrations.verify import Verifier

MODEL = "openai/gpt-5-mini"


@pytest.fixture
def net() -> Iterator[Devnet]:
    with Devnet() as devnet:
        yield devnet


def asked(net: Devnet, folder: Path, count: int = 1, **options: Any) -> list[dict[str, Any]]:
    """Make `count` calls, leave their receipts in `folder`, and return them."""
    with collect_receipts() as receipts, Client(private_key=net.private_key, network=net.network) as client:
        for number in range(count):
            client.chat(MODEL, [{"role": "user", "content": f"publish {number}"}], **options)
    for number, receipt in enumerate(receipts):
        (folder / f"{number:02}.json").write_text(json.dumps(receipt))
    return list(receipts)


def inclusion(net: Devnet, *arguments: str, aggregator: str | None = None) -> int:
    where = ["--batch-contract", net.batch_contract, "--aggregator", aggregator or net.aggregator_url]
    return main(["settlement", "--inclusion", *where, "--rpc-url", net.rpc_url, *arguments])


def test_published_receipt_comes_with_a_proof_that_stands_alone(
    net: Devnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    receipts = asked(net, tmp_path, 3)
    net.publish_batches()
    assert inclusion(net, "--json", str(tmp_path)) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [item["status"] for item in found] == ["included"] * 3
    for receipt, item in zip(receipts, found, strict=True):
        assert abs(item["block_time"] - receipt["tee_timestamp"]) < 60
        assert (item["chain_id"], item["contract"], item["batches"]) == (net.network.chain_id, net.batch_contract, 1)
        hashes = [bytes.fromhex(node[2:]) for node in (item["leaf"], item["root"], *item["proof"])]
        verify_inclusion(
            Inclusion(hashes[0], tuple(hashes[2:])),
            root=hashes[1],
            tee_id=receipt["tee_id"],
            request_hash=receipt["request_hash"],
            output_hash=receipt["output_hash"],
            signature=receipt["tee_signature"],
            timestamp=receipt["tee_timestamp"],
        )


def test_proof_becomes_part_of_the_evidence(net: Devnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Blobs expire: who keeps the proof with the receipt can show it later, and nobody is asked."""
    with collect_receipts(keep_exchanges=True) as receipts:
        asked(net, tmp_path, 2)
    file, other = receipts.save(tmp_path / "saved")
    net.publish_batches()
    assert inclusion(net, "--json", str(tmp_path / "saved")) == 0
    lines = tmp_path / "proofs"
    lines.write_text(capsys.readouterr().out)
    target = tmp_path / "evidence"
    assert main(["evidence", str(file), "--inclusion", str(lines), "--output", str(target)]) == 0
    verdict = Verifier.tee_ids([net.enclaves[0].tee_id]).verify(target)
    assert verdict.verified
    assert {check.id: check.result for check in verdict.checks}["inclusion"] == "pass"
    only_first = tmp_path / "first"
    only_first.write_text(lines.read_text().splitlines()[0] + "\n")
    assert main(["evidence", str(other), "--inclusion", str(only_first)]) == 2
    assert "none of the proofs of inclusion is about this receipt" in capsys.readouterr().err
    only_first.write_text("junk")
    assert main(["evidence", str(other), "--inclusion", str(only_first)]) == 2
    assert "not JSON Lines" in capsys.readouterr().err


def test_batches_are_full_at_twenty_and_due_after_five_minutes(
    net: Devnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(net, tmp_path, 21)
    last, full = str(tmp_path / "20.json"), str(tmp_path / "19.json")
    assert (inclusion(net, full), inclusion(net, last)) == (0, 1)
    assert "not found" in capsys.readouterr().out
    net.advance(301)
    assert inclusion(net, last) == 0
    out = capsys.readouterr().out
    assert "it was signed by then" in out
    assert "checks no signature" in out


def test_what_was_not_published_is_not_called_a_fault(
    net: Devnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(net, tmp_path, settlement_mode="private")
    net.publish_batches()
    assert inclusion(net, str(tmp_path)) == 1
    assert "in none of 0 batches of the two hours after it: not yet, private, or lost before" in capsys.readouterr().out


def test_blobs_expire_and_roots_stay(net: Devnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked(net, tmp_path)
    net.publish_batches()
    assert inclusion(net, str(tmp_path)) == 0
    net.advance(141 * 24 * 60 * 60)
    assert inclusion(net, str(tmp_path)) == 1
    assert "1 of 1 batches of that time have no blob any more: they expire" in capsys.readouterr().out


def test_another_blob_in_its_place_proves_nothing(
    net: Devnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(net, tmp_path)
    net.publish_batches()
    blobs = net.chain.batches._blobs
    for name, blob in blobs.items():
        blobs[name] = blob.replace(b'"treeIndex": 0', b'"treeIndex": 1')
    assert inclusion(net, str(tmp_path)) == 1
    assert "blob gone" in capsys.readouterr().out


def test_aggregator_that_cannot_be_asked_is_an_error_and_no_verdict(
    net: Devnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(net, tmp_path)
    net.publish_batches()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert inclusion(net, str(tmp_path), aggregator=f"http://127.0.0.1:{port}") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "00.json: No connection to http://127.0.0.1" in err
    assert "Check the aggregator's address" in err


def test_receipt_without_a_signature_is_named(net: Devnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (receipt,) = asked(net, tmp_path)
    (tmp_path / "00.json").write_text(json.dumps(receipt | {"tee_signature": None, "status": "unverified"}))
    assert inclusion(net, str(tmp_path)) == 2
    assert "00.json: The receipt has no signature" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--inclusion"], "needs --batch-contract and --aggregator"),
        (["--aggregator", "http://127.0.0.1:1"], "are for --inclusion"),
        (["--inclusion", "--batch-contract", "0x12"], "is no address"),
    ],
)
def test_flags_that_do_not_fit_are_refused(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "receipt.json"
    file.write_text("{}")
    with contextlib.suppress(SystemExit):  # argparse's own way to end
        assert main(["settlement", str(file), *arguments]) != 0
    assert says in capsys.readouterr().err
