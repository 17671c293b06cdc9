"""The receipt: one plain dict about one call, from which a stranger recomputes what was paid."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from og_integrations.client import _call as recording
from og_integrations.client._call import CallState, Target
from og_integrations.client._engine import Engine
from og_integrations.client.channels._channel import destination_of
from og_integrations.errors import MalformedOfferError, VerificationError
from og_integrations.protocol._receipt import rebuild_authorization
from og_integrations.protocol.chat._wire import Completion
from og_integrations.protocol.payment._session import PaymentSession
from og_integrations.protocol.payment._x402 import SESSION, ReplyHead, SettlementMode, encode_header, session_ref
from og_integrations.protocol.proof._enclave import Enclave
from og_integrations.protocol.proof._verification import STEPS, VerifiedExchange, verify_exchange
from og_integrations.receipt import Check, Receipt, ReceiptPayment, flat_fields
from tests.protocol.captures import CAPTURES, ENCLAVE, SIGNED, TOOL_CALLS, Capture, altered, each, exchange, proof_of
from tests.protocol.flows import AMOUNT, NOW, ROUTE, SESSION_ID, SIGNATURE, paying, wallet

MEMBERS = [
    "version", "kind", "status", "trust", "hash_rule", "nonce", "channel", "model", "created", "presentation",
    "request_hash", "output_hash", "tee_timestamp", "tee_signature", "tee_id", "enclave", "sealing", "payment", "cost",
    "estimate", "usage", "checks", "unsigned",
]  # fmt: skip
CALL = Engine(network="devnet", private_key="0x" + "11" * 32).prepare_chat(
    "openai/gpt-5-mini", [{"role": "user", "content": "hi"}]
)


def session_of(head: ReplyHead) -> PaymentSession:
    """Return the session of a call that was answered with `head`."""
    paid = paying(wallet()).reply(head).paid
    assert paid is not None
    assert isinstance(paid.grant, PaymentSession)
    return paid.grant


def target(enclave: Enclave) -> Target:
    destination = destination_of(enclave)
    return Target(
        enclave=enclave,
        build=enclave.pcr_hash,
        route=ROUTE,
        url=enclave.endpoint,
        destination=destination,
        whom="the gateway",
        channel=destination.channel,
    )


def record(*headers: tuple[str, str], mode: SettlementMode = SettlementMode.BATCH_HASHED, **members: Any) -> CallState:
    head = ReplyHead(200, [(SESSION, SESSION_ID), *headers])
    known: dict[str, Any] = {
        "call": replace(CALL, created=NOW, settlement_mode=mode),
        "target": target(replace(ENCLAVE, certificate=b"certificate", pcr_hash="0xab")),
        "grant": session_of(head),
        "head": head,
    }
    return CallState(**(known | members))


def build_receipt(
    made: CallState, *, verified: VerifiedExchange | None = None, checks: Sequence[Check] = ()
) -> dict[str, Any]:
    """Return the receipt in the form in which it is handed out."""
    return recording.build_receipt(made, verified=verified, checks=checks).to_json()


def with_settlement(**settlement: Any) -> VerifiedExchange:
    completion = replace(exchange().completion, settlement=settlement)
    return verify_exchange(exchange(completion=completion))


def assert_plain(value: object) -> None:
    """Check that `value` holds only what every serializer and checkpointer keeps."""
    if isinstance(value, dict):
        assert all(type(key) is str for key in value)
        for item in value.values():
            assert_plain(item)
    elif isinstance(value, list):
        for item in value:
            assert_plain(item)
    else:
        assert value is None or type(value) in (str, bool, int)
        assert not isinstance(value, int) or abs(value) < 2**63


@each(SIGNED)
def test_receipt_of_a_captured_call_is_plain(capture: Capture) -> None:
    """Plain JSON with the same members always, whatever was answered."""
    made = record(*capture.headers)
    receipt = build_receipt(made, verified=verify_exchange(exchange(capture)))
    assert list(receipt) == MEMBERS
    assert_plain(receipt)
    assert json.loads(json.dumps(receipt)) == receipt


def test_verified_receipt_holds_the_proof() -> None:
    receipt = build_receipt(record(), verified=verify_exchange(exchange()))
    proof = proof_of(exchange().completion)
    assert receipt["status"] == "verified"
    assert (receipt["request_hash"], receipt["output_hash"]) == (proof.request_hash, proof.output_hash)
    assert (receipt["tee_signature"], receipt["tee_timestamp"]) == (proof.signature, proof.timestamp)
    assert [check["id"] for check in receipt["checks"]] == list(STEPS)
    assert (receipt["hash_rule"], receipt["kind"], receipt["trust"], receipt["channel"]) == (
        "april", "chat", "tee-id", "pinned",
    )  # fmt: skip


def test_failed_call_leaves_an_unverified_receipt() -> None:
    """With the checks as far as they went, and without anything that was not proven."""
    with pytest.raises(VerificationError) as caught:
        verify_exchange(altered(text="forged"))
    receipt = build_receipt(record(), checks=caught.value.checks)
    assert (receipt["status"], receipt["tee_signature"], receipt["unsigned"]) == ("unverified", None, [])
    assert receipt["tee_id"] == ENCLAVE.tee_id
    assert {check["id"]: check["result"] for check in receipt["checks"]}["output-hash"] == "fail"


def test_call_that_got_nowhere_has_a_receipt_too() -> None:
    receipt = build_receipt(record(target=None, grant=None, head=None))
    assert list(receipt) == MEMBERS
    assert (receipt["enclave"], receipt["payment"], receipt["tee_id"], receipt["checks"]) == (None, None, None, [])


def test_enclave_is_described() -> None:
    enclave = build_receipt(record())["enclave"]
    assert enclave["public_key"] == ENCLAVE.public_key.hex()
    assert enclave["certificate_sha256"] == hashlib.sha256(b"certificate").hexdigest()
    assert (enclave["pcr_hash"], enclave["source"]) == ("0xab", "registry")


def test_enclave_by_url_has_no_certificate() -> None:
    made = record(target=target(replace(ENCLAVE, source="endpoint")))
    enclave = build_receipt(made)["enclave"]
    assert (enclave["certificate_sha256"], enclave["pcr_hash"], enclave["source"]) == (None, None, "endpoint")


def test_payment_hash_is_recomputed_from_the_receipt_alone() -> None:
    """Every signed field stands in it; the digest ties the call to the chain."""
    made = record()
    receipt = json.loads(json.dumps(build_receipt(made)))
    assert made.grant is not None
    assert Receipt(receipt).authorization == made.grant.authorization
    assert "0x" + Receipt(receipt).authorization.digest().hex() == receipt["payment"]["payment_hash"]
    assert receipt["payment"]["payment_hash_source"] == "eip712"


def test_payment_is_described() -> None:
    payment = build_receipt(record(mode=SettlementMode.PRIVATE))["payment"]
    assert (payment["max_amount"], payment["scheme"], payment["network"]) == (str(AMOUNT), "upto", "eip155:8453")
    assert (payment["valid_after"], payment["deadline"]) == (NOW - 600, NOW + 300)
    assert (payment["settlement_mode"], payment["transaction_hash"], payment["blob_id"]) == ("private", None, None)


@pytest.mark.parametrize("facilitator", [None, "", "0x12"])
def test_payment_without_facilitator_is_no_authorization_to_rebuild(facilitator: str | None) -> None:
    """Another scheme signs other fields; nothing wrong is computed from them."""
    receipt = build_receipt(record())
    payment = Receipt(receipt | {"payment": receipt["payment"] | {"facilitator": facilitator}}).payment
    assert payment is not None
    with pytest.raises(MalformedOfferError, match=r"is no address|lacks a signed field"):
        rebuild_authorization(payment)


@pytest.mark.parametrize("payment", [ReceiptPayment(), ReceiptPayment(network="eip155:1", deadline=1, valid_after=0)])
def test_receipt_without_payment_has_no_authorization(payment: ReceiptPayment) -> None:
    with pytest.raises(MalformedOfferError, match="lacks a signed field"):
        rebuild_authorization(payment)


def test_transaction_hash_of_an_individual_call() -> None:
    receipt = build_receipt(record(*CAPTURES["individual"].headers), verified=verify_exchange(exchange("individual")))
    assert receipt["payment"]["transaction_hash"].startswith("0x4ec8fabf")
    assert receipt["payment"]["blob_id"] == "RGNzpvL8Yp1VGW3O8aXinsYnwaEr7BBgQu7SWxANsL0"


def test_transaction_hash_of_a_streamed_individual_call() -> None:
    receipt = build_receipt(record(), verified=verify_exchange(exchange("individual-stream")))
    assert receipt["payment"]["transaction_hash"].startswith("0xc9feae03")
    assert "settlement" in receipt["unsigned"]


HASH = "0x" + "ab" * 32


@pytest.mark.parametrize(
    ("header", "source"),
    [
        (("x-processing-hash", HASH), "x-processing-hash"),
        (("payment-response", encode_header({"transaction": HASH})), "PAYMENT-RESPONSE"),
    ],
)
def test_payment_hash_that_the_gateway_sent(header: tuple[str, str], source: str) -> None:
    payment = build_receipt(record(header))["payment"]
    assert (payment["payment_hash"], payment["payment_hash_source"]) == (HASH, source)


@pytest.mark.parametrize(
    "secret", ["0x" + "5a" * 65, "1f0c2b7e-5e55-4d1a-9a52-0d5a3b1e7c11", "eyJ4NDAyVmVyc2lvbiI6" * 20]
)
def test_header_that_is_no_hash_does_not_get_into_a_receipt(secret: str) -> None:
    """A gateway could send back there what it was paid with, or whose session it is."""
    headers = [
        ("x-processing-hash", secret),
        ("payment-response", encode_header({"transaction": secret})),
        ("x-settlement-tx-hash", secret),
        ("x-settlement-walrus-blob-id", secret),
    ]
    streamed = {"data_settlement_transaction_hash": secret, "data_settlement_blob_id": secret}
    whole = exchange()
    completion = replace(whole.completion, settlement=streamed)
    receipt = build_receipt(record(*headers), verified=verify_exchange(replace(whole, completion=completion)))
    assert secret not in json.dumps(receipt)
    payment = receipt["payment"]
    assert (payment["payment_hash_source"], payment["transaction_hash"], payment["blob_id"]) == ("eip712", None, None)


@pytest.mark.parametrize(
    "headers",
    [[("payment-response", "?")], [("x-processing-hash", "a"), ("X-Processing-Hash", "b")]],
)
def test_broken_settlement_headers_do_not_stop_a_receipt(headers: list[tuple[str, str]]) -> None:
    """It is also made while a cancellation or an error of the call is on its way."""
    assert build_receipt(record(*headers))["payment"]["payment_hash_source"] == "eip712"


@pytest.mark.parametrize("value", [2**80, 1.5, ["0x"], {"a": 1}, True, None])
def test_settlement_that_is_no_text_is_left_out(value: object) -> None:
    verified = with_settlement(data_settlement_transaction_hash=value, data_settlement_blob_id=value)
    receipt = build_receipt(record(), verified=verified)
    assert_plain(receipt)
    assert (receipt["payment"]["transaction_hash"], receipt["payment"]["blob_id"]) == (None, None)


def test_unsigned_fields_are_named() -> None:
    """What the signature does not cover, as far as this answer holds it."""
    streamed = build_receipt(record(), verified=verify_exchange(exchange("stream-text")))
    assert streamed["unsigned"] == ["finish_reason", "model", "usage"]
    whole = build_receipt(record(), verified=verify_exchange(exchange("tool-call-with-text")))
    assert whole["unsigned"] == ["content", "created", "finish_reason", "id", "model", "usage"]


@each(TOOL_CALLS)
def test_text_beside_tool_calls_is_unsigned(capture: Capture) -> None:
    completion: Completion = exchange(capture).completion
    receipt = build_receipt(record(), verified=verify_exchange(exchange(capture)))
    assert ("content" in receipt["unsigned"]) == bool(completion.text)


def test_session_and_payment_are_in_no_receipt() -> None:
    """The id spends the payer's money; its hash tells sessions apart."""
    made = record()
    assert isinstance(made.grant, PaymentSession)
    assert made.grant.header is not None
    receipt = build_receipt(made, verified=verify_exchange(exchange()))
    assert receipt["payment"]["session_ref"] == session_ref(SESSION_ID)
    shown = json.dumps(receipt) + repr(made) + repr(made.grant)
    for secret in (SESSION_ID, SIGNATURE, made.grant.header.reveal()):
        assert secret not in shown


def test_flat_fields_are_those_of_the_published_adapter() -> None:
    receipt = build_receipt(record(), verified=verify_exchange(exchange()))
    flat = flat_fields(receipt)
    assert set(flat) == {"payment_hash", "transaction_hash", "tee_signature", "tee_id", "tee_timestamp"}
    assert flat["payment_hash"] == receipt["payment"]["payment_hash"]
    assert flat["tee_signature"] == receipt["tee_signature"]
    assert flat_fields({}) == dict.fromkeys(flat)


def test_presentation_is_handed_on() -> None:
    assert build_receipt(record(presentation={"kind": "cut_at_stop"}))["presentation"] == {"kind": "cut_at_stop"}
