"""Offers in, payments out, settlement back."""

import base64
import json
from typing import Any

import pytest

from og_integrations.errors import MalformedOfferError, MalformedReplyError, SchemeRefusedError
from og_integrations.networks import UPTO_PROXY_ADDRESS
from og_integrations.protocol._redact import Secret
from og_integrations.protocol.payment import schemes
from og_integrations.protocol.payment._x402 import (
    MAX_HEADER_CHARS,
    PAYMENT_REQUIRED,
    SESSION,
    PaymentRequirements,
    ReplyHead,
    ToldSettlement,
    decode_header,
    encode_header,
    encode_payment,
    parse_payment_required,
    parse_requirements,
    parse_session,
    parse_settlement,
    refusal_reason,
    session_ref,
)
from tests.protocol.captures import CAPTURES
from tests.protocol.flows import AMOUNT, NOW, REQUIREMENT, ROUTE, SESSION_ID, SIGNATURE, offer

EXTRA = REQUIREMENT["extra"]


def changed(**members: Any) -> dict[str, Any]:
    """Return the usual requirement with some members replaced, or left out where None."""
    return {name: value for name, value in (REQUIREMENT | members).items() if value is not None}


def head(header: str, status: int = 402) -> ReplyHead:
    return ReplyHead(status, [(PAYMENT_REQUIRED, header)])


def encoded(content: object) -> str:
    return base64.b64encode(json.dumps(content).encode()).decode()


def authorize(requirement: PaymentRequirements) -> Any:
    return schemes.authorize(requirement, payer=ROUTE.payer.lower(), now=NOW, nonce=1)


def test_offer_is_read() -> None:
    found = parse_payment_required(offer(REQUIREMENT, changed(scheme="exact"), error="pay me"))
    assert found is not None
    assert (found.error, [raw["scheme"] for raw in found.accepts]) == ("pay me", ["upto", "exact"])


def test_offer_in_any_case_of_the_header_name() -> None:
    (pair,) = [pair for pair in offer().headers if pair[0] == PAYMENT_REQUIRED]
    assert parse_payment_required(ReplyHead(402, [(pair[0].lower(), pair[1])]))


def test_402_without_header_is_no_offer() -> None:
    """That is how the gateway says that a session is over."""
    assert parse_payment_required(ReplyHead(402, [("Content-Type", "application/json")])) is None


def test_error_that_is_no_text_is_left_out() -> None:
    found = parse_payment_required(offer(error=7))  # type: ignore[arg-type]
    assert found is not None
    assert found.error == ""


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", "A payment header is not base64 of JSON"),
        ("%%%", "not base64 of JSON"),
        ("żółć", "not base64 of JSON"),
        ("eyJ4", "not base64 of JSON"),
        (base64.b64encode(b"\xff\xfe\xff").decode(), "not base64 of JSON"),
        (encoded({})[:-1], "not base64 of JSON"),
        (" " + encoded({}), "not base64 of JSON"),
        (base64.b64encode(b"[" * 20_000).decode(), "not base64 of JSON"),
        (encoded([]), "holds a JSON list, expected an object"),
        (encoded("text"), "holds a JSON str, expected an object"),
        ("A" * (MAX_HEADER_CHARS + 1), "has 65537 characters, expected at most 65536"),
        (encoded({"accepts": [REQUIREMENT]}), "x402Version None and 1 ways to pay; expected version 2 and 1 to 32"),
        (encoded({"x402Version": 1, "accepts": [REQUIREMENT]}), "x402Version 1 and 1 ways"),
        (encoded({"x402Version": "2", "accepts": [REQUIREMENT]}), "x402Version '2'"),
        (encoded({"x402Version": 2}), "no ways to pay"),
        (encoded({"x402Version": 2, "accepts": []}), "and 0 ways to pay"),
        (encoded({"x402Version": 2, "accepts": REQUIREMENT}), "no ways to pay"),
        (encoded({"x402Version": 2, "accepts": [REQUIREMENT] * 33}), "33 ways to pay"),
        (encoded({"x402Version": 2, "accepts": [REQUIREMENT, "upto"]}), "something else than objects"),
    ],
)
def test_malformed_offer(header: str, said: str) -> None:
    with pytest.raises(MalformedOfferError, match=said):
        parse_payment_required(head(header))


def test_two_offers_are_none() -> None:
    """Who reads the first and who reads the last would sign different things."""
    two = ReplyHead(402, [*offer().headers, (PAYMENT_REQUIRED.lower(), encoded({}))])
    with pytest.raises(MalformedOfferError, match="has 2 PAYMENT-REQUIRED headers, expected one"):
        parse_payment_required(two)


def test_requirement_is_read() -> None:
    found = parse_requirements(REQUIREMENT)
    assert (found.amount, found.chain_id, found.max_timeout_seconds) == (AMOUNT, 8453, 300)
    assert found.raw is REQUIREMENT


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"scheme": None}, "scheme None on network"),
        ({"scheme": ["upto"]}, r"scheme \['upto'\]"),
        ({"network": None}, "on network None, expected texts"),
        ({"network": "base"}, "network is 'base', expected eip155:"),
        ({"network": "eip155:"}, "expected eip155"),
        ({"network": "eip155:08453"}, "expected eip155"),
        ({"network": "eip155:8453\n"}, "expected eip155"),
        ({"network": "eip155:٨٤"}, "expected eip155"),
        ({"asset": None}, "asset is a NoneType, expected an address"),
        ({"asset": 7}, "asset is a int, expected an address"),
        ({"asset": "0xFbC2"}, "'0xFbC2' is no address"),
        ({"payTo": {}}, "payTo is a dict, expected an address"),
        ({"payTo": "bob.eth"}, "'bob.eth' is no address"),
        ({"amount": None}, "'None' is no uint256"),
        ({"amount": 100}, "'100' is no uint256; expected plain decimal digits as text"),
        ({"amount": 1e17}, "is no uint256"),
        ({"amount": "0.1"}, "'0.1' is no uint256"),
        ({"amount": "-1"}, "'-1' is no uint256"),
        ({"amount": "1e17"}, "is no uint256"),
        ({"amount": " 1"}, "is no uint256"),
        ({"amount": "0"}, "amount is 0, expected 1 to 2"),
        ({"amount": str(2**160)}, "expected 1 to 2.160-1 base units"),
        ({"amount": str(2**256)}, "is no uint256"),
        ({"maxTimeoutSeconds": None}, "maxTimeoutSeconds is None, expected seconds as a number"),
        ({"maxTimeoutSeconds": 0}, "maxTimeoutSeconds is 0"),
        ({"maxTimeoutSeconds": -300}, "maxTimeoutSeconds is -300"),
        ({"maxTimeoutSeconds": 300.0}, "maxTimeoutSeconds is 300.0"),
        ({"maxTimeoutSeconds": "300"}, "maxTimeoutSeconds is '300'"),
        ({"maxTimeoutSeconds": True}, "maxTimeoutSeconds is True"),
        ({"maxTimeoutSeconds": 2**40}, "maxTimeoutSeconds is 1099511627776"),
        ({"extra": "permit2"}, "expected seconds as a number|extra"),
        ({"extra": EXTRA | {"facilitatorAddress": 7}}, "facilitatorAddress is a int, expected an address"),
        ({"extra": EXTRA | {"facilitatorAddress": "0x"}}, "'0x' is no address"),
    ],
)
def test_malformed_requirement(members: dict[str, Any], said: str) -> None:
    with pytest.raises(MalformedOfferError, match=said):
        parse_requirements(changed(**members))


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"extra": None}, "The `upto` offer names no facilitatorAddress; anybody could settle it"),
        ({"extra": {"assetTransferMethod": "permit2"}}, "names no facilitatorAddress"),
        ({"scheme": "subscription"}, r"asks for scheme 'subscription', expected one of \['upto'\]"),
        ({"scheme": "UPTO"}, "asks for scheme 'UPTO'"),
        ({"scheme": "exact"}, r"does not pay any other\. Nothing was signed"),
    ],
)
def test_requirement_that_cannot_be_signed(members: dict[str, Any], said: str) -> None:
    with pytest.raises((MalformedOfferError, SchemeRefusedError), match=said):
        authorize(parse_requirements(changed(**members)))


def test_authorization_of_upto() -> None:
    """Exactly the offer's amount and payee; times around now, addresses in EIP-55."""
    found = authorize(parse_requirements(changed(payTo=REQUIREMENT["payTo"].lower())))
    assert (found.amount, found.deadline, found.valid_after) == (AMOUNT, NOW + 300, NOW - 600)
    assert (found.spender, found.pay_to, found.payer) == (UPTO_PROXY_ADDRESS, REQUIREMENT["payTo"], ROUTE.payer)
    assert found.facilitator == EXTRA["facilitatorAddress"]


def test_payment_leaves_out_what_may_be_left_out() -> None:
    """The real `resource` and `extensions` have 2 kB; the offer itself is echoed verbatim."""
    raw = changed(unknown={"z": 1, "a": [None, True, "ż"]}, asset=REQUIREMENT["asset"].lower())
    requirement = parse_requirements(raw)
    header = encode_payment(requirement, authorize(requirement).payload(SIGNATURE))
    content = decode_header(header)
    assert set(content) == {"x402Version", "payload", "accepted"}
    assert json.dumps(content["accepted"]) == json.dumps(raw)
    assert header.isascii()


def test_header_round_trip() -> None:
    value = {"a": [1, "ż", None]}
    assert decode_header(encode_header(value)) == value
    assert len(encode_header(value)) % 4 == 0


@pytest.mark.parametrize("session", [SESSION_ID, "a", "A.b_c~d-9", "x" * 256])
def test_session_id(session: str) -> None:
    assert parse_session(ReplyHead(200, [(SESSION.lower(), session)])) == Secret(session)
    assert parse_session(ReplyHead(200, [])) is None


@pytest.mark.parametrize("session", ["", " ", "a b", "a\r\nX: y", "é", "x" * 257, "a,b"])
def test_malformed_session_id(session: str) -> None:
    """It goes into a header of ours again, and the message does not quote it."""
    with pytest.raises(MalformedReplyError, match="X-Upto-Session header is malformed") as caught:
        parse_session(ReplyHead(200, [(SESSION, session)]))
    assert session.strip() == "" or session not in str(caught.value)


@pytest.mark.parametrize("name", [SESSION, "x-processing-hash", "PAYMENT-RESPONSE", "X-Settlement-Tx-Hash"])
def test_duplicate_header_is_refused(name: str) -> None:
    """Even if both say the same."""
    doubled = ReplyHead(200, [(name, "a"), (name.upper(), "a")])
    read = parse_session if name == SESSION else parse_settlement
    with pytest.raises(MalformedReplyError, match=f"has 2 {name} headers, expected at most one"):
        read(doubled)


def test_session_ref_tells_sessions_apart_and_nothing_else() -> None:
    """The id is a bearer credential; 16 hex of its hash are shown."""
    assert len(session_ref(SESSION_ID)) == 16
    assert session_ref("a") == "ca978112ca1bbdca"


def test_settlement_of_a_captured_individual_call() -> None:
    assert parse_settlement(ReplyHead(200, CAPTURES["individual"].headers)) == ToldSettlement(
        transaction_hash="0x4ec8fabfd94fedaec9c9787eb535c4d20933e8227fc5f2cae23f8cee3eb509c1",
        blob_id="RGNzpvL8Yp1VGW3O8aXinsYnwaEr7BBgQu7SWxANsL0",
    )


@pytest.mark.parametrize("name", ["plain", "private"])
def test_settlement_of_other_modes_is_not_told(name: str) -> None:
    assert parse_settlement(ReplyHead(200, CAPTURES[name].headers)) == ToldSettlement()


HASH = "0x" + "aB" * 32


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("X-Processing-Hash", HASH)], {"payment_hash": HASH, "payment_hash_source": "x-processing-hash"}),
        (
            [("payment-response", encoded({"transaction": HASH}))],
            {"payment_hash": HASH, "payment_hash_source": "PAYMENT-RESPONSE"},
        ),
        ([("x-processing-hash", HASH[2:])], {}),
        ([("payment-response", encoded({"transaction": ""}))], {}),
        ([("payment-response", encoded({"transaction": 7}))], {}),
        ([("x-processing-hash", "")], {}),
    ],
)
def test_payment_hash_that_a_gateway_sends(headers: list[tuple[str, str]], expected: dict[str, str]) -> None:
    assert parse_settlement(ReplyHead(200, headers)) == ToldSettlement(**expected)


def test_payment_response_that_is_none() -> None:
    with pytest.raises(MalformedReplyError, match="PAYMENT-RESPONSE header is not base64 of JSON"):
        parse_settlement(ReplyHead(200, [("PAYMENT-RESPONSE", "?")]))


def responding(**members: object) -> ReplyHead:
    return ReplyHead(402, [("PAYMENT-RESPONSE", encode_header(dict(members)))])


def test_reason_of_a_refusal_without_an_offer_is_read() -> None:
    assert refusal_reason(responding(success=False, errorReason="deposit_failed")) == "deposit_failed"
    for head in (ReplyHead(402, []), ReplyHead(402, [("PAYMENT-RESPONSE", "?")]), responding(errorReason=5)):
        assert refusal_reason(head) == ""


def test_charged_amount_is_told_as_far_as_it_is_one() -> None:
    assert parse_settlement(responding(extra={"chargedAmount": "2500"})).charged == "2500"
    others: list[object] = [{"chargedAmount": 2500}, {"chargedAmount": "-1"}, [], None]
    for extra in others:
        assert parse_settlement(responding(extra=extra)).charged is None


def test_scheme_that_is_not_paid_says_what_it_would_lock() -> None:
    """Allowing it in a policy could not help, so that is not advised."""
    channel = {
        "receiverAuthorizer": "0x3252b7b65e50B54508974dB8d634134B0bd6be90",
        "withdrawDelay": 900,
        "minDeposit": str(5 * 10**17),
        "assetTransferMethod": "permit2",
    }
    requirements = parse_requirements(REQUIREMENT | {"scheme": "batch-settlement", "extra": channel})
    with pytest.raises(SchemeRefusedError) as caught:
        authorize(requirements)
    assert "locks a deposit of at least 0.5 OPG in the contract 0x4020074e9dF2ce1deE5A9C1b5c3f541D02a10003" in str(
        caught.value
    )
    assert "up to 900 s after it is asked back. Ask another gateway, or update." in str(caught.value)
    assert "SpendPolicy" not in str(caught.value)
