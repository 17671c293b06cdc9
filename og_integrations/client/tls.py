"""
TLS pinned to one certificate, judged inside the handshake (DESIGN "Trust").

Looking at the certificate on the response is too late: the prompt has left by then. So the context
uses socket classes that compare the peer's DER when the handshake completes and before any
application data can be written.
"""

import ssl
from functools import lru_cache


class PinMismatch(ssl.SSLError):
    """The peer proved another certificate than the pinned one."""


@lru_cache(maxsize=256)
def pinned_context(certificate: bytes) -> ssl.SSLContext:
    """
    Return a client context that completes a handshake only with the peer that holds `certificate`.

    `certificate` is the DER of the leaf, which is the only trust anchor. Host names are not checked:
    the endpoint is usually an IP address and the certificate names something else (PROTOCOL §1).
    Raises `ssl.SSLError` if it is no certificate.
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

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=certificate)
    context.sslsocket_class = PinnedSocket
    context.sslobject_class = PinnedObject
    return context
