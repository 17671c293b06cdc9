"""
Payment flows driven by hand: a wallet without chain, calls without sockets, a gateway in ten lines.
"""

import asyncio
import base64
import itertools
import json
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

from eth_keys.datatypes import PrivateKey

from og_integrations.networks import BASE
from og_integrations.protocol.chain import _eip712 as eip712
from og_integrations.protocol.payment._budget import Budget, BudgetStore, Lock
from og_integrations.protocol.payment._flow import Effect, Paid, Pause, PaymentContext, Send, Sign, payment_flow
from og_integrations.protocol.payment._memory import MemoryStore
from og_integrations.protocol.payment._policy import SpendPolicy
from og_integrations.protocol.payment._session import PaymentSession, SessionCache
from og_integrations.protocol.payment._x402 import PAYMENT_REQUIRED, PAYMENT_SIGNATURE, SESSION, ReplyHead, Route
from tests.protocol.captures import PAYMENTS

NOW = 1_795_178_000
AMOUNT = 10**17
CANCELLATIONS: tuple[BaseException, ...] = (asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit())
SIGNATURE = "0x" + "5a" * 65
"""Has the form of one, and is nobody's."""
SESSION_ID = "1f0c2b7e-5e55-4d1a-9a52-0d5a3b1e7c11"
ROUTE = Route(
    payer="0x08c86B491A37C2FFC25072a17c7A97EF2D0357dd",
    network="eip155:8453",
    tee_id="0x" + "7e" * 32,
    path="/v1/chat/completions",
    host="enclave.example",
)
REQUIREMENT: dict[str, Any] = {
    "scheme": "upto",
    "network": "eip155:8453",
    "asset": BASE.token,
    "amount": str(AMOUNT),
    "payTo": "0x9deEBB5D1b22e4a6e027977CeAd13893A7E4cC1a",
    "maxTimeoutSeconds": 300,
    "extra": {
        "name": "OpenGradient",
        "version": "1",
        "assetTransferMethod": "permit2",
        "facilitatorAddress": "0xfdC9A10526e3535770E5Ad8aa082165A2D49d4E3",
    },
}


def wallet(clock: Callable[[], int] = lambda: NOW, **policy: Any) -> PaymentContext:
    """Return a new wallet with the given spend policy on Base."""
    budget = new_budget(SpendPolicy.of(policy).on(BASE), lock=threading.Lock())
    sessions = SessionCache(budget, threading.Lock())
    return PaymentContext(sessions=sessions, clock=clock, nonce=itertools.count(1).__next__)


def new_budget(
    policy: SpendPolicy,
    store: BudgetStore | None = None,
    *,
    network: str | None = None,
    new_id: Callable[[], str] | None = None,
    lock: Lock | None = None,
) -> Budget:
    """Return a budget, in memory unless there is a `store`; its entries are "1", "2", … unless `new_id` names them."""
    lock = threading.RLock() if lock is None else lock
    counted = map(str, itertools.count(1)).__next__
    return Budget(policy, lock, store=store or MemoryStore(lock), new_id=new_id or counted, network=network)


def current_session(purse: PaymentContext) -> PaymentSession | None:
    """Return what the next call on `ROUTE` would share."""
    return purse.sessions._current.get(ROUTE)


def offer(*requirements: object, error: str = "Payment required", **members: Any) -> ReplyHead:
    """Return a 402 that offers `requirements`, the usual one by default."""
    content = {"x402Version": 2, "error": error, "accepts": list(requirements) or [REQUIREMENT]} | members
    header = base64.b64encode(json.dumps(content).encode()).decode()
    return ReplyHead(402, [("Content-Type", "application/json"), (PAYMENT_REQUIRED, header)])


def answer(status: int = 200, session: str | None = SESSION_ID) -> ReplyHead:
    """Return an answer after payment, with a session."""
    return ReplyHead(status, [] if session is None else [(SESSION.lower(), session)])


EXPIRED = ReplyHead(402, [("Content-Type", "application/json")])


@cache
def _key() -> PrivateKey:
    return PrivateKey(bytes.fromhex(PAYMENTS[0]["private_key"].removeprefix("0x")))


def _signed(effect: Sign) -> str:
    signature = _key().sign_msg_hash(eip712.digest(effect.typed_data))
    return "0x" + signature.to_bytes()[:64].hex() + f"{signature.v + 27:02x}"


class Call:
    """One call in slow motion: `effect` is what its flow wants, `paid` its result."""

    def __init__(self, wallet: PaymentContext, route: Route = ROUTE) -> None:
        self.flow = payment_flow(wallet, route)
        self.paid: Paid | None = None
        self.effect: Effect | None = None
        self.signatures = 0
        self.signature = ""
        self._advance(lambda: next(self.flow))

    def _advance(self, step: Callable[[], Effect]) -> None:
        self.effect = None
        try:
            self.effect = step()
        except StopIteration as stop:
            self.paid = stop.value

    def reply(self, head: ReplyHead) -> "Call":
        """The gateway answers."""
        assert isinstance(self.effect, Send)
        self._advance(lambda: self.flow.send(head))
        return self

    def sign(self, signature: str | None = None) -> "Call":
        """The wallet signs, unless another call had it sign; a `signature` is what it returns instead of its own."""
        if isinstance(self.effect, Pause):
            self._advance(lambda: self.flow.send(None))
        if isinstance(self.effect, Sign):
            self.signatures += 1
            self.signature = _signed(self.effect) if signature is None else signature
            self._advance(lambda: self.flow.send(self.signature))
        return self

    def fail(self, error: BaseException) -> "Call":
        """What the flow wants fails with `error`."""
        self._advance(lambda: self.flow.throw(error))
        return self

    @property
    def headers(self) -> dict[str, str]:
        """The payment headers of the request that the flow wants sent."""
        assert isinstance(self.effect, Send)
        return {name: secret.reveal() for name, secret in self.effect.headers.items()}

    @property
    def payment(self) -> str:
        """The payment that the flow wants sent."""
        return self.headers[PAYMENT_SIGNATURE]


def signing(wallet: PaymentContext, count: int) -> list[Call]:
    """Return cold calls that came at the same time: all share one authorization, not yet signed."""
    calls = [Call(wallet) for _ in range(count)]
    return [call.reply(offer()) for call in calls]


def paying(wallet: PaymentContext) -> Call:
    """Return a cold call whose signed request is about to be answered."""
    return Call(wallet).reply(offer()).sign()


def warm(wallet: PaymentContext) -> PaymentContext:
    """Return `wallet` after one answered call: it has a session."""
    paying(wallet).reply(answer())
    return wallet
