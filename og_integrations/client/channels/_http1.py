"""
HTTP/1.1 as a client speaks it: one request as bytes, one answer out of bytes. There is no socket in here.

h11 reads heads, but the plainest: a head in one piece, of which one regular expression says that nothing in it could be
read in two ways, is split here, in a fifth of the time. Bodies are read here, since where an answer ends is what
decides whose the bytes behind it are. What two readers could understand in two ways is refused by name (RFC 9112,
sections 5.2, 6 and 7): two lengths, a length beside chunks, folded headers, chunks without their line ends, a change of
protocol that nobody asked for.
"""

import re
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING

import og_integrations
from og_integrations.client.channels._addresses import Address
from og_integrations.client.channels._channel import HttpRequest
from og_integrations.errors import ConnectionFailedError

if TYPE_CHECKING:
    import h11

MAX_HEAD = 100 * 1024
"""Bytes of a head, with all interim answers (1xx) in front of it; also of the trailers behind the last chunk."""
_MAX_CHUNK_LINE = 4096
_USER_AGENT = f"og-integrations/{og_integrations.__version__}"
_SENDABLE = re.compile(r"[\t\x20-\x7e]*")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*|[ \t]*)")
_TRAILER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t\x20-\x7e\x80-\xff]*")
_PLAIN_HEAD = re.compile(
    rb"HTTP/1\.1 ([2-9][0-9]{2}) [\t\x20-\x7e]*\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e]*\r\n)*)\r\n"
)
_PLAIN_LINE = re.compile(r"([^:]+):[\t ]*([^\r]*)\r\n")
"""Takes apart what `_PLAIN_HEAD` has matched: there a carriage return is nowhere but at the end of a line."""
_PLAIN_LENGTH = re.compile(r"[0-9]{1,15}")
_FRAMING = ("content-length", "transfer-encoding")
_FINAL = re.compile(rb"HTTP/1\.[01] [2-9]")
_NO_BODY = frozenset({204, 304})


class Phase(IntEnum):
    """A phase says how far one exchange got; only in the first one is it certain that nothing was sent."""

    NOTHING = 0
    PART = 1
    SENT = 2
    ANSWERING = 3
    DONE = 4


class FramingError(Exception):
    """An answer breaks the rules that say where it ends; the text names the rule, and quotes nothing."""


def request_head(request: HttpRequest, to: Address) -> bytes:
    """Return the head of `request` as it is sent. Raises `ConnectionFailedError` if a header could end its line."""
    method = "GET" if request.body is None else "POST"
    usual = _usual_lines(method, to.target, to.host_header, tuple(request.headers.items()), request.whom)
    own = [f"{name}: {secret.reveal()}" for name, secret in request.secrets.items()]
    _check_lines(own, request.whom)
    if request.body is not None:
        own.append(f"Content-Length: {len(request.body)}")
    return "\r\n".join((usual, *own, "\r\n")).encode()


@lru_cache(maxsize=256)
def _usual_lines(method: str, target: str, host: str, headers: tuple[tuple[str, str], ...], whom: str) -> str:
    """Return the beginning of a head, made once for all requests with the same headers to the same place."""
    said = {"Host": host, "User-Agent": _USER_AGENT, **dict(headers)}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items())]
    _check_lines(lines, whom)
    return "\r\n".join(lines)


def _check_lines(lines: list[str], whom: str) -> None:
    if not _SENDABLE.fullmatch("".join(lines)):
        raise ConnectionFailedError(
            f"A header of the request to {whom} is not printable ASCII, so that it could end its line. "
            "Nothing was sent."
        )


def _by_name(headers: list[tuple[str, str]]) -> dict[str, str]:
    """Return the values of `headers` by names in lower case; of a name that is there more than once, the last one."""
    return {name.lower(): value for name, value in headers}


def _plain_head(data: bytes) -> tuple[int, list[tuple[str, str]], dict[str, str], bytes] | None:
    """
    Return what the head at the beginning of `data` says, and what follows it; None where h11 is to say.

    It says a status, and headers: as they came, and `_by_name`.
    """
    found = _PLAIN_HEAD.match(data)
    if found is None or found.end() > MAX_HEAD:
        return None
    lines = found[2].decode("ascii")
    # `_PLAIN_LINE` would keep a blank behind a value, which h11 does not.
    if " \r" in lines or "\t\r" in lines:
        return None
    headers = _PLAIN_LINE.findall(lines)
    said = _by_name(headers)
    # What is said of where the body ends is said once, and in its usual form.
    length, coding = said.get("content-length", "0"), said.get("transfer-encoding", "chunked")
    if not _PLAIN_LENGTH.fullmatch(length) or coding != "chunked":
        return None
    if len(said) < len(headers) and sum(name.lower() in _FRAMING for name, _ in headers) > 1:
        return None
    return int(found[1]), headers, said, data[found.end() :]


class Incoming:
    """
    This reads one answer: `begins` takes bytes until the head is there, `take` those of the body.

    `ended` says that the body is complete, `reusable` whether the next answer may come over the same connection.
    """

    __slots__ = ("_body", "_first", "_parser", "_seen", "ended", "headers", "reusable", "status")

    def __init__(self) -> None:
        self._parser: h11.Connection | None = None
        self._seen = b""
        self._first = b""
        self._body: _Sized | _Chunked | _UntilClose
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.ended = self.reusable = False

    def begins(self, data: bytes) -> bool:
        """
        Take what came, nothing at the peer's end; return whether the head is there.

        Raises `FramingError` or `h11.RemoteProtocolError`.
        """
        if len(self._seen) > MAX_HEAD:
            raise FramingError(f"its head has more than {MAX_HEAD} bytes")
        if not data:
            raise FramingError("it ended before an answer")
        if self._parser is None and (plain := _plain_head(data)) is not None:
            self.status, self.headers, said, self._first = plain
            self._frame(said, old=False)
            return True
        return self._begins_by_h11(data)

    def _begins_by_h11(self, data: bytes) -> bool:
        # Loaded here: a program whose peers write plain heads starts without it.
        import h11

        if self._parser is None:
            self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
            if not _FINAL.match(data):
                # h11 takes an interim answer only after a request, which costs it as much as half a head.
                self._parser.send(h11.Request(method="POST", target="/", headers=[("Host", "any")]))
        self._seen += data
        self._parser.receive_data(data)
        while not isinstance(event := self._parser.next_event(), h11.Response):
            # Interim answers are read over; of a change of protocol (101) h11 says that nobody asked for it.
            if event is h11.NEED_DATA:
                return False
        self._first = self._parser.trailing_data[0]
        head = self._seen[: len(self._seen) - len(self._first)]
        self._seen = b""
        if b"\n " in head or b"\n\t" in head:
            raise FramingError("it has a folded header line")
        self.status = event.status_code
        self.headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers.raw_items()]
        self._frame(_by_name(self.headers), old=event.http_version < b"1.1")
        return True

    def _frame(self, said: dict[str, str], *, old: bool) -> None:
        """Find out from what the head has `said` where the body ends; `old` answers are of HTTP/1.0."""
        # A head that has one of these twice, or another coding, was refused by h11 and never gets here.
        length, chunked = said.get("content-length"), "transfer-encoding" in said
        close = old or ("connection" in said and self._says_close())
        if chunked and length is not None:
            raise FramingError("it has both Content-Length and Transfer-Encoding")
        if chunked and old:
            raise FramingError("it has Transfer-Encoding in HTTP/1.0")
        if self.status in _NO_BODY:
            # What such an answer says of a body is about another one; what follows all the same is poison.
            self._body = _Sized(0)
        elif chunked:
            self._body = _Chunked()
        elif length is not None:
            self._body = _Sized(int(length))
        else:
            self._body, close = _UntilClose(), True
        self.reusable = not close
        self._note_end()

    def _says_close(self) -> bool:
        said = ",".join([value for name, value in self.headers if name.lower() == "connection"])
        return "close" in [option.strip() for option in said.lower().split(",")]

    @property
    def waits(self) -> bool:
        """Return whether more has to come from the peer before anything can be taken."""
        return not self._first

    def take(self, data: bytes = b"") -> bytes:
        """
        Take what came, nothing at the peer's end, and return what of it belongs to the body.

        Bytes that came with the head are taken first, without any `data`. Raises `FramingError`.
        """
        if self._first:
            data, self._first = self._first, b""
        part = self._body.feed(data)
        self._note_end()
        return part

    def _note_end(self) -> None:
        if self._body.ended:
            self.ended = True
            if self._first or self._body.behind:
                # It would be taken for the answer to the next request.
                self.reusable = False


class _Sized:
    """This body has as many bytes as its head said."""

    __slots__ = ("_left", "behind", "ended")

    def __init__(self, length: int) -> None:
        self._left = length
        self.ended = not length
        self.behind = False

    def feed(self, data: bytes) -> bytes:
        """Return what of `data` belongs to the body."""
        if not data:
            raise FramingError(f"it ended {self._left} bytes too early")
        part = data[: self._left]
        self._left -= len(part)
        self.ended, self.behind = not self._left, len(part) < len(data)
        return part


class _UntilClose:
    """This body ends where the peer ends the connection; whether it is whole, only its content says."""

    __slots__ = ("behind", "ended")

    def __init__(self) -> None:
        self.ended = self.behind = False

    def feed(self, data: bytes) -> bytes:
        """Return `data`."""
        self.ended = not data
        return data


class _Chunked:
    """This body comes in chunks, each behind a line with its size; one of size 0 and trailers end it."""

    __slots__ = ("_left", "_line_due", "_rest", "_trailing", "behind", "ended")

    def __init__(self) -> None:
        self._rest = b""
        self._left = 0
        self._line_due = False  # behind the bytes of a chunk comes a line end
        self._trailing = 0  # bytes of trailers and of the line in front of them, from the last chunk on
        self.ended = self.behind = False

    def feed(self, data: bytes) -> bytes:
        """Return what of `data` belongs to the chunks."""
        if not data:
            raise FramingError("it ended between chunks")
        data = self._rest + data if self._rest else data
        at, size, parts = 0, len(data), []
        while at < size and not self.ended:
            if self._left:
                part = data[at : at + self._left]
                parts.append(part)
                at += len(part)
                self._left -= len(part)
                self._line_due = not self._left
            elif self._line_due:
                if size - at < 2:
                    break
                if data[at : at + 2] != b"\r\n":
                    raise FramingError("a chunk does not end where it said")
                at, self._line_due = at + 2, False
            else:
                end = data.find(b"\r\n", at)
                if end < 0:
                    break
                self._read_line(data[at:end])
                at = end + 2
        self._keep(data[at:])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_line(self, line: bytes) -> None:
        """Read the size of a chunk, or what follows the last one."""
        if not self._trailing:
            found = _CHUNK_LINE.fullmatch(line)
            if found is None or len(line) > _MAX_CHUNK_LINE:
                raise FramingError("the size of a chunk is no hexadecimal number")
            self._left = int(found[1], 16)
            self._trailing = 0 if self._left else 1
        elif not line:
            self.ended = True
        else:
            # Trailers are read over: nothing that decides is taken from behind a body.
            self._trailing += len(line)
            found = _TRAILER.fullmatch(line)
            if found is None or self._trailing > MAX_HEAD:
                raise FramingError("it has a trailer that is no header")
            if found[1].lower() in (b"content-length", b"transfer-encoding"):
                raise FramingError("it has a trailer that says again where it ends")

    def _keep(self, rest: bytes) -> None:
        if self.ended:
            self._rest, self.behind = b"", bool(rest)
            return
        self._rest = rest
        if len(rest) > (MAX_HEAD if self._trailing else _MAX_CHUNK_LINE):
            raise FramingError("a line between chunks has no end")
