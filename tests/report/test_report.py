"""The report: one page that says first what matters, escapes what strangers wrote, and checks itself."""

import json
import re
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from og_integrations.cli import main
from og_integrations.ledger import open_ledger
from og_integrations.report import Report
from og_integrations.verify import Verifier, sources_in
from tests.report.conftest import Document
from tests.report.node import needs_node, run

BY_FILE = ("--trust-file-key",)
DATA = re.compile(r'<script id="data" type="application/json">\n(.*?)\n</script>', re.DOTALL)


def page_of(folder: Path | str, **options: Any) -> str:
    report = Report.of(sources_in(str(folder)), Verifier.unsafe_file_key(), trust="the key in each file", **options)
    return report.html(made_at=1795910400)


class Seen(HTMLParser):
    """What a browser would see in a page: its elements, with their attributes, and the text of its headline."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.headline = ""
        self._within = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._within = tag

    def handle_data(self, data: str) -> None:
        if self._within == "h1":
            self.headline += data.strip()


def rows_in(page: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    found = DATA.search(page)
    assert found is not None
    head, *lines = found[1].split("\n")
    return json.loads(head), [json.loads(line) for line in lines]


def test_verdict_comes_first(desk: Path) -> None:
    page = page_of(desk)
    assert Seen(page).headline == "4 of 17 documents failed."
    for step in ("request-hash", "output-hash", "payment-hash", "receipt"):
        assert f'<span class="dim">{step}</span>' in page


def test_good_folder_is_said_to_be_proven(documents: list[Document], tmp_path: Path) -> None:
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, documents)))
    page = page_of(tmp_path)
    assert Seen(page).headline == "All 12 calls are proven."
    assert "0.1</b><span>OPG authorized at most, by 1 payment<" in page


def test_page_holds_the_exact_documents(desk: Path) -> None:
    """Whatever they are: each can be written out again, and be judged by anybody."""
    head, rows = rows_in(page_of(desk))
    assert head["rows"] == len(rows) == 17
    for row in rows:
        pieces = [head["shared"][piece] if isinstance(piece, int) else piece for piece in row["document"]]
        assert "".join(pieces) == Path(row["name"]).read_text()
    # What stands in many documents stands once in the page.
    key = json.loads(Path(rows[6]["name"]).read_text())["receipt"]["enclave"]["public_key"]
    assert page_of(desk).count(key) == 1


def test_nothing_in_a_receipt_runs(documents: list[Document], tmp_path: Path) -> None:
    """Neither in prompts nor in names, models and members of a receipt."""
    evil = "</script><script>alert(1)</script><b onclick=alert(2)>\u2028\u202e&lt;"
    hostile = json.loads(json.dumps(documents[1]))
    hostile["receipt"] |= {"model": evil, "kind": evil, "tee_id": evil, "created": evil, evil: evil}
    hostile["receipt"]["enclave"] |= dict.fromkeys(hostile["receipt"]["enclave"], evil)
    (tmp_path / "1.json").write_text(json.dumps(documents[0]))
    (tmp_path / "2.json").write_text(json.dumps(hostile))
    (tmp_path / "<img src=x onerror=alert(3)>.json").write_text(json.dumps(documents[2]))
    page = page_of(tmp_path, title=evil)
    seen = Seen(page)
    assert Counter(tag for tag, _ in seen.elements)["script"] == 2
    assert not {"b", "img"} & {tag for tag, held in seen.elements if held}
    named = [(tag, name) for tag, held in seen.elements for name in held]
    assert not [pair for pair in named if pair[1].startswith("on") or pair[1] in ("src", "href", "style")]
    assert "\u2028" not in page
    assert "\u202e" not in page
    assert '"document": ["' in page


def test_policy_lets_only_the_pages_own_script_run(desk: Path) -> None:
    seen = Seen(page_of(desk))
    (policy,) = [held["content"] or "" for _, held in seen.elements if "http-equiv" in held]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_page_asks_nobody(desk: Path) -> None:
    """Its script knows no way to: neither addresses nor requests."""
    page = page_of(desk)
    outside = page.replace(DATA.search(page)[0], "")  # type: ignore[index]
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|sendBeacon|importScripts|eval|innerHTML)\b", outside)
    assert not re.search(r"https?://(?!127\.0\.0\.1)", outside)


@needs_node
def test_own_checks_agree_with_verify(desk: Path, tmp_path: Path) -> None:
    """Of each document: what failed, where, and what is no document."""
    page = tmp_path / "report.html"
    page.write_text(page_of(desk))
    done = run(str(page))
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr.strip()) == (1, "11 proven, 4 failed, 2 open")
    assert all(row["agrees"] for row in rows)
    verdicts = dict(Verifier.unsafe_file_key().verify_many(sources_in(str(desk))))
    assert {row["name"]: row["step"] for row in rows} == {name: verdict.step for name, verdict in verdicts.items()}


@needs_node
def test_text_edited_in_the_page_turns_its_row_red(desk: Path, tmp_path: Path) -> None:
    """One letter of a prompt, in an editor."""
    text = page_of(desk)
    changed = text.replace("Invoice 9?", "Invoice 8?", 1)
    assert changed != text
    page = tmp_path / "report.html"
    page.write_text(changed)
    rows = [json.loads(line) for line in run(str(page)).stdout.splitlines()]
    (wrong,) = [row for row in rows if not row["agrees"]]
    assert (wrong["state"], wrong["reported"], wrong["step"]) == ("failed", "verified", "request-hash")


@needs_node
def test_document_that_was_taken_out_of_the_page_is_missed(desk: Path, tmp_path: Path) -> None:
    text = page_of(desk)
    (line,) = [line for line in text.split("\n") if line.startswith('{"name": ') and "00009.json" in line]
    page = tmp_path / "report.html"
    page.write_text(text.replace(line + "\n", ""))
    done = run(str(page))
    assert done.returncode == 1
    assert "The data holds 16 documents, and the report was made of 17." in done.stderr


def test_model_on_chain_stands_beside_the_others(documents: list[Document], tmp_path: Path) -> None:
    """Nobody but a node of the chain can say that it is right, and the page says so."""
    onchain = {"mode": "VANILLA", "chain_id": 10740, "transaction_hash": "0x" + "33" * 32, "cost": "21000"}
    receipt = {"version": 1, "kind": "onchain", "status": "verified", "model": "QmModel", "onchain": onchain}
    (tmp_path / "chain.json").write_text(json.dumps(receipt))
    (tmp_path / "call.json").write_text(json.dumps(documents[1]))
    page = page_of(tmp_path)
    assert Seen(page).headline == "1 of 2 documents is not decided."
    kinds = {row["kind"]: row["status"] for row in rows_in(page)[1]}
    assert kinds == {"chat": "verified", "onchain": "undecided"}
    assert "only a node of the chain can confirm: say --registry" in page


@needs_node
def test_enclave_that_nobody_vouched_for_is_not_believed_by_the_page(desk: Path, tmp_path: Path) -> None:
    """The verdict in the data may say what it likes."""
    report = Report.of(sources_in(str(desk)), Verifier.tee_ids(["0x" + "11" * 32]), trust="another enclave")
    page = tmp_path / "report.html"
    page.write_text(
        report.html().replace('"status": "failed", "step": "enclave-trusted"', '"status": "verified", "step": null')
    )
    rows = [json.loads(line) for line in run(str(page)).stdout.splitlines()]
    assert Counter(row["state"] for row in rows) == {"failed": 15, "open": 2}
    assert {row["step"] for row in rows if row["reported"] == "verified"} == {"enclave-trusted"}


def test_command_says_what_it_found(desk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "report.html"
    command = ["report", str(desk), *BY_FILE, "--html", str(target)]
    assert main(command) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "17 documents: 4 failed, 2 malformed, 11 verified"
    assert said[1] == "3 of them are the same call as another document"
    assert Seen(target.read_text()).headline == "4 of 17 documents failed."
    assert main(command) == 2
    assert "say --force" in capsys.readouterr().err
    assert main([*command, "--force"]) == 1


def test_settled_amounts_come_from_the_ledger(documents: list[Document], tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "receipts.jsonl")
    for document in documents[:2]:
        ledger.record(document["receipt"], document["exchange"])
    payment = documents[0]["receipt"]["payment"]["payment_hash"]
    ledger.note_settlement(payment, "settled", 25_000_000_000_000_000, "0x" + "22" * 32)
    target = tmp_path / "report.html"
    assert main(["report", str(tmp_path / "receipts.jsonl"), *BY_FILE, "--html", str(target)]) == 0
    assert "<b>0.025</b><span>OPG settled, of 1 payment</span>" in target.read_text()


def test_missing_library_is_named(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert main(["report", str(desk), *BY_FILE, "--html", "-"]) == 2
    assert 'pip install "og-integrations[report]"' in capsys.readouterr().err
