"""One way after the other to break an exchange; each is refused at its step, in words for the user."""

from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from og_integrations.errors import InvalidRequestError
from og_integrations.protocol.chat._wire import CHAT_PATH, Completion, ToolCall
from og_integrations.protocol.proof._canonical import canonical_output, canonical_request
from og_integrations.protocol.proof._enclave import tee_id_of
from og_integrations.protocol.proof._verification import STEPS, Exchange, verify_exchange
from tests.protocol.captures import CAPTURES, ENCLAVE, altered, exchange, proof_of
from tests.protocol.check_results import refused, results
from tests.protocol.own_enclave import enclave, sign, signed_exchange

CALL = ToolCall("call_1", "get_weather", "{}")
OTHER = CAPTURES["system-and-user"]
UNKNOWN_ALGORITHM = bytes.fromhex("300a300506032a0304030100")


def test_failed_step_leaves_the_later_ones_open() -> None:
    """What came before passed, what comes after is a skip: never a pass."""
    checks = refused(altered(text="Hello"), "output-hash", "signed another answer").checks
    passed, rest = STEPS[: STEPS.index("output-hash")], STEPS[STEPS.index("output-hash") + 1 :]
    expected = dict.fromkeys(passed, "pass") | {"output-hash": "fail"} | dict.fromkeys(rest, "skip")
    assert results(checks) == expected
    assert checks[-1].to_json() == {"id": "channel", "result": "skip", "detail": "not reached: output-hash failed"}


def test_missing_proof() -> None:
    broken = altered("plain")
    broken = replace(broken, completion=replace(broken.completion, proof=None))
    error = refused(broken, "proof", "the answer carries no tee_signature")
    assert results(error.checks) == {"proof": "fail"} | dict.fromkeys(STEPS[1:], "skip")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        pytest.param(altered(model="gpt-5"), "from model 'gpt-5', expected 'gpt-5-mini'", id="other-model"),
        pytest.param(
            altered("tool-call", finish_reason="stop"),
            "finish_reason 'stop' with 1 tool calls: the signature covers either text or tool calls",
            id="tool-calls-under-another-finish-reason",
        ),
        pytest.param(
            altered(finish_reason="tool_calls"), "finish_reason 'tool_calls' with 0 tool calls", id="no-tool-calls"
        ),
        pytest.param(altered(tool_calls=(CALL,)), "'stop' with 1 tool calls", id="tool-call-added-to-text"),
        pytest.param(altered(proof={"request_hash": "ab"}), "tee_request_hash is not 64", id="short-request-hash"),
        pytest.param(
            altered(proof={"request_hash": "0x" + "ab" * 31}), "tee_request_hash is not 64 lower-case hex", id="prefix"
        ),
        pytest.param(
            altered(proof={"output_hash": "AB" * 32}), "tee_output_hash is not 64 lower-case hex digits", id="capitals"
        ),
        pytest.param(
            altered(proof={"timestamp": -1}), "tee_timestamp -1 is no time, expected unix", id="negative-time"
        ),
        pytest.param(altered(proof={"timestamp": 2**53}), "is no time, expected unix seconds", id="time-beyond-floats"),
        pytest.param(altered(proof={"signature": "ü"}), "tee_signature is not strict base64", id="not-ascii"),
        pytest.param(altered(proof={"signature": "AA=A"}), "tee_signature is not strict base64", id="bad-padding"),
        pytest.param(altered(proof={"signature": "QUJD"}), "has 3 bytes, expected 256", id="short-signature"),
        pytest.param(altered(proof={"signature": ""}), "has 0 bytes, expected 256", id="empty-signature"),
    ],
)
def test_broken_shape(broken: Exchange, said: str) -> None:
    """The rules that close what the signature leaves open (docs/protocol.md §4)."""
    refused(broken, "shape", said)


def test_signature_in_loose_base64() -> None:
    """Line breaks, and bits after the end, would make two texts of one signature."""
    signature = proof_of(exchange().completion).signature
    for loose in (signature[:76] + "\n" + signature[76:], " " + signature, signature.rstrip("=")):
        refused(altered(proof={"signature": loose}), "shape", "tee_signature is not strict base64")
    assert signature.endswith("A==")
    refused(altered(proof={"signature": signature[:-3] + "B=="}), "shape", "canonical base64")


@pytest.mark.parametrize("tools", [None, [], [{"type": "function", "function": {"name": "other"}}]])
def test_call_of_a_tool_that_was_not_sent_is_proven(tools: object) -> None:
    """Its name is in the signed hash: the model made it up, and no enclave lied."""
    request = {"model": "m", "messages": []} | ({} if tools is None else {"tools": tools})
    hashed = canonical_request(CHAT_PATH, request)
    proof = sign(hashed, canonical_output("", (CALL,), "tool_calls"))
    called = Completion(text="", tool_calls=(CALL,), finish_reason="tool_calls", model="m", proof=proof)
    verified = verify_exchange(replace(signed_exchange(request, {}), completion=called))
    assert verified.proof == proof


def test_request_that_is_not_json() -> None:
    """That is our own mistake (or that of a saved file), not the enclave's."""
    with pytest.raises(InvalidRequestError, match="The request is not JSON"):
        verify_exchange(exchange(wire=b"{"))


def test_proof_of_another_enclave() -> None:
    other = "0x" + "ab" * 32
    refused(altered(proof={"tee_id": other}), "enclave", f"signed by '{other}', expected {ENCLAVE.tee_id}")


def test_key_that_does_not_belong_to_the_id() -> None:
    """The id is the hash of the key, so the registry cannot be half right."""
    swapped = replace(ENCLAVE, public_key=enclave().public_key)
    refused(exchange(enclave=swapped), "enclave", f"the key's id is {enclave().tee_id}, expected {ENCLAVE.tee_id}")


@pytest.mark.parametrize("spell", [str.upper, lambda text: text.removeprefix("0x")])
def test_tee_id_is_compared_whatever_its_spelling(spell: Any) -> None:
    verify_exchange(altered(proof={"tee_id": spell(ENCLAVE.tee_id)}))


@pytest.mark.parametrize("name", ["plain", "stream-text", "tool-call", "completion"])
def test_other_request(name: str) -> None:
    """One byte of the prompt that differs is another request."""
    wire = CAPTURES[name].wire.replace(b"hi", b"ho").replace(b"tokens=12", b"tokens=13").replace(b"rich", b"rack")
    refused(exchange(name, wire=wire), "request-hash", "the enclave signed another request: hash .*, expected ")


def test_request_to_another_path_is_not_proven() -> None:
    """The same bytes sent to the other endpoint are hashed by other rules."""
    refused(exchange(path="/v1/completions"), "request-hash", "signed another request")
    refused(
        exchange(path="/v1/images"), "request-hash", "the request has no hash: No request to '/v1/images' is signed"
    )


def test_exchanged_answers() -> None:
    """A genuine answer to another request proves nothing about ours."""
    other = exchange(OTHER).completion
    refused(exchange(completion=other), "request-hash", "signed another request")


def test_changed_text_is_not_proven() -> None:
    said = "the enclave signed another answer: hash 47118c94.*, expected "
    refused(altered(text="Hello from the fake upstream!"), "output-hash", said)


@pytest.mark.parametrize("name", ["tool-call", "stream-tool-calls-openai"])
@pytest.mark.parametrize("change", [{"arguments": '{"city": "Rome"}'}, {"id": "call_0"}])
def test_other_tool_call(name: str, change: dict[str, str]) -> None:
    """Arguments and ids are signed; an agent would act on them."""
    first, *others = exchange(name).completion.tool_calls
    broken = altered(name, tool_calls=(replace(first, **change), *others))
    refused(broken, "output-hash", "the enclave signed another answer")


def test_tool_calls_in_another_order() -> None:
    calls = exchange("tool-calls-parallel").completion.tool_calls
    refused(altered("tool-calls-parallel", tool_calls=calls[::-1]), "output-hash", "signed another answer")


def test_text_that_cannot_be_hashed() -> None:
    refused(altered(text="\ud800"), "output-hash", "a lone surrogate")


def test_signature_of_a_longer_key() -> None:
    """RSA-4096 may be: that this is not one is the key's verdict, not the shape's."""
    refused(altered(proof={"signature": b64encode(bytes(512)).decode()}), "signature", "not by the key of enclave")


def test_signature_of_another_answer() -> None:
    """Hashes that fit, under a signature that is genuine and about something else."""
    signature = proof_of(exchange(OTHER).completion).signature
    broken = altered(proof={"signature": signature})
    refused(broken, "signature", f"the signature is not by the key of enclave {ENCLAVE.tee_id}")


def test_changed_time_is_not_proven() -> None:
    at = proof_of(exchange().completion).timestamp
    refused(altered(proof={"timestamp": at + 1}), "signature", "not by the key of enclave")


def test_signature_with_another_salt_length() -> None:
    """Exactly the enclave's parameters, not whatever verifies somehow."""
    whole = signed_exchange({"model": "m", "messages": []}, {"model": "m", "messages": [], "temperature": 0.0})
    verify_exchange(whole)
    loose = sign(b'{"messages": [], "model": "m", "temperature": 0.0}', b"hello", salt_length=20)
    broken = replace(whole, completion=replace(whole.completion, proof=loose))
    refused(broken, "signature", "not by the key of enclave")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (b"nonsense", "the enclave's key is not a DER public key"),
        (
            ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(
                Encoding.DER, PublicFormat.SubjectPublicKeyInfo
            ),
            "the enclave's key is not an RSA key",
        ),
        (UNKNOWN_ALGORITHM, "the enclave's key is not a DER public key"),
    ],
    ids=["nonsense", "elliptic", "unknown-algorithm"],
)  # fmt: skip
def test_key_that_is_no_rsa_key(key: bytes, said: str) -> None:
    named = altered(proof={"tee_id": tee_id_of(key)})
    broken = replace(named, enclave=replace(ENCLAVE, tee_id=tee_id_of(key), public_key=key))
    refused(broken, "signature", said)
