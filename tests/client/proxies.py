"""Real proxies on sockets: CONNECT over http, over TLS (a proxy given as `https://`), and SOCKS5."""

import contextlib
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.client.certificates import write_certificate

KINDS = ("http", "https", "socks5")
Address = tuple[str, int]


@contextmanager
def proxying(kind: str, folder: Path, to: str | None = None) -> Iterator[tuple[str, Path, list[Address]]]:
    """
    Run a proxy of `kind`; yield its URL, the file with its CA, and where it was asked to connect to.

    With `to` (a URL) it connects everybody there instead: a man in the middle.
    """
    authority = folder / "proxy.pem"
    write_certificate(authority, -1, 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    asked: list[Address] = []
    server = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve(near: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as open_:
            open_.callback(near.close)
            if kind == "https":
                near = open_.enter_context(context.wrap_socket(near, server_side=True))
            wanted = (_socks if kind == "socks5" else _connect)(near)
            asked.append(wanted)
            there = (urlsplit(to).hostname, urlsplit(to).port) if to else wanted
            far = open_.enter_context(socket.create_connection(there))
            near.sendall(b"\5\0\0\1" + bytes(6) if kind == "socks5" else b"HTTP/1.1 200 Connected\r\n\r\n")
            back = threading.Thread(target=_pump, args=(far, near))
            back.start()
            _pump(near, far)
            back.join()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = server.accept()
                threads.append(threading.Thread(target=serve, args=(near,)))
                threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield f"{kind}://127.0.0.1:{server.getsockname()[1]}", authority, asked
    finally:
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        for thread in (acceptor, *threads):
            thread.join()


def _connect(near: socket.socket) -> Address:
    head = b""
    while b"\r\n\r\n" not in head:
        head += near.recv(1)
    method, target, _ = head.split(b" ", 2)
    assert method == b"CONNECT", "the request itself came to the proxy"
    host, _, port = target.decode().rpartition(":")
    return host, int(port)


def _socks(near: socket.socket) -> Address:
    near.recv(near.recv(2)[1])
    near.sendall(b"\5\0")
    kind = near.recv(4)[3]
    host = str(ipaddress.ip_address(near.recv(4))) if kind == 1 else near.recv(near.recv(1)[0]).decode()
    return host, struct.unpack(">H", near.recv(2))[0]


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
