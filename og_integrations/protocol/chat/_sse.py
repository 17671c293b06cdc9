"""
This module reads server-sent events, the part that the gateway uses (docs/protocol.md §5).

One JSON object per `data: ` line, a blank line between, `data: [DONE]` last. Lines end at `\\n` and
nowhere else: text may hold U+2028 or U+0085, at which `str.splitlines` would cut an event in two.
"""

from typing import Self

from og_integrations.errors import MalformedReplyError

DONE = "[DONE]"
_LONGEST_NAME = 100
MAX_EVENT_BYTES = 64 * 1024 * 1024
"""No honest event is larger (a picture has up to 33 MB as text); a line that never ends would fill the memory."""
MAX_STREAM_BYTES = 128 * 1024 * 1024
"""A stream that goes on past this, with whatever lines, is an attack on our memory, not an answer."""


class NamedEvent(str):
    """An event that was sent under a name: its data as text, and the `name`."""

    __slots__ = ("name",)
    name: str

    def __new__(cls, data: str, name: str) -> Self:
        """Return the event `name` that holds `data`."""
        event = super().__new__(cls, data)
        event.name = name
        return event


class SSEDecoder:
    """
    A decoder turns bytes into events: `feed` takes any piece of the body and returns what it completed.

    However the body is split, the concatenation of all answers is the same.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._bytes = 0
        self._name = ""

    def feed(self, data: bytes) -> list[str]:
        """
        Return the data of each event that `data` completes, in order; one with a name is a `NamedEvent`.

        Raises `MalformedReplyError` for an event or a stream that is too large, or not UTF-8.
        """
        self._bytes += len(data)
        # The rest is joined only when a line ends. Joining it with
        # every piece would copy a long event again and again.
        if self._rest and b"\n" in data:
            data = bytes(self._rest) + data
            self._rest.clear()
        *lines, rest = data.split(b"\n")
        self._rest += rest
        # The size is looked at before anything is decoded, so an endless line cannot fill the memory first.
        self._check_size()
        try:
            # Comment lines such as `: keepalive`, which newer gateways
            # send while a picture is made, are left out here.
            # Most lines between events are empty, and end no name.
            return [event for line in lines if (line or self._name) and (event := self._event(line)) is not None]
        except UnicodeDecodeError as exc:
            raise MalformedReplyError("The stream holds an event that is not UTF-8; the answer was discarded.") from exc

    def _event(self, line: bytes) -> str | None:
        if line.startswith(b"data:"):
            data = line[5:].strip(b" \r").decode()
            return NamedEvent(data, self._name) if self._name else data
        if line.startswith(b"event:"):
            self._name = line[6:].strip(b" \r").decode()[:_LONGEST_NAME]
        elif not line.strip(b"\r"):
            self._name = ""
        return None

    def _check_size(self) -> None:
        if len(self._rest) > MAX_EVENT_BYTES:
            raise MalformedReplyError(f"The stream holds an event of more than {MAX_EVENT_BYTES} bytes.")
        if self._bytes > MAX_STREAM_BYTES:
            raise MalformedReplyError(f"The stream has more than {MAX_STREAM_BYTES} bytes; it was given up.")

    @property
    def at_rest(self) -> bool:
        """Return whether no unfinished line is held: a body that ends elsewhere was cut."""
        return not self._rest


def encode_event(data: str) -> bytes:
    """Return one event, as the gateway writes it."""
    return b"data: " + data.encode() + b"\n\n"
