"""
What a call costs, what a receipt tells of it, and what ledgers and sums need of a receipt; `receipt` has the rest.

Three words are never mixed up:

| word | who says it | how far it can be believed |
| --- | --- | --- |
| reported | the gateway, in the receipt's `cost` | not signed; nobody checks it |
| estimated | `estimate`: token counts by the price list | neither counts nor prices are signed, and prices change |
| settled | the chain, for a whole payment | what was really taken; one payment serves many calls |

Above all of them stands what was *authorized*: no more can be taken. Budgets count that, and none of the others.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Annotated, NamedTuple

from og_integrations._members import CLAIMED
from og_integrations.models._catalogue import PRICES_AS_OF, info_of
from og_integrations.networks import OPG, format_opg

_MILLION = 1_000_000
_MOST_CHARACTERS = 300
_DOLLARS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,24})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptCost:
    """
    The member `cost` holds what the gateway says the call cost, where it says so. Nothing of it is signed.

    It is shown and summed, and no budget believes it: what was authorized is the bound of what can be taken.
    """

    cost_opg: Annotated[str | None, CLAIMED, "The cost in base units of OPG, decimal."] = None
    cost_usd: Annotated[str | None, CLAIMED, "The same in US dollars, decimal."] = None
    opg_price_usd: Annotated[str | None, CLAIMED, "The price of one OPG that the gateway reckoned with."] = None
    contradiction: Annotated[str | None, CLAIMED, "Why the three cannot all be true; null if they agree."] = None

    @property
    def base_units(self) -> int | None:
        """Return the cost in base units of OPG; None if it is not told, or told in a form that is no number."""
        text = self.cost_opg or ""
        return int(text) if text.isascii() and text.isdecimal() and len(text) <= 40 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptEstimate:
    """
    The member `estimate` holds what the call costs by a price list, where the gateway does not say.

    It is the client's own sum of token counts that nobody signs, and of prices that may have changed.
    """

    cost_usd: Annotated[str | None, CLAIMED, "US dollars, decimal."] = None
    cost_opg: Annotated[str | None, CLAIMED, "The same in base units of OPG; null without a price of OPG."] = None
    opg_price_usd: Annotated[str | None, CLAIMED, "The price of one OPG that was given (OG_OPG_PRICE_USD)."] = None
    prices: Annotated[str | None, CLAIMED, "When the price list was current, year and month."] = None

    @property
    def told(self) -> str:
        """Return the estimate for a person, in OPG where its price was given."""
        units = whole(self.cost_opg)
        opg = "" if units is None else f"{format_opg(units)} OPG, "
        return f"{opg}{self.cost_usd} US dollars as estimated by the price list"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptUsage:
    """The member `usage` holds the token counts that the gateway reports; nothing of it is signed."""

    prompt_tokens: Annotated[int | None, CLAIMED, "Tokens of the request."] = None
    completion_tokens: Annotated[int | None, CLAIMED, "Tokens of the answer."] = None


def estimate(model: str, tokens_in: int, tokens_out: int, opg_price_usd: Decimal | None) -> ReceiptEstimate | None:
    """
    Return an estimate for an answer, None for a model whose prices are not known.

    `cost_usd` is exact for the list's prices; `cost_opg` (base units, rounded up as gateways do) needs `opg_price_usd`,
    US dollars for one OPG, and is None without it.
    """
    info = info_of(model)
    # Token counts of pictures have another price, which the usage does not tell apart.
    if info.usd_in is None or info.usd_out is None or info.usd_image_out is not None:
        return None
    if not 0 <= tokens_in < 2**53 or not 0 <= tokens_out < 2**53:
        return None
    usd = (tokens_in * info.usd_in + tokens_out * info.usd_out) / _MILLION
    opg = price = None
    if opg_price_usd is not None:
        opg = str(int((usd / opg_price_usd * OPG).to_integral_value(rounding=ROUND_CEILING)))
        price = format(opg_price_usd, "f")
    return ReceiptEstimate(
        cost_usd=format(usd.normalize(), "f"), cost_opg=opg, opg_price_usd=price, prices=PRICES_AS_OF
    )


def reported_cost(receipt: Mapping[str, object]) -> int | None:
    """Return what `receipt`, as plain JSON, says its call cost, in base units of OPG; None if it does not say."""
    cost = receipt.get("cost")
    text = cost.get("cost_opg") if isinstance(cost, dict) else None
    return ReceiptCost(cost_opg=text).base_units if isinstance(text, str) else None


def estimated_cost(receipt: Mapping[str, object]) -> int | None:
    """Return what `receipt`, as plain JSON, estimates that its call cost, in base units of OPG; None without one."""
    return whole(_object(receipt.get("estimate")).get("cost_opg"))


class Facts(NamedTuple):
    """
    The facts are what ledgers and sums need of a receipt, read from plain JSON that may hold anything.

    `wallet` is the payer in lower case; `authorized`, `reported` and `estimated` are base units of OPG, the last two
    None where nobody said or could tell what the call cost. `estimated_usd` is the estimate in US dollars, which is
    there without a price of OPG, too.
    """

    status: str
    model: str
    wallet: str | None
    payment: str | None
    request: str | None
    authorized: int
    tokens_in: int
    tokens_out: int
    reported: int | None
    estimated: int | None
    estimated_usd: Decimal | None


def model_in(receipt: Mapping[str, object]) -> str:
    """Return the model that `receipt`, as plain JSON, is about; empty if it names none."""
    return _text(receipt.get("model")) or ""


def facts_of(receipt: Mapping[str, object]) -> Facts:
    """Return the facts of `receipt`; what is missing or unreadable there is None, 0 or empty."""
    payment, usage = (_object(receipt.get(name)) for name in ("payment", "usage"))
    wallet = _text(payment.get("payer"))
    return Facts(
        status=_text(receipt.get("status")) or "",
        model=model_in(receipt),
        wallet=wallet.lower() if wallet else None,
        payment=_text(payment.get("payment_hash")),
        request=_text(receipt.get("request_hash")),
        authorized=whole(payment.get("max_amount")) or 0,
        tokens_in=whole(usage.get("prompt_tokens")) or 0,
        tokens_out=whole(usage.get("completion_tokens")) or 0,
        reported=reported_cost(receipt),
        estimated=estimated_cost(receipt),
        estimated_usd=_dollars(_object(receipt.get("estimate")).get("cost_usd")),
    )


class Particulars(NamedTuple):
    """
    The particulars are what a page shows of a receipt besides its facts, read from plain JSON that may hold anything.

    `began` and `signed` are whatever stands there for a time, `gas` is in wei.
    """

    kind: str
    began: object
    signed: object
    trust: str | None
    endpoint: str | None
    measurement: str | None
    sender: str | None
    transaction: str | None
    gas: int


def particulars_of(receipt: Mapping[str, object]) -> Particulars:
    """Return the particulars of `receipt`; what is missing or unreadable there is None, 0 or empty."""
    enclave, onchain = (_object(receipt.get(name)) for name in ("enclave", "onchain"))
    return Particulars(
        kind=_text(receipt.get("kind")) or "",
        began=receipt.get("created"),
        signed=receipt.get("tee_timestamp"),
        trust=_text(receipt.get("trust")),
        endpoint=_text(enclave.get("endpoint")),
        measurement=_text(enclave.get("pcr_hash")),
        sender=_text(onchain.get("sender")) or None,
        transaction=_text(onchain.get("transaction_hash")) or None,
        gas=whole(onchain.get("cost")) or 0,
    )


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _dollars(value: object) -> Decimal | None:
    # Decimal takes "NaN" and "1e999999", which no sum survives, and a stranger's receipt may hold them.
    return Decimal(value) if isinstance(value, str) and _DOLLARS.fullmatch(value) else None


def _text(value: object) -> str | None:
    # PostgreSQL takes no NUL in a text, and a stranger's receipt may hold one.
    return value.replace("\0", "")[:_MOST_CHARACTERS] if isinstance(value, str) else None


def whole(value: object) -> int | None:
    """Return `value`, a count or an amount as text, as a number; None for anything else, or what no uint256 holds."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 78:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**256 else None
