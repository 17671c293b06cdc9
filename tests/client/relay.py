"""A TCP relay without a key: it flips, injects, truncates or alerts at the level of TLS records."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

Record = bytes
Tamper = Callable[[Record], list[bytes] | None]
"""Takes a record of application data, and returns what to send instead; None ends the connection."""
APPLICATION_DATA = 23


def flip(record: Record) -> list[bytes]:
    """Flip one bit in the middle: a bad cable, router or middlebox."""
    middle = len(record) // 2
    return [record[:middle] + bytes([record[middle] ^ 1]) + record[middle + 1 :]]


def inject(record: Record) -> list[bytes]:
    """Send bytes of one's own in front."""
    return [b"\x17\x03\x03\x00\x20" + bytes(32), record]


def alert(record: Record) -> list[bytes]:
    """Send an alert in clear, as TLS 1.2 would allow it."""
    return [b"\x15\x03\x03\x00\x02\x02\x28", record]


def truncate(record: Record) -> None:
    """Cut the connection within a record: whoever reads must not take it for the end."""


def garble_type(record: Record) -> list[bytes]:
    """Send a record of a kind that does not exist."""
    return [b"\x63" + record[1:]]


TAMPERS: dict[str, Tamper] = {
    "flip": flip,
    "inject": inject,
    "alert": alert,
    "truncate": truncate,
    "garble type": garble_type,
}


@contextmanager
def relaying(endpoint: str, tamper: Tamper, after: int) -> Iterator[str]:
    """
    Relay to `endpoint` and yield a URL: `tamper` gets each record of application data that comes back, from `after` on.

    Counted are those of one connection, from 0; before that the relay is honest.
    """
    target = urlsplit(endpoint)
    server = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve() -> None:
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            far = socket.create_connection((target.hostname, target.port))
            for work in (lambda n=near, f=far: _forth(n, f), lambda n=near, f=far: _back(f, n, tamper, after)):
                threads.append(threading.Thread(target=work))
                threads[-1].start()

    acceptor = threading.Thread(target=serve)
    acceptor.start()
    try:
        yield f"https://127.0.0.1:{server.getsockname()[1]}"
    finally:
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        acceptor.join()
        for thread in threads:
            thread.join()


def _forth(near: socket.socket, far: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := near.recv(65536):
            far.sendall(data)
    _end(near, far)


def _back(far: socket.socket, near: socket.socket, tamper: Tamper, after: int) -> None:
    seen = 0
    with contextlib.suppress(OSError):
        while record := _record(far):
            if record[0] != APPLICATION_DATA:
                near.sendall(record)
                continue
            instead = tamper(record) if seen >= after else [record]
            seen += 1
            if instead is None:
                near.sendall(record[: len(record) // 2])
                break
            for data in instead:
                near.sendall(data)
    _end(near, far)


def _end(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


def _record(source: socket.socket) -> bytes:
    head = _exactly(source, 5)
    return head + _exactly(source, struct.unpack(">H", head[3:])[0]) if head else b""


def _exactly(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = source.recv(count - len(data))
        if not more:
            return b""
        data += more
    return data
