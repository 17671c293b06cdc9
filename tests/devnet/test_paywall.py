"""The paywall: offers, refusals, sessions, charges (docs/protocol.md §3; wire/01, 11, 14, 15, 19, 20)."""

import base64
import json
from typing import Any

import pytest

from og_integrations.devnet import Devnet
from tests.devnet.bare_caller import CHAT, COMPLETION, OPG_TOKEN, UPTO_PROXY, Raw, ask, encoded, offer_of, raw_caller

STRANGER = "0x000000000000000000000000000000000000dEaD"


def test_unpaid_request_gets_offer_as_captured(net: Devnet, raw: Raw) -> None:
    """Header set, doubled Content-Type, body and content of the 402 are those of wire/01."""
    reply = raw.post(ask("hi"))
    assert (reply.status_code, reply.reason_phrase, reply.content) == (402, "Payment Required", b"{}")
    names = [name for name, _ in reply.headers.raw if name != b"Transfer-Encoding"]  # h11 puts that one last
    assert names == [b"Server", b"Date", b"Connection", b"Content-Type", b"PAYMENT-REQUIRED", b"Content-Type"]
    assert reply.headers["Transfer-Encoding"] == "chunked"
    offer = offer_of(reply)
    assert list(offer) == ["x402Version", "error", "resource", "accepts", "extensions"]
    assert offer["error"] == "Payment required"
    assert offer["resource"]["url"] == net.enclaves[0].endpoint.replace("https", "http") + CHAT
    assert offer["accepts"] == [
        {
            "scheme": "upto",
            "network": "eip155:8453",
            "asset": OPG_TOKEN,
            "amount": "100000000000000000",
            "payTo": net.enclaves[0].payment_address,
            "maxTimeoutSeconds": 300,
            "extra": {
                "name": "OpenGradient",
                "version": "1",
                "assetTransferMethod": "permit2",
                "facilitatorAddress": "0xfdC9A10526e3535770E5Ad8aa082165A2D49d4E3",
            },
        }
    ]


@pytest.mark.parametrize("body", [b"{bad json", b"", json.dumps({"model": "nope"}).encode()])
def test_unpaid_bad_request_is_asked_to_pay_first(raw: Raw, body: bytes) -> None:
    assert raw.post(body).status_code == 402


def test_browser_gets_heavy_page_without_offer(raw: Raw) -> None:
    reply = raw.post(ask("browser"), Accept="text/html", User_Agent="Mozilla/5.0")
    assert reply.status_code == 402
    assert len(reply.content) == 3_068_974
    assert "PAYMENT-REQUIRED" not in reply.headers


TAMPERED = [
    ({"amount": "1"}, "invalid_exact_evm_payload_amount_mismatch"),
    ({"nonce": "12345"}, "invalid_permit2_signature"),
    ({"deadline": "1000"}, "permit2_deadline_expired"),
    ({"to": STRANGER}, "invalid_permit2_recipient_mismatch"),
    ({"facilitator": STRANGER}, "upto_facilitator_mismatch"),
    ({"token": STRANGER}, "permit2_token_mismatch"),
    ({"spender": STRANGER}, "invalid_permit2_spender"),
    ({"validAfter": str(2**40)}, "permit2_not_yet_valid"),
    ({"nonce": "-1"}, "invalid_upto_evm_payload"),
    ({"amount": "1e17"}, "invalid_upto_evm_payload"),
    ({"to": "0x12"}, "invalid_upto_evm_payload"),
    ({"spender": UPTO_PROXY.lower()}, "invalid_upto_evm_payload"),
    ({"token": OPG_TOKEN.lower()}, "invalid_upto_evm_payload"),
]


@pytest.mark.parametrize(("tampered", "word"), TAMPERED, ids=lambda value: str(value)[:40])
def test_payment_altered_after_signing_is_refused(net: Devnet, raw: Raw, tampered: dict[str, Any], word: str) -> None:
    assert raw.refusal(raw.payment(tampered=tampered)) == word
    assert net.stats().payments == 0


@pytest.mark.parametrize(
    ("change", "value", "word"),
    [
        ("scheme", "exact", "No matching payment requirements"),
        ("network", "eip155:84532", "No matching payment requirements"),
        ("amount", "5", "No matching payment requirements"),
        ("asset", OPG_TOKEN.lower(), "No matching payment requirements"),
        ("payTo", STRANGER, "No matching payment requirements"),
    ],
)
def test_accepted_must_be_offer_verbatim(raw: Raw, change: str, value: str, word: str) -> None:
    way = raw.offer()
    payment = raw.payment(way)
    content = {"x402Version": 2, "payload": _payload_of(payment), "accepted": way | {change: value}}
    assert raw.refusal(encoded(content)) == word


def _payload_of(payment: str) -> dict[str, Any]:
    return dict(json.loads(base64.b64decode(payment))["payload"])


@pytest.mark.parametrize("header", ["!!!notbase64", "e30", "bm90IGpzb24=", "W10=", encoded({"x402Version": 1})])
def test_unreadable_payment_counts_as_none(raw: Raw, header: str) -> None:
    assert raw.refusal(header) == "Payment required"


@pytest.mark.parametrize(
    "signature",
    ["0x", "0x12", "0xzz", "0x" + "00" * 65, "0x" + "ff" * 65, "0x" + "11" * 64 + "00", "0x" + "11" * 64 + "1b"],
)
def test_signature_that_is_none_is_refused(raw: Raw, signature: str) -> None:
    way = raw.offer()
    payload = _payload_of(raw.payment(way)) | {"signature": signature}
    content = {"x402Version": 2, "payload": payload, "accepted": way}
    assert raw.refusal(encoded(content)) == "invalid_permit2_signature"


@pytest.mark.parametrize("member", ["from", "to", "signature"])
def test_payload_that_is_written_otherwise_is_refused(raw: Raw, member: str) -> None:
    """Addresses in lower case and a signature without 0x mean the same, but not to the facilitator."""
    way = raw.offer()
    payload = _payload_of(raw.payment(way))
    permit = payload["permit2Authorization"]
    if member == "signature":
        payload[member] = payload[member][2:]
    else:
        home = permit if member == "from" else permit["witness"]
        home[member] = home[member].lower()
    assert raw.refusal(encoded({"x402Version": 2, "payload": payload, "accepted": way})) == "invalid_upto_evm_payload"


def test_signature_of_somebody_else_is_refused(net: Devnet, raw: Raw) -> None:
    other = net.new_wallet()
    way = raw.offer()
    payload = _payload_of(raw.payment(way, wallet=other))
    payload["permit2Authorization"]["from"] = net.wallet
    content = {"x402Version": 2, "payload": payload, "accepted": way}
    assert raw.refusal(encoded(content)) == "invalid_permit2_signature"


def test_wallet_without_allowance_is_refused(net: Devnet, raw: Raw) -> None:
    poor = net.new_wallet(allowance=10**17 - 1)
    assert raw.refusal(raw.payment(wallet=poor)) == "permit2_allowance_required"


def test_wallet_with_less_than_cap_is_refused(net: Devnet, raw: Raw) -> None:
    """The cap counts, not the cost of the answer."""
    poor = net.new_wallet(opg=10**17 - 1)
    assert raw.refusal(raw.payment(wallet=poor)) == "insufficient_balance"


@pytest.mark.parametrize(("left", "accepted"), [(5, False), (6, True)])
def test_deadline_must_be_six_seconds_away(left: int, accepted: bool) -> None:
    with Devnet(clock=lambda: 1_800_000_000.0) as net, raw_caller(net) as raw:
        payment = raw.payment(deadline=1_800_000_000 + left)
        reply = raw.post(ask("hi"), PAYMENT_SIGNATURE=payment)
        assert (reply.status_code == 200) is accepted


def test_payment_opens_session_and_session_serves_on(net: Devnet, raw: Raw) -> None:
    session = raw.session()
    for _ in range(3):
        reply = raw.post(ask("hi"), X_Upto_Session=session)
        assert (reply.status_code, reply.headers["X-Upto-Session"]) == (200, session)
    stats = net.stats()
    assert (stats.requests, stats.payments, stats.sessions, stats.charges) == (5, 1, 1, 4)
    assert (stats.connections, stats.handshakes) == (1, 1)


def test_identical_payment_texts_join_one_session(net: Devnet, raw: Raw) -> None:
    payment = raw.payment()
    sessions = {raw.post(ask("hi"), PAYMENT_SIGNATURE=payment).headers["X-Upto-Session"] for _ in range(4)}
    assert len(sessions) == 1
    assert (net.stats().signatures, net.stats().sessions) == (1, 1)
    (seen,) = net.journal.authorizations.values()
    assert seen.times == 4


def test_reencoded_payment_opens_second_session(net: Devnet, raw: Raw) -> None:
    """The key of a session is the text, not its meaning."""
    payment = raw.payment()
    again = encoded({**json.loads(base64.b64decode(payment)), "resource": None})
    first, second = (raw.post(ask("hi"), PAYMENT_SIGNATURE=text).headers["X-Upto-Session"] for text in (payment, again))
    assert first != second
    assert net.stats().sessions == 2


@pytest.mark.parametrize("session", ["00000000-0000-0000-0000-000000000000", "dead"])
@pytest.mark.parametrize("stream", [False, True])
def test_unknown_session_is_expired(raw: Raw, session: str, stream: bool) -> None:
    reply = raw.post(ask("hi", stream=stream), X_Upto_Session=session)
    _assert_expired(reply)


def _assert_expired(reply: Any) -> None:
    assert (reply.status_code, reply.content) == (402, b'{"error": "Session expired or exhausted"}')
    assert reply.headers["Transfer-Encoding"] == "chunked"
    assert reply.headers.get_list("Content-Type") == ["application/json"]
    assert not {"PAYMENT-REQUIRED", "X-Upto-Session"} & set(reply.headers)


def test_session_is_bound_to_its_path(raw: Raw) -> None:
    chat, completion = raw.session(CHAT), raw.session(COMPLETION)
    _assert_expired(raw.post({"model": "gpt-5-mini", "prompt": "hi"}, COMPLETION, X_Upto_Session=chat))
    _assert_expired(raw.post(ask("hi"), CHAT, X_Upto_Session=completion))
    assert raw.post(ask("hi"), CHAT, X_Upto_Session=chat).status_code == 200


def test_session_is_bound_to_its_gateway() -> None:
    with Devnet(enclaves=2) as net, raw_caller(net, 0) as first, raw_caller(net, 1) as second:
        _assert_expired(second.post(ask("hi"), X_Upto_Session=first.session()))


def test_session_is_looked_at_before_payment(raw: Raw) -> None:
    _assert_expired(raw.post(ask("hi"), X_Upto_Session="dead", PAYMENT_SIGNATURE=raw.payment()))


def test_idle_end_slides_with_charged_requests(net: Devnet, raw: Raw) -> None:
    session = raw.session()
    for _ in range(3):
        net.advance(99)
        assert raw.post(ask("hi"), X_Upto_Session=session).status_code == 200
    net.advance(60)
    assert raw.post(b"{bad json", X_Upto_Session=session).status_code == 400
    net.advance(40)  # the refused request was not charged, so it did not count as use
    _assert_expired(raw.post(ask("hi"), X_Upto_Session=session))


def test_session_never_charged_is_never_reaped(net: Devnet, raw: Raw) -> None:
    reply = raw.post(b"{bad json", PAYMENT_SIGNATURE=raw.payment())
    assert reply.status_code == 400
    net.advance(100_000)
    assert raw.post(ask("hi"), X_Upto_Session=reply.headers["X-Upto-Session"]).status_code == 200


def test_resuming_ignores_deadline_but_settlement_reverts(net: Devnet, raw: Raw) -> None:
    session = raw.session()
    for _ in range(5):
        net.advance(90)
        assert raw.post(ask("hi"), X_Upto_Session=session).status_code == 200
    (settlement,) = net.settle_all()
    assert settlement.error is not None
    assert settlement.error.startswith("SignatureExpired")
    assert net.stats().settled == 0


def test_charge_over_cap_is_served_free() -> None:
    with Devnet(cap=1) as net, raw_caller(net) as raw:
        session = raw.session()
        assert raw.post(ask("still served"), X_Upto_Session=session).status_code == 200
        assert [charge.refused for charge in net.journal.charges] == [True, True]
        assert net.settle_all() == []


def test_exhausted_session_is_expired() -> None:
    with Devnet() as probe, raw_caller(probe) as raw:
        raw.session()
        cost = probe.stats().charged
    with Devnet(cap=cost) as net, raw_caller(net) as raw:
        session = raw.session()
        _assert_expired(raw.post(ask("hi"), X_Upto_Session=session))
        assert net.stats().settled == cost


def test_settlement_moves_what_was_spent_and_uses_nonce(net: Devnet, raw: Raw) -> None:
    before = net.chain.balance(net.wallet)
    raw.session()
    (settlement,) = net.settle_all()
    assert settlement.amount == net.stats().charged > 0
    assert net.chain.balance(net.wallet) == before - settlement.amount
    assert net.chain.balance(net.enclaves[0].payment_address) == settlement.amount
    assert net.chain.nonce_is_used(net.wallet, settlement.nonce)


def test_payment_whose_nonce_was_settled_is_refused(net: Devnet, raw: Raw) -> None:
    payment = raw.payment()
    raw.post(ask("hi"), PAYMENT_SIGNATURE=payment)
    net.settle_all()
    assert raw.refusal(payment) == "permit2_invalid_nonce"


def test_zero_cost_session_settles_nothing(net: Devnet, raw: Raw) -> None:
    raw.post(b"{bad json", PAYMENT_SIGNATURE=raw.payment())
    assert net.settle_all() == []


def test_journal_names_digest_of_what_was_signed(net: Devnet, raw: Raw) -> None:
    raw.session()
    (seen,) = net.journal.authorizations.values()
    assert (seen.payer, seen.amount, seen.refused) == (net.wallet, 10**17, None)
    assert seen.digest is not None
    assert len(seen.digest) == 66
    assert seen.session == net.journal.sessions[0]
