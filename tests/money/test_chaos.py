"""
The connection is dropped at any byte: what the network was paid is what the client says it paid.

An authorization is in doubt where, and only where, the client cannot know: from the moment it leaves
until the head of an answer has come whole. A later call joins it, so that doubt ends without paying twice.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from og_integrations import errors
from og_integrations.client import AsyncClient, Client, Engine, collect_receipts
from og_integrations.devnet import DEFAULT_CAP, Devnet, Fault
from og_integrations.devnet._http import Channel, Piece, PieceKind, Pieces
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._memory import MemoryStore
from tests.client.ways_to_ask import MODEL, WAYS, user
from tests.sizes import sized

PROMPT = "[[tokens=8]]"
CLASSES: dict[str, Callable[[int], int]] = {
    "no byte": lambda head: 0,
    "one byte": lambda head: 1,
    "half of the head": lambda head: head // 2,
    "head without its last byte": lambda head: head - 1,
    "head": lambda head: head,
    "one byte of the body": lambda head: head + 1,
    "some of the body": lambda head: head + 60,
    "more of the body": lambda head: head + 250,
}
ways = pytest.mark.parametrize("way", WAYS)


class Cut:
    """A fault that lets some bytes of a reply through and hangs up; remembers whether the head was among them."""

    def __init__(self, at: Callable[[int], int]) -> None:
        self._at = at
        self.head_came = False
        self.happened = False

    async def wire(self, pieces: Pieces, channel: Channel) -> Pieces:
        """Cut one reply."""
        left = None
        async for piece in pieces:
            if left is None:
                left = self._at(len(piece.data))
                self.head_came = left >= len(piece.data)
            if piece.kind is PieceKind.END and left > 0:
                yield piece
                return
            yield Piece(piece.kind, piece.data[:left])
            left -= len(piece.data)
            if left <= 0:
                self.happened = True
                channel.hang_up()


class Ledger:
    """One wallet's account, the network's view of it, and all receipts."""

    def __init__(self, net: Devnet) -> None:
        self.net = net
        wallet = net.new_wallet()
        self.payer = wallet.address
        self.store = MemoryStore(threading.RLock())
        self.receipts: list[JsonObject] = []
        self.options: dict[str, Any] = {"spend_policy": {"store": self.store}}
        self.wallet: dict[str, Any] = {"private_key": wallet.private_key, "network": net.network}
        self.engine = Engine(**self.wallet, **self.options)  # keeps the sessions between calls

    def ask(self, way: str) -> errors.OpenGradientError | None:
        """Ask once; return how that failed."""
        error = None
        with collect_receipts() as receipts:
            try:
                WAYS[way](SimpleNamespace(**self.wallet), PROMPT, **dict(self.options))
            except errors.OpenGradientError as exc:
                error = exc
        assert len(receipts) == 1
        self.receipts += receipts
        return error

    def check(self) -> tuple[int, int]:
        """Compare both books; return how many payments were made, and how many are in doubt."""
        self.net.stats()  # runs after everything that the devnet's loop still had to write down
        seen = [item for item in self.net.journal.authorizations.values() if item.payer == self.payer]
        made = {item.digest for item in seen if item.session is not None}
        reported = {receipt["payment"]["payment_hash"] for receipt in self.receipts if receipt["payment"]}
        assert made <= reported
        account = self.store.totals(int(time.time()))
        signed, doubtful = account.authorized // DEFAULT_CAP, account.in_doubt // DEFAULT_CAP
        assert signed == len(reported)
        assert signed - doubtful <= len(made) <= signed
        return len(made), doubtful


@pytest.fixture(scope="module")
def shared_net() -> Iterator[Devnet]:
    with Devnet() as net:
        yield net


@pytest.fixture
def ledger(shared_net: Devnet) -> Iterator[Ledger]:
    yield Ledger(shared_net)
    shared_net.clear_faults()


@ways
@pytest.mark.parametrize("position", CLASSES)
def test_first_paid_answer_is_cut(ledger: Ledger, position: str, way: str) -> None:
    cut = Cut(CLASSES[position])
    ledger.net.inject(Fault(name="cut", about="", wire=cut.wire), times=1)
    error = ledger.ask(way)
    assert cut.happened
    assert isinstance(error, errors.PaymentInDoubtError)
    assert ledger.check() == (1, 0 if cut.head_came else 1)
    # The next call joins what was signed, and then everything is known.
    assert ledger.ask(way) is None
    assert ledger.check() == (1, 0)


@ways
@pytest.mark.parametrize("position", CLASSES)
def test_answer_within_a_session_is_cut(ledger: Ledger, position: str, way: str) -> None:
    """The authorization was accepted long before: the charge may be unknown, the payment is not."""
    assert ledger.ask(way) is None
    ledger.net.inject(Fault(name="cut", about="", wire=Cut(CLASSES[position]).wire), times=1)
    assert isinstance(ledger.ask(way), errors.PaymentInDoubtError)
    assert ledger.check() == (1, 0)
    assert ledger.ask(way) is None
    assert ledger.check() == (1, 0)


@ways
@pytest.mark.parametrize("position", ["no byte", "one byte", "half of the head", "head without its last byte"])
def test_offer_is_cut(ledger: Ledger, position: str, way: str) -> None:
    """Nothing was signed, so nothing is in doubt."""
    ledger.net.inject(Fault(name="cut", about="", offer_wire=Cut(CLASSES[position]).wire), times=1)
    error = ledger.ask(way)
    assert isinstance(error, errors.ConnectionLostError)
    assert not isinstance(error, errors.PaymentInDoubtError)
    assert ledger.check() == (0, 0)
    assert ledger.ask(way) is None
    assert ledger.check() == (1, 0)


@pytest.mark.parametrize("way", ["chat", "astream"])
@sized("cuts", small=17, full=400)
def test_any_byte(shared_net: Devnet, way: str, cuts: int) -> None:
    """An answer of at most 1,600 bytes is cut after so many of them, evenly spread."""
    for count in range(0, 1_600, 1_600 // cuts):
        ledger = Ledger(shared_net)
        cut = Cut(lambda _, count=count: count)  # type: ignore[misc]
        shared_net.inject(Fault(name="cut", about="", wire=cut.wire), times=1)
        error = ledger.ask(way)
        assert (error is not None) == cut.happened, count
        assert ledger.check() == (1, 0 if cut.head_came else 1), count


@ways
def test_gateway_is_gone_before_anything_is_sent(way: str) -> None:
    """Not connected: the hold of an authorization that never left is released."""
    with Devnet() as net:
        ledger = Ledger(net)
        net.kill(net.enclaves[0])
        assert isinstance(ledger.ask(way), errors.ConnectionFailedError)
        assert ledger.check() == (0, 0)


@sized("count", small=32, full=128)
def test_many_at_once_on_a_bad_line(shared_net: Devnet, count: int) -> None:
    """Of so many calls at once eight are cut somewhere: one authorization, and both books agree."""
    ledger = Ledger(shared_net)
    for number in range(8):
        cut = Cut(lambda head, number=number: head * number // 4)  # type: ignore[misc]
        shared_net.inject(Fault(name="cut", about="", wire=cut.wire), times=1)

    async def ask_all() -> list[Any]:
        async with AsyncClient(engine=ledger.engine) as client:
            calls = (client.chat(MODEL, user(f"{PROMPT} {number}")) for number in range(count))
            return await asyncio.gather(*calls, return_exceptions=True)

    with collect_receipts() as receipts:
        results = asyncio.run(ask_all())
    shared_net.clear_faults()
    ledger.receipts += receipts
    failed = [result for result in results if isinstance(result, BaseException)]
    assert all(isinstance(error, errors.PaymentInDoubtError) for error in failed)
    assert (len(receipts), bool(failed)) == (count, True)
    assert ledger.check() == (1, 0)


def test_settled_is_what_was_authorized_or_less() -> None:
    """After a day of cut lines the chain has taken no more than the client says it may have."""
    with Devnet() as net:
        ledger = Ledger(net)
        with Client(engine=ledger.engine) as client:
            for number in range(12):
                net.inject(Fault(name="cut", about="", wire=Cut(lambda head: head // 2 + 40).wire), times=number % 2)
                try:
                    client.chat(MODEL, user("hi"))
                except errors.PaymentInDoubtError:
                    assert number % 2
                if number % 4 == 3:
                    net.advance(130)
        settled = sum(item.amount for item in [*net.journal.settlements, *net.settle_all()])
        assert 0 < settled <= ledger.store.totals(int(time.time())).authorized
