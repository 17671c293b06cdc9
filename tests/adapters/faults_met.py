"""What both adapters' tables of faults know of a fault, and how they name what came of it."""

from typing import Any

from og_integrations.devnet import Devnet
from og_integrations.devnet.faults._sealing import SEALING_FAULTS
from og_integrations.errors import OpenGradientError
from tests.adapters.langchain.fault_table import ATTESTED, OK

WITH_TOOLS = frozenset({"altered_tool_call"})
WITH_SESSION = frozenset({"expired_session", "moving_margin"})
INDIVIDUAL = frozenset({"settlement_failure"})
"""Faults that need something to lie about: a tool call, an open session, a published answer."""
INVENTED = "unoffered_tool"
"""Spoils nothing: an agent that gets it in each step is told so each time; see `test_tool_calls.py`."""
SIGNED_EACH = WITH_SESSION | {"foreign_session", "missing_session"}
"""Faults under which a call finds no session of the one before it, or finds it gone, and signs its own payment."""


SEALED = frozenset(fault.name for fault in SEALING_FAULTS)
"""Faults of the sealed channel."""


def generation_of(fault: str) -> str:
    """Return which gateways a fault is met at: sealed requests are for newer ones."""
    return "newest" if fault in SEALED else "april"


def channel_to(net: Devnet, fault: str) -> dict[str, Any]:
    """Return the options of a model that may meet `fault`."""
    if fault not in SEALED:
        return {}
    return {"channel": "ohttp", "relay_url": net.relay_url, "relay_token": net.relay_token}


PATIENCE, STALLED_PATIENCE = 20.0, 1.5
"""Timeouts of clients in seconds: for whatever is answered, also on a busy machine, and for what never is."""


def stalls(fault: str) -> bool:
    """Whether nothing comes under `fault`, so that few seconds of patience are enough."""
    return fault.startswith(("stall", "silent"))


def options_under(fault: str, net: Devnet) -> dict[str, Any]:
    """Return the options without which a model would not notice `fault`."""
    if fault not in ATTESTED:
        return {}
    # A nonce would make two requests that ask the same differ, so that only its own fault has one.
    return {"enclave_policy": net.enclave_policy(), "nonce": "auto" if fault == "nonce_ignored" else "off"}


def outcome_of(error: OpenGradientError | None) -> str:
    """Return the name of the error's class in `og_integrations.errors`, or `OK`."""
    if error is None:
        return OK
    return next(cls.__name__ for cls in type(error).__mro__ if cls.__module__ == "og_integrations.errors")
