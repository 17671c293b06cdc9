"""
Fixtures for the tests of your own agent: a local network, and a judge of what was done with it.

```python
import pytest
from og_integrations import OpenGradientError, collect_receipts
from og_integrations.langchain import ChatOpenGradient

def test_agent_survives_a_lie(opengradient_devnet, opengradient_verdict):
    model = ChatOpenGradient(model="openai/gpt-5.2")  # OG_PRIVATE_KEY and the rest are set
    opengradient_devnet.inject("bad_signature", times=1)
    with collect_receipts() as receipts, pytest.raises(OpenGradientError):
        opengradient_verdict.watch(receipts)  # then payments reported must be payments seen, too
        model.invoke("Hello")
```

`opengradient_devnet` is a running `og_integrations.devnet.Devnet`, and the environment points to it.
`opengradient_verdict` is the same one; a test that asks for it fails with the lines of
`Devnet.verdict` (double payments, unverified answers taken for verified, secrets in the log, …) even
if all its assertions hold. `@pytest.mark.opengradient(enclaves=2, generation="newest")` passes arguments
to `Devnet`. With pytest-socket, allow 127.0.0.1.

A fixture `opengradient_devnet` of your own, of any scope, replaces the first one; each test is then judged by
what it did since it has the verdict.

Nothing but this file is loaded before a test asks for one of them.
"""

import inspect
import io
import logging
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from og_integrations.devnet import Devnet, Judgement, Mark

_MARKER = "opengradient"
_JUDGED = pytest.StashKey["tuple[Devnet, Mark, Callable[[], list[str]]]"]()
"""What a test is judged by that asked for the verdict."""
_BEGUN = pytest.StashKey["tuple[Devnet, Mark]"]()
"""The test's own devnet as it began: a verdict may be asked for late."""
_OURS = ("OG_", "OPENGRADIENT_")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known (`--strict-markers`)."""
    config.addinivalue_line("markers", f"{_MARKER}(**options): arguments of the Devnet behind opengradient_devnet")


@pytest.fixture
def opengradient_devnet(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> "Iterator[Devnet]":
    """Yield a running devnet of its own for each test, with OG_* in the environment pointing to it."""
    from og_integrations.devnet import Devnet

    marker = request.node.get_closest_marker(_MARKER)
    options: dict[str, Any] = {} if marker is None else dict(marker.kwargs)
    known = list(inspect.signature(Devnet).parameters)
    if marker is not None and (marker.args or not options.keys() <= set(known)):
        wrong = ", ".join([*map(repr, marker.args), *(name for name in options if name not in known)])
        pytest.fail(f"@pytest.mark.{_MARKER} got {wrong}, expected some of {', '.join(known)}, by name.", pytrace=False)
    with Devnet(**options) as net:
        for name in [name for name in os.environ if name.startswith(_OURS)]:
            monkeypatch.delenv(name)
        for name, value in net.environment().items():
            monkeypatch.setenv(name, value)
        request.node.stash[_BEGUN] = net, net.mark()
        yield net


@pytest.fixture
def opengradient_verdict(request: pytest.FixtureRequest, opengradient_devnet: "Devnet") -> "Iterator[Devnet]":
    """Yield the devnet of the test, whose verdict is asked when the test is over (give it receipts: `watch`)."""
    own, since = request.node.stash.get(_BEGUN, (None, None))
    if own is not opengradient_devnet or since is None:
        since = opengradient_devnet.mark()
    with _logged(request) as logs:
        request.node.stash[_JUDGED] = opengradient_devnet, since, logs
        yield opengradient_devnet
        del request.node.stash[_JUDGED]
    opengradient_devnet.unwatch(since)


@contextmanager
def _logged(request: pytest.FixtureRequest) -> Iterator[Callable[[], list[str]]]:
    """Give what the test has logged: to `caplog`, or to us with `-p no:logging`."""
    if request.config.pluginmanager.has_plugin("logging-plugin"):
        caplog: pytest.LogCaptureFixture = request.getfixturevalue("caplog")
        yield lambda: [caplog.handler.format(record) for record in caplog.get_records("call")]
        return
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logging.getLogger().addHandler(handler)
    try:
        yield lambda: [written.getvalue()]
    finally:
        logging.getLogger().removeHandler(handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that asked for the verdict and was not clean; one that failed anyway shows it as well."""
    verdict = None
    try:
        result = yield
    finally:
        # Only now: a test may ask for the fixture while it runs.
        if _JUDGED in item.stash:
            verdict = _judged(item, *item.stash[_JUDGED])
    if verdict:
        pytest.fail("\n".join(("The devnet does not like what it saw:", *verdict.lines)), pytrace=False)
    return result


def _judged(item: pytest.Item, net: "Devnet", since: "Mark", logs: Callable[[], list[str]]) -> "Judgement":
    verdict = net.verdict(logs=logs(), since=since)
    if verdict:
        item.add_report_section("call", "opengradient verdict", str(verdict))
    return verdict
