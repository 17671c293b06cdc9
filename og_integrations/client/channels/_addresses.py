"""
An address says where a URL leads to, and how much of it a message may show.

It is a file of its own, without the libraries of a connection, because settings look at URLs before anything connects.
"""

from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, urlsplit

from og_integrations._urls import server_of, whole_url
from og_integrations.errors import ConnectionFailedError

NO_SERVER = "no address of a server, expected http(s)://host[:port]"
_PATH = "/%:@!$&'()*+,;=-._~?"
"""A path and a query may hold these as they are (RFC 3986)."""


@dataclass(frozen=True, slots=True)
class Address:
    """
    An address is where a URL leads to; `target` is path and query, `host_header` what requests have as Host.

    `origin` is scheme, host and port, its scheme's own port if the URL names none: connections are for one origin.
    """

    scheme: str
    host: str
    port: int | None
    target: str = field(repr=False)
    host_header: str
    origin: tuple[str, str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        usual = 443 if self.scheme == "https" else 80
        object.__setattr__(self, "origin", (self.scheme, self.host, usual if self.port is None else self.port))


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
    parts = urlsplit(whole_url(url) if whole_url(url).isprintable() and " " not in whole_url(url) else "")
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
