"""An auditor's work: folders, JSON Lines and lists; what was handed in twice; what failed, by name."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from og_integrations.cli import main
from og_integrations.client import Client, collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.verify import Verifier
from og_integrations.verify._bundle import sources_in
from tests.verify.many_receipts import TEE_ID, lay_out

CALLS = 12
BY_FILE = ("verify", "--trust-file-key")


@pytest.fixture(scope="module")
def documents(network: Devnet) -> list[dict[str, Any]]:
    """Some calls, saved."""
    settings: dict[str, Any] = {"private_key": network.private_key, "network": network.network}
    with collect_receipts(keep_exchanges=True) as receipts, Client(**settings) as client:
        for number in range(CALLS):
            client.chat("openai/gpt-5-mini", [{"role": "user", "content": f"hi {number}"}])
    pairs = zip(receipts, receipts.exchanges, strict=True)
    return [{"receipt": receipt, "exchange": exchange} for receipt, exchange in pairs]


def altered(document: dict[str, Any]) -> dict[str, Any]:
    exchange = document["exchange"]
    return document | {"exchange": exchange | {"request": exchange["request"].replace("hi", "ho")}}


@pytest.fixture
def folder(documents: list[dict[str, Any]], tmp_path: Path) -> Path:
    """Twelve good ones, of which three stand there twice, two that were altered and one that is none."""
    desk = tmp_path / "desk"
    (desk / "inner").mkdir(parents=True)
    for number, document in enumerate(documents):
        (desk / f"{number:03}.json").write_text(json.dumps(document))
    lines = [json.dumps(document) for document in documents[:3]]
    (desk / "inner" / "copies.jsonl").write_text("\n".join(lines) + "\n\n")
    for number, document in enumerate(documents[:2]):
        (desk / "inner" / f"forged-{number}.json").write_text(json.dumps(altered(document)))
    (desk / "inner" / "junk.json").write_text("junk")
    (desk / "notes.txt").write_text("not to be judged")
    return desk


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    code = main([*BY_FILE, *arguments])
    return code, capsys.readouterr().out.splitlines()


def test_summary_of_a_folder_names_what_is_wrong(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Junk does not hide forgery in the exit code; a call that was handed in twice is one call."""
    code, lines = run(capsys, "--summary", str(folder))
    inner = folder / "inner"
    assert code == 1
    assert lines == [
        "18 files: 2 failed, 1 malformed, 15 verified",
        "3 of them are the same call as another file: 12 calls are verified.",
        f"  duplicate  {inner}/copies.jsonl:1 (the same call as {folder}/000.json)",
        f"  duplicate  {inner}/copies.jsonl:2 (the same call as {folder}/001.json)",
        f"  duplicate  {inner}/copies.jsonl:3 (the same call as {folder}/002.json)",
        f"  failed     {inner}/forged-0.json (request-hash)",
        f"  failed     {inner}/forged-1.json (request-hash)",
        f"  malformed  {inner}/junk.json (input)",
    ]


def test_only_what_is_wrong_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = run(capsys, "--failed", "--json", str(folder))
    reports = [json.loads(line) for line in lines]
    assert code == 1
    shown = [
        (Path(report["file"]).name, report["status"], Path(report.get("duplicate_of", "")).name) for report in reports
    ]
    assert shown == [
        ("copies.jsonl:1", "verified", "000.json"),
        ("copies.jsonl:2", "verified", "001.json"),
        ("copies.jsonl:3", "verified", "002.json"),
        ("forged-0.json", "failed", ""),
        ("forged-1.json", "failed", ""),
        ("junk.json", "malformed", ""),
    ]


def test_csv_is_read_by_a_spreadsheet(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a stranger wrote is no formula there."""
    file = tmp_path / "=cmd.json"
    file.write_text("{}")
    code, lines = run(capsys, "--csv", str(folder), str(file))
    rows = list(csv.DictReader(lines))
    assert (code, len(rows)) == (1, 19)
    assert {row["status"] for row in rows} == {"verified", "failed", "malformed"}
    assert rows[0]["enclave"].startswith("0x")
    assert rows[-2]["file"].endswith("junk.json")
    assert [row["step"] for row in rows if row["status"] == "failed"] == ["request-hash"] * 2
    assert not any(value.startswith(("=", "+", "@")) for row in rows for value in row.values())


def test_order_of_gravity_is_that_of_the_exit_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, forged, junk = folder / "000.json", folder / "inner" / "forged-0.json", folder / "inner" / "junk.json"
    codes = [run(capsys, *map(str, files))[0] for files in ([good], [good, junk], [junk, good, forged])]
    assert codes == [0, 2, 1]


def test_names_are_read_from_a_list(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = f"{folder / '000.json'}\n\n{folder / 'inner' / 'copies.jsonl'}\n"
    listed = tmp_path / "list"
    listed.write_text(names)
    assert run(capsys, "--summary", "--files-from", str(listed))[1][0] == "4 files: 4 verified"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(names.encode())))
    assert run(capsys, "--summary", "--files-from", "-")[1][0] == "4 files: 4 verified"


@pytest.mark.parametrize("indent", [None, 2])
def test_standard_input_is_one_document_or_one_a_line(
    indent: int | None,
    documents: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def typed(text: str) -> list[str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return [json.loads(line)["file"] for line in run(capsys, "--json", "-")[1]]

    assert typed(json.dumps(documents[0], indent=indent)) == ["-"]
    assert typed("\n".join(map(json.dumps, documents[:3]))) == ["-:1", "-:2", "-:3"]


def test_nothing_to_verify_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(list(BY_FILE)) == 2
    assert "There is nothing to verify" in capsys.readouterr().err
    assert run(capsys, str(tmp_path))[0] == 2


def test_build_can_be_demanded_of_the_registry(
    network: Devnet, folder: Path, environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert environment
    pcr_hash = network.chain.enclaves[0].pcr_hash
    for demanded, code in ((pcr_hash, 0), ("0x" + "11" * 32, 1)):
        assert main(["verify", "--registry", "--pcr-hash", demanded, str(folder / "000.json")]) == code
    assert "in EnclavePolicy.allowed_pcr_hashes" in capsys.readouterr().out
    assert main([*BY_FILE, "--pcr-hash", pcr_hash, str(folder)]) == 2


def test_processes_share_the_work(documents: list[dict[str, Any]], tmp_path: Path) -> None:
    """In the order of the names, and with the same verdicts."""
    lines = [json.dumps(altered(document) if n % 50 == 7 else document) for n, document in enumerate(documents * 45)]
    (tmp_path / "many.jsonl").write_text("\n".join(lines))
    verifier, sources = Verifier.unsafe_file_key(), list(sources_in(str(tmp_path)))
    alone = list(verifier.verify_many(sources))
    shared = list(verifier.verify_many(iter(sources), jobs=2))
    assert [name for name, _ in shared] == [f"{tmp_path}/many.jsonl:{n + 1}" for n in range(CALLS * 45)]
    assert shared == alone
    assert [n for n, (_, verdict) in enumerate(shared) if not verdict.verified] == list(range(7, CALLS * 45, 50))


def test_desk_of_501(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """4 altered, 2 malformed, 100 handed in twice: exactly those are named, and the summary fits on one screen."""
    kinds = lay_out(tmp_path)
    flags = ("verify", "--tee-id", TEE_ID, "--jobs", "1")
    assert main([*flags, "--failed", "--json", str(tmp_path)]) == 1
    found: dict[str, list[str]] = {"altered": [], "malformed": [], "doubled": []}
    for report in map(json.loads, capsys.readouterr().out.splitlines()):
        kind = {"failed": "altered", "malformed": "malformed", "verified": "doubled"}[report["status"]]
        found[kind].append(Path(report["file"]).name)
        if kind == "doubled":
            assert Path(report["duplicate_of"]).name == Path(report["file"]).name.replace("copy", "call")
    assert {kind: sorted(names) for kind, names in found.items()} == {
        kind: sorted(names) for kind, names in kinds.items()
    }
    assert main([*flags, "--summary", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "501 files: 4 failed, 2 malformed, 495 verified",
        "100 of them are the same call as another file: 395 calls are verified.",
    ]
    assert len(lines) <= 24
    steps = {"answer": "output-hash", "payment": "payment-hash", "prompt": "request-hash", "receipt": "receipt"}
    assert [line.strip() for line in lines if "failed  " in line] == [
        f"failed     {tmp_path}/{name}.json ({step})" for name, step in steps.items()
    ]
