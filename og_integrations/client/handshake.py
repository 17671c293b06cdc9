"""A TLS handshake with an enclave and nothing else: is the pinned certificate really what it shows?"""

import socket
import ssl
from urllib.parse import urlsplit

from og_integrations.client.tls import pinned_context
from og_integrations.errors import CertificateMismatchError, ConnectionFailedError
from og_integrations.protocol.enclave import Enclave

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
