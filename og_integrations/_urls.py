"""
A URL of ours may hold a key: providers of nodes put API keys into path, query and user.

It lies this low because networks hold URLs, and everybody else reads them from there.
"""

from typing import Self
from urllib.parse import urlsplit


class NodeUrl(str):
    """
    The URL of a node, gateway or relay is a text of scheme and host only; `reveal()` returns all of it.

    Whatever prints, dumps, logs or joins it (`vars`, `json.dumps`, a format, a frame, a cache's key) finds nothing
    else, since nothing else is in the text. It equals the whole URL, and copies and pickles keep that.
    """

    __slots__ = ("_whole",)
    _whole: str

    def __new__(cls, url: str) -> Self:
        """Return `url` as one of these."""
        if isinstance(url, cls):
            return url
        made = super().__new__(cls, server_of(url))
        made._whole = whole_url(url)
        return made

    def reveal(self) -> str:
        """Return the whole URL; do not keep it in a variable."""
        return self._whole

    def under(self, path: str) -> "NodeUrl":
        """Return the URL of `path` (with its slash) below this one."""
        return NodeUrl(self._whole.rstrip("/") + path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self._whole == whole_url(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._whole)

    # Workers that get a pickled model ask the same node.
    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (self._whole,)


def whole_url(url: str) -> str:
    """Return all of `url`, whether or not it is a `NodeUrl`; do not keep it in a variable."""
    return url.reveal() if isinstance(url, NodeUrl) else url


def url_below(url: str, path: str) -> str:
    """Return the URL of `path` (with its slash) below `url`, a `NodeUrl` if that is one."""
    return url.under(path) if isinstance(url, NodeUrl) else url.rstrip("/") + path


def server_of(url: str) -> str:
    """Return `url` as far as a message may show it: scheme, host and port; "This" for what is no URL."""
    if isinstance(url, NodeUrl):
        return str(url)
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}" if parts.scheme and host and host.isprintable() else "This"
    except ValueError:
        return "This"


def is_ledger_url(name: str) -> bool:
    """Return whether `name` is the URL of a ledger, rather than a file."""
    return "://" in name
