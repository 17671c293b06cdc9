"""This module sends files to the model hub and fetches them, and hashes them as they pass."""

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Self

from og_integrations.errors import ConfigurationError, FileMismatchError
from og_integrations.protocol._file_ids import FileHash

PIECE = 256 * 1024
Progress = Callable[[int, int], object]
"""It is told how many bytes have passed, and how many there are in all (0: nobody said it)."""


class FileForm:
    """A form is the body of an upload: one file in multipart, read while it is sent."""

    def __init__(self, path: str | Path, progress: Progress | None) -> None:
        self.path: Path = Path(path)
        self.name: str = self.path.name
        self.hash: FileHash = FileHash()
        self._progress = progress
        try:
            with self.path.open("rb") as file:
                self.size: int = os.fstat(file.fileno()).st_size
        except OSError as exc:
            raise self._unreadable(exc, "Nothing was uploaded.") from exc
        boundary = f"og-{secrets.token_hex(16)}"
        self.content_type: str = f"multipart/form-data; boundary={boundary}"
        name = self.name.translate({ord('"'): "%22", 10: "%0A", 13: "%0D"})
        self._head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()

    def __len__(self) -> int:
        """Return the length of the whole form in bytes."""
        return len(self._head) + self.size + len(self._tail)

    def pieces(self) -> Iterator[bytes]:
        """Yield the form. Raises `FileMismatchError` if the file changes its length meanwhile."""
        self.hash = FileHash()
        yield self._head
        with self._opened() as file:
            while piece := self._next(file):
                self.hash.update(piece)
                if self.hash.size > self.size:
                    break
                yield piece
                if self._progress is not None:
                    self._progress(self.hash.size, self.size)
        if self.hash.size != self.size:
            raise FileMismatchError(
                f"{self.path} changed while it was uploaded: it had {self.size} bytes. The upload was broken off; the "
                "hub should have kept nothing of it."
            )
        yield self._tail

    def _opened(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except OSError as exc:
            raise self._unreadable(exc, "The upload was broken off.") from exc

    def _next(self, file: BinaryIO) -> bytes:
        # An `OSError` would be taken for one of the connection.
        try:
            return file.read(PIECE)
        except OSError as exc:
            raise self._unreadable(exc, "The upload was broken off.") from exc

    def _unreadable(self, exc: OSError, then: str) -> ConfigurationError:
        return ConfigurationError(f"The file {self.path} cannot be read ({exc.strerror}). {then}")


class Arriving:
    """A file that is downloaded: written beside its place, and put there when it was checked."""

    def __init__(self, to: str | Path, name: str, progress: Progress | None, *, overwrite: bool) -> None:
        target = Path(to)
        self.path: Path = target / name if target.is_dir() else target
        if self.path.exists() and not overwrite:
            raise ConfigurationError(f"{self.path} is there already; say overwrite=True to replace it.")
        # A device or a pipe (/dev/null) would be replaced for the whole machine.
        if self.path.exists() and not self.path.is_file():
            raise ConfigurationError(f"{self.path} is no regular file, which a download could replace.")
        self.hash: FileHash = FileHash()
        self._progress = progress
        self._file: BinaryIO | None = None
        self._written = ""

    def __enter__(self) -> Self:
        return self

    def begin(self) -> None:
        """Begin anew. Raises `ConfigurationError` if nothing can be written there."""
        self.hash = FileHash()
        try:
            if self._file is None:
                number, self._written = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
                self._file = os.fdopen(number, "wb")
            self._file.seek(0)
            self._file.truncate()
        except OSError as exc:
            raise ConfigurationError(f"{self.path} cannot be written ({exc.strerror}).") from exc

    def take(self, piece: bytes, expected: int) -> None:
        """Keep the next bytes. Raises `ConfigurationError` if there is no room for them."""
        self.hash.update(piece)
        assert self._file is not None  # noqa: S101 - `begin` comes first
        try:
            self._file.write(piece)
        except OSError as exc:
            raise ConfigurationError(f"{self.path} cannot be written ({exc.strerror}).") from exc
        if self._progress is not None:
            self._progress(self.hash.size, expected)

    def keep(self) -> None:
        """Put the file in its place. Raises `ConfigurationError`."""
        assert self._file is not None  # noqa: S101 - `begin` comes first
        try:
            self._file.close()
            # A temporary file is readable by its owner alone, and so would be the download, unlike other files.
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(self._written, 0o666 & ~mask)
            os.replace(self._written, self.path)
        except OSError as exc:
            raise ConfigurationError(f"{self.path} cannot be written ({exc.strerror}).") from exc
        self._written = ""

    def __exit__(self, *exc_info: object) -> None:
        if self._file is not None:
            self._file.close()
        if self._written:
            Path(self._written).unlink(missing_ok=True)
