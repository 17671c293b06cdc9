"""The pin holds in programs that give TLS to somebody else: `truststore` replaces `ssl.SSLContext`."""

import asyncio
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import og_integrations
from og_integrations.client.channels._channel import HttpRequest, Pinned
from og_integrations.client.channels._pool import AsyncPool, Pool
from og_integrations.client.channels._tls import pinned_context
from og_integrations.devnet import Devnet
from og_integrations.errors import CertificateMismatchError, ConnectionFailedError

ROOT = Path(og_integrations.__file__).parent.parent
PEM = serialization.Encoding.PEM

CALLER = """
import asyncio, sys, truststore
truststore.inject_into_ssl()
from og_integrations import AsyncClient, Client, OpenGradientError

def chat(client): return client.chat("openai/gpt-5.2", [{"role": "user", "content": "SECRET PROMPT"}])

def sync():
    with Client(max_retries=0) as client: return chat(client)

async def asynchronous():
    async with AsyncClient(max_retries=0) as client: return await chat(client)

for call in (sync, lambda: asyncio.run(asynchronous())):
    try: print(call().receipt["status"])
    except OpenGradientError as exc: print(type(exc).__name__)
"""


class Foreign(NamedTuple):
    """Somebody in between, with a certificate of a CA that the machine trusts; `got` is what they decrypted."""

    ca_file: Path
    url: str
    got: list[bytes]


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    now = datetime.now(UTC)

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(issuer))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(9))
    builder = builder.add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
    return builder.sign(issuer_key, hashes.SHA256())


@contextmanager
def _listening(chain_file: Path, got: list[bytes]) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain_file)
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = server.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(plain, server_side=True) as peer:
                    got.append(peer.recv(65536))
            except OSError:
                plain.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Foreign]:
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_file, chain_file = tmp_path / "ca.pem", tmp_path / "chain.pem"
    ca_file.write_bytes(_certificate("Some CA", ca_key, "Some CA", ca_key).public_bytes(PEM))
    leaf = _certificate("in between", key, "Some CA", ca_key)
    secret = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain_file.write_bytes(leaf.public_bytes(PEM) + secret)
    got: list[bytes] = []
    with _listening(chain_file, got) as port:
        yield Foreign(ca_file, f"https://127.0.0.1:{port}", got)


def _call(net: Devnet, foreign: Foreign) -> list[str]:
    environment = os.environ | net.environment() | {"SSL_CERT_FILE": str(foreign.ca_file)}
    command = [sys.executable, "-W", "error", "-c", CALLER]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_truststore_does_not_undo_the_pin(net: Devnet, foreign: Foreign) -> None:
    """Whoever has a certificate that the machine trusts gets not one byte; the enclave is still talked to."""
    assert _call(net, foreign) == ["verified", "verified"]
    (entry,) = net.chain.enclaves
    object.__setattr__(entry, "endpoint", foreign.url)
    assert _call(net, foreign) == ["CertificateMismatchError"] * 2
    assert [data for data in foreign.got if data] == []


@pytest.mark.parametrize(
    "send", [lambda *to: Pool(*to[:1]).send(*to[1:]), lambda *to: asyncio.run(_send(*to))], ids=["sync", "async"]
)
def test_certificate_that_the_pinned_one_has_issued(foreign: Foreign, send: Callable[..., object]) -> None:
    """To trust a certificate is to trust what it signs; the pin is about this very one."""
    pinned = Pinned(ssl.PEM_cert_to_DER_cert(foreign.ca_file.read_text()))
    request = HttpRequest(url=foreign.url, whom="It", headers={}, body=b"SECRET PROMPT", timeout=5)
    with pytest.raises(CertificateMismatchError, match="aborted and nothing was sent"):
        send(pinned, request)
    assert [data for data in foreign.got if data] == []


async def _send(destination: Pinned, request: HttpRequest) -> None:
    await AsyncPool(destination).send(request)


def test_pin_requires_a_certificate_and_a_modern_protocol() -> None:
    """What the setters are bypassed for is what comes out."""
    with Devnet() as net:
        context = pinned_context(net.chain.enclaves[0].certificate)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, False)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("certificate", [b"", b"\x30\x03garbage", b"-----BEGIN CERTIFICATE-----"])
def test_what_is_no_certificate_is_no_connection(certificate: bytes) -> None:
    """Never a raw error of `ssl`, and nothing was sent."""
    with pytest.raises(ConnectionFailedError, match=r"cannot be read, expected DER\. Nothing was sent"):
        pinned_context(certificate)
