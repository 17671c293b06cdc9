"""
An address says where a URL leads to, and how much of it a message may show.

It is a file of its own, without the libraries of a connection, because settings look at URLs before anything connects.
"""

from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, urlsplit

from og_integrations.errors import ConnectionFailedError

NO_SERVER = "no address of a server, expected http(s)://host[:port]"
_PATH = "/%:@!$&'()*+,;=-._~?"
"""A path and a query may hold these as they are (RFC 3986)."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address is where a URL leads to; `target` is path and query, `host_header` what requests have as Host."""

    scheme: str
    host: str
    port: int | None
    target: str = field(repr=False)
    host_header: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """Return scheme, host and port, its scheme's own port if the URL names none: connections are for one origin."""
        return self.scheme, self.host, self.port if self.port is not None else 443 if self.scheme == "https" else 80


def address_of(url: str) -> Address:
    """Return where `url` leads to. Raises `ConnectionFailedError` if it is no http(s) URL."""
    try:
        parts, host, port = _parts(url)
    except ValueError as exc:
        raise ConnectionFailedError(f"{server_of(url)} is {NO_SERVER}. Nothing was sent.") from exc
    target = quote(parts.path or "/", safe=_PATH) + ("?" + quote(parts.query, safe=_PATH) if parts.query else "")
    shown = (f"[{host}]" if ":" in host else host) + (f":{port}" if port is not None else "")
    return Address(parts.scheme, host, port, target, shown)


def _parts(url: str) -> tuple[SplitResult, str, int | None]:
    """Return `url` in parts, its host in ASCII, and its port. Raises `ValueError` if it leads nowhere."""
    # `urlsplit` drops line breaks without a word.
    parts = urlsplit(url if url.isprintable() and " " not in url else "")
    host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(url)
    return parts, host, port


def is_server(url: str) -> bool:
    """Return whether `url` is an address that can be asked."""
    try:
        return bool(_parts(url))
    except ValueError:
        return False


def server_of(url: str) -> str:
    """Return `url` as far as a message may show it: providers of nodes put API keys into path and query."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}" if parts.scheme and host and host.isprintable() else "This"
    except ValueError:
        return "This"


class NodeUrl:
    """
    The URL of a node is kept where a frame or a `repr` shows its server only: providers put keys into path and query.

    Functions that ask a node make one of the text that they get, under the same name, so that error reporters, which
    send the variables of frames, find nothing else.
    """

    __slots__ = ("_url",)

    def __init__(self, url: str) -> None:
        self._url = url

    @classmethod
    def of(cls, url: "str | NodeUrl") -> "NodeUrl":
        """Return `url` as one of these."""
        return url if isinstance(url, NodeUrl) else cls(url)

    @property
    def server(self) -> str:
        """Return what a message may show of it."""
        return server_of(self._url)

    def reveal(self) -> str:
        """Return the text; do not keep it in a variable."""
        return self._url

    def __repr__(self) -> str:
        return f"NodeUrl({self.server})"
