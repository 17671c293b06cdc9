"""
Documents are programs: README, docs, the shop window's docstring and the cookbook run on a devnet.

The Python blocks of one document are run in order in one process, as a reader would paste them.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from og_integrations import SpendPolicy, errors
from og_integrations.chat._model import ModelOptions
from og_integrations.client import ClientOptions
from og_integrations.client._options import _meanings, options_table
from og_integrations.client._settings import PRIVATE_KEY_VARIABLES
from og_integrations.devnet import Devnet
from tests.money.conftest import real_evm

__all__ = ["real_evm"]

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "og_integrations" / "__init__.py",
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if BLOCK.search(page.read_text())),
]
COOKBOOK = sorted((ROOT / "cookbook").glob("*.py"))
TIMEOUT = 50
PLACES = ("OG_NETWORK", "OG_RPC_URL", "OG_REGISTRY_RPC_URL", "OG_REGISTRY_ADDRESS", "OG_GATEWAY_URL")


@pytest.fixture(scope="module")
def network() -> Iterator[dict[str, str]]:
    """Run a devnet and return the variables that point a program to it."""
    with Devnet() as net:
        yield net.environment()


def run(*command: str, environment: dict[str, str], folder: Path) -> None:
    """Run a Python program to its end; a failure shows what it printed."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def program_of(document: Path) -> str:
    """Join the blocks of `document`, each on its own line numbers, so that tracebacks point there."""
    text, program = document.read_text(), ""
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start(1))
        program += "\n" * (line - program.count("\n")) + block[1]
    return program


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_document_runs(document: Path, network: dict[str, str], tmp_path: Path) -> None:
    """Every Python block works as printed."""
    program = program_of(document)
    assert program, f"{document.name} has no Python block"
    (tmp_path / "blocks.py").write_text(program)
    run("blocks.py", environment=network, folder=tmp_path)


@pytest.mark.parametrize("script", COOKBOOK, ids=lambda path: path.name)
def test_cookbook_script_runs(
    script: Path, network: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Every script ends well; the demo starts its own network, as `make demo` does."""
    if 'evm="anvil"' in script.read_text():
        request.getfixturevalue("real_evm")
    run(str(script), environment={} if script.name == "demo.py" else network, folder=tmp_path)


def headings_of(page: Path) -> set[str]:
    """Return the anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Files and headings of ours are there."""
    for target, heading in LINK.findall(page.read_text()):
        if target.startswith("https://"):
            continue
        file = (page.parent / target) if target else page
        assert file.is_file(), f"{target} is not there"
        assert not heading or heading in headings_of(file), f"{target}#{heading} is not there"


CITED_SECTION = re.compile(r"(?:PROTOCOL(?:\.md)?|docs/protocol\.md)((?:,? §[\d.]*\d)+)")
CITED_TITLE = re.compile(r"(?:DESIGN|docs/design\.md) \"(.+?)\"")
SOURCES = [*sorted((ROOT / "og_integrations").rglob("*.py")), *sorted((ROOT / "tests").rglob("*.py"))]


def cited(pattern: re.Pattern[str]) -> dict[str, str]:
    """Return what the code cites by `pattern`, each with a file that does."""
    found = {}
    for source in SOURCES:
        for match in pattern.finditer(source.read_text()):
            found[match[1]] = str(source.relative_to(ROOT))
    return found


def test_every_cited_section_of_the_protocol_exists() -> None:
    """Whoever reads "§3.1" beside a constant can look it up in `docs/protocol.md`."""
    numbers = set(re.findall(r"^#+ ([\d.]*\d)\.? ", (ROOT / "docs" / "protocol.md").read_text(), re.MULTILINE))
    sections = {number for text in cited(CITED_SECTION) for number in re.findall(r"[\d.]*\d", text)}
    assert len(sections) > 5, "the pattern finds nothing"
    assert sections - numbers == set()


def test_every_cited_section_of_the_design_exists() -> None:
    """Whoever reads a reason's title can look it up in `docs/design.md`."""
    titles = set(re.findall(r"^#+ (.+)$", (ROOT / "docs" / "design.md").read_text(), re.MULTILINE))
    assert set(cited(CITED_TITLE)) - titles == set()


def test_contributing_names_files_that_exist() -> None:
    """Whoever looks a change up finds the file, under the name that it has today."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`((?:[\w.]+/)+[\w.]*|\w+\.(?:py|md))`", page))
    places = (ROOT, ROOT / "og_integrations")
    assert len(named) > 30, "the pattern finds nothing"
    assert {name for name in named if not any((place / name).exists() for place in places)} == {"utils.py"}


def test_table_of_settings_is_that_of_the_code() -> None:
    """Types, defaults and variables of options stand in `client._options` only; docs/settings.md shows them."""
    assert options_table(ModelOptions) in (ROOT / "docs" / "settings.md").read_text()


def test_every_option_says_what_it_means() -> None:
    """Editors show the text below an option's declaration where somebody points at it in a call."""
    assert {*ModelOptions.__annotations__} - {*_meanings(ModelOptions)} == set()


def test_every_option_is_named() -> None:
    """What a client, a policy and the environment take is in `docs/`."""
    pages = "".join(page.read_text() for page in (ROOT / "docs" / "settings.md", ROOT / "docs" / "spending.md"))
    options = {*ClientOptions.__annotations__} - {"x402_settlement_mode"}
    named = set(re.findall(r"(?:`|\")(\w+)(?:`|=|\")", pages))
    assert {*options, *SpendPolicy.model_fields, "http_client", *PLACES, *PRIVATE_KEY_VARIABLES} - named == set()


def test_every_error_is_explained() -> None:
    """`docs/errors.md` names each one that can be raised."""
    page = (ROOT / "docs" / "errors.md").read_text()
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type) and name.endswith("Error")}
    assert {name for name in kinds if f"`{name}`" not in page} == {"PaymentError"}
