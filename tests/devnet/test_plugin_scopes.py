"""The pytest plugin with one devnet for many tests, and without pytest's own logging."""

import pytest

from og_integrations import pytest_plugin

pytest_plugins = ["pytester"]

SHARED = """
    import pytest
    from og_integrations import Client, collect_receipts
    from og_integrations.devnet import Devnet
    from tests.devnet.bare_caller import ask, raw_caller

    @pytest.fixture(scope="{scope}")
    def opengradient_devnet():
        with Devnet() as net:
            yield net

    @pytest.fixture(scope="{scope}")
    def client(opengradient_devnet):
        with Client(network=opengradient_devnet.network, private_key=opengradient_devnet.private_key) as client:
            yield client

    def chat(client):
        return client.chat("openai/gpt-5-mini", [{{"role": "user", "content": "hi"}}])

    def pay(net, times):
        net.inject("bad_signature", times=1)
        with raw_caller(net) as raw:
            for _ in range(times):
                raw.post(ask("hi"), PAYMENT_SIGNATURE=raw.payment())
"""


@pytest.fixture(autouse=True)
def plugins_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this plugin, whether or not its entry point is installed."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester: pytest.Pytester, source: str, *flags: str) -> pytest.RunResult:
    pytester.makepyfile(source)
    return pytester.runpytest_inprocess("--strict-markers", "-W", "error", *flags, plugins=[pytest_plugin])


@pytest.mark.parametrize("scope", ["session", "module"])
def test_verdict_of_a_shared_devnet_blames_the_test_that_misbehaved(pytester: pytest.Pytester, scope: str) -> None:
    """Not those after it, nor who asks once what another test asked in vain."""
    result = run(
        pytester,
        SHARED.format(scope=scope)
        + """
    def test_before(opengradient_verdict, client):
        chat(client)

    def test_misbehaves(opengradient_verdict):
        pay(opengradient_verdict, 2)

    def test_asks_in_vain(opengradient_verdict):
        pay(opengradient_verdict, 1)

    def test_after(opengradient_verdict, client):
        chat(client)
""",
    )
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["FAILED *::test_misbehaves*"])


def test_receipts_of_a_shared_devnet_are_compared_within_their_test(pytester: pytest.Pytester) -> None:
    """The session that another test opened goes on; what another test watched need not hold this test's receipts."""
    result = run(
        pytester,
        SHARED.format(scope="session")
        + """
    def test_unwatched(opengradient_verdict, client):
        chat(client)

    def test_watched(opengradient_verdict, client):
        with collect_receipts() as receipts:
            opengradient_verdict.watch(receipts)
            assert chat(client).receipt["payment"]

    def test_unwatched_again(opengradient_verdict, client):
        chat(client)

    def test_unreported(opengradient_verdict, client):
        opengradient_verdict.watch([])
        chat(client)
""",
    )
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["unreported_payment: *", "FAILED *::test_unreported*"])


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
