"""Bytes of a body -> events, however they are split."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from og_integrations.errors import MalformedReplyError
from og_integrations.protocol.chat import _sse as sse
from og_integrations.protocol.chat._sse import NamedEvent, SSEDecoder, encode_event
from tests.protocol.captures import STREAMS, Capture, each, read_stream
from tests.sizes import examples


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """Return `data` cut at these places."""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


def events_of(pieces: list[bytes]) -> list[str]:
    decoder = SSEDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


@each(STREAMS)
@given(cuts=st.lists(st.integers(0, 10**6), max_size=12))
@examples(15)
def test_any_split_of_a_captured_stream_gives_the_same_answer(capture: Capture, cuts: list[int]) -> None:
    """Cuts in the middle of an event, an escape or a UTF-8 character change nothing."""
    pieces = split(capture.body, cuts)
    assert events_of(pieces) == events_of([capture.body])
    assert read_stream(pieces) == read_stream([capture.body])


@each(STREAMS)
def test_captured_stream_byte_by_byte(capture: Capture) -> None:
    pieces = [bytes([byte]) for byte in capture.body]
    assert read_stream(pieces) == read_stream([capture.body])


@given(texts=st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))), cuts=st.lists(
    st.integers(0, 10**6), max_size=6))  # fmt: skip
@examples(60)
def test_any_text_survives(texts: list[str], cuts: list[int]) -> None:
    """Only `\\n` ends a line: U+2028, U+0085 and lone `\\r` are text like any other."""
    body = b"".join(map(encode_event, texts))
    assert events_of(split(body, cuts)) == [text.strip(" \r") for text in texts]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c", "a\rb"])
def test_character_at_which_splitlines_would_cut(character: str) -> None:
    assert events_of([encode_event(f'"a{character}b"')]) == [f'"a{character}b"']


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
        (b"data:a\n\ndata:  b \n\n", ["a", "b"]),
        (b": comment\nevent: x\nid: 1\nretry: 5\ndata: a\n\n", ["a"]),
        (b"\n\n\n", []),
        (b"data: a\ndata: b\n\n", ["a", "b"]),
        (b"data: unfinished", []),
    ],
)
def test_only_data_lines_become_events(body: bytes, expected: list[str]) -> None:
    """Of all fields only `data` counts, with or without blanks around it."""
    assert events_of([body]) == expected


def test_body_that_ends_inside_a_line_is_not_at_rest() -> None:
    decoder = SSEDecoder()
    decoder.feed(b"data: a\n\nda")
    assert not decoder.at_rest
    decoder.feed(b"ta: b\n")
    assert decoder.at_rest


def test_event_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(MalformedReplyError, match="an event that is not UTF-8; the answer was discarded"):
        events_of([b"data: \xff\n"])


@pytest.mark.parametrize("beginning", [b"", b"data: a\ndata: "])
def test_line_that_never_ends_is_given_up(beginning: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, whether or not an earlier line was complete."""
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    decoder = SSEDecoder()
    decoder.feed(beginning + b"x" * 60)
    with pytest.raises(MalformedReplyError, match="an event of more than 100 bytes"):
        decoder.feed(b"x" * 60)


@pytest.mark.parametrize("line", [b"\n", b": comment\n", b"data: [DONE]\n", b"data: {}\n", b"data: "])
def test_stream_without_end_is_given_up(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its lines say: also what is no event is read, and kept for `verify`."""
    monkeypatch.setattr(sse, "MAX_STREAM_BYTES", 3 * len(line))
    decoder = SSEDecoder()
    for _ in range(3):
        decoder.feed(line)
    with pytest.raises(MalformedReplyError, match=r"The stream has more than \d+ bytes; it was given up"):
        decoder.feed(line)


def test_name_of_an_event_goes_with_its_data_and_ends_with_it() -> None:
    """However the body is split."""
    body = b'event: x402-settlement\r\ndata: {"a": 1}\r\n\r\ndata: b\n\nevent: y\n\ndata: c\n'
    for cut in range(len(body)):
        decoder = SSEDecoder()
        named, *plain = decoder.feed(body[:cut]) + decoder.feed(body[cut:])
        assert isinstance(named, NamedEvent)
        assert (named, named.name) == ('{"a": 1}', "x402-settlement")
        assert plain == ["b", "c"]
        assert not any(isinstance(event, NamedEvent) for event in plain)
