"""One worker of a fleet: a process that asks a devnet, from a wallet and a store that it shares with others."""

import os
import signal
from collections.abc import Callable
from typing import Any

from og_integrations.client import Client
from og_integrations.client import _sealed_sessions as sealed_sessions
from og_integrations.errors import OpenGradientError
from og_integrations.protocol.payment._session import SessionCache
from og_integrations.protocol.payment._sharing import SessionBoard

MODEL = "openai/gpt-5.4-mini"
POINTS = ("took the turn", "claimed", "signed", "published", "answered", "named")
"""Where a worker can be killed: right after what the name says."""


def work(results: Any, network: Any, key: str, store: str, calls: int, dies: str, turn: int) -> None:
    """Ask `calls` times; put the receipts' status and payment, or what was raised, into `results`."""
    vars(sealed_sessions)["TURN"] = turn
    _die_at(dies)
    with Client(private_key=key, network=network, spend_policy={"store": store}) as client:
        for number in range(calls):
            try:
                receipt = client.chat(MODEL, [{"role": "user", "content": f"call {number} of {os.getpid()}"}]).receipt
            except OpenGradientError as exc:
                results.put((type(exc).__name__, str(exc)))
                continue
            results.put((receipt["status"], receipt["payment"]["payment_hash"]))


def _die_at(point: str) -> None:
    places: dict[str, tuple[type, str]] = {
        "took the turn": (SessionBoard, "take"),
        "claimed": (SessionCache, "claimed"),
        "signed": (SessionCache, "signed"),
        "published": (SessionBoard, "publish"),
        "answered": (SessionCache, "ended"),
        "named": (SessionBoard, "tell_named"),
    }
    if point in places:
        kind, name = places[point]
        setattr(kind, name, _then_die(getattr(kind, name)))


def _then_die(step: Callable[..., Any]) -> Callable[..., Any]:
    def dying(*args: Any, **options: Any) -> Any:
        step(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    return dying
