"""
Every scenario on every generation of gateways, in every way to ask: verified, or refused with the named error.

`make test` runs a diagonal of the table, `make test-all` the whole of it.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from og_integrations import OpenGradientError, Receipt, _warnings, collect_receipts
from og_integrations.client import Client
from og_integrations.devnet import Devnet, Fault
from og_integrations.devnet._generations import GENERATIONS, Generation, Moderation
from og_integrations.networks import OPG
from og_integrations.protocol.chain import _eip712
from og_integrations.protocol.chain._keccak import keccak
from og_integrations.protocol.proof import _canonical as canonical
from og_integrations.protocol.proof import _enclave, _verification
from tests.client.ways_to_ask import MODEL, WAYS, WEATHER, user

GREEDY = {"cost_opg": str(3 * OPG), "cost_usd": "0.3", "opg_price_usd": "0.1"}

FORM = {
    "type": "json_schema",
    "json_schema": {
        "name": "city",
        "schema": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """
    What is asked and how, how many seconds after a first, verified call, and which generation refuses it.
    """

    text: str = "hi"
    options: Mapping[str, Any] = field(default_factory=dict)
    later: Callable[[Generation], int] = lambda generation: 0
    fails: Callable[[Generation], bool] = lambda generation: False


SCENARIOS = {
    "text": Scenario(),
    "pieces": Scenario(text="[[tokens=12]]"),
    "idle session": Scenario(later=lambda generation: 130),
    "session near its deadline": Scenario(later=lambda generation: generation.timeout - 50),
    "provider asks to slow down": Scenario(text="[[status=429]]", fails=lambda generation: True),
    "provider stops in the middle": Scenario(text="[[tokens=9 fail_after=4]]", fails=lambda generation: True),
    "tool call": Scenario(text='use tool get_weather {"city":"Oslo"}', options={"tools": [WEATHER]}),
    "form": Scenario(options={"response_format": FORM}),
    "picture drawn": Scenario(text="[[image]] draw"),
    "effort": Scenario(options={"reasoning_effort": "high"}),
    "limit under its newer name": Scenario(text="[[tokens=9]]", options={"extra": {"max_completion_tokens": 4}}),
    "chat flag": Scenario(options={"extra": {"web_search": True}}),
    "blocked": Scenario(text="[[blocked]]", fails=lambda generation: generation.moderation is Moderation.NEWEST_TURN),
}


def _cells() -> list[Any]:
    """Return every cell of the table; those off the diagonal are heavy."""
    cells = []
    for row, scenario in enumerate(SCENARIOS):
        for column, generation in enumerate(GENERATIONS):
            for number, way in enumerate(WAYS):
                marks = () if (row + column) % len(WAYS) == number else (pytest.mark.heavy,)
                cells.append(pytest.param(scenario, generation, way, marks=marks, id=f"{scenario}-{generation}-{way}"))
    return cells


@pytest.mark.filterwarnings("ignore:reasoning_effort was sent")
@pytest.mark.parametrize(("scenario", "generation", "way"), _cells())
def test_answer_is_verified_or_refused_and_payments_are_reported(
    scenario: str, generation: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, error = SCENARIOS[scenario], None
    with Devnet(generation=generation) as net, collect_receipts() as receipts:
        assert WAYS[way](net, "first").receipt["status"] == "verified"
        later, real = asked.later(net.generation), time.time
        net.advance(later)
        monkeypatch.setattr(time, "time", lambda: real() + later)  # the devnet has a clock of its own
        try:
            answer = WAYS[way](net, asked.text, **asked.options)
        except OpenGradientError as exc:
            error = exc
        else:
            assert answer.receipt["status"] == "verified"
        assert (error is not None) is asked.fails(net.generation), error
        paid = {receipt["payment"]["payment_hash"] for receipt in receipts if receipt["payment"]}
        assert len(paid) == net.stats().payments
        assert net.verdict(receipts).clean, str(net.verdict(receipts))


@pytest.mark.parametrize("generation", GENERATIONS)
def test_demanded_cap_is_within_the_default_policy(generation: str) -> None:
    """With ten OPG in the wallet, that is."""
    with Devnet(generation=generation) as net:
        wallet = net.new_wallet(opg=10 * 10**18)
        options: dict[str, Any] = {"private_key": wallet.private_key, "network": net.network}
        with Client(**options) as client:
            assert client.chat("openai/gpt-4.1", user("hi")).receipt["status"] == "verified"
            assert client.spent().authorized == GENERATIONS[generation].cap


def test_margin_of_a_host_is_learned_and_the_next_session_is_renewed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest gateways stop serving 420 s before the deadline; that costs one more 402, once."""
    later, real = 0, time.time
    with Devnet(generation="newest") as net, Client(private_key=net.private_key, network=net.network) as client:
        monkeypatch.setattr(time, "time", lambda: real() + later)  # the devnet has a clock of its own

        def ask(at: int) -> int:
            """Ask at so many seconds after the beginning, and return how many requests that took."""
            nonlocal later
            net.advance(at - later)
            later, before = at, net.stats().requests
            assert client.chat("openai/gpt-4.1", user("hi")).receipt["status"] == "verified"
            return net.stats().requests - before

        assert ask(0) == 2
        # Kept alive by a call each 50 s, as an agent does, the session ends 420 s before its deadline of 3600 s.
        took = [ask(at) for at in range(50, 3250, 50)]
        assert (took.count(1), took.count(2)) == (len(took) - 1, 1)
        assert took[3200 // 50 - 1] == 2
        # The next one is left by the client before the gateway leaves it.
        took = [ask(at) for at in range(3250, 6450, 50)]
        assert took.count(2) == 0
        assert net.stats().payments == 3


def test_margin_that_moves_costs_one_402_for_a_session_and_never_a_second_signature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each session ends at another time: at once, 720 s before its deadline, 1440 s before it, or not at all."""
    later, real = 0, time.time
    with Devnet(generation="newest") as net, Client(private_key=net.private_key, network=net.network) as client:
        monkeypatch.setattr(time, "time", lambda: real() + later)  # the devnet has a clock of its own
        net.inject("moving_margin")
        took = []
        for at in range(0, 10_000, 50):
            net.advance(at - later)
            later, before = at, net.stats()
            assert client.chat("openai/gpt-4.1", user("hi")).receipt["status"] == "verified"
            after = net.stats()
            assert after.payments - before.payments <= 1
            took.append(after.requests - before.requests)
        assert set(took) == {1, 2}
        # The first session ended at once, and the next two before the client had learned of it.
        assert took.count(2) <= net.stats().payments
        assert [margin <= 1800 for margin in client.engine.sessions._margins.values()] == [True]
        assert net.verdict().clean, str(net.verdict())


def test_reported_costs_above_what_was_signed_are_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of them is signed, so no call ends for it, and no budget counts by it."""
    monkeypatch.setattr(_warnings, "_warned", set())
    lie = Fault(
        name="greedy",
        about="each answer is said to cost 3 OPG",
        spoils=False,
        signed=lambda body: body | {"opengradient": GREEDY},
    )
    with Devnet(generation="newest") as net, Client(private_key=net.private_key, network=net.network) as client:
        net.inject(lie)
        assert client.chat("openai/gpt-4.1", user("one")).receipt["status"] == "verified"
        with pytest.warns(UserWarning, match=r"reports 6 OPG for the calls of one authorization of 5 OPG\. At most"):
            client.chat("openai/gpt-4.1", user("two"))
        client.chat("openai/gpt-4.1", user("three"))
        assert client.spent().authorized == 5 * OPG


@pytest.mark.parametrize("generation", GENERATIONS)
def test_no_generation_costs_another_one_anything(generation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an enclave's first answer, a call is one request and three hashes: of it, of the answer, of both."""
    hashed: list[bytes] = []
    here = threading.current_thread()

    def counting(data: bytes) -> bytes:
        if threading.current_thread() is here:  # the devnet hashes, too
            hashed.append(data)
        return keccak(data)

    with Devnet(generation=generation) as net, Client(private_key=net.private_key, network=net.network) as client:
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
        parts = [{"type": "text", "text": "What is it?"}] + [picture] * net.generation.attachments

        def ask(way: str, number: int) -> None:
            messages = [{"role": "user", "content": [*parts, {"type": "text", "text": f"{way} {number}"}]}]
            answer = client.chat(MODEL, messages) if way == "chat" else list(client.stream(MODEL, messages))[-1]
            assert Receipt.of(answer).status == "verified"

        ask("chat", 0)
        for module in (canonical, _verification, _enclave, _eip712):
            monkeypatch.setattr(module, "keccak", counting)
        for way in ("chat", "stream"):
            for number in (1, 2):
                hashed.clear()
                before = net.stats().requests
                ask(way, number)
                assert (net.stats().requests - before, len(hashed)) == (1, 3)
