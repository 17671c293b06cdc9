"""Every single bit of what the enclave signed matters."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from og_integrations.errors import OpenGradientError, VerificationError
from og_integrations.protocol.chat._wire import ToolCall
from og_integrations.protocol.proof._verification import Exchange, verify_exchange
from tests.protocol.captures import SIGNED, TOOL_CALLS, Capture, exchange, proof_of, read
from tests.sizes import examples

FLIPS = examples(60)
positions = st.integers(0, 10**6)
captures = st.sampled_from(SIGNED)
calling = st.sampled_from(TOOL_CALLS)


def flipped(text: str, position: int) -> str:
    """Return `text` with one bit of its UTF-8 flipped; what is no UTF-8 then stays visible."""
    data = bytearray(text.encode())
    bit = position % (8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    return data.decode("utf-8", "surrogateescape")


def with_call(capture: Capture, call: ToolCall) -> Exchange:
    whole = exchange(capture)
    calls = (call, *whole.completion.tool_calls[1:])
    return replace(whole, completion=replace(whole.completion, tool_calls=calls))


@pytest.mark.parametrize("member", ["signature", "request_hash", "output_hash"])
@FLIPS
@given(capture=captures, position=positions)
def test_flipped_bit_in_the_proof_is_refused(member: str, capture: Capture, position: int) -> None:
    whole = exchange(capture)
    proof = proof_of(whole.completion)
    changes: dict[str, Any] = {member: flipped(getattr(proof, member), position)}
    broken = replace(proof, **changes)
    with pytest.raises(VerificationError):
        verify_exchange(replace(whole, completion=replace(whole.completion, proof=broken)))


@FLIPS
@given(capture=captures, bit=st.integers(0, 52))
def test_flipped_bit_in_the_time_is_refused(capture: Capture, bit: int) -> None:
    whole = exchange(capture, window=None)
    proof = proof_of(whole.completion)
    broken = replace(proof, timestamp=proof.timestamp ^ 1 << bit)
    with pytest.raises(VerificationError, match="not by the key of enclave"):
        verify_exchange(replace(whole, completion=replace(whole.completion, proof=broken)))


@FLIPS
@given(capture=st.sampled_from([c for c in SIGNED if c not in TOOL_CALLS]), position=positions)
def test_flipped_bit_in_the_text_is_refused(capture: Capture, position: int) -> None:
    whole = exchange(capture)
    text = flipped(whole.completion.text, position)
    with pytest.raises(VerificationError):
        verify_exchange(replace(whole, completion=replace(whole.completion, text=text)))


@pytest.mark.parametrize("member", ["arguments", "name", "id"])
@FLIPS
@given(capture=calling, position=positions)
def test_flipped_bit_in_a_tool_call_is_refused(member: str, capture: Capture, position: int) -> None:
    call = exchange(capture).completion.tool_calls[0]
    broken = replace(call, **{member: flipped(getattr(call, member), position)})
    with pytest.raises(VerificationError):
        verify_exchange(with_call(capture, broken))


@FLIPS
@given(capture=captures, position=positions)
def test_flipped_bit_in_the_body_never_changes_what_is_signed(capture: Capture, position: int) -> None:
    """On the wire a flip is an error, or it hit something that is not signed: the signed part is the same."""
    data = bytearray(capture.body)
    data[position % len(data)] ^= 1 << position % 8
    original = exchange(capture)
    try:
        completion = read(replace(capture, body=bytes(data)))
        verify_exchange(replace(original, completion=completion))
    except OpenGradientError:
        return
    assert completion.tool_calls == original.completion.tool_calls
    assert completion.tool_calls or completion.text == original.completion.text


@FLIPS
@given(capture=captures, position=positions)
def test_flipped_bit_in_the_request_never_changes_what_is_signed(capture: Capture, position: int) -> None:
    """The same for a saved request: what verifies has the same hash."""
    data = bytearray(capture.wire)
    data[position % len(data)] ^= 1 << position % 8
    try:
        verified = verify_exchange(exchange(capture, wire=bytes(data)))
    except OpenGradientError:
        return
    assert verified.proof == proof_of(exchange(capture).completion)
