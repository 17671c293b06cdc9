"""
Gateways that ask for what they must not get: each is refused with its own words, nothing is signed twice.

By each method of the client, and through both adapters. ReplayCache are counted at the signer.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from og_integrations import errors
from og_integrations.client import Client, Engine, LocalSigner
from og_integrations.devnet import DEFAULT_CAP, Devnet, Fault
from og_integrations.langchain import ChatOpenGradient
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.protocol.payment._memory import MemoryStore
from og_integrations.protocol.proof._enclave import ZERO_ADDRESS, Enclave
from tests.client.ways_to_ask import MODEL, WAYS, user
from tests.money.malicious_offers import CASES, STRANGER, Case, offering


@dataclass
class Purse:
    """A new wallet with an account, and how often it was asked to sign."""

    net: Devnet
    signed: list[object]
    kept: list[Engine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.private_key = self.net.new_wallet().private_key
        self.store = MemoryStore(threading.RLock())

    def ask(self, way: str, **policy: Any) -> Any:
        """Ask once with a new client; all clients of this purse share its account."""
        options: dict[str, Any] = {"spend_policy": {"store": self.store} | policy}
        wallet: dict[str, Any] = {"private_key": self.private_key, "network": self.net.network}
        # Sessions end with their last client, so there is one more that stays.
        self.kept.append(Engine(**wallet, **options))
        if way == "langchain":
            with closing(ChatOpenGradient(model=MODEL, **wallet, **options)) as model:
                return model.invoke("hi")
        if way == "llama_index":
            with OpenGradientLLM(MODEL, **wallet, **options) as llm:
                return llm.complete("hi")
        return WAYS[way](SimpleNamespace(**wallet), "hi", **options)

    def spent(self) -> tuple[int, int]:
        """Return how often was signed, and how many caps the account holds."""
        caps, rest = divmod(self.store.totals(int(time.time())).authorized, DEFAULT_CAP)
        assert rest == 0
        return len(self.signed), caps


@pytest.fixture(scope="module")
def shared_net() -> Iterator[Devnet]:
    with Devnet() as net:
        yield net


@pytest.fixture
def purse(shared_net: Devnet, monkeypatch: pytest.MonkeyPatch) -> Iterator[Purse]:
    signed: list[object] = []
    sign = LocalSigner.sign_typed_data

    def counted(self: LocalSigner, typed_data: dict[str, Any]) -> str:
        signed.append(typed_data)
        return sign(self, typed_data)

    monkeypatch.setattr(LocalSigner, "sign_typed_data", counted)
    yield Purse(shared_net, signed)
    shared_net.clear_faults()


every_way = pytest.mark.parametrize("way", [*WAYS, "langchain", "llama_index"])


@every_way
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_malicious_gateway_is_refused(purse: Purse, case: Case, way: str) -> None:
    purse.net.inject(case.fault)
    with pytest.raises(case.error, match=case.says) as caught:
        purse.ask(way, **case.policy)
    assert purse.spent() == (case.signatures, case.signatures)
    # What was not signed is not in the receipt either, and what was signed is.
    assert caught.value.receipt is not None
    assert (caught.value.receipt["payment"] is not None) == (case.signatures == 1)
    assert purse.private_key[2:] not in str(caught.value)
    # The budget is intact: an honest gateway is paid from it, with one more signature at most.
    purse.net.clear_faults()
    if not case.policy:
        purse.ask(way)
        assert purse.spent() <= (case.signatures + 1, case.signatures + 1)


def test_cases_are_told_apart() -> None:
    """Twenty and more, by name and by message."""
    assert len({case.name for case in CASES}) == len({case.says for case in CASES}) == len(CASES) >= 20


def _made_to_ask_again(purse: Purse, way: str) -> None:
    """Pay once; then let a session end and its renewal fail, so that the gateway is asked for an offer."""
    purse.ask(way)
    purse.net.inject(Fault(name="renewal", about="", expire_session=True, refuse_payment="no renewal"))
    with pytest.raises(errors.PaymentRefusedError, match="no renewal"):
        purse.ask(way)
    assert purse.spent() == (2, 2)


@every_way
def test_402_on_every_renewal_costs_one_signature_a_call(purse: Purse, way: str) -> None:
    """And the total of the budget ends it."""
    purse.ask(way, total="0.3")
    purse.net.inject(Fault(name="renewal", about="", expire_session=True, refuse_payment="no renewal"))
    for signatures in (2, 3):
        with pytest.raises(errors.PaymentRefusedError, match="no renewal"):
            purse.ask(way, total="0.3")
        assert purse.spent() == (signatures, signatures)
    with pytest.raises(errors.BudgetExceededError, match=r"0\.3 of 0\.3 OPG"):
        purse.ask(way, total="0.3")
    assert purse.spent() == (3, 3)


@every_way
def test_facilitator_swapped_later_is_refused(purse: Purse, way: str) -> None:
    _made_to_ask_again(purse, way)
    purse.net.clear_faults()
    purse.net.inject("other_facilitator")
    with pytest.raises(errors.PayeeRefusedError, match=r"asks for facilitator 0x0000.*but earlier payments"):
        purse.ask(way)
    assert purse.spent() == (2, 2)
    purse.net.clear_faults()
    purse.ask(way)


def _without_payee(listed: list[Enclave]) -> list[Enclave]:
    return [replace(enclave, payment_address=ZERO_ADDRESS) for enclave in listed]


@every_way
def test_payee_swapped_later_is_refused_without_the_registry(purse: Purse, way: str) -> None:
    """The registry says nothing about whom to pay, so the first payee stays."""
    silent = Fault(name="without_payee", about="no payment address is listed", registry=_without_payee)
    purse.net.inject(silent)
    _made_to_ask_again(purse, way)
    purse.net.clear_faults()
    purse.net.inject(silent)
    purse.net.inject("other_pay_to")
    with pytest.raises(errors.PayeeRefusedError, match=r"asks for payTo 0x0000.*but was paid at 0x"):
        purse.ask(way)
    assert purse.spent() == (2, 2)


def test_named_payees_replace_the_default(purse: Purse) -> None:
    """The owner's word is above the registry's, also for a network that is known to pay others."""
    purse.net.inject("other_pay_to")
    purse.ask("chat", pay_to=[STRANGER])
    network = replace(purse.net.network, payees=(STRANGER,))
    with Client(private_key=purse.net.new_wallet().private_key, network=network) as client:
        assert client.chat(MODEL, user("hi")).receipt["payment"]["pay_to"] == STRANGER
    assert len(purse.signed) == 2


def test_payee_swapped_by_one_gateway_is_refused(purse: Purse) -> None:
    """`gateway_url`: nobody vouches for the payee, and a lie that came to nothing does not bar the truth."""
    with Devnet(tls=False) as net:
        client = Client(private_key=net.private_key, network=net.network, gateway_url=net.enclaves[0].endpoint)
        with client:
            net.inject(offering(payTo=STRANGER, amount="1"), times=1)
            net.inject("second_402", times=1)
            with pytest.raises(errors.PaymentRefusedError):
                client.chat(MODEL, user("hi"))
            client.chat(MODEL, user("hi"))
            net.inject("other_pay_to")
            with pytest.raises(errors.PayeeRefusedError, match="but was paid at"):
                client.complete(MODEL, "hi")
    assert len(purse.signed) == 2


def test_moved_payee_of_the_registry_is_asked_for_again(purse: Purse, monkeypatch: pytest.MonkeyPatch) -> None:
    """A remembered offer is forgotten when the registry names another payee, rather than refused for ever."""
    monkeypatch.setattr("og_integrations.client._directory.REFRESH_AFTER", 0)
    policy: Callable[[Enclave], Enclave] = lambda enclave: replace(enclave, payment_address=STRANGER)  # noqa: E731
    with Client(private_key=purse.private_key, network=purse.net.network) as client:
        client.chat(MODEL, user("hi"))
        purse.net.inject(Fault(name="moved", about="", registry=lambda listed: list(map(policy, listed))))
        purse.net.inject("other_pay_to")
        purse.net.inject("expired_session", times=1)
        payment = client.chat(MODEL, user("hi")).receipt["payment"]
    assert payment["pay_to"] == STRANGER
