"""These faults are in the bytes: cuts, stalls, what no HTTP library would send, and TLS records changed on the way."""

import asyncio
import functools
import gzip
import os
from collections.abc import Awaitable, Callable
from typing import NoReturn

from og_integrations.devnet._fault import Fault
from og_integrations.devnet._http import Channel, Piece, PieceKind, Pieces, Reply, WireFault

_GIANT_HEADER_BYTES = 512 * 1024
_BOMB_BYTES = 256 * 1024 * 1024
_LATE_SECONDS = 0.1
_NOW_AND_THEN_SECONDS = 0.02


def _broken_head(edit: Callable[[bytes], bytes]) -> WireFault:
    """Return a fault that edits the bytes of the head, final blank line included."""

    async def wire(pieces: Pieces, _channel: Channel) -> Pieces:
        async for piece in pieces:
            yield Piece(piece.kind, edit(piece.data), broken=True) if piece.kind is PieceKind.HEAD else piece

    return wire


def _with_line(line: bytes) -> WireFault:
    return _broken_head(lambda head: head.replace(b"\r\n", b"\r\n" + line + b"\r\n", 1))


def _ended(ending: Callable[[Channel], Awaitable[NoReturn]], kind: PieceKind, halves: int) -> WireFault:
    """Return a fault that ends the reply by `ending` in its first piece of `kind`, of which so many halves go out."""

    async def wire(pieces: Pieces, channel: Channel) -> Pieces:
        async for piece in pieces:
            if piece.kind is not kind:
                yield piece
                continue
            if halves:
                yield piece._replace(data=piece.data[: len(piece.data) * halves // 2])
            await ending(channel)

    return wire


async def _stall(channel: Channel) -> NoReturn:
    await channel.stall()


async def _close(channel: Channel) -> NoReturn:
    await channel.close()


async def _cut(channel: Channel) -> NoReturn:
    channel.hang_up()


async def _reset(channel: Channel) -> NoReturn:
    channel.reset()


def _record(kind: int, length: int) -> bytes:
    """Return a TLS record that no key has made: what a flipped bit makes of one that a key has."""
    return bytes([kind, 3, 3]) + length.to_bytes(2, "big") + os.urandom(length)


def _tampered(
    data: bytes, kind: PieceKind, *, after: bool = False, ending: Callable[[Channel], Awaitable[NoReturn]] = _stall
) -> WireFault:
    """Return a fault that sends `data` below TLS instead of the first piece of `kind`, or `after` it."""

    async def wire(pieces: Pieces, channel: Channel) -> Pieces:
        async for piece in pieces:
            if piece.kind is not kind:
                yield piece
                continue
            if after:
                yield piece
            channel.send_below(data)
            await ending(channel)

    return wire


_APPLICATION_DATA, _UNKNOWN = 23, 99
_FLIPPED = _record(_APPLICATION_DATA, 256)
_ALERT = bytes([21, 3, 3, 0, 2, 2, 40])
"""A fatal alert (handshake_failure) in clear, as TLS 1.2 would allow it."""
stall_first = _ended(_stall, PieceKind.HEAD, 0)
"""Nothing is sent at all."""


async def _cut_before_done(pieces: Pieces, channel: Channel) -> Pieces:
    async for piece in pieces:
        if b"data: [DONE]" in piece.data:
            channel.hang_up()
        yield piece


async def _end_early(pieces: Pieces, _channel: Channel) -> Pieces:
    body = 0
    async for piece in pieces:
        body += piece.kind is PieceKind.BODY
        # The body is ended in all form of HTTP after its first event: only the protocol says it was cut.
        if body <= 1 or piece.kind is PieceKind.END:
            yield piece


async def _endless(pieces: Pieces, _channel: Channel) -> Pieces:
    async for piece in pieces:
        yield piece
        while piece.kind is PieceKind.BODY:
            yield piece


async def _endless_line(pieces: Pieces, _channel: Channel) -> Pieces:
    text = b"A" * 65_536
    chunk = b"%x\r\n" % len(text) + text + b"\r\n"
    async for piece in pieces:
        yield piece
        while piece.kind is PieceKind.BODY:
            yield Piece(PieceKind.BODY, chunk)


@functools.cache
def _compressed_blanks() -> bytes:
    return gzip.compress(b" " * _BOMB_BYTES, compresslevel=1)


def _bomb(reply: Reply) -> Reply:
    headers = [item for item in reply.headers if item[0] != "Content-Type"]
    return Reply(
        status=reply.status,
        headers=[("Content-Type", "application/json"), ("Content-Encoding", "gzip"), *headers],
        body=_compressed_blanks(),
    )


async def _late(pieces: Pieces, _channel: Channel) -> Pieces:
    await asyncio.sleep(_LATE_SECONDS)
    async for piece in pieces:
        yield piece


def _now_and_then(data: bytes, *, after: int) -> WireFault:
    """Return a fault that sends `data` now and then, for ever, once so many pieces of the body have come."""

    async def wire(pieces: Pieces, _channel: Channel) -> Pieces:
        left = after
        async for piece in pieces:
            while piece.kind is PieceKind.BODY and not left:
                yield Piece(PieceKind.BODY, data)
                await asyncio.sleep(_NOW_AND_THEN_SECONDS)
            left -= piece.kind is PieceKind.BODY
            yield piece

    return wire


WIRE_FAULTS = (
    Fault(name="slow_answer", about="the answer begins 0.1 s late", spoils=False, wire=_late),
    Fault(name="stall_offer", about="the 402 never comes", offer_wire=stall_first),
    Fault(name="cut_offer", about="the connection ends instead of the 402", offer_wire=_ended(_cut, PieceKind.HEAD, 0)),
    Fault(name="stall_after_payment", about="no byte of the answer comes after paying", wire=stall_first),
    Fault(name="stall_mid_head", about="half of the answer's head comes", wire=_ended(_stall, PieceKind.HEAD, 1)),
    Fault(
        name="stall_mid_body",
        about="half of the answer's body (or first event) comes",
        wire=_ended(_stall, PieceKind.BODY, 1),
    ),
    Fault(
        name="stall_before_end",
        spoils=False,
        about="everything comes but the end of the body",
        wire=_ended(_stall, PieceKind.END, 0),
    ),
    Fault(
        name="stall_in_blanks",
        about="instead of the body a blank comes now and then, for ever",
        whole_wire=_now_and_then(b" ", after=0),
    ),
    Fault(
        name="stall_in_comments",
        about="after the first event a comment comes now and then, for ever",
        stream_wire=_now_and_then(b"d\r\n: keepalive\n\n\r\n", after=1),
    ),
    Fault(
        name="cut_after_payment",
        about="the connection ends after paying, without an answer",
        wire=_ended(_cut, PieceKind.HEAD, 0),
    ),
    Fault(name="cut_head", about="the connection ends in the middle of the head", wire=_ended(_cut, PieceKind.HEAD, 1)),
    Fault(
        name="cut_body",
        about="the connection ends in the middle of the body",
        whole_wire=_ended(_cut, PieceKind.BODY, 1),
    ),
    Fault(
        name="cut_event",
        about="the connection ends in the middle of an event",
        stream_wire=_ended(_cut, PieceKind.BODY, 1),
    ),
    Fault(
        name="cut_stream",
        about="the connection ends after the stream's first event",
        stream_wire=_ended(_cut, PieceKind.BODY, 2),
    ),
    Fault(name="reset_stream", about="the same, with RST", stream_wire=_ended(_reset, PieceKind.BODY, 2)),
    Fault(
        name="closed_stream", about="the same, with a proper TLS goodbye", stream_wire=_ended(_close, PieceKind.BODY, 2)
    ),
    Fault(name="short_stream", about="the body ends properly after the first event", stream_wire=_end_early),
    Fault(name="cut_before_done", about="the connection ends before [DONE]", stream_wire=_cut_before_done),
    Fault(
        name="cut_before_end",
        spoils=False,
        about="the connection ends before the last chunk",
        stream_wire=_ended(_cut, PieceKind.END, 0),
    ),
    Fault(name="endless_stream", about="the first event is repeated for ever", stream_wire=_endless),
    Fault(name="endless_event", about="a line that never ends", stream_wire=_endless_line),
    Fault(
        name="giant_header",
        spoils=False,
        about="a header of 512 kB",
        wire=_with_line(b"X-Giant: " + b"A" * _GIANT_HEADER_BYTES),
    ),
    Fault(
        name="garbage_header", spoils=False, about="a header line without a colon", wire=_with_line(b"\x00\xff garbage")
    ),
    Fault(
        name="garbage_status",
        spoils=False,
        about="a status line that is none",
        wire=_broken_head(lambda head: b"ICY " + head),
    ),
    Fault(
        name="two_lengths",
        spoils=False,
        about="contradicting Content-Length headers",
        whole_wire=_with_line(b"Content-Length: 7"),
    ),
    Fault(
        name="flipped_offer",
        about="a bit of the 402's TLS record is flipped on the way",
        offer_wire=_tampered(_FLIPPED, PieceKind.HEAD),
    ),
    Fault(
        name="flipped_record",
        about="a bit of the answer's TLS record is flipped on the way",
        wire=_tampered(_FLIPPED, PieceKind.HEAD),
    ),
    Fault(name="injected_alert", about="somebody in between sends a TLS alert", wire=_tampered(_ALERT, PieceKind.HEAD)),
    Fault(
        name="unknown_record",
        about="a TLS record of a kind that does not exist comes instead of the answer",
        wire=_tampered(_record(_UNKNOWN, 256), PieceKind.HEAD),
    ),
    Fault(
        name="cut_record",
        about="the connection ends in the middle of a TLS record",
        wire=_tampered(_FLIPPED[:100], PieceKind.HEAD, ending=_cut),
    ),
    Fault(
        name="flipped_event",
        about="a bit of a TLS record is flipped after the stream's first event",
        stream_wire=_tampered(_FLIPPED, PieceKind.BODY, after=True),
    ),
    Fault(name="redirect", about="307 to another host after paying", elsewhere=True),
    Fault(name="gzip_bomb", about="256 MB of blanks in a small compressed body", reply=_bomb),
)
