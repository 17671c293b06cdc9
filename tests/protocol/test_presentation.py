"""Where what is shown differs from what was signed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from og_integrations.protocol.chat._translation import Shown, StopCutter, cut_at_stop
from tests.sizes import examples


def shown_of(stop: list[str], *pieces: str) -> tuple[str, str | None]:
    cutter = StopCutter(stop)
    text = "".join(map(cutter.feed, pieces)) + cutter.flush()
    return text, cutter.cut_at


def shown(text: str) -> Shown:
    return Shown(text=text, tool_calls=(), finish_reason="stop")


@pytest.mark.parametrize(
    ("stop", "pieces", "expected"),
    [
        ([], ["a", "b"], ("ab", None)),
        ([""], ["ab"], ("ab", None)),
        (["END"], ["one END two"], ("one ", "END")),
        (["END"], ["one E", "N", "D two"], ("one ", "END")),
        (["END"], ["one E", "N", "d two"], ("one ENd two", None)),
        (["END"], ["ENEND"], ("EN", "END")),
        (["END"], ["EN"], ("EN", None)),
        (["b", "a"], ["xab"], ("x", "a")),
        (["abc", "ab"], ["xabc"], ("x", "ab")),
        (["bc", "abcd"], ["xabcd"], ("xa", "bc")),
        (["bc", "abc"], ["xabc"], ("x", "abc")),
        (["b", "cb"], ["xcb"], ("x", "cb")),
        (["\n\n"], ["a\n", "\nb"], ("a", "\n\n")),
    ],
)
def test_text_is_cut_at_the_first_stop(stop: list[str], pieces: list[str], expected: tuple[str, str | None]) -> None:
    """At the sequence that is complete first, as a model would have stopped."""
    assert shown_of(stop, *pieces) == expected


def test_beginning_of_a_stop_is_held_back() -> None:
    """No part of a sequence is ever shown, and nothing else waits."""
    cutter = StopCutter(["END", "\n\n"])
    assert [cutter.feed(piece) for piece in ("abE", "N", "x\n", "y")] == ["ab", "", "ENx", "\ny"]
    assert cutter.flush() == ""


def test_nothing_is_shown_after_the_cut() -> None:
    cutter = StopCutter(["."])
    assert [cutter.feed("a.b"), cutter.feed("c.d"), cutter.flush()] == ["a", "", ""]


_texts = st.text("abc\n", max_size=16)


@given(st.lists(st.text("abc\n", min_size=1, max_size=4), max_size=4), st.lists(_texts, max_size=6))
@examples(250)
def test_any_split_of_the_text_is_cut_alike(stop: list[str], pieces: list[str]) -> None:
    """A stream shows the same as a whole answer, and no stop sequence is in it."""
    text, cut_at = shown_of(stop, *pieces)
    assert (text, cut_at) == shown_of(stop, "".join(pieces))
    assert "".join(pieces).startswith(text)
    assert not any(sequence in text for sequence in stop)
    assert (cut_at is None) == (text == "".join(pieces))


def test_cut_is_told() -> None:
    cut = cut_at_stop(shown("a END b"), ["END"])
    assert (cut.text, cut.presentation) == ("a ", {"kind": "cut_at_stop", "stop": "END"})


def test_text_without_a_stop_is_shown_as_it_is() -> None:
    whole = shown("a b")
    assert cut_at_stop(whole, ["END"]) is whole


def test_answer_that_was_translated_is_left_whole() -> None:
    """Its text is JSON, in which a stop sequence means nothing."""
    translated = Shown(text="a END", tool_calls=(), finish_reason="stop", presentation={"kind": "schema_through_tool"})
    assert cut_at_stop(translated, ["END"]) is translated
