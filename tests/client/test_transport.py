"""What a failed exchange means: whether anything of the request was sent decides about the payment."""

import ssl
import time
from types import ModuleType

import h11
import httpx
import httpx2
import pytest

from og_integrations.client.channels._channel import (
    CONNECT_TIMEOUT,
    UNPINNED,
    Destination,
    HttpRequest,
    Pinned,
    failure,
    head_until,
    not_connected,
)
from og_integrations.client.channels._http1 import FramingError, Phase
from og_integrations.client.channels._httpx_client import _Failures, _Watch
from og_integrations.client.channels._pool import _failure
from og_integrations.client.channels._streams import Progress
from og_integrations.client.channels._tls import PinMismatch
from og_integrations.errors import CertificateMismatchError, ConnectionFailedError, ConnectionLostError

PINNED = Pinned(b"a certificate")
REQUEST = HttpRequest(url="https://enclave.example", whom="It", headers={}, body=None, timeout=5)
SENT = [phase for phase in Phase if phase is not Phase.NOTHING]
libraries = pytest.mark.parametrize("library", [httpx, httpx2])


def meaning(exc: Exception, phase: Phase, destination: Destination = PINNED) -> Exception:
    return _failure(exc, Progress(5, time.monotonic() + 5, phase), REQUEST, destination)


@pytest.mark.parametrize("exc", [ConnectionRefusedError(), TimeoutError(), ConnectionResetError(), OSError(24, "x")])
def test_nothing_was_sent(exc: Exception) -> None:
    error = meaning(exc, Phase.NOTHING)
    assert type(error) is ConnectionFailedError
    assert str(error) == f"No connection to It ({type(exc).__name__}): nothing was sent."
    assert error.blames_enclave


@pytest.mark.parametrize("phase", SENT)
@pytest.mark.parametrize(
    ("exc", "says"),
    [
        (TimeoutError(), "It did not answer in time."),
        (ConnectionResetError(), "The connection to It broke (ConnectionResetError)."),
        (BrokenPipeError(), "The connection to It broke (BrokenPipeError)."),
        (ssl.SSLError(), "The connection to It broke (SSLError)."),
        (h11.RemoteProtocolError("quoting the peer"), "The connection to It broke (RemoteProtocolError)."),
        (FramingError("it ended between chunks"), "The connection to It broke (it ended between chunks)."),
    ],
)
def test_something_may_have_been_sent(exc: Exception, says: str, phase: Phase) -> None:
    """From the first byte on, whatever broke."""
    error = meaning(exc, phase)
    assert isinstance(error, ConnectionLostError)
    assert (str(error), error.timed_out) == (says, isinstance(exc, TimeoutError))


@libraries
@pytest.mark.parametrize("kind", ["ConnectError", "ConnectTimeout", "UnsupportedProtocol"])
def test_nothing_was_sent_by_a_users_client(library: ModuleType, kind: str) -> None:
    error = failure(getattr(library, kind)("no"), library, "It", PINNED)
    assert type(error) is ConnectionFailedError
    assert str(error) == f"No connection to It ({kind}): nothing was sent."


@libraries
@pytest.mark.parametrize(
    ("kind", "timed_out"),
    [
        ("ReadTimeout", True),
        ("WriteTimeout", True),
        ("ReadError", False),
        ("WriteError", False),
        ("RemoteProtocolError", False),
        ("LocalProtocolError", False),
        ("ProxyError", False),
    ],
)
def test_something_may_have_been_sent_by_a_users_client(library: ModuleType, kind: str, timed_out: bool) -> None:
    error = failure(getattr(library, kind)("no"), library, "It", PINNED)
    assert isinstance(error, ConnectionLostError)
    assert error.timed_out is timed_out


@libraries
@pytest.mark.parametrize("kind", ["ConnectError", "ConnectTimeout"])
def test_second_handshake_of_a_request_that_had_left_says_nothing_else(library: ModuleType, kind: str) -> None:
    """A transport tried again by itself: "nothing was sent" would have the payment repeated."""
    watch = _Watch(PINNED)
    watch.sent = watch.shaking = True
    with (
        pytest.raises(ConnectionLostError, match="The connection to It broke"),
        _Failures(library, REQUEST, PINNED, watch),
    ):
        raise getattr(library, kind)("no")


@libraries
def test_no_free_connection_is_not_the_servers_doing(library: ModuleType) -> None:
    error = failure(library.PoolTimeout("no"), library, "It", PINNED)
    assert str(error).startswith("All connections to It were in use by other calls for too long: nothing was sent.")
    assert (type(error), error.blames_enclave) == (ConnectionFailedError, False)


def failed_handshake() -> Exception:
    """Return a failure whose reason is deep inside."""
    failed, wrapped = ConnectionError(), OSError()
    failed.__cause__, wrapped.__context__ = wrapped, PinMismatch(ssl.SSL_ERROR_SSL, "another")
    return failed


def test_failed_handshake_is_told_from_a_missing_server() -> None:
    error = not_connected(failed_handshake(), "It", PINNED)
    assert isinstance(error, CertificateMismatchError)
    assert "was aborted and nothing was sent" in str(error)
    unpinned = not_connected(failed_handshake(), "It", UNPINNED)
    assert type(unpinned) is ConnectionFailedError
    assert str(unpinned).startswith("No TLS with It")


@pytest.mark.parametrize(("timeout", "whole"), [(2.0, False), (600.0, False), (2.0, True)])
def test_no_wait_is_without_limit(timeout: float, whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wait has the call's own limit, and all of them together end."""
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    request = HttpRequest(url="https://x.example", whom="It", headers={}, body=None, timeout=timeout, whole=whole)
    progress = Progress(timeout, head_until(request))
    assert progress.moment() == 1000 + timeout
    assert progress.moment(CONNECT_TIMEOUT) == 1000 + (timeout if whole else CONNECT_TIMEOUT)
    assert progress.until == 1000 + timeout + (0 if whole else CONNECT_TIMEOUT)
