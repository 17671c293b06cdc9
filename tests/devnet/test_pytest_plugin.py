"""The plugin as a user's test suite meets it. pytester is pytest's own way to test that."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpcore
import pytest

from og_integrations import client, pytest_plugin

pytest_plugins = ["pytester"]

LOADED = (httpcore, client)
"""pytester forgets modules that an inner run was first to load; those who know them would have other ones."""
Run = Callable[[str], pytest.RunResult]

PAYING_TWICE = """
    import httpx, pytest
    from tests.devnet.bare_caller import ask, raw_caller

    def test_agent(opengradient_devnet, opengradient_verdict):
        opengradient_devnet.inject("bad_signature", times=1)
        with raw_caller(opengradient_devnet) as raw:
            for _ in range(2):
                raw.post(ask("hi"), PAYMENT_SIGNATURE=raw.payment())
        assert {outcome}
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a test file with this plugin, whether or not its entry point is installed."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run_file(source: str) -> pytest.RunResult:
        pytester.makepyfile(source)
        return pytester.runpytest_inprocess("--strict-markers", "-W", "error", plugins=[pytest_plugin])

    return run_file


def test_example_in_the_docstring_runs(run: Run) -> None:
    pytest.importorskip("langchain_core")
    code = re.search(r"```python\n(.*?)```", pytest_plugin.__doc__ or "", re.DOTALL)
    assert code is not None
    assert len(code[1].splitlines()) <= 12
    run(code[1]).assert_outcomes(passed=1)


def test_example_in_the_documents_runs(run: Run) -> None:
    pytest.importorskip("langchain_core")
    page = (Path(__file__).parent.parent.parent / "docs" / "devnet.md").read_text()
    code = re.search(r"```py\n(.*?)```", page, re.DOTALL)
    assert code is not None
    run(code[1]).assert_outcomes(passed=1)


def test_environment_points_to_the_devnet(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OG_GATEWAY_URL", "https://elsewhere.example")
    run("""
        import os, pytest

        @pytest.mark.opengradient(enclaves=2, generation="next")
        def test_agent(opengradient_devnet):
            assert len(opengradient_devnet.enclaves) == 2
            ours = {name: value for name, value in os.environ.items() if name.startswith("OG_")}
            assert ours == opengradient_devnet.environment()

        def test_after():
            assert os.environ["OG_GATEWAY_URL"] == "https://elsewhere.example"
            assert "OG_PRIVATE_KEY" not in os.environ
    """).assert_outcomes(passed=2)


@pytest.mark.parametrize(("given", "named"), [("enclaves=2, nonsense=2", "nonsense"), ("3", "3")])
def test_unknown_option_is_named(run: Run, given: str, named: str) -> None:
    result = run(f"""
        import pytest

        @pytest.mark.opengradient({given})
        def test_agent(opengradient_devnet):
            pass
    """)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [f"@pytest.mark.opengradient got {named}, expected some of enclaves, clock, *, by name."]
    )
    result.stdout.no_fnmatch_line("*TypeError*")


def test_misbehaviour_fails_the_test(run: Run) -> None:
    result = run(PAYING_TWICE.format(outcome="True"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*double_paid: a second authorization*bad_signature*exchanges 2, 4*"])


@pytest.mark.parametrize("in_a_fixture", [True, False])
def test_verdict_that_is_asked_for_late_is_given(run: Run, in_a_fixture: bool) -> None:
    """By name, as fixtures that choose between networks do; pytest does not tell a test's hooks of it."""
    source = PAYING_TWICE.format(outcome="True").replace("opengradient_verdict", "request")
    asking = "request.getfixturevalue('opengradient_verdict')"
    if in_a_fixture:
        source = (
            source.replace("request", "chosen")
            + f"""
    @pytest.fixture
    def chosen(request):
        return {asking}
"""
        )
    else:
        source += f"        {asking}\n"
    result = run(source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*double_paid: a second authorization*"])


def test_failure_of_the_test_itself_is_kept(run: Run) -> None:
    result = run(PAYING_TWICE.format(outcome="'mine' == 'other'"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert 'mine' == 'other'*", "*opengradient verdict*", "*double_paid*"])


def test_secret_in_the_log_fails_the_test(run: Run) -> None:
    result = run("""
        import logging

        def test_agent(opengradient_verdict):
            logging.getLogger("app").warning("key %s", opengradient_verdict.private_key)
    """)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["secret_leaked: a secret stands in a log"])


def test_entry_point_is_installed(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip leaves it: a folder without any configuration sees the fixtures."""
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    monkeypatch.delenv("PYTEST_PLUGINS", raising=False)
    pytester.makepyfile("def test_it(opengradient_devnet, opengradient_verdict): pass")
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_nothing_is_loaded_before_it_is_asked_for() -> None:
    code = (
        "import sys, og_integrations.pytest_plugin; "
        "print(*sorted({'h11', 'httpx', 'eth_account', 'cryptography', 'og_integrations.client',"
        "'og_integrations.devnet', 'langchain_core'} & sys.modules.keys()))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
