"""
TLS is pinned to one certificate, which is compared inside the handshake (DESIGN "Trust").

Looking at the certificate on the response is too late: the prompt has left by then. So the context
uses socket classes that compare the peer's DER when the handshake completes and before any
application data can be written.
"""

import socket
import ssl
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from og_integrations.errors import CertificateMismatchError, ConnectionFailedError
from og_integrations.protocol.proof.enclave import Enclave

TIMEOUT = 10.0


def handshake(enclave: Enclave, timeout: float = TIMEOUT) -> None:
    """
    Connect to `enclave`, complete the pinned handshake and leave; `timeout` in seconds for each wait.

    Raises `CertificateMismatchError` if it shows another certificate, `ConnectionFailedError` if it
    cannot be reached.
    """
    try:
        target = urlsplit(enclave.endpoint)
        address = (target.hostname or "", target.port or 443)
        with (
            socket.create_connection(address, timeout) as plain,
            pinned_context(enclave.certificate).wrap_socket(plain, server_hostname=target.hostname),
        ):
            return
    except ssl.SSLError as exc:
        raise CertificateMismatchError(
            f"{enclave.endpoint} showed another certificate than the registry lists ({exc.reason or exc.args[-1]}). "
            "Someone may be in between, or the enclave was renewed a moment ago."
        ) from exc
    except (OSError, ValueError) as exc:
        raise ConnectionFailedError(f"No connection to {enclave.endpoint} ({type(exc).__name__}).") from exc


class PinMismatch(ssl.SSLError):
    """The peer proved another certificate than the pinned one."""


@lru_cache(maxsize=256)
def pinned_context(certificate: bytes) -> ssl.SSLContext:
    """
    Return a client context that completes a handshake only with the peer that holds `certificate`.

    `certificate` is the DER of the leaf, which is the only trust anchor. Host names are not checked:
    the endpoint is usually an IP address and the certificate names something else (PROTOCOL §1).
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
