"""
This module says what a call costs, in three words that are never mixed up.

| word | who says it | how far it can be believed |
| --- | --- | --- |
| reported | the gateway, in the receipt's `cost` | not signed; nobody checks it |
| estimated | this module: token counts by the price list | neither counts nor prices are signed, and prices change |
| settled | the chain, for a whole payment | what was really taken; one payment serves many calls |

Above all of them stands what was *authorized*: no more can be taken. Budgets count that, and never the first two.
"""

from decimal import ROUND_CEILING, Decimal

from og_integrations._accounting import ReceiptEstimate
from og_integrations.models import model_info
from og_integrations.networks import OPG

PRICES_AS_OF = "2026-09"
"""When the prices of the catalogue (`og_integrations.models`) were current."""
_MILLION = 1_000_000


def estimate(model: str, tokens_in: int, tokens_out: int, opg_price_usd: Decimal | None) -> ReceiptEstimate | None:
    """
    Return an estimate for an answer, None for a model whose prices are not known.

    `cost_usd` is exact for the list's prices; `cost_opg` (base units, rounded up as gateways do) needs `opg_price_usd`,
    US dollars for one OPG, and is None without it.
    """
    info = model_info(model)
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
