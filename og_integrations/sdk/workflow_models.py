"""This module has the published workflows as functions, which read returns as fractions, whatever their names say."""

from dataclasses import dataclass

from og_integrations.onchain import WORKFLOW_MODELS
from og_integrations.sdk._alpha import Alpha
from og_integrations.sdk._errors import CallFailedError, OldErrors
from og_integrations.sdk.alphasense import _alpha

__all__ = [
    "WorkflowModelOutput",
    "read_btc_1_hour_price_forecast",
    "read_eth_1_hour_price_forecast",
    "read_eth_usdt_one_hour_volatility_forecast",
    "read_sol_1_hour_price_forecast",
    "read_sui_1_hour_price_forecast",
    "read_sui_usdt_30_min_price_forecast",
    "read_sui_usdt_6_hour_price_forecast",
]


@dataclass
class WorkflowModelOutput:
    """This is the result in per cent, where to look it up, and how old it is in seconds (None: too old to tell)."""

    result: str
    block_explorer_link: str = ""
    age: int | None = None


def read_eth_usdt_one_hour_volatility_forecast(alpha: Alpha | None = None) -> WorkflowModelOutput:
    """Return the volatility of ETH in the next hour."""
    return _read("eth_usdt_one_hour_volatility", alpha)


def read_btc_1_hour_price_forecast(alpha: Alpha | None = None) -> WorkflowModelOutput:
    """Return the return of BTC in the next hour."""
    return _read("btc_1_hour", alpha)


def read_eth_1_hour_price_forecast(alpha: Alpha | None = None) -> WorkflowModelOutput:
    """Return the return of ETH in the next hour."""
    return _read("eth_1_hour", alpha)


def read_sol_1_hour_price_forecast(alpha: Alpha | None = None) -> WorkflowModelOutput:
    """Return the return of SOL in the next hour."""
    return _read("sol_1_hour", alpha)


def read_sui_1_hour_price_forecast(alpha: Alpha | None = None) -> WorkflowModelOutput:
    """Return the return of SUI in the next hour."""
    return _read("sui_1_hour", alpha)


def read_sui_usdt_30_min_price_forecast(alpha: Alpha | None = None) -> WorkflowModelOutput:
    """Return the return of SUI in the next half hour."""
    return _read("sui_usdt_30_min", alpha)


def read_sui_usdt_6_hour_price_forecast(alpha: Alpha | None = None) -> WorkflowModelOutput:
    """Return the return of SUI in the next six hours."""
    return _read("sui_usdt_6_hour", alpha)


def _read(name: str, alpha: Alpha | None) -> WorkflowModelOutput:
    model = WORKFLOW_MODELS[name]
    with OldErrors():
        found = _alpha(alpha).onchain.read_workflow(model.address)
    values = found.values.get(model.output)
    while isinstance(values, list) and len(values) == 1:
        (values,) = values
    if values is None or isinstance(values, list):
        raise CallFailedError(f"The workflow {model.address} has no single number {model.output}.")
    link = f"https://explorer.opengradient.ai/address/{model.address}"
    return WorkflowModelOutput(format(float(str(values)), ".10%"), link, found.age)
