"""What a failed exchange means: whether anything of the request was sent decides about the payment."""

import ssl

import httpcore2
import pytest

from og_integrations.client.channels._channel import (
    CONNECT_TIMEOUT,
    UNPINNED,
    Destination,
    HttpRequest,
    Pinned,
    failure,
)
from og_integrations.client.channels._connections import _outgoing
from og_integrations.client.channels._tls import PinMismatch
from og_integrations.errors import CertificateMismatchError, ConnectionFailedError, ConnectionLostError

PINNED = Pinned(b"a certificate")


def meaning(exc: Exception, destination: Destination = PINNED) -> ConnectionFailedError | ConnectionLostError:
    return failure(exc, httpcore2, "It", destination)


@pytest.mark.parametrize(
    "kind",
    [httpcore2.ConnectError, httpcore2.ConnectTimeout, httpcore2.UnsupportedProtocol],
)
def test_nothing_was_sent(kind: type[Exception]) -> None:
    error = meaning(kind())
    assert type(error) is ConnectionFailedError
    assert str(error) == f"No connection to It ({kind.__name__}): nothing was sent."
    assert error.blames_enclave


def test_no_free_connection_is_not_the_servers_doing() -> None:
    error = meaning(httpcore2.PoolTimeout())
    assert str(error).startswith("All connections to It were in use by other calls for too long: nothing was sent.")
    assert (type(error), error.blames_enclave) == (ConnectionFailedError, False)


@pytest.mark.parametrize(
    ("kind", "timed_out"),
    [
        (httpcore2.ReadTimeout, True),
        (httpcore2.WriteTimeout, True),
        (httpcore2.ReadError, False),
        (httpcore2.WriteError, False),
        (httpcore2.RemoteProtocolError, False),
        (httpcore2.LocalProtocolError, False),
        (httpcore2.ProxyError, False),
    ],
)
def test_something_may_have_been_sent(kind: type[Exception], timed_out: bool) -> None:
    error = meaning(kind())
    assert isinstance(error, ConnectionLostError)
    assert error.timed_out is timed_out


def failed_handshake() -> Exception:
    """Return a failure whose reason is deep inside."""
    failed, wrapped = httpcore2.ConnectError(), OSError()
    failed.__cause__, wrapped.__context__ = wrapped, PinMismatch(ssl.SSL_ERROR_SSL, "another")
    return failed


def test_failed_handshake_is_told_from_a_missing_server() -> None:
    error = meaning(failed_handshake())
    assert isinstance(error, CertificateMismatchError)
    assert "was aborted and nothing was sent" in str(error)
    unpinned = meaning(failed_handshake(), UNPINNED)
    assert type(unpinned) is ConnectionFailedError
    assert str(unpinned).startswith("No TLS with It")


def test_no_wait_is_without_limit() -> None:
    """A server that is away is given up sooner than one that thinks."""
    for timeout, connect in ((2.0, 2.0), (600.0, CONNECT_TIMEOUT)):
        request = HttpRequest(url="https://enclave.example", whom="It", headers={}, body=None, timeout=timeout)
        expected = {"connect": connect, "read": timeout, "write": timeout, "pool": timeout}
        assert _outgoing(request, None).extensions["timeout"] == expected
