"""The pytest plugin without pytest's own logging."""

import pytest

from og_integrations import pytest_plugin

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def plugins_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this plugin, whether or not its entry point is installed."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester: pytest.Pytester, source: str, *flags: str) -> pytest.RunResult:
    pytester.makepyfile(source)
    return pytester.runpytest_inprocess("--strict-markers", "-W", "error", *flags, plugins=[pytest_plugin])


def test_verdict_without_pytest_logging_reads_the_log(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        import logging

        def test_leaks(opengradient_verdict):
            logging.getLogger("app").warning("key %s", opengradient_verdict.private_key)

        def test_is_silent(opengradient_verdict):
            logging.getLogger("app").warning("hello")
        """,
        "-p",
        "no:logging",
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["secret_leaked: a secret stands in a log"])
