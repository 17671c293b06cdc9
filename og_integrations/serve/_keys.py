"""
The keys of those who call the server, in a file that holds no key.

A key is shown once, when it is made. The file keeps its SHA-256, the name of its account, and what it may spend: a
key has 256 bits of chance, so that its hash cannot be guessed back.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from og_integrations.errors import ConfigurationError, MalformedReplyError
from og_integrations.protocol._strict_json import JsonObject, parse_json_object

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,60}")
_PREFIX = "og-"


@dataclass(frozen=True, slots=True)
class Holder:
    """A holder is who has a key: the name of the account, and its limit in OPG (None: only the wallet's)."""

    name: str
    limit: str | None = None


class Keys:
    """
    The keys that a server knows.

    `Keys.load(path)` reads those of a file, `Keys.only(key)` is one key that no file has. `holder` tells whose a key
    is, `add` makes one.
    """

    def __init__(self, holders: dict[str, Holder], path: Path | None = None) -> None:
        self._holders = holders
        self._path = path

    @classmethod
    def only(cls, key: str) -> "Keys":
        """Return the keys of a server that has one caller."""
        return cls({_digest(key): Holder("serve")})

    @classmethod
    def load(cls, path: Path) -> "Keys":
        """Return the keys in the file at `path`, none if it is missing. Raises `ConfigurationError`."""
        if not path.exists():
            return cls({}, path)
        try:
            listed = parse_json_object(path.read_bytes(), "The file")["keys"]
            holders = {str(one["sha256"]): Holder(str(one["name"]), one.get("limit")) for one in listed}
        except (OSError, KeyError, TypeError, AttributeError, MalformedReplyError) as exc:
            raise ConfigurationError(
                f"{path} does not hold keys of `og-integrations serve` ({type(exc).__name__}): expected what "
                "`serve --new-key NAME` writes."
            ) from exc
        return cls(holders, path)

    def __iter__(self) -> Iterator[Holder]:
        return iter(self._holders.values())

    def __len__(self) -> int:
        return len(self._holders)

    def holder(self, key: str) -> Holder | None:
        """Return whose `key` is, None if it is nobody's; the time it takes tells nothing about the keys."""
        wanted, found = _digest(key), None
        for digest, holder in self._holders.items():
            if hmac.compare_digest(digest, wanted):
                found = holder
        return found

    def add(self, name: str, limit: str | None = None) -> str:
        """
        Make a key for `name`, keep its hash in the file, and return it.

        Raises `ConfigurationError` for a name that is taken or cannot be that of an account, and if the file cannot
        be written.
        """
        if not _NAME.fullmatch(name):
            raise ConfigurationError(f"The name {name!r:.80} has to be 1 to 60 letters, digits, dots, dashes or _.")
        if any(holder.name == name for holder in self):
            raise ConfigurationError(f"There is a key for {name} already. Take another name, or remove it in the file.")
        key = _PREFIX + secrets.token_urlsafe(32)
        self._holders[_digest(key)] = Holder(name, limit)
        self._write()
        return key

    def _write(self) -> None:
        if self._path is None:
            return
        entries: list[JsonObject] = [
            {"name": holder.name, "sha256": digest} | ({"limit": holder.limit} if holder.limit else {})
            for digest, holder in self._holders.items()
        ]
        try:
            # Written beside it and moved: a server that reads meanwhile sees the old keys or the new ones.
            with NamedTemporaryFile("w", dir=self._path.parent, delete=False, encoding="utf-8") as file:
                json.dump({"keys": entries}, file, indent=2)
            os.replace(file.name, self._path)
        except OSError as exc:
            raise ConfigurationError(f"{self._path} could not be written: {exc.strerror}. No key was made.") from exc


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
