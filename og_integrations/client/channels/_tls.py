"""
TLS is pinned to one certificate, which is compared inside the handshake (docs/design.md "Trust").

Looking at the certificate on the response is too late: the prompt has left by then. So the context
uses socket classes that compare the peer's DER when the handshake completes and before any
application data can be written.
"""

import ssl
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from og_integrations.errors import ConnectionFailedError


class PinMismatch(ssl.SSLError):
    """The peer proved another certificate than the pinned one."""


class HandshakeTimeoutError(TimeoutError):
    """The peer took the connection, and did not complete the handshake in time."""


_NOT_TLS = "it answers with something else than TLS"
_OLD = "it speaks no version of TLS from 1.2 on"
_WANTS_CERTIFICATE = "it demands a certificate of its clients, which a gateway does not"
_DAMAGED = "a record of TLS was damaged on the way"
_WORDS = {
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "HTTP_REQUEST": _NOT_TLS,
    "HTTPS_PROXY_REQUEST": _NOT_TLS,
    "UNKNOWN_PROTOCOL": _NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": _NOT_TLS,
    "UNEXPECTED_MESSAGE": "what it says is no handshake of TLS",
    "UNSUPPORTED_PROTOCOL": _OLD,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD,
    # Its name in OpenSSL says SSL 3, whatever version is spoken.
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it has no cipher in common with this machine, or demands a certificate of it",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _WANTS_CERTIFICATE,
    "TLSV1_ALERT_CERTIFICATE_REQUIRED": _WANTS_CERTIFICATE,
    "TLSV1_UNRECOGNIZED_NAME": "it serves nobody of that name",
    "TLSV1_ALERT_INTERNAL_ERROR": "it has an error of its own",
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": _DAMAGED,
    "SSLV3_ALERT_BAD_RECORD_MAC": _DAMAGED,
}
"""OpenSSL's names of what goes wrong, in words."""
_ENDED = "it ended the connection within the handshake"
_EXPIRED, _NOT_YET_VALID = 10, 9
"""OpenSSL's codes for a certificate whose time is over, or has not come."""


def tls_failure(exc: BaseException | None) -> ssl.SSLError | None:
    """Return the error of TLS that `exc` is, or was raised because of; None without one."""
    # A handshake that waited for the peer until its time was over was not refused by anybody.
    while isinstance(exc, ssl.SSLWantReadError | ssl.SSLWantWriteError) or not isinstance(exc, ssl.SSLError | None):
        exc = exc.__cause__ or exc.__context__
    return exc


def is_mismatch(failure: ssl.SSLError, certificate: bytes) -> bool:
    """Return whether a handshake failed because the peer showed another certificate than the pinned one (DER)."""
    if isinstance(failure, ssl.SSLCertVerificationError) and failure.verify_code in (_EXPIRED, _NOT_YET_VALID):
        # The time is judged after the chain; but the pinned one may have signed another one, which is out of date.
        return _out_of_date(certificate) is None
    return isinstance(failure, PinMismatch | ssl.SSLCertVerificationError)


def describe(failure: ssl.SSLError, certificate: bytes | None = None) -> str:
    """Return why a handshake failed, in words; `certificate` (DER) is the pinned one."""
    if isinstance(failure, ssl.SSLCertVerificationError):
        when = _out_of_date(certificate) if certificate is not None else None
        return when or f"its certificate is not accepted ({failure.verify_message})"
    if isinstance(failure, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return _ENDED
    return in_words(failure) or f"the handshake failed ({getattr(failure, 'reason', None) or type(failure).__name__})"


def in_words(failure: ssl.SSLError) -> str | None:
    """Return what OpenSSL's reason of `failure` says of the peer; None for one that has no words here."""
    reason = getattr(failure, "reason", None) or ""
    return _NOT_TLS if "RECORD_LAYER" in reason else _WORDS.get(reason)


def of_handshake(exc: BaseException) -> OSError:
    """Return what `exc`, which ended a handshake, says: an end or a silence there is no server that is missing."""
    if (failure := tls_failure(exc)) is not None:
        return failure
    if isinstance(exc, TimeoutError):
        return HandshakeTimeoutError("no answer within the handshake")
    if isinstance(exc, OSError) and not isinstance(exc, ConnectionError):
        return exc  # of this machine or its network
    return ssl.SSLEOFError(ssl.SSL_ERROR_EOF, _ENDED)


def _out_of_date(certificate: bytes) -> str | None:
    """Say when the pinned certificate is valid, if it is not now by this machine's clock."""
    from cryptography import x509  # takes longer than a call, and most handshakes succeed

    loaded = x509.load_der_x509_certificate(certificate)
    first, last, now = loaded.not_valid_before_utc, loaded.not_valid_after_utc, datetime.now(UTC)
    if first <= now <= last:
        return None
    when = f"is valid from {first:%Y-%m-%d %H:%M} on" if now < first else f"expired on {last:%Y-%m-%d %H:%M}"
    return f"its certificate is the pinned one, which {when} UTC; this machine's clock says {now:%Y-%m-%d %H:%M}"


@lru_cache(maxsize=256)
def pinned_context(certificate: bytes) -> ssl.SSLContext:
    """
    Return a client context that completes a handshake only with the peer that holds `certificate`.

    `certificate` is the DER of the leaf, which is the only trust anchor. Host names are not checked:
    the endpoint is usually an IP address and the certificate names something else (docs/protocol.md §1).
    Raises `ConnectionFailedError` if it is no certificate.
    """

    def compare(peer: bytes | None) -> None:
        if peer != certificate:
            raise PinMismatch(ssl.SSL_ERROR_SSL, "the peer's certificate is not the pinned one")

    class PinnedSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            compare(self.getpeercert(True))

    class PinnedObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            compare(self.getpeercert(True))

    context = _strict_context()
    try:
        context.load_verify_locations(cadata=certificate)
    except (ssl.SSLError, ValueError) as exc:
        raise ConnectionFailedError(
            f"The TLS certificate listed for the enclave ({len(certificate)} bytes) cannot be read, expected DER. "
            "Nothing was sent."
        ) from exc
    context.sslsocket_class = PinnedSocket
    context.sslobject_class = PinnedObject
    return context


def _strict_context() -> ssl.SSLContext:
    # `truststore.inject_into_ssl()` replaces `ssl.SSLContext` by a wrapper, whose inner context shakes hands
    # without our socket classes. The genuine class's own setters look the replaced one up and recurse: the
    # interpreter's core class has those that always work.
    genuine: type[Any] = next(cls for cls in ssl.SSLContext.__mro__ if cls.__module__ == "ssl")
    core: Any = next(cls for cls in genuine.__mro__ if cls.__module__ == "_ssl")
    context: ssl.SSLContext = genuine(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    core.verify_mode.__set__(context, ssl.CERT_REQUIRED)
    core.minimum_version.__set__(context, ssl.TLSVersion.TLSv1_2)
    return context
