"""The report in a browser: its own checks, its layout on desk, phone and paper, and ten thousand receipts at once."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from og_integrations.devnet import Devnet
from og_integrations.report import Report
from og_integrations.verify import Verifier, sources_in
from tests.report.browser import DESKTOP, PHONE, Page, browser, needs_chromium
from tests.report.conftest import HOSTILE, Document, called, hand_over

pytestmark = [needs_chromium, pytest.mark.heavy, pytest.mark.timeout(600)]
BY_FILE_KEY = Verifier.unsafe_file_key()
ROWS = "[...document.querySelectorAll('.row')]"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def handed(network: Devnet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """501 documents: 4 altered, 2 malformed, 100 handed in twice."""
    folder = tmp_path_factory.mktemp("handed")
    hand_over(folder, called(network, 399), 399, 100)
    return folder


@pytest.fixture(scope="module")
def report(handed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(handed, tmp_path_factory.mktemp("report"))


def written(folder: Path, target: Path) -> Path:
    file = target / "report.html"
    made = Report.of(sources_in(str(folder)), BY_FILE_KEY, trust="the key in each document")
    file.write_text(made.html(made_at=1795910400))
    return file


def told(page: Page) -> str:
    return str(page.ask("document.getElementById('check-text').textContent"))


def all_rows(page: Page) -> dict[str, dict[str, Any]]:
    """Draw every row, and return what each shows, by the name of its document."""
    page.ask("dispatchEvent(new Event('beforeprint'))")
    found = page.ask(
        f"JSON.stringify({ROWS}.map((row) => ({{name: row.querySelector('.name').textContent, "
        "state: row.dataset.state, step: row.querySelector('.step').textContent})))"
    )
    return {row["name"]: row for row in json.loads(found)}


def test_own_checks_agree_with_verify_on_every_row(page: Page, report: Path, handed: Path) -> None:
    page.open(report)
    assert told(page) == "This browser checked 501 documents just now, and agrees with the report on every one."
    rows = all_rows(page)
    verdicts = {Path(name).name: verdict for name, verdict in BY_FILE_KEY.verify_many(sources_in(str(handed)))}
    assert rows.keys() == verdicts.keys()
    shown = {"verified": "proven", "failed": "failed", "malformed": "open"}
    assert {name: row["state"] for name, row in rows.items()} == {
        name: shown[verdict.status] for name, verdict in verdicts.items()
    }
    assert {name: row["step"] or None for name, row in rows.items()} == {
        name: verdict.step for name, verdict in verdicts.items()
    }
    assert Counter(row["state"] for row in rows.values()) == {"proven": 495, "failed": 4, "open": 2}
    assert page.ask("[...document.querySelectorAll('#filters button')].map((each) => each.textContent).join()") == (
        "All 501,Proven 395,Failed 4,Open 2,Handed in twice 100"
    )


def test_nothing_is_asked_of_anybody_and_nothing_goes_wrong(page: Page, report: Path) -> None:
    page.requests.clear()
    page.problems.clear()
    page.open(report)
    assert (page.requests, page.problems) == ([report.as_uri()], [])


def test_text_edited_in_the_pages_data_turns_its_row_red(page: Page, report: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.html"
    changed.write_text(report.read_text().replace("Invoice 300?", "Invoice 301?", 1))
    page.open(changed)
    assert "differs from the report on 1: the data was altered since it was made" in told(page)
    assert page.ask("document.getElementById('check').dataset.state") == "differs"
    red = {name for name, row in all_rows(page).items() if row["state"] == "failed"}
    assert red == {"00001.json", "00002.json", "00003.json", "00004.json", "00300.json"}
    style = f"getComputedStyle({ROWS}.find((row) => row.textContent.includes('00300.json')).querySelector('summary'))"
    assert page.ask(f"{style}.backgroundColor") == "rgb(248, 229, 225)"


def test_without_webcrypto_nothing_is_green(page: Page, report: Path) -> None:
    hidden = "Object.defineProperty(Crypto.prototype, 'subtle', {get: () => undefined})"
    script = page.call("Page.addScriptToEvaluateOnNewDocument", source=hidden)["identifier"]
    try:
        page.open(report)
        assert told(page).startswith("Not checked: this browser offers no crypto.subtle here.")
        assert Counter(row["state"] for row in all_rows(page).values()) == {"unchecked": 495, "failed": 4, "open": 2}
        assert page.ask("document.querySelectorAll('.tag.good, .check[data-state=agrees]').length") == 0
    finally:
        page.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)


def test_hostile_prompt_is_shown_and_does_not_run(page: Page, documents: list[Document], tmp_path: Path) -> None:
    """Neither alert nor image nor script: the text stands there, with what turns its direction spelled out."""
    (tmp_path / "one").mkdir()
    document = json.loads(json.dumps(documents[0]))
    document["receipt"] |= {"constructor": "x", "__proto__": {"toString": "x"}, "toString": None}
    (tmp_path / "one" / "1.json").write_text(json.dumps(document))
    page.problems.clear()
    page.open(written(tmp_path / "one", tmp_path))
    page.ask("document.getElementById('receipts').scrollIntoView()")
    page.wait(f"{ROWS}.length === 1")
    page.ask(f"{ROWS}[0].querySelector('summary').click()")
    page.wait("document.querySelector('.inside pre') !== null")
    asked = page.ask("document.querySelector('.inside pre').textContent")
    assert asked == "user: " + HOSTILE.replace("\u2028", "\\u{2028}").replace("\u202e", "\\u{202e}")
    assert page.ask("document.querySelectorAll('.inside script, .inside img').length") == 0
    assert page.problems == []


def test_injected_script_is_stopped_by_the_policy(page: Page, report: Path, tmp_path: Path) -> None:
    injected = tmp_path / "injected.html"
    evil = "<script>document.title = 'ran'</script><img src=x onerror=\"document.title = 'ran'\">"
    injected.write_text(report.read_text().replace("<main>", f"<main>{evil}"))
    page.open(injected)
    assert page.ask("document.title") == "Report of verified inference"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_layout(page: Page, report: Path, size: tuple[int, int], dark: bool) -> None:
    """Nothing is wider than the screen, or one over the other; text stands out from what is behind it."""
    page.open(report, size=size, dark=dark)
    page.ask("document.getElementById('receipts').scrollIntoView()")
    page.wait(f"{ROWS}.length > 10")
    page.ask(f"{ROWS}[1].querySelector('summary').click()")
    page.wait("document.querySelector('.inside') !== null")
    assert page.ask("document.documentElement.scrollWidth") == size[0]
    wide = page.ask(
        "[...document.querySelectorAll('main *')].filter((each) => each.getBoundingClientRect().right > innerWidth + 1 "
        "&& !each.closest('thead, pre')).map((each) => each.className || each.tagName).join()"
    )
    assert wide == ""
    sections = page.ask(
        "JSON.stringify([...document.querySelectorAll('main > *')].map((each) => each.getBoundingClientRect())"
        ".map(({top, bottom}) => [top, bottom]))"
    )
    places = json.loads(sections)
    assert all(one[1] <= other[0] + 1 for one, other in pairwise(places))
    colours = page.ask(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor].join('|')"
    )
    light = [sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 for colour in colours.split("|")]
    assert (light[0] > light[1]) is dark
    assert abs(light[0] - light[1]) > 150


def test_print(page: Page, report: Path) -> None:
    """On paper every row stands, and what is for the mouse does not."""
    page.open(report)
    assert page.pdf().startswith(b"%PDF-")
    page.call("Emulation.setEmulatedMedia", media="print")
    try:
        assert len(all_rows(page)) == 501
        assert page.ask("getComputedStyle(document.getElementById('tools')).display") == "none"
        assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    finally:
        page.call("Emulation.setEmulatedMedia", media="")


def test_ten_thousand_receipts_stay_responsive(page: Page, documents: list[Document], tmp_path: Path) -> None:
    """Only what is near the window is drawn, wherever it is scrolled to."""
    (tmp_path / "many").mkdir()
    lines = [json.dumps(documents[number % 12]) for number in range(10_000)]
    (tmp_path / "many" / "receipts.jsonl").write_text("\n".join(lines))
    page.open(written(tmp_path / "many", tmp_path))
    assert told(page).startswith("This browser checked 10,000 documents just now, and agrees")
    for part in (0.3, 0.6, 0.9, 1.0):
        page.ask(f"scrollTo(0, document.body.scrollHeight * {part})")
        page.wait(f"{ROWS}.some((row) => {{ const at = row.getBoundingClientRect().top; return at > 0 && at < 900 }})")
        assert page.ask(f"{ROWS}.length") <= 300
    search = "document.getElementById('search')"
    page.ask(f"{search}.value = 'receipts.jsonl:9999'; {search}.dispatchEvent(new Event('input'))")
    page.wait(f"{ROWS}.length === 1")
