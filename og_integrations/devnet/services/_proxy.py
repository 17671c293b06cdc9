"""
This is a proxy for programs whose hosts are fixed: it takes them to the devnet's services, and nowhere else.

Programs are told of it by `HTTPS_PROXY`, and to trust its certificates by `SSL_CERT_FILE` and `REQUESTS_CA_BUNDLE`.
The key of the authority that signs them exists in this process only.
"""

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from og_integrations.devnet._http import Handler, HttpServer, Reply, Request
from og_integrations.devnet.services._calls import told

_HEAD_BYTES = 16 * 1024
_PIECE = 64 * 1024


class FixedHosts:
    """These are the servers behind the proxy: `handlers` answer for the hosts that they are found by, over TLS."""

    def __init__(self, handlers: Mapping[str, Handler], tls_socket: socket.socket, proxy_socket: socket.socket) -> None:
        self.hosts: frozenset[str] = frozenset(handlers)
        self._handlers, self._socket = dict(handlers), proxy_socket
        authority, context = _certified(sorted(handlers))
        self.certificate: str = authority
        """The authority's certificate, PEM."""
        self._tls = HttpServer(self._handle, tls_socket, tls=context)
        self._behind = tls_socket.getsockname()[:2]
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.refused: list[str] = []
        """Hosts that somebody wanted to reach, and that are none of ours."""

    async def start(self) -> None:
        """Begin to accept, in the running loop."""
        await self._tls.start()
        self._server = await asyncio.start_server(self._accept, sock=self._socket, limit=_HEAD_BYTES)

    async def close(self) -> None:
        """Stop, and cut every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._tls.close()

    def release(self) -> None:
        """Close the listening sockets, also if nothing was ever started."""
        self._socket.close()
        self._tls.release()

    async def _handle(self, request: Request) -> Reply:
        handler = self._handlers.get((request.header("host") or "").partition(":")[0].lower())
        return told(421, {"detail": "no such host here"}) if handler is None else await handler(request)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            await self._tunnel(reader, writer)
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        except asyncio.CancelledError:
            pass  # only `close` cancels
        finally:
            writer.transport.abort()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, _ = head.split("\r\n", 1)[0].split(" ", 2)
        host = target.rpartition(":")[0].lower()
        if method != "CONNECT" or host not in self.hosts:
            self.refused.append(host or target)
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            return
        behind_reader, behind_writer = await asyncio.open_connection(*self._behind)
        try:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await writer.drain()
            await asyncio.gather(_pipe(reader, behind_writer), _pipe(behind_reader, writer))
        finally:
            behind_writer.transport.abort()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_PIECE):
            writer.write(data)
            await writer.drain()
        writer.close()


def _certified(hosts: list[str]) -> tuple[str, ssl.SSLContext]:
    """Return an authority's certificate (PEM), and a context that shows one of its for `hosts`."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _certificate(
        "OpenGradient devnet", authority_key.public_key(), "OpenGradient devnet", authority_key, None
    )
    shown = _certificate(hosts[0], key.public_key(), "OpenGradient devnet", authority_key, hosts)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # The ssl module takes keys from files only; this one lives for the next lines.
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "shown.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(private + shown.public_bytes(serialization.Encoding.PEM))
        context.load_cert_chain(file)
    return authority.public_bytes(serialization.Encoding.PEM).decode(), context


def _certificate(
    name: str,
    key: ec.EllipticCurvePublicKey,
    issuer: str,
    signing: ec.EllipticCurvePrivateKey,
    hosts: list[str] | None,
) -> x509.Certificate:
    """Return a certificate for `hosts`, or of an authority."""
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=hosts is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
    )
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    signs = hosts is None
    builder = builder.add_extension(
        x509.KeyUsage(digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, **usage), critical=True
    )
    if hosts is not None:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signing, hashes.SHA256())
