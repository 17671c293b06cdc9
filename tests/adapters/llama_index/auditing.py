"""
Counting three times: what `collect_receipts` holds, what LlamaIndex's events say, what the devnet saw.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMCompletionEndEvent
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.event_handlers import BaseEventHandler

from og_integrations import collect_receipts
from og_integrations.client import Receipts
from og_integrations.devnet import Devnet, Wallet
from og_integrations.devnet._journal import AuthorizationSeen, Exchange
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.protocol._strict_json import JsonObject
from tests.adapters.llama_index.prompt_model import Speaker


@dataclass
class Account:
    """One test's wallet on the shared devnet, and what the devnet saw of it."""

    net: Devnet
    speaker: Speaker
    wallet: Wallet

    def llm(self, model: str = "openai/gpt-4.1", **options: Any) -> OpenGradientLLM:
        """Return an LLM that pays from this wallet."""
        return OpenGradientLLM(model, private_key=self.wallet.private_key, network=self.net.network, **options)

    def authorizations(self) -> list[AuthorizationSeen]:
        """Return the authorizations of this wallet that reached a gateway."""
        self.net.stats()  # runs after everything that the devnet's loop still had to write down
        return [seen for seen in self.net.journal.authorizations.values() if seen.payer == self.wallet.address]

    def exchanges(self) -> list[Exchange]:
        """Return the requests that this wallet paid for."""
        sessions = {seen.session for seen in self.authorizations()} - {None}
        return [exchange for exchange in self.net.journal.exchanges if exchange.session in sessions]

    def served(self) -> int:
        """Return how many requests were answered with 200."""
        return sum(exchange.status == 200 for exchange in self.exchanges())

    def charged(self) -> int:
        """Return what was charged, in base units."""
        sessions = {seen.session for seen in self.authorizations()}
        return sum(
            charge.amount for charge in self.net.journal.charges if charge.session in sessions and not charge.refused
        )


class Ends(BaseEventHandler):
    """Keeps the receipts in the End events of LLM calls."""

    receipts: list[JsonObject] = []  # noqa: RUF012 - a pydantic field

    @classmethod
    def class_name(cls) -> str:
        return "ends"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        if isinstance(event, LLMChatEndEvent | LLMCompletionEndEvent) and event.response is not None:
            receipt = event.response.additional_kwargs.get("opengradient")
            if receipt is not None:
                self.receipts.append(receipt)


@contextmanager
def watched_events() -> Iterator[Ends]:
    """Collect the receipts of End events inside the `with`."""
    dispatcher = get_dispatcher()
    ends = Ends(receipts=[])
    dispatcher.add_event_handler(ends)
    try:
        yield ends
    finally:
        dispatcher.event_handlers.remove(ends)


@dataclass
class Audit:
    """What one `audited` block found, filled at its end."""

    receipts: Receipts = field(default_factory=Receipts)


@contextmanager
def audited(account: Account) -> Iterator[Audit]:
    """
    Check at the end of the `with` that every call left one verified receipt and one event, that the
    devnet answered exactly these, and that they name exactly the authorizations that it saw.
    """
    before = account.served()
    audit = Audit()
    with watched_events() as ends, collect_receipts() as audit.receipts:
        yield audit
    receipts = audit.receipts
    assert receipts.verified
    assert len(receipts) == account.served() - before
    signatures = sorted(receipt["tee_signature"] for receipt in receipts)
    assert sorted(receipt["tee_signature"] for receipt in ends.receipts) == signatures
    seen = account.authorizations()
    authorized = {receipt["payment"]["payment_hash"]: int(receipt["payment"]["max_amount"]) for receipt in receipts}
    known = {item.digest: item.amount for item in seen}
    assert authorized == known or (before and authorized.items() <= known.items())
    assert 0 < account.charged() <= sum(known.values())
    assert all(item.session is not None and item.times <= len(receipts) + before for item in seen)
    assert len(seen) <= 2  # one session per endpoint: chat, and /v1/completions where it was asked for
