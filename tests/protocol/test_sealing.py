"""Sealed requests and their answers, by published figures, by vectors, and with every byte of them changed."""

import base64
import hashlib
import json
import pickle
import random
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from og_integrations.errors import SealedChannelError
from og_integrations.protocol.sealing import _hpke as hpke
from og_integrations.protocol.sealing import _ohttp as ohttp
from og_integrations.protocol.sealing._ohttp import Exchange, KeyConfig, check_signed_config, read_reply
from tests.protocol.sealed_gateway import CONFIG, NONCE, VECTORS, opened, sealed, sealed_stream, varint
from tests.sizes import examples

CASES = json.loads((VECTORS / "ohttp.json").read_text())
FIGURES = json.loads((VECTORS / "kat.json").read_text())
AES_128_GCM = hpke.Suite(0x0001, 16, AESGCM)
SUITES = {suite.aead_id: suite for suite in (AES_128_GCM, hpke.CHACHA20_POLY1305)}
BODY = b'{"model":"gpt-4.1","messages":[{"role":"user","content":"canary-prompt"}]}'
EPHEMERAL = bytes(range(50, 82))


def each(*kinds: str) -> pytest.MarkDecorator:
    """Run a test once for each case of these kinds."""
    cases = [case for kind in kinds for case in CASES[kind]]
    return pytest.mark.parametrize("case", cases, ids=[case["id"] for case in cases])


def b64(text: str) -> bytes:
    return base64.b64decode(text)


def exchange_of(request: dict[str, Any]) -> Exchange:
    config = KeyConfig.parse(bytes.fromhex(request["key_config"]))
    return Exchange(config, b64(request["body"]), bytes.fromhex(request["ephemeral_secret"]))


def exchange(ephemeral: bytes = EPHEMERAL) -> Exchange:
    return Exchange(CONFIG, BODY, ephemeral)


def pieces_of(stream: bytes, size: int) -> Iterator[bytes]:
    return (stream[at : at + size] for at in range(0, len(stream), size))


def read_stream(made: Exchange, stream: bytes, size: int = 10**9) -> tuple[list[bytes], SealedChannelError | None]:
    """Return the chunks that were given out, and what ended the stream if it was not whole."""
    opener, chunks = made.stream(), []
    try:
        for piece in pieces_of(stream, size):
            chunks += opener.feed(piece)
        chunks.append(opener.finish())
    except SealedChannelError as exc:
        with pytest.raises(SealedChannelError):
            opener.feed(b"")
        with pytest.raises(SealedChannelError):
            opener.finish()
        return chunks, exc
    return chunks, None


# Published figures


@pytest.mark.parametrize("case", FIGURES["rfc9180"], ids=lambda case: case["title"])
def test_figures_of_rfc_9180(case: dict[str, Any]) -> None:
    """Both ends derive the published keys: every message and every exported secret is as printed."""
    setup = {name: bytes.fromhex(value) for name, value in case["setup"].items() if isinstance(value, str)}
    suite = SUITES[case["setup"]["aead_id"]]
    sender = hpke.setup_sender(setup["pkRm"], setup["info"], ephemeral=setup["skEm"], suite=suite)
    recipient = hpke.setup_recipient(setup["skRm"], setup["enc"], setup["info"], suite=suite)
    assert sender.enc == setup["enc"]
    printed = {message["seq"]: message for message in case["encryptions"]}
    for number in range(max(printed) + 1):
        message = printed.get(number, {"pt": "", "aad": "", "ct": None})
        plain, associated = bytes.fromhex(message["pt"]), bytes.fromhex(message["aad"])
        ciphertext = sender.seal(plain, associated)
        assert message["ct"] in (None, ciphertext.hex())
        assert recipient.open(ciphertext, associated) == plain
    for export in case["exports"]:
        label, length = bytes.fromhex(export["context"]), export["L"]
        assert sender.export(label, length).hex() == recipient.export(label, length).hex() == export["exported_value"]


def test_figures_of_rfc_9458() -> None:
    """The request and the answer of the appendix, with the AEAD that it uses."""
    figures = FIGURES["rfc9458"]
    config = KeyConfig.parse(bytes.fromhex(figures["key_config"]))
    context = hpke.setup_sender(
        config.public_key,
        bytes.fromhex(figures["info"]),
        ephemeral=bytes.fromhex(figures["ephemeral_secret"]),
        suite=AES_128_GCM,
    )
    request = bytes.fromhex(figures["encapsulated_request"])
    assert (request[7:39], request[39:]) == (context.enc, context.seal(bytes.fromhex(figures["request_bhttp"])))
    assert context.export(b"message/bhttp response", 16).hex() == figures["response_secret"]
    answer = ohttp.open_answer(context, bytes.fromhex(figures["encapsulated_response"]))
    assert answer.hex() == figures["response_bhttp"]


def test_figures_of_chunked_ohttp() -> None:
    """The streamed answer of the draft's appendix."""
    figures = FIGURES["chunked_ohttp"]
    context = hpke.setup_sender(
        KeyConfig.parse(bytes.fromhex(figures["key_config"])).public_key,
        bytes.fromhex(figures["info"]),
        ephemeral=bytes.fromhex(figures["ephemeral_secret"]),
        suite=AES_128_GCM,
    )
    assert context.export(b"message/bhttp chunked response", 16).hex() == figures["response_secret"]
    stream = ohttp.SealedStream(context)
    chunks = [*stream.feed(bytes.fromhex(figures["encapsulated_response"])), stream.finish()]
    assert [len(chunk) for chunk in chunks] == figures["response_chunks"]
    assert b"".join(chunks).hex() == figures["response_bhttp"]


# Vectors


@each("key_configs")
def test_key_config(case: dict[str, Any]) -> None:
    blob, expected = bytes.fromhex(case["blob"]), case["expect"]
    if expected["status"] == "refused":
        with pytest.raises(SealedChannelError, match="Nothing was sealed"):
            KeyConfig.parse(blob)
        return
    assert KeyConfig.parse(blob) == KeyConfig(expected["key_id"], bytes.fromhex(expected["public_key"]))


@each("signed_configs")
def test_signed_config(case: dict[str, Any]) -> None:
    expected, key = case["expect"], b64(case["signing_key"])
    if expected["status"] == "refused":
        with pytest.raises(SealedChannelError, match="Nothing was sealed"):
            check_signed_config(case["fields"], key)
        return
    config = check_signed_config(case["fields"], key)
    assert config == KeyConfig(expected["key_id"], bytes.fromhex(expected["public_key"]))


@each("requests")
def test_request(case: dict[str, Any]) -> None:
    made = exchange_of(case)
    assert (len(made.wire), hashlib.sha256(made.wire).hexdigest()) == (case["wire_length"], case["wire_sha256"])
    assert "wire" not in case or made.wire == b64(case["wire"])
    info = b"message/bhttp request\0" + made.wire[:7]
    context = hpke.setup_recipient(bytes.fromhex(case["recipient_secret"]), made.wire[7:39], info)
    assert context.open(made.wire[39:]) == b64(case["body"])
    assert context.export(b"message/bhttp response", 32).hex() == case["response_secret"]
    assert context.export(b"message/bhttp chunked response", 32).hex() == case["chunked_response_secret"]


@each("responses")
def test_answer(case: dict[str, Any]) -> None:
    made, answer, expected = exchange_of(case["request"]), b64(case["response"]), case["expect"]
    if expected["status"] == "refused":
        with pytest.raises(SealedChannelError, match="does not open with the key of this request"):
            made.open(answer)
        return
    assert made.open(answer) == b64(expected["plaintext"])


@pytest.mark.parametrize("size", [1, 7, 100, 10**9])
@each("streams")
def test_stream(case: dict[str, Any], size: int) -> None:
    """As given, however the body is cut into pieces."""
    expected = case["expect"]
    chunks, failure = read_stream(exchange_of(case["request"]), b64(case["response"]), size)
    if expected["status"] == "refused":
        assert failure is not None
        assert len(chunks) <= expected["at_most"]
        return
    assert (failure, chunks) == (None, [b64(chunk) for chunk in expected["chunks"]])


@each("http")
def test_reply(case: dict[str, Any]) -> None:
    expected = case["expect"]
    reply = read_reply(
        exchange_of(case["request"]),
        stream=case["stream"],
        status=case["status"],
        content_type=case["content_type"],
        body=b64(case["response"]),
    )
    assert (reply.outcome, reply.gateway_status) == (expected["outcome"], expected.get("gateway_status"))
    assert (reply.error is None) == (reply.outcome in ("answer", "gateway-error"))
    assert "plaintext" not in expected or reply.plaintext == b64(expected["plaintext"])


# What was changed on the way


def test_every_flipped_bit_of_an_answer_is_refused() -> None:
    answer = sealed(exchange().wire, b'{"id":"x"}')
    for position in range(8 * len(answer)):
        broken = bytearray(answer)
        broken[position // 8] ^= 1 << position % 8
        with pytest.raises(SealedChannelError):
            exchange().open(bytes(broken))


CHUNKS = [b"data: one\n\n", b"data: two two\n\n", b"data: [DONE]\n\n"]
BILLING = ohttp.BILLING_MAGIC + (21).to_bytes(4, "big") + b'{"cost_usd": "0.001"}'


@pytest.mark.parametrize("billing", [b"", BILLING], ids=["sealed only", "with a billing frame"])
def test_every_flipped_bit_of_a_stream_is_refused(billing: bytes) -> None:
    """Only the price in the billing frame is not authenticated, which nobody reads."""
    stream = sealed_stream(exchange().wire, CHUNKS, billing=billing)
    unread = range(stream.find(billing) + len(ohttp.BILLING_MAGIC) + 4, stream.find(billing) + len(billing))
    for position in range(8 * len(stream)):
        broken = bytearray(stream)
        broken[position // 8] ^= 1 << position % 8
        chunks, failure = read_stream(exchange(), bytes(broken))
        assert chunks == CHUNKS[: len(chunks)]
        assert (failure is None) == (bool(billing) and position // 8 in unread)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_stream_cut_in_two_at_every_boundary(width: int) -> None:
    """Each chunk is given out with the byte that completes it, and a stream that ends early is refused."""
    stream = sealed_stream(exchange().wire, CHUNKS, billing=BILLING, width=width)
    for cut in range(len(stream)):
        opener = exchange().stream()
        chunks = [*opener.feed(stream[:cut]), *opener.feed(stream[cut:]), opener.finish()]
        assert chunks == CHUNKS
        assert read_stream(exchange(), stream[:cut])[1] is not None


def test_chunks_before_a_broken_one_are_given_out() -> None:
    """What opens is shown before the refusal, whether it came in one piece or in many."""
    stream = bytearray(sealed_stream(exchange().wire, CHUNKS))
    stream[-40] ^= 1
    whole, bytewise = (read_stream(exchange(), bytes(stream), size) for size in (10**9, 1))
    assert whole[0] == bytewise[0] == CHUNKS[:1]
    assert None not in (whole[1], bytewise[1])


@examples(60)
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=300), max_size=6).map(lambda chunks: [*chunks, b"last"]),
    billing=st.sampled_from([b"", BILLING]),
    width=st.sampled_from([0, 2, 8]),
    sizes=st.randoms(use_true_random=False),
)
def test_any_stream_comes_back(chunks: list[bytes], billing: bytes, width: int, sizes: random.Random) -> None:
    stream = sealed_stream(exchange().wire, chunks, billing=billing, width=width)
    opener, found = exchange().stream(), []
    while stream:
        size = sizes.randint(1, 90)
        found += opener.feed(stream[:size])
        stream = stream[size:]
    assert [*found, opener.finish()] == chunks


def test_order_and_number_of_chunks_matter() -> None:
    """Dropped, repeated, swapped, and the stream of another request."""
    stream = sealed_stream(exchange().wire, CHUNKS)
    first, second, final = stream[32:60], stream[60:92], stream[92:]
    assert b"".join([NONCE, first, second, final]) == stream
    for order in ([first, final], [second, first, final], [first, first, second, final], [first, second], [final]):
        assert read_stream(exchange(), b"".join([NONCE, *order]))[1] is not None
    assert read_stream(exchange(bytes(32)), stream)[1] is not None


def test_chunk_limit() -> None:
    """A mebibyte is taken, more is refused before it is collected, unless it was expected."""
    wire = exchange().wire
    assert read_stream(exchange(), sealed_stream(wire, [b"x" * ohttp.MAX_CHUNK, b""]))[1] is None
    assert read_stream(exchange(), sealed_stream(wire, [b"", b"x" * 2 * ohttp.MAX_CHUNK]))[1] is not None
    large = sealed_stream(wire, [b"x" * (ohttp.MAX_CHUNK + 1), b""])
    with pytest.raises(SealedChannelError, match="has 1048593 bytes, expected 17 to 1048592"):
        exchange().stream().feed(large[:40])
    opener = exchange().stream(max_chunk=2 * ohttp.MAX_CHUNK)
    assert [len(chunk) for chunk in opener.feed(large)] == [ohttp.MAX_CHUNK + 1]


def test_final_chunk_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that never ends is refused while it comes."""
    monkeypatch.setattr(ohttp, "MAX_FINAL", 1000)
    opener = exchange().stream()
    opener.feed(NONCE + varint(0) + bytes(1016))
    with pytest.raises(SealedChannelError, match="final chunk of the sealed stream has more than 1000 bytes"):
        opener.feed(b"x")


@pytest.mark.parametrize(
    ("between", "says"),
    [
        (BILLING + BILLING, "has 10 bytes, expected 17"),
        (ohttp.BILLING_MAGIC + b"\xff" * 4, "billing frame has 4294967295 bytes, expected at most 65536"),
        (b"\n\nevent: x402-settlement\n", "something in clear between its chunks"),
        (b'{"error": "x"}', "ended before its final chunk: it was cut on the way"),
    ],
)
def test_what_else_stands_in_clear_is_refused(between: bytes, says: str) -> None:
    chunks, failure = read_stream(exchange(), sealed_stream(exchange().wire, CHUNKS, billing=between))
    assert chunks == CHUNKS[:2]
    assert says in str(failure)


# What a user sees


@pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 413, 429, 500, 502, 503, 504])
def test_reply_in_clear_is_never_quoted(status: int) -> None:
    """Its status and our own words; not its text, which may quote the prompt; not an offer to pay."""
    made = exchange()
    for body in (BODY, sealed(made.wire, b'{"id":"x"}')):
        reply = read_reply(made, stream=False, status=status, content_type=ohttp.ANSWER_TYPE, body=body)
        assert (reply.outcome, reply.plaintext) == ("unauthenticated-error", b"")
        assert f"The relay answered HTTP {status} in clear" in str(reply.error)
        assert "canary" not in f"{reply!r} {reply.error}"
        assert reply.error is not None
        assert not reply.error.is_retryable


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (302, "Redirects are not followed: check its URL."),
        (401, "The relay does not take the token: log in again."),
        (402, "no payment of yours is asked for, and none is made."),
        (413, "too large for the relay or the gateway: send less text or fewer attachments."),
        (503, "Ask again later."),
    ],
)
def test_reply_in_clear_says_what_to_do(status: int, says: str) -> None:
    assert str(ohttp.unauthenticated_error(status)).endswith(says)


def test_answer_that_does_not_open_says_so() -> None:
    with pytest.raises(SealedChannelError) as caught:
        exchange().open(sealed(exchange(bytes(32)).wire, b"{}"))
    assert str(caught.value) == (
        "The sealed answer does not open with the key of this request: it was made for another one, or changed or cut "
        "on the way. Nothing of it is used. If a payment went with the request, it may have been charged."
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"signature": None}, "has no signature in canonical base64"),
        ({"key_config": "AQ=="}, "has 1 bytes and KEM 0x, expected at least 39 and 0x0020"),
        ({"key_id": 2}, "is signed for other ids than (1, 32, 1, 3)"),
        ({"public_key": "00" * 32}, "is signed for another public key than its blob holds"),
    ],
)
def test_key_config_that_is_not_the_enclaves_says_so(changes: dict[str, Any], says: str) -> None:
    good = CASES["signed_configs"][0]
    with pytest.raises(SealedChannelError) as caught:
        check_signed_config(good["fields"] | changes, b64(good["signing_key"]))
    assert says in str(caught.value)
    assert str(caught.value).endswith("Nothing was sealed or sent; use another enclave.")


def test_key_config_signed_by_another_key() -> None:
    """The one lie that a relay would profit from: its own key in place of the enclave's."""
    good, other = CASES["signed_configs"][0], CASES["signed_configs"][5]
    with pytest.raises(SealedChannelError, match="not signed by this enclave's key: whoever wrote it could read"):
        check_signed_config(other["fields"], b64(good["signing_key"]))
    with pytest.raises(SealedChannelError, match="cannot be checked: the enclave's key is not a DER public key"):
        check_signed_config(good["fields"], b"no key")


def test_sealed_error_is_the_gateways_word() -> None:
    """Authentic, also where a stream was asked for and the relay dropped the type."""
    body = {"error": "too large", "retryable": False}
    made = exchange()
    answer = sealed(made.wire, json.dumps({"status": 413, "body": body}).encode())
    for stream, kind in ((False, ""), (True, "message/ohttp-res"), (True, "")):
        reply = read_reply(made, stream=stream, status=200, content_type=kind, body=answer)
        assert (reply.outcome, reply.gateway_status, json.loads(reply.plaintext)) == ("gateway-error", 413, body)


@pytest.mark.parametrize("kind", ["", "message/ohttp-res", "message/ohttp-chunked-res"])
def test_whole_answer_is_no_stream(kind: str) -> None:
    made = exchange()
    reply = read_reply(made, stream=True, status=200, content_type=kind, body=sealed(made.wire, b'{"id":"x"}'))
    assert (reply.outcome, reply.plaintext) == ("refused", b"")


@pytest.mark.parametrize(
    ("plaintext", "says"),
    [
        (b"", "opened, and is not JSON"),
        (b"[]", "is a JSON list, expected an object"),
        (b'{"status":400,"status":200,"body":{}}', "opened, and is not JSON"),
        (b'{"status":"400","body":{}}', "neither an answer's nor an error's"),
        (b'{"status":400,"body":"x"}', "neither an answer's nor an error's"),
        (b'{"status":400.0,"body":{}}', "neither an answer's nor an error's"),
        (b'{"status":99999,"body":{}}', "neither an answer's nor an error's"),
    ],
)
def test_sealed_nonsense_is_refused(plaintext: bytes, says: str) -> None:
    made = exchange()
    reply = read_reply(made, stream=False, status=200, content_type="", body=sealed(made.wire, plaintext))
    assert reply.outcome == "refused"
    assert says in str(reply.error)


def test_request_headers() -> None:
    """The enclave's id goes without 0x, as published clients send it; a stream is asked for twice."""
    assert ohttp.request_headers("0x" + "ab" * 32, stream=True) == {
        "Content-Type": "message/ohttp-req",
        "Accept": "message/ohttp-chunked-res",
        "X-TEE-ID": "ab" * 32,
        "X-OHTTP-Stream": "true",
    }
    assert ohttp.request_headers("cd" * 32, stream=False)["Accept"] == "message/ohttp-res"


def test_secrets_show_nowhere() -> None:
    made = exchange()
    context, body = opened(made.wire)
    assert body == BODY
    shown = repr([made, context, made.stream(), read_reply(made, stream=False, status=200, content_type="", body=b"")])
    assert EPHEMERAL.hex() not in shown
    assert "canary" not in shown
    for secret in (made, context, made.stream()):
        with pytest.raises(SealedChannelError, match="is not pickled"):
            pickle.dumps(secret)


def test_every_exchange_has_its_own_key() -> None:
    wires = {Exchange(CONFIG, BODY).wire for _ in range(3)}
    assert len({wire[7:39] for wire in wires}) == 3
    assert all(opened(wire)[1] == BODY for wire in wires)


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33)])
def test_ephemeral_secret_of_wrong_length(secret: bytes) -> None:
    with pytest.raises(SealedChannelError, match=f"secret has {len(secret)} bytes, expected 32"):
        Exchange(CONFIG, BODY, secret)


@pytest.mark.parametrize("enc", [b"", bytes(32), b"\1" + bytes(31)])
def test_recipient_refuses_a_request_that_everybody_can_read(enc: bytes) -> None:
    with pytest.raises(SealedChannelError, match="X25519 key"):
        hpke.setup_recipient(EPHEMERAL, enc, b"")
