"""Requests and replies as the devnet's handlers see them, apart from any socket."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, NoReturn, Protocol


@dataclass(slots=True)
class Peer:
    """Who is at the other end of a connection. `left_at` is when it closed, on a clock that only goes forward."""

    left_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request, whole. Header names are in lower case, in the order of arrival."""

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    connection: int = 0
    peer: Peer = field(default_factory=Peer)
    impostor: bool = False
    """Whether it came over a channel that showed a wrong certificate (fault `wrong_certificate`)."""

    def header(self, name: str) -> str | None:
        """Return the first value of `name`, as WSGI servers hand it on, or None."""
        return next((value for key, value in self.headers if key == name.lower()), None)


class PieceKind(Enum):
    """What a piece of a reply on the wire is: faults cut or stall at these borders."""

    HEAD = "head"
    BODY = "body"
    END = "end"


class Piece(NamedTuple):
    """
    Bytes of a reply, as they go onto the wire (chunk sizes included).

    A `broken` head is one that nobody has to understand: no answer has begun with it.
    """

    kind: PieceKind
    data: bytes
    broken: bool = False


class Channel(Protocol):
    """
    What a fault may do to the connection, besides sending other bytes.

    Each way ends the reply by raising `HungUpError`.
    """

    async def stall(self) -> NoReturn:
        """Send nothing more, until the peer gives up or the devnet closes."""
        ...

    async def close(self) -> NoReturn:
        """Close as a server that is done: with close_notify, but without an end of the body."""
        ...

    def hang_up(self) -> NoReturn:
        """Close the TCP connection without TLS close_notify and without an end of the body."""
        ...

    def reset(self) -> NoReturn:
        """Close the TCP connection with RST: the peer may lose bytes that were already sent."""
        ...


class HungUpError(Exception):
    """Raised by a fault that has closed the channel: nothing more can be sent."""


Pieces = AsyncGenerator[Piece, None]
WireFault = Callable[[Pieces, Channel], Pieces]
"""Takes the honest pieces of a reply and yields what really goes out."""


@dataclass(slots=True, kw_only=True)
class Reply:
    """
    What a handler answers. `headers` may hold a name twice, and go out in that order.

    A body of bytes is sent with Content-Length, or as one chunk if `chunked`; a generator is sent
    as chunks, one per item, and no header leaves before its first item is there (PROTOCOL §5).
    `on_begin` is told that its head goes out to a peer that is there, `on_end` whether all of it went out.
    """

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | AsyncGenerator[bytes, None] = b""
    chunked: bool = False
    wire: WireFault | None = None
    on_begin: Callable[[], None] | None = None
    on_end: Callable[[bool], None] | None = None
