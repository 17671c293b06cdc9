"""
The one sender of transactions: approvals, models on chain and workflows all go through it.

A wallet's transactions are numbered without gaps (its *nonces*), so parallel calls of one wallet have to agree
on who takes which. In this process a queue for each (chain, address) decides; signing is done side by side, sending
in the order of the numbers. With other processes nothing is shared: whoever finds that its number was taken asks
the node again.

Rule 1. A signed transaction is known by its hash before it is sent, so "did it go out?" can always be asked.
Rule 2. The same signed bytes may be sent again at any time: a node takes them once.
Rule 3. A call is signed anew (with another number) only when the transaction before can never be mined: the node
    refused it and does not know it, or its number was used by another one.
Rule 4. What left and was not seen mined is in doubt: the error carries the hash, and `resume` picks it up.

Everything is a generator of effects; `SyncSender` and `AsyncSender` perform them.
"""

import asyncio
import dataclasses
import secrets
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar
from weakref import WeakValueDictionary

from og_integrations._forking import survive_forks
from og_integrations._urls import NodeUrl
from og_integrations.client._runner import afetch, awaited, fetch, not_awaitable
from og_integrations.client._signer import Signer, TransactionSigner
from og_integrations.client.chain._jsonrpc import RECEIPT_TIMEOUT, Fetching, as_number, quantity, read_block, rpc
from og_integrations.client.channels._connections import AsyncConnections, SyncConnections
from og_integrations.errors import (
    ConfigurationError,
    DiscoveryError,
    OpenGradientError,
    SigningError,
    TransactionError,
    TransactionInDoubtError,
    TransactionRefusedError,
    TransactionRevertedError,
)
from og_integrations.networks import format_opg
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain._keccak import keccak
from og_integrations.protocol.payment._flow import Consult, Fetch, Pause
from og_integrations.protocol.payment._x402 import checksum_address

T = TypeVar("T")
E = TypeVar("E", bound=TransactionError)
Step = Literal["sent", "waiting", "mined", "visible"]

_TAKEN = (
    "nonce too low", "nonce too high", "invalid nonce", "invalid sequence", "replacement transaction underpriced",
    "replacement underpriced",
)  # fmt: skip
"""What nodes say where another transaction has this number, or where they miss one before it."""
_KNOWN = ("already known", "already imported", "known transaction")
_REFUSED = (
    "insufficient funds", "insufficient balance", "intrinsic gas", "exceeds block gas limit", "gas limit",
    "underpriced", "less than block base fee", "invalid chain id",
)  # fmt: skip
"""What nodes say where they have not taken the transaction and never will."""
_GAS_SALT = 1024
_SOON = 0.01
_GONE_LOOKS = 4
"""So many looks in a row, the last ones seconds apart, must agree that a transaction is gone: nodes may be behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place is a chain as one node shows it: the node's URL, the chain's id, and its name for messages."""

    url: str
    chain_id: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GasLimits:
    """Gas limits say what a transaction may cost: `cost` in wei, `gas` in units (None: whatever costs no more)."""

    cost: int
    gas: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SentTransaction:
    """
    A sent transaction is one that was signed, and has left or is about to.

    `raw` is all that is needed to send it again, which is safe; it is no secret, but can be sent by whoever has it.
    """

    chain_id: int
    sender: str
    nonce: int
    transaction_hash: str
    raw: bytes = field(repr=False)

    def to_json(self) -> JsonObject:
        """Return it as plain JSON, to be written down."""
        return dataclasses.asdict(self) | {"raw": "0x" + self.raw.hex()}

    @classmethod
    def from_json(cls, written: JsonObject) -> "SentTransaction":
        """Read what `to_json` wrote. Raises `ConfigurationError`; its hash is computed anew."""
        try:
            raw = bytes.fromhex(str(written["raw"]).removeprefix("0x"))
            found = cls(
                chain_id=int(written["chain_id"]),
                sender=str(written["sender"]),
                nonce=int(written["nonce"]),
                transaction_hash="0x" + keccak(raw).hex(),
                raw=raw,
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise ConfigurationError(f"This is no transaction that was written down ({type(exc).__name__}).") from exc
        if written.get("transaction_hash") != found.transaction_hash:
            raise ConfigurationError("The transaction that was written down is damaged: it has another hash.")
        return found


@dataclass(frozen=True, slots=True)
class SignTransaction:
    """Have the wallet sign `transaction`; answer with the raw transaction, 0x-hex."""

    transaction: JsonObject


@dataclass(frozen=True, slots=True)
class Leaving:
    """`sent` is sent next: whoever writes it down now can resume it after a crash."""

    sent: SentTransaction


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell the caller how far the transaction got; `seconds` since it was sent."""

    step: Step
    transaction_hash: str
    seconds: float


Sending = Generator[Fetch | SignTransaction | Pause | Leaving | Tell | Consult, Any, T]


class Waiting:
    """
    A wait knows when its transaction left, and what to say at its end. `what` begins sentences: "The approval".

    `write_down` is called with each signed transaction before it is sent; it may wait for a disk.
    """

    def __init__(
        self,
        what: str,
        timeout: float = RECEIPT_TIMEOUT,
        *,
        write_down: Callable[[SentTransaction], object] | None = None,
    ) -> None:
        self.what, self.write_down = what, write_down
        self.transaction_hash = ""
        self.pause = 0.05
        self._timeout = timeout
        self._started = time.monotonic()

    def left(self, transaction_hash: str) -> None:
        """Begin again for the transaction that leaves now."""
        self.transaction_hash = transaction_hash
        self.pause = 0.05
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Return how long it takes already."""
        return time.monotonic() - self._started

    def tell(self, step: Step) -> Sending[None]:
        """Tell the caller. Raises `TransactionInDoubtError` with the hash if its callback fails."""
        try:
            yield Tell(step, self.transaction_hash, self.seconds)
        except BaseException as exc:
            if isinstance(exc, Exception):
                raise self.doubt(
                    f"{self.what} was sent (it is {step}), but on_progress failed with {type(exc).__name__}."
                ) from exc
            raise

    def wait(self, what: str) -> Sending[None]:
        """Wait a little for something that `what` says is not there. Raises `TransactionInDoubtError` at the end."""
        seconds = self.seconds
        if seconds >= self._timeout:
            raise self.doubt(
                f"{self.what} was sent {seconds:.0f} s ago and {what}. It may still come: look it up before "
                "sending another."
            )
        yield from self.tell("waiting")
        yield Pause(self.pause)
        self.pause = min(2.0, 2 * self.pause)

    def wait_for_turn(self, started: float) -> Sending[None]:
        """Wait a little for the wallet's other transactions, before anything of this one was sent."""
        if time.monotonic() - started >= self._timeout:
            raise TransactionRefusedError(
                f"{self.what} waited {self._timeout:.0f} s for other transactions of the wallet. Nothing was sent."
            )
        yield Pause(_SOON)

    def doubt(self, message: str) -> TransactionInDoubtError:
        """Return the error of a transaction that may or may not be mined."""
        return self.error(TransactionInDoubtError, message)

    def error(self, kind: type[E], message: str) -> E:
        """Return an error about the transaction, with its hash."""
        error = kind(f"{message} Transaction: {self.transaction_hash}.")
        error.transaction_hash = self.transaction_hash
        return error


def draft(place: Place, sender: str, to: str | None, data: str, limits: GasLimits, what: str) -> Fetching[JsonObject]:
    """
    Return a transaction from `sender` without its nonce; `to` is None to deploy a contract, `data` 0x-hex.

    The node tries it first. Raises `TransactionRefusedError` if it would fail, cost more than `limits`, or more than
    the wallet has; `DiscoveryError` if the node does not answer. Nothing is signed or sent.
    """
    url = NodeUrl(place.url)
    call = {"from": sender, "data": data} | ({} if to is None else {"to": to})
    try:
        estimate = yield from quantity(url, "eth_estimateGas", call)
    except DiscoveryError as exc:
        raise TransactionRefusedError(f"{what} would fail: {exc} Nothing was sent.") from exc
    gas = estimate + estimate // 4
    if limits.gas is not None and gas > limits.gas:
        raise TransactionRefusedError(
            f"{what} needs up to {gas} gas, expected at most {limits.gas}. Nothing was sent. Raise max_gas if that is "
            "meant."
        )
    block = yield from read_block(url, "latest")
    if "baseFeePerGas" in block:
        base_fee = as_number(block["baseFeePerGas"], url)
        tip = yield from quantity(url, "eth_maxPriorityFeePerGas")
    else:
        base_fee, tip = (yield from quantity(url, "eth_gasPrice")), 0
    if gas * (base_fee + tip) > limits.cost:
        raise TransactionRefusedError(
            f"The node {url} asks for {format_opg(gas * (base_fee + tip))} ETH of gas, expected at most "
            f"{format_opg(limits.cost)} ETH. Nothing was sent. Try again later, or another node."
        )
    # The fee of a block rises by an eighth at most: doubled, it is enough for the next five.
    price = min(2 * base_fee + tip, limits.cost // max(gas, 1))
    fees = {"type": 2, "maxFeePerGas": price, "maxPriorityFeePerGas": tip}
    if "baseFeePerGas" not in block:
        fees = {"gasPrice": base_fee}
    target = {} if to is None else {"to": checksum_address(to)}
    return {"chainId": place.chain_id, "value": 0, "data": data, "gas": gas} | target | fees


def most_cost(transaction: JsonObject) -> int:
    """Return the most that a drafted transaction can cost, in wei."""
    price = transaction["gasPrice"] if "gasPrice" in transaction else transaction["maxFeePerGas"]
    return int(transaction["gas"] * price)


def transact(
    place: Place, sender: str, transaction: JsonObject, waiting: Waiting
) -> Sending[tuple[SentTransaction, JsonObject]]:
    """
    Sign and send a drafted `transaction`, wait until it is mined, and return it with its receipt.

    Raises `SigningError`, `TransactionRefusedError` (nothing was sent), `TransactionRevertedError`,
    `TransactionInDoubtError` (with the hash), or `DiscoveryError` (nothing was sent).
    """
    # A gas limit costs nothing. It makes two transactions that are meant to be two differ, also those of two
    # processes that take the same number: else one of them would be counted as both.
    salted = transaction | {"gas": transaction["gas"] - secrets.randbelow(min(_GAS_SALT, transaction["gas"] // 16 + 1))}
    queue = _queue_of(place.chain_id, sender)
    while True:
        sent = yield from _send(place, sender, salted, queue, waiting)
        try:
            yield from waiting.tell("sent")
            receipt = yield from _mined(place, sent, waiting)
        finally:
            queue.forget(sent)
        if receipt is not None:
            yield from waiting.tell("mined")
            return sent, receipt


def resume(place: Place, sent: SentTransaction | str, waiting: Waiting) -> Sending[JsonObject]:
    """
    Return the receipt of a transaction that was sent before, by its hash or as it was written down when it left.

    With the transaction itself it is sent again if the node does not know it. Raises `TransactionRevertedError`,
    `TransactionRefusedError` if another one has its number (it can never be mined), or `TransactionInDoubtError`.
    """
    waiting.transaction_hash = sent if isinstance(sent, str) else sent.transaction_hash
    while isinstance(sent, str):
        if (receipt := (yield from _receipt(place, waiting))) is not None:
            return receipt
        yield from waiting.wait("is not mined yet")
    receipt = yield from _mined(place, sent, waiting)
    if receipt is None:
        said = f"can never be mined: another transaction of {sent.sender} has its number {sent.nonce}."
        raise waiting.error(TransactionRefusedError, f"{waiting.what} {said} Nothing was paid for it.")
    return receipt


def transaction_signer(signer: Signer) -> TransactionSigner:
    """Return the wallet, if it can sign transactions. Raises `ConfigurationError`."""
    if not isinstance(signer, TransactionSigner):
        raise ConfigurationError(
            f"The signer ({type(signer).__name__}) cannot sign transactions: it has no `sign_transaction`. "
            "Nothing was sent. Approve once with a local key (`og-integrations approve`)."
        )
    return signer


class _Ticket:
    """A place in a wallet's queue, and the nonce that belongs to it as things stand."""

    def __init__(self, nonce: int, changes: int) -> None:
        self.nonce = nonce
        self.changes = changes


class _Queue:
    """
    The transactions of one wallet on one chain: those that wait to be sent, in order, and those sent but not mined.

    Nodes count a transaction only when they have heard of it, and there are many nodes behind one name: so what was
    sent by this process is remembered until it is mined or given up. No lock is held across an effect.
    """

    def __init__(self) -> None:
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Forget what the parent process is sending."""
        self._lock = threading.Lock()
        self._waiting: list[_Ticket] = []
        self._in_flight: set[int] = set()
        self._changes = 0

    def join(self, pending: int) -> _Ticket:
        """Take the next place; `pending` is the node's count of the wallet's transactions."""
        with self._lock:
            last = self._waiting[-1].nonce if self._waiting else -1
            ticket = _Ticket(max(self._next(pending), last + 1), self._changes)
            self._waiting.append(ticket)
            return ticket

    def is_first(self, ticket: _Ticket) -> bool:
        """Return whether it is this one's turn to send."""
        with self._lock:
            return self._waiting[0] is ticket

    def is_stale(self, ticket: _Ticket) -> bool:
        """Return whether somebody before gave up, or was given another number, since the ticket was drawn."""
        with self._lock:
            return ticket.changes != self._changes

    def renumber(self, ticket: _Ticket, pending: int) -> None:
        """Give the first in the queue the number that is next by now."""
        with self._lock:
            nonce = self._next(pending)
            if nonce != ticket.nonce:
                ticket.nonce = nonce
                self._changes += 1
            ticket.changes = self._changes

    def sent(self, ticket: _Ticket) -> None:
        """The first one's transaction is at the node."""
        with self._lock:
            self._in_flight.add(ticket.nonce)
            self._waiting.remove(ticket)

    def leave(self, ticket: _Ticket) -> None:
        """The ticket is given up, if it was not used: those behind it move up."""
        with self._lock:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                self._changes += 1

    def forget(self, sent: SentTransaction) -> None:
        """A sent transaction is mined, or nobody waits for it any more."""
        with self._lock:
            self._in_flight.discard(sent.nonce)

    def _next(self, pending: int) -> int:
        return max(pending, max(self._in_flight, default=-1) + 1)


_QUEUES: WeakValueDictionary[tuple[int, str], _Queue] = WeakValueDictionary()
_QUEUES_LOCK = threading.Lock()


def _queue_of(chain_id: int, sender: str) -> _Queue:
    # Kept by those who use it: a wallet that sends nothing has nothing to remember.
    with _QUEUES_LOCK:
        return _QUEUES.setdefault((chain_id, sender.lower()), _Queue())


def _send(
    place: Place, sender: str, transaction: JsonObject, queue: _Queue, waiting: Waiting
) -> Sending[SentTransaction]:
    """Sign the transaction with the next nonce and have the node take it."""
    started = time.monotonic()
    ticket = queue.join((yield from _pending(place, sender)))
    try:
        signed = yield from _signed(place, sender, transaction | {"nonce": ticket.nonce})
        while not queue.is_first(ticket):
            yield from waiting.wait_for_turn(started)
        if queue.is_stale(ticket):
            queue.renumber(ticket, (yield from _pending(place, sender)))
        while True:
            if signed.nonce != ticket.nonce:
                # Nothing of the one before was ever taken by a node.
                signed = yield from _signed(place, sender, transaction | {"nonce": ticket.nonce})
            waiting.left(signed.transaction_hash)
            if waiting.write_down is not None:
                yield Consult(partial(waiting.write_down, signed))
            yield Leaving(signed)
            if (yield from _taken(place, signed, waiting)):
                queue.sent(ticket)
                return signed
            yield from waiting.wait_for_turn(started)
            queue.renumber(ticket, (yield from _pending(place, sender)))
    finally:
        queue.leave(ticket)


def _pending(place: Place, sender: str) -> Fetching[int]:
    return (yield from quantity(place.url, "eth_getTransactionCount", sender, "pending"))


def _signed(place: Place, sender: str, transaction: JsonObject) -> Sending[SentTransaction]:
    try:
        answer = yield SignTransaction(transaction)
    except BaseException as exc:
        if isinstance(exc, Exception) and not isinstance(exc, OpenGradientError):
            raise SigningError(f"The signer of {sender} failed with {type(exc).__name__}. Nothing was sent.") from exc
        raise
    try:
        raw = bytes.fromhex(answer.removeprefix("0x"))
    except (AttributeError, TypeError, ValueError) as exc:
        raise SigningError(
            f"The signer of {sender} returned a {type(answer).__name__}, expected the transaction as 0x-hex. Nothing "
            "was sent."
        ) from exc
    # Our own hash: what the node says could be of another transaction, and it may say nothing.
    transaction_hash = "0x" + keccak(raw).hex()
    return SentTransaction(
        chain_id=place.chain_id, sender=sender, nonce=transaction["nonce"], transaction_hash=transaction_hash, raw=raw
    )


def _taken(place: Place, signed: SentTransaction, waiting: Waiting) -> Sending[bool]:
    """Send it; False if its nonce is another one's. Raises if it was refused, or if that is not known."""
    try:
        yield from rpc(place.url, "eth_sendRawTransaction", ["0x" + signed.raw.hex()])
    except DiscoveryError as exc:
        # Somebody else may have sent this very transaction, or the node took it and its answer was lost.
        if (yield from or_nothing(_is_known(place, signed))):
            return True
        said = str(exc).lower() if exc.answered else ""
        if any(word in said for word in _KNOWN):
            return True
        if any(word in said for word in _TAKEN):
            return False
        if any(word in said for word in _REFUSED):
            raise TransactionRefusedError(f"{waiting.what} was refused: {exc} Nothing was sent.") from exc
        raise waiting.doubt(f"{exc} Whether the transaction was sent is not known.") from exc
    return True


def _mined(place: Place, sent: SentTransaction, waiting: Waiting) -> Sending[JsonObject | None]:
    """Return the receipt; None if the transaction can never be mined, because another one has its nonce."""
    gone = 0
    while True:
        receipt = yield from _receipt(place, waiting)
        if receipt is not None:
            return receipt
        # A node may drop what it took. It is asked for that only after a while: mostly a block is enough. A node that
        # does not answer has not said that it dropped it: taken for that, a mined one would be paid for again.
        if waiting.pause >= 0.4 and (yield from or_nothing(_is_known(place, sent))) is False:
            count = yield from or_nothing(quantity(place.url, "eth_getTransactionCount", sent.sender, "latest"))
            gone = gone + 1 if count is not None and count > sent.nonce else 0
            if gone >= _GONE_LOOKS:
                return None
            if not gone:
                yield from send_again(place, sent)
        else:
            gone = 0
        yield from waiting.wait("is not mined yet")


def _receipt(place: Place, waiting: Waiting) -> Sending[JsonObject | None]:
    # A node that is busy for a moment does not make the transaction uncertain: it is asked again.
    receipt = yield from or_nothing(rpc(place.url, "eth_getTransactionReceipt", [waiting.transaction_hash]))
    if not isinstance(receipt, dict):
        return None
    if receipt.get("status") != "0x1":
        said = f"{waiting.what} was mined and reverted: only its gas was spent."
        raise waiting.error(TransactionRevertedError, said)
    return receipt


def _is_known(place: Place, sent: SentTransaction) -> Fetching[bool]:
    return isinstance((yield from rpc(place.url, "eth_getTransactionByHash", [sent.transaction_hash])), dict)


def send_again(place: Place, sent: SentTransaction) -> Fetching[None]:
    """Send the same bytes again, which is safe; what the node says of it does not matter."""
    yield from or_nothing(rpc(place.url, "eth_sendRawTransaction", ["0x" + sent.raw.hex()]))


def or_nothing(reading: Fetching[T]) -> Fetching[T | None]:
    """Return what `reading` returns, None if the node refuses or does not answer."""
    try:
        return (yield from reading)
    except DiscoveryError:
        return None


class SyncSender:
    """
    This sender performs the effects of `Sending` flows synchronously.

    `signer` returns the wallet, `tell` is told each step, `leaving` gets each transaction before it is sent.
    """

    def __init__(
        self,
        signer: Callable[[], TransactionSigner],
        connections: SyncConnections,
        *,
        tell: Callable[[Tell], object] | None = None,
        leaving: Callable[[SentTransaction], object] | None = None,
    ) -> None:
        self._signer, self._connections = signer, connections
        self._tell, self._leaving = tell, leaving

    def perform(self, effect: object) -> object:
        """Perform one effect."""
        match effect:
            case Fetch():
                return fetch(self._connections, effect)
            case SignTransaction():
                return not_awaitable(self._signer().sign_transaction(effect.transaction), "The signer")
            case Pause():
                time.sleep(effect.seconds)
            case Consult():
                return effect.work()
            case Leaving() if self._leaving is not None:
                self._leaving(effect.sent)
            case Tell() if self._tell is not None:
                self._tell(effect)
        return None


class AsyncSender:
    """This sender performs the effects of `Sending` flows asynchronously; its callbacks may be either."""

    def __init__(
        self,
        signer: Callable[[], TransactionSigner],
        connections: AsyncConnections,
        *,
        tell: Callable[[Tell], object] | None = None,
        leaving: Callable[[SentTransaction], object] | None = None,
    ) -> None:
        self._signer, self._connections = signer, connections
        self._tell, self._leaving = tell, leaving

    async def perform(self, effect: object) -> object:
        """Perform one effect."""
        match effect:
            case Fetch():
                return await afetch(self._connections, effect)
            case SignTransaction():
                return await awaited(self._signer().sign_transaction(effect.transaction))
            case Pause():
                await asyncio.sleep(effect.seconds)
            case Consult():
                return await asyncio.to_thread(effect.work)
            case Leaving() if self._leaving is not None:
                await awaited(self._leaving(effect.sent))
            case Tell() if self._tell is not None:
                await awaited(self._tell(effect))
        return None
