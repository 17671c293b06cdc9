"""
This module keeps ledgers of JSON Lines: one file on this machine, or a folder of small files in an object store.

A line is written at once, at the end of the file and under its lock, so that any number of processes write one file.
A process that is killed in the middle leaves half a line at most: the next writer begins a new one, and readers leave
the half one out. The file is readable by its owner only.

Object stores cannot append. There each write is a new object, named by its time, in a folder (fsspec, an extra).
"""

import io
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from og_integrations._forking import survive_forks
from og_integrations.errors import ConfigurationError
from og_integrations.ledger._entry import Item, LedgerEntry, Query, SettlementNote, TransactionNote, is_note
from og_integrations.protocol._strict_json import JsonObject, decode_json

if TYPE_CHECKING:
    from types import ModuleType

_FCNTL: "ModuleType | None"
try:
    import fcntl

    _FCNTL = fcntl
except ImportError:  # Windows, where an append is one write all the same
    _FCNTL = None


class LineFile:
    """
    A line file takes whole lines from any number of threads and processes; the file `path` is made when needed.

    Raises `ConfigurationError` if it cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()
        self._file: int | None = None
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Open the file anew in a forked child: a lock on the parent's would hold for both."""
        self._lock = threading.Lock()
        self._file = None

    def append(self, lines: bytes) -> None:
        """Add `lines`, whole ones; after a disk that was full in the middle, none of them."""
        try:
            with self._lock:
                file = self._opened()
                if _FCNTL is not None:
                    _FCNTL.flock(file, _FCNTL.LOCK_EX)
                try:
                    _write_whole(file, lines)
                finally:
                    if _FCNTL is not None:
                        _FCNTL.flock(file, _FCNTL.LOCK_UN)
        except OSError as exc:
            raise ConfigurationError(f"{self.path} cannot be written: {exc}.") from exc

    def close(self) -> None:
        """Close the file; it can be used again."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _opened(self) -> int:
        """Return the open file, opened anew if another one stands in its place (log rotation)."""
        if self._file is not None:
            try:
                if os.path.samestat(os.fstat(self._file), os.stat(self.path)):
                    return self._file
            except FileNotFoundError:
                pass
            os.close(self._file)
            self._file = None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        return self._file


def _write_whole(file: int, lines: bytes) -> None:
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":
        # Half a line of a process that was killed; without an end of its own it would spoil ours.
        lines = b"\n" + lines
    rest = memoryview(lines)
    try:
        while rest:
            rest = rest[os.write(file, rest) :]
    except OSError:
        os.ftruncate(file, size)
        raise


def json_lines(path: str | Path) -> Iterator[JsonObject]:
    """
    Yield the JSON objects of a file, line by line; half a line of a killed process is left out.

    A file that is not there holds none. Raises `ConfigurationError` if it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            yield from _objects(file)
    except FileNotFoundError:
        return
    except OSError as exc:
        raise ConfigurationError(f"{path} cannot be read: {exc}.") from exc


def _objects(file: "io.BufferedIOBase | Any") -> Iterator[JsonObject]:
    for line in file:
        try:
            found = decode_json(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


class JsonLinesLedger:
    """This is a ledger in one file of JSON Lines."""

    quick = True
    """It writes to the page cache, so that no event loop has to wait for it elsewhere."""

    def __init__(self, path: str | Path) -> None:
        self._file = LineFile(path)

    def prepare(self) -> None:
        """Make the file, or raise `ConfigurationError`."""
        self._file.append(b"")

    def append(self, entries: Sequence[Item]) -> None:
        """Add `entries`."""
        self._file.append(b"".join(entry.line() for entry in entries))

    def entries(self, query: Query) -> Iterator[LedgerEntry]:
        """Yield what `query` wants, in the order of writing."""
        yield from wanted(json_lines(self._file.path), query)

    def settlements(self) -> dict[str, SettlementNote]:
        """Return the last note on each payment."""
        return last_notes(json_lines(self._file.path))

    def left(self) -> list[TransactionNote]:
        """Return the transactions that were written down, in the order of writing."""
        return notes_of_transactions(json_lines(self._file.path))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ObjectStoreLedger:
    """This is a ledger in a folder of an object store: each write is an object of JSON Lines."""

    quick = False

    def __init__(self, url: str) -> None:
        try:
            import fsspec
        except ImportError as exc:
            raise ConfigurationError(
                f"A ledger at {url.partition('://')[0]}:// needs fsspec and its driver of that store: pip install "
                '"og-integrations[object-store]" s3fs (or gcsfs, adlfs, …).'
            ) from exc
        try:
            self._store, self._folder = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as exc:
            raise ConfigurationError(f"The ledger's URL cannot be used: {exc}.") from exc

    def prepare(self) -> None:
        """Make the folder, where the store has such, or raise `ConfigurationError`."""
        try:
            self._store.makedirs(self._folder, exist_ok=True)
        except OSError as exc:
            raise ConfigurationError(f"The ledger's folder {self._folder} cannot be used: {exc}.") from exc

    def append(self, entries: Sequence[Item]) -> None:
        """Write `entries` as one new object."""
        name = f"{self._folder}/{time.time_ns():020}-{uuid4().hex}.jsonl"
        try:
            self._store.pipe_file(name, b"".join(entry.line() for entry in entries))
        except OSError as exc:
            raise ConfigurationError(f"The ledger could not write {name}: {exc}.") from exc

    def entries(self, query: Query) -> Iterator[LedgerEntry]:
        """Yield what `query` wants, in the order of writing."""
        yield from wanted(self._documents(), query)

    def settlements(self) -> dict[str, SettlementNote]:
        """Return the last note on each payment."""
        return last_notes(self._documents())

    def left(self) -> list[TransactionNote]:
        """Return the transactions that were written down, in the order of writing."""
        return notes_of_transactions(self._documents())

    def close(self) -> None:
        """Do nothing: no object is open between two writes."""

    def _documents(self) -> Iterator[JsonObject]:
        try:
            self._store.invalidate_cache()
            for name in sorted(self._store.find(self._folder)):
                if name.endswith(".jsonl"):
                    yield from _objects(io.BytesIO(self._store.cat_file(name)))
        except OSError as exc:
            raise ConfigurationError(f"The ledger in {self._folder} cannot be read: {exc}.") from exc


def wanted(documents: Iterator[JsonObject], query: Query) -> Iterator[LedgerEntry]:
    """Yield those of `documents` that are entries which `query` wants."""
    for document in documents:
        if not is_note(document):
            entry = LedgerEntry.from_json(document)
            if query.wants(entry):
                yield entry


def last_notes(documents: Iterator[JsonObject]) -> dict[str, SettlementNote]:
    """Return the last note on each payment in `documents`."""
    notes = (SettlementNote.from_json(document) for document in documents if "settlement" in document)
    return {note.payment: note for note in notes}


def notes_of_transactions(documents: Iterator[JsonObject]) -> list[TransactionNote]:
    """Return the notes on transactions in `documents`."""
    return [TransactionNote.from_json(document) for document in documents if "leaving" in document]
