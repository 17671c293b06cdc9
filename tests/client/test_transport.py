"""What a failed exchange means: whether anything of the request was sent decides about the payment."""

import ssl

import httpcore
import pytest

from og_integrations.client.channels.pool import CONNECT_TIMEOUT, Outgoing, TranslatedErrors
from og_integrations.errors import CertificateMismatchError, ConnectionFailedError, ConnectionLostError


@pytest.mark.parametrize(
    "failure",
    [httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.UnsupportedProtocol],
)
def test_nothing_was_sent(failure: type[Exception]) -> None:
    with (
        pytest.raises(ConnectionFailedError, match=r"No connection to It .*: nothing was sent") as caught,
        TranslatedErrors("It"),
    ):
        raise failure
    assert type(caught.value) is ConnectionFailedError
    assert caught.value.blames_enclave


def test_no_free_connection_is_not_the_servers_doing() -> None:
    with (
        pytest.raises(ConnectionFailedError, match=r"All connections to It were in use.*nothing was sent") as caught,
        TranslatedErrors("It"),
    ):
        raise httpcore.PoolTimeout
    assert not caught.value.blames_enclave


@pytest.mark.parametrize(
    ("failure", "timed_out"),
    [
        (httpcore.ReadTimeout, True),
        (httpcore.WriteTimeout, True),
        (httpcore.ReadError, False),
        (httpcore.WriteError, False),
        (httpcore.RemoteProtocolError, False),
        (httpcore.LocalProtocolError, False),
        (httpcore.ProxyError, False),
    ],
)
def test_something_may_have_been_sent(failure: type[Exception], timed_out: bool) -> None:
    with pytest.raises(ConnectionLostError) as caught, TranslatedErrors("It"):
        raise failure
    assert caught.value.timed_out is timed_out


def test_failed_handshake_is_told_from_a_missing_server() -> None:
    """However deep the reason is."""
    failure, wrapped = httpcore.ConnectError(), OSError()
    failure.__cause__, wrapped.__context__ = wrapped, ssl.SSLError()
    with pytest.raises(CertificateMismatchError, match="was aborted and nothing was sent"), TranslatedErrors("It"):
        raise failure


def test_no_wait_is_without_limit() -> None:
    """A server that is away is given up sooner than one that thinks."""
    for timeout, connect in ((2.0, 2.0), (600.0, CONNECT_TIMEOUT)):
        outgoing = Outgoing(url="https://enclave.example", headers={}, body=None, timeout=timeout)
        expected = {"connect": connect, "read": timeout, "write": timeout, "pool": timeout}
        assert outgoing.timeouts() == expected
