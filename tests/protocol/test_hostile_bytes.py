"""Whatever somebody sends: an error of our own, or a value; never another exception."""

import base64
import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from og_integrations.errors import MalformedReplyError, OpenGradientError
from og_integrations.protocol._strict_json import parse_json_object
from og_integrations.protocol.chat._answers import StreamAssembler, parse_completion
from og_integrations.protocol.chat._sse import SSEDecoder
from og_integrations.protocol.chat._wire import CHAT_PATH, COMPLETION_PATH, Completion
from og_integrations.protocol.payment._x402 import (
    PAYMENT_REQUIRED,
    ReplyHead,
    decode_header,
    parse_payment_required,
    parse_requirements,
    parse_session,
    parse_settlement,
)
from og_integrations.protocol.payment.schemes import authorize
from og_integrations.protocol.proof._enclave import tee_id_of
from og_integrations.protocol.proof._registry import decode_enclaves
from og_integrations.protocol.proof._verification import verify_exchange
from tests.fuzz.targets import TARGETS
from tests.protocol.captures import CAPTURES, SIGNED, exchange, proof_of, read_stream
from tests.protocol.flows import NOW, REQUIREMENT, ROUTE
from tests.protocol.own_enclave import key, signed_exchange
from tests.protocol.reference import json_values
from tests.sizes import examples, sized

HOSTILE = examples(80)
WORDS = [
    "choices", "delta", "content", "tool_calls", "index", "id", "function", "name", "arguments", "finish_reason",
    "model", "message", "text", "usage", "prompt_tokens", "completion_tokens", "total_tokens", "error", "tee_id",
    "tee_signature", "tee_timestamp", "tee_request_hash", "tee_output_hash", "messages", "role", "tools", "stop",
    "temperature", "max_tokens", "prompt", "response_format", "x402Version", "accepts", "scheme", "network", "asset",
    "amount", "payTo", "maxTimeoutSeconds", "extra", "facilitatorAddress", "assetTransferMethod", "version",
]  # fmt: skip
texts = st.sampled_from(
    ["stop", "tool_calls", "user", "assistant", "m", "f", "upto", "eip155:1", "0x" + "00" * 20, "2"]
)
shaped = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.floats() | texts | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=6),
    max_leaves=25,
)
shaped_objects = st.dictionaries(st.sampled_from(WORDS), shaped, max_size=8)
json_texts = (shaped_objects | shaped | json_values).map(json.dumps)
bodies = st.binary(max_size=64) | json_texts.map(str.encode)


def only_ours(call: Callable[[], object]) -> None:
    """Check that `call` raises nothing but an error of our tree."""
    try:
        call()
    except OpenGradientError:
        return


def damaged(data: bytes, position: int, piece: bytes, drop: int) -> bytes:
    """Return `data` with some bytes replaced somewhere."""
    position %= len(data) + 1
    return data[:position] + piece + data[position + drop :]


@sized("cases", small=600, full=60_000)
@pytest.mark.parametrize("name", TARGETS)
def test_damaged_seeds(name: str, cases: int) -> None:
    """Cases of `make fuzz`, always the same ones: ten thousand over all targets, and a million at full size."""
    rng = random.Random(name)
    for _ in range(cases):
        TARGETS[name].survives(TARGETS[name].case(rng))


def test_strangers_words_are_fit_for_a_log() -> None:
    """No terminal escapes, no second line, nothing that UTF-8 refuses, and not much."""
    with pytest.raises(OpenGradientError) as caught:
        StreamAssembler().feed(json.dumps({"error": "\x1b(2J\nverified\ud800" + "so " * 10**6}))
    assert "(\ufffd(2J\ufffdverified\ufffdso so" in str(caught.value)
    assert len(str(caught.value)) < 400


damage = st.tuples(st.integers(0, 10**6), st.binary(max_size=4) | st.just(b"null"), st.integers(0, 40))


@HOSTILE
@given(st.lists(bodies, max_size=4))
def test_any_stream(pieces: list[bytes]) -> None:
    def run() -> None:
        decoder, assembler = SSEDecoder(), StreamAssembler()
        for piece in pieces:
            for event in decoder.feed(b"data: " + piece + b"\n\n"):
                assembler.feed(event)
        assembler.finish()

    only_ours(run)


@HOSTILE
@given(st.sampled_from(SIGNED), damage)
def test_damaged_capture(capture: Any, how: tuple[int, bytes, int]) -> None:
    body = damaged(capture.body, *how)

    def run() -> None:
        stream = capture.content_type == "text/event-stream"
        completion = read_stream([body, b"\n"]) if stream else parse_completion(capture.path, body)
        verify_exchange(exchange(capture, completion=completion))

    only_ours(run)


@HOSTILE
@given(bodies, st.sampled_from([CHAT_PATH, COMPLETION_PATH, "/"]))
def test_any_body(body: bytes, path: str) -> None:
    only_ours(lambda: parse_completion(path, body))


@HOSTILE
@given(shaped_objects)
def test_any_choice(choice: dict[str, Any]) -> None:
    """Deeper than chance would get: one choice, everything in it hostile."""
    body = json.dumps({"model": "m", "choices": [{"finish_reason": "stop", "message": choice} | choice]})
    only_ours(lambda: parse_completion(CHAT_PATH, body))
    event = json.dumps({"model": "m", "choices": [{"delta": choice, "finish_reason": None}]})
    only_ours(lambda: StreamAssembler().feed(event))


@HOSTILE
@given(st.text(max_size=40) | bodies.map(lambda body: base64.b64encode(body).decode()))
def test_any_header(text: str) -> None:
    only_ours(lambda: decode_header(text))
    only_ours(lambda: parse_payment_required(ReplyHead(402, [(PAYMENT_REQUIRED, text)])))
    only_ours(lambda: parse_settlement(ReplyHead(200, [("PAYMENT-RESPONSE", text), ("x-processing-hash", text)])))
    only_ours(lambda: parse_session(ReplyHead(200, [("x-upto-session", text)])))


@HOSTILE
@given(
    st.dictionaries(st.sampled_from(list(REQUIREMENT)), shaped | json_values, max_size=3),
    st.dictionaries(st.sampled_from(list(REQUIREMENT["extra"])), shaped, max_size=2),
)
def test_any_requirement(members: dict[str, Any], extra: dict[str, Any]) -> None:
    """Down to the digest: what was read can be signed."""

    def run() -> None:
        raw = REQUIREMENT | {"extra": REQUIREMENT["extra"] | extra} | members
        authorization = authorize(parse_requirements(raw), payer=ROUTE.payer, now=NOW, nonce=1)
        authorization.digest()
        json.dumps(authorization.payload("0x"))

    only_ours(run)


@HOSTILE
@given(st.binary(max_size=300))
def test_any_registry_answer(data: bytes) -> None:
    only_ours(lambda: decode_enclaves(data))


@HOSTILE
@given(bodies | shaped_objects.map(lambda value: json.dumps({"model": "gpt-5-mini", "messages": []} | value).encode()))
def test_any_request_to_verify(wire: bytes) -> None:
    """A saved exchange comes from anybody, so its request may be anything."""
    only_ours(lambda: verify_exchange(exchange(wire=wire)))


@HOSTILE
@given(st.dictionaries(st.sampled_from(["messages", "tools", "temperature", "stop", "max_tokens"]), shaped, max_size=4))
def test_any_request_to_hash(members: dict[str, Any]) -> None:
    """Signed by an enclave, so that it gets as far as the hash; called with tools, so that those are read."""
    whole = signed_exchange({"model": "m", "messages": [{"role": "user", "content": "hi"}]} | members, {})
    only_ours(lambda: verify_exchange(whole))


@HOSTILE
@given(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12), st.integers(-(2**70), 2**70), shaped)
def test_any_proof(request_hash: str, signature: str, tee_id: str, timestamp: int, answer: object) -> None:
    original = exchange()
    proof = proof_of(original.completion)
    for broken in (
        replace(proof, request_hash=request_hash),
        replace(proof, output_hash=request_hash),
        replace(proof, signature=signature),
        replace(proof, tee_id=tee_id),
        replace(proof, timestamp=timestamp),
    ):
        completion = Completion(text=str(answer), finish_reason="stop", model="gpt-5-mini", proof=broken)
        only_ours(lambda completion=completion: verify_exchange(exchange(completion=completion)))  # type: ignore[misc]


@HOSTILE
@given(damage)
def test_damaged_key(how: tuple[int, bytes, int]) -> None:
    """The registry, or a file, may hold anything as the enclave's key."""
    der = key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    broken = damaged(der, *how)
    whole = signed_exchange({"model": "m", "messages": []}, {"model": "m", "messages": [], "temperature": 0.0})
    proof = replace(proof_of(whole.completion), tee_id=tee_id_of(broken))
    enclave = replace(whole.enclave, tee_id=tee_id_of(broken), public_key=broken)
    completion = replace(whole.completion, proof=proof)
    only_ours(lambda: verify_exchange(replace(whole, completion=completion, enclave=enclave)))


@pytest.mark.parametrize("depth", [300, 5_000, 100_000, 1_000_000])
def test_deeply_nested_bytes(depth: int) -> None:
    """Not even those that would overflow the interpreter's stack, and with it end the process."""
    deep = b"[" * depth
    header = base64.b64encode(deep[:45_000]).decode()
    only_ours(lambda: parse_completion(CHAT_PATH, deep))
    only_ours(lambda: StreamAssembler().feed('{"error":' * depth))
    only_ours(lambda: parse_payment_required(ReplyHead(402, [(PAYMENT_REQUIRED, header)])))
    only_ours(lambda: verify_exchange(exchange(wire=deep)))
    only_ours(lambda: verify_exchange(exchange(wire=b'{"tools":' + deep + b"]" * depth + b"}")))
    assert CAPTURES


def test_json_object_names_what_it_is_not() -> None:
    with pytest.raises(MalformedReplyError, match="The registry's answer is a JSON int, expected an object"):
        parse_json_object("1", "The registry's answer")
