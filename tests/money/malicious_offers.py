"""Named ways in which a gateway can try to get more money than the owner allowed, or to whom it should not go."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from og_integrations import errors
from og_integrations.devnet import Fault
from og_integrations.devnet._http import Reply
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._x402 import PAYMENT_REQUIRED

STRANGER = "0x000000000000000000000000000000000baDC0DE"
YEARS = 10 * 365 * 86_400


@dataclass(frozen=True)
class Case:
    """A fault (of the catalogue, if it is a name), the error it must become, and what only its message says."""

    name: str
    fault: str | Fault
    error: type[errors.OpenGradientError]
    says: str
    signatures: int = 0
    policy: dict[str, Any] = field(default_factory=dict)


def offering(**members: object) -> Fault:
    """Return a fault that overwrites members of the offered way to pay."""

    def change(content: JsonObject) -> JsonObject:
        changed = copy.deepcopy(content)
        for way in changed["accepts"]:
            way.update(members)
        return changed

    return Fault(name="offering", about="the offer is altered", offer=change)


def _headers(change: Callable[[str], list[str]]) -> Fault:
    def replace(reply: Reply) -> Reply:
        reply.headers = [
            (name, item)
            for name, value in reply.headers
            for item in (change(value) if name == PAYMENT_REQUIRED else [value])
        ]
        return reply

    return Fault(name="headers", about="the offer's header is altered", offer_reply=replace)


def _many(content: JsonObject) -> JsonObject:
    return content | {"accepts": content["accepts"] * 33}


def _redirect(reply: Reply) -> Reply:
    return Reply(status=307, headers=[("Location", "https://127.0.0.1:9/stolen"), ("Content-Type", "text/html")])


_MALFORMED = errors.MalformedOfferError
_OVER = errors.BudgetExceededError
CASES = [
    Case("other asset", "other_asset", errors.AssetRefusedError, "asks for asset 0x8335"),
    Case("other network", "other_network", errors.NetworkRefusedError, "asks for network eip155:1,"),
    Case("network with a leading zero", offering(network="eip155:08453"), _MALFORMED, "The network is 'eip155:08453'"),
    Case("scheme exact", "other_scheme", errors.SchemeRefusedError, "asks for scheme exact"),
    Case("unknown scheme", offering(scheme="everything"), errors.SchemeRefusedError, "asks for scheme everything"),
    Case("payTo of a stranger", "other_pay_to", errors.PayeeRefusedError, "asks for payTo 0x0000.*payment addresses"),
    Case("payTo is no address", offering(payTo="0xabc"), _MALFORMED, "'0xabc' is no address"),
    Case("payTo missing", offering(payTo=None), _MALFORMED, "payTo is a NoneType"),
    Case(
        "facilitator not allowed",
        "other_facilitator",
        errors.PayeeRefusedError,
        "asks for facilitator 0x0000.*expected one of",
        policy={"facilitators": ["0x" + "11" * 20]},
    ),
    Case("facilitator missing", "no_facilitator", _MALFORMED, "names no facilitatorAddress"),
    Case("above the cap", "offer_over_cap", _OVER, r"asks for 50 OPG, expected at most 5 OPG \(SpendPolicy.max_per"),
    Case("all there is", "offer_of_everything", _OVER, r"asks for 1461501637330902918203684832716\.\d+ OPG"),
    Case("above the total", "slow_answer", _OVER, r"0\.05 OPG \(SpendPolicy.total\)", policy={"total": "0.05"}),
    Case("above the hour", "slow_answer", _OVER, r"0\.06 OPG \(SpendPolicy.per_hour\)", policy={"per_hour": "0.06"}),
    Case("above the day", "slow_answer", _OVER, r"0\.07 OPG \(SpendPolicy.per_day\)", policy={"per_day": "0.07"}),
    Case("uint160 overflow", offering(amount=str(2**160)), _MALFORMED, f"amount is {2**160}, expected 1 to"),
    Case("uint256 overflow", offering(amount=str(2**256)), _MALFORMED, f"'{str(2**256)[:78]}' is no uint256"),
    Case("negative amount", offering(amount="-1"), _MALFORMED, "'-1' is no uint256"),
    Case("scientific notation", offering(amount="1e17"), _MALFORMED, "'1e17' is no uint256"),
    Case("leading zeros", offering(amount="00100"), _MALFORMED, "'00100' is no uint256"),
    Case("fractional amount", "fractional_offer", _MALFORMED, "'0.1' is no uint256"),
    Case("digits of another script", offering(amount="\u0661\u0660"), _MALFORMED, "'\u0661\u0660' is no uint256"),
    Case("amount as a number", offering(amount=10**17), _MALFORMED, f"'{10**17}' is no uint256"),
    Case("amount zero", "offer_of_nothing", _MALFORMED, "amount is 0, expected"),
    Case("valid for years", offering(maxTimeoutSeconds=YEARS), errors.OfferRefusedError, f"valid for {YEARS} s"),
    Case("validity as text", offering(maxTimeoutSeconds="300"), _MALFORMED, "maxTimeoutSeconds is '300'"),
    Case("valid until yesterday", offering(maxTimeoutSeconds=-86_400), _MALFORMED, "maxTimeoutSeconds is -86400"),
    Case("merged headers", _headers(lambda value: [f"{value}, {value}"]), _MALFORMED, "header is not base64 of JSON"),
    Case("two headers", "duplicate_offer", _MALFORMED, "has 2 PAYMENT-REQUIRED headers"),
    Case("giant header", "giant_offer", _MALFORMED, r"header has \d{5} characters"),
    Case("header is a list", _headers(lambda _: ["W10="]), _MALFORMED, "holds a JSON list"),
    Case("no header", "missing_offer", _MALFORMED, "asks for payment without an offer"),
    Case("33 ways to pay", Fault(name="many", about="", offer=_many), _MALFORMED, "x402Version 2 and 33 ways"),
    Case("no way to pay", "empty_offer", _MALFORMED, "x402Version 2 and 0 ways"),
    Case("old version", "old_offer", _MALFORMED, "x402Version 1 and 1 ways"),
    Case(
        "redirect before payment",
        Fault(name="redirected_offer", about="", offer_reply=_redirect),
        errors.GatewayError,
        "HTTP 307.*never followed",
    ),
    Case("second 402 after payment", "second_402", errors.PaymentRefusedError, "invalid_permit2_signature", 1),
    Case(
        "other word after payment",
        Fault(name="refused", about="", refuse_payment="pay again, please"),
        errors.PaymentRefusedError,
        "'pay again, please'. It was not signed again",
        1,
    ),
    Case("redirect after payment", "redirect", errors.GatewayError, "HTTP 307", 1),
    Case("error after payment", "server_error_after_payment", errors.PaymentInDoubtError, "HTTP 500 to a signed", 1),
    Case("two sessions", "duplicate_session", errors.PaymentInDoubtError, "2 X-Upto-Session headers", 1),
    Case("session that is none", "malformed_session", errors.PaymentInDoubtError, "Session header is malformed", 1),
]
