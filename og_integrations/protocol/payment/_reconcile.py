"""
This module reads from the chain what old authorizations took, and gives back the rest (docs/protocol.md §7).

A sum of the `SpendPolicy` bounds what is authorized; most of it is never taken. So before a call is refused, the
chain is asked about the authorizations whose deadline is over, and the claim is made once more (`Reclaimer`). No lock
is held meanwhile, and nothing is signed before the claim stands.

Reading a settlement: no log carries the permit's nonce. A settlement transaction emits the token's `Transfer(owner,
payTo, amount)` and the proxy's `Settled()`; the nonce is in its calldata, among the other words that were signed. A
used nonce alone proves nothing: its owner can use it up as well.
"""

from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from og_integrations.errors import BudgetExceededError, ConfigurationError, DiscoveryError
from og_integrations.networks import PERMIT2_ADDRESS
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain._abi import TRANSFER_TOPIC, address_word, selector, topic, uint_word
from og_integrations.protocol.payment._budget import Budget, Entry, Lock
from og_integrations.protocol.payment._flow import Pause, consulted
from og_integrations.protocol.payment._lease import Drawn
from og_integrations.protocol.payment.schemes._upto import Permit2Authorization

_SETTLED_TOPICS = {topic("Settled()"), topic("SettledWithPermit()")}
_CANCELLED_TOPIC = topic("UnorderedNonceInvalidation(address,uint256,uint256)")
_BITMAP = selector("nonceBitmap(address,uint256)")


class SettlementStatus(Enum):
    """
    A status says what became of an authorization.

    `pending`: not used, and it still may be. `unused`: not used, and it cannot be any more.
    """

    SETTLED = "settled"
    CANCELLED = "cancelled"
    UNUSED = "unused"
    PENDING = "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """
    A settlement is what the chain says. `amount` is what was taken, in base units; 0 unless settled.

    `transaction_hash` and `block_number` are of the settlement or of the owner's cancellation.
    """

    status: SettlementStatus
    amount: int = 0
    transaction_hash: str | None = None
    block_number: int | None = None

    def to_json(self) -> JsonObject:
        """Return it as plain JSON; the amount as text."""
        return {
            "status": self.status.value,
            "amount": str(self.amount),
            "transaction_hash": self.transaction_hash,
            "block_number": self.block_number,
        }


def encode_nonce_bitmap(authorization: Permit2Authorization) -> str:
    """Return the eth_call data that asks Permit2 for the word in which the nonce's bit is."""
    return "0x" + (_BITMAP + address_word(authorization.payer) + uint_word(authorization.nonce >> 8)).hex()


def nonce_is_used(bitmap: bytes, authorization: Permit2Authorization) -> bool:
    """Read the nonce's bit from Permit2's answer. Raises `DiscoveryError` if it is none."""
    # A node answers with no bytes where there is no contract, which is not the same as an unused nonce.
    if len(bitmap) != 32:
        raise DiscoveryError("There is no Permit2 on this chain. Check the node's address.")
    # Permit2 keeps 256 nonces in one word; the upper 248 bits of a nonce name the word (docs/protocol.md §7.1).
    return bool(int.from_bytes(bitmap, "big") >> (authorization.nonce & 255) & 1)


def transfer_filter(authorization: Permit2Authorization) -> JsonObject:
    """Return the eth_getLogs filter, without blocks, of all transfers from payer to payee."""
    parties = ["0x" + address_word(address).hex() for address in (authorization.payer, authorization.pay_to)]
    # No event of a settlement carries the nonce, so the transfers
    # between the two parties are what can be searched for.
    return {"address": authorization.token, "topics": [TRANSFER_TOPIC, *parties]}


def cancellation_filter(authorization: Permit2Authorization) -> JsonObject:
    """Return the eth_getLogs filter, without blocks, of what the payer cancelled."""
    return {"address": PERMIT2_ADDRESS, "topics": [_CANCELLED_TOPIC, "0x" + address_word(authorization.payer).hex()]}


def settled_amount(authorization: Permit2Authorization, calldata: bytes, logs: Sequence[JsonObject]) -> int | None:
    """
    Return what a transaction with this `calldata` and these `logs` settled of `authorization`.

    None if it did not. The calldata must hold, one after the other as `settle` takes them, all words
    that were signed; the amount stands between them, is one that the contract takes, and a transfer of it
    must have happened.
    """
    # The words are joined in the order of `settle`, so that a chance match of a single number is not believed.
    head = address_word(authorization.token) + b"".join(
        map(uint_word, (authorization.amount, authorization.nonce, authorization.deadline))
    )
    tail = b"".join(map(address_word, (authorization.payer, authorization.pay_to, authorization.facilitator)))
    tail += uint_word(authorization.valid_after)
    # Calldata alone proves nothing: a failed call inside a successful transaction has the same bytes.
    if not any(_is_from(log, authorization.spender, _SETTLED_TOPICS) for log in logs):
        return None
    moved = {_data(log) for log in logs if _is_transfer(log, authorization)}
    at = calldata.find(head)
    while at >= 0:
        # A router may pass the call on, at any offset and several in one transaction.
        word = calldata[at + len(head) : at + len(head) + 32]
        amount = int.from_bytes(word, "big")
        if calldata.startswith(tail, at + len(head) + 32) and word in moved and 0 < amount <= authorization.amount:
            return amount
        at = calldata.find(head, at + 1)
    return None


def is_cancellation(log: JsonObject, authorization: Permit2Authorization) -> bool:
    """Return whether `log` says that the payer used up the nonce without paying."""
    data = _data(log)
    return (
        _is_from(log, PERMIT2_ADDRESS, {_CANCELLED_TOPIC})
        and _topics(log)[1:] == ["0x" + address_word(authorization.payer).hex()]
        and len(data) == 64
        and int.from_bytes(data[:32], "big") == authorization.nonce >> 8
        and bool(int.from_bytes(data[32:], "big") >> (authorization.nonce & 255) & 1)
    )


def _is_transfer(log: JsonObject, authorization: Permit2Authorization) -> bool:
    parties = ["0x" + address_word(address).hex() for address in (authorization.payer, authorization.pay_to)]
    return _is_from(log, authorization.token, {TRANSFER_TOPIC}) and _topics(log)[1:] == parties


def _is_from(log: JsonObject, address: str, topics: set[str]) -> bool:
    found = _topics(log)
    return str(log.get("address")).lower() == address.lower() and bool(found) and found[0] in topics


def _topics(log: JsonObject) -> list[str]:
    topics = log.get("topics")
    return [str(topic).lower() for topic in topics] if isinstance(topics, list) else []


def _data(log: JsonObject) -> bytes:
    try:
        return bytes.fromhex(str(log.get("data")).removeprefix("0x"))
    except ValueError:
        return b""


Turn = Literal["ask", "wait", "again", "done"]
REST = 30
"""Seconds for which nobody asks, after the chain had nothing to give back."""
LOST = 120
"""Seconds after which a turn is nobody's any more: its event loop was stopped in the middle, say."""


class AskingTurns:
    """
    The turns say who asks the chain what can be given back to one budget; `lock` makes them safe for threads.

    Many calls can meet the same limit at once. One of them asks, the others wait for its outcome; and if nothing came
    of it, nobody asks again for a while. `trouble` is why the last one could not ask.
    """

    def __init__(self, lock: Lock) -> None:
        self.trouble = ""
        self._lock = lock
        self._asking_since: int | None = None
        self._resting_since: int | None = None
        self._ended = 0
        self._ended_at: int | None = None
        self._in_vain: set[str] = set()

    def ended(self) -> int:
        """Return how many turns there were, for `take` to see whether there was one meanwhile."""
        return self._ended

    def ended_since(self, then: int) -> bool:
        """Return whether a turn ended at unix time `then` or later."""
        return self._ended_at is not None and self._ended_at >= then

    def take(self, now: int, ended: int) -> Turn:
        """
        Return what to do at unix time `now`: `"ask"` and then `end` or `leave`, `"wait"` and look again, or nothing.

        `ended` is what it was when the limit was met. `"again"`: another one got something since, which may do.
        """
        with self._lock:
            # A turn ends by itself after a while: a call whose event
            # loop was stopped would block all others for ever.
            if _lasts(self._asking_since, LOST, now):
                return "wait"
            if _lasts(self._resting_since, REST, now):
                return "done"
            # Another call got something back since the limit was met,
            # so the claim is worth another attempt without asking.
            if self._ended != ended:
                return "again"
            self._asking_since = now
            return "ask"

    def end(self, now: int, *, gave_back: bool, in_vain: Collection[str] = (), trouble: str = "") -> None:
        """Note that the one whose turn it was has asked; the chain could not explain the entries `in_vain`."""
        with self._lock:
            self._asking_since = None
            # Without a rest each of a hundred refused calls would ask the node about the same authorizations.
            self._resting_since = None if gave_back else now
            self._ended += 1
            self._ended_at = now
            self._in_vain = set(in_vain)
            self.trouble = trouble

    def leave(self) -> None:
        """Note that it was stopped before it knew, or had nothing to ask: another one may."""
        with self._lock:
            self._asking_since = None

    def was_in_vain(self, entry_id: str) -> bool:
        """Return whether the chain could not explain that entry when it was asked last."""
        return entry_id in self._in_vain


def _lasts(since: int | None, seconds: int, now: int) -> bool:
    # A clock that was set back must not make this last for long.
    return since is not None and 0 <= now - since < seconds


ASKING_POLL = 0.02
"""Seconds after which a call looks again whether another one has its answer."""


@dataclass(slots=True)
class Findings:
    """The findings are what asking the chain brought: how many entries were corrected, and why others could not be."""

    corrected: int = 0
    in_vain: dict[str, str] = field(default_factory=dict)


AskChain = Callable[[Sequence[Entry], Callable[[], bool], Findings], Generator[Any, Any, None]]
"""
Corrects, of these entries, those that the chain explains, until the function says that it is enough; notes
its findings as it goes. A generator of its own effects, which raises `ConfigurationError` or `DiscoveryError`.
"""


class Reclaimer:
    """A reclaimer makes claims on `budget`, and asks the chain where a limit stands in the way; see `_flow.Reclaim`."""

    def __init__(self, budget: Budget, clock: Callable[[], int], ask_chain: AskChain, lock: Lock) -> None:
        self.turns = AskingTurns(lock)
        self._budget = budget
        self._clock = clock
        self._ask_chain = ask_chain

    def __call__(self, attempt: Callable[[], Drawn], amount: int, began: int) -> Generator[Any, Any, Drawn]:
        """
        Return what `attempt` returns, which claims `amount` base units; make it again if the chain can help.

        The call that asks `began` at that unix time; once it is older than `REST`, what another one has found has to
        do for it. Raises what `attempt` raises; a `BudgetExceededError` says if the chain could not be asked.
        """
        trouble = None
        while trouble is None:
            try:
                return (yield from consulted(self._budget, attempt))
            except BudgetExceededError as exc:
                # Without the name of a limit there is no sum in which the chain could make room.
                if not exc.limit:
                    raise
                limit = exc.limit
            trouble = yield from self._ask(amount, limit, began)
        try:
            return (yield from consulted(self._budget, attempt))
        except BudgetExceededError as exc:
            if not trouble or not exc.limit:
                raise
            error = BudgetExceededError(
                f"{exc} Some of them are past their deadline, but go on counting, since the chain could not say what "
                f"was taken: {trouble}"
            )
            error.limit = exc.limit
            raise error from exc

    def _ask(self, amount: int, limit: str, began: int) -> Generator[Any, Any, str | None]:
        """Have the chain asked, by this call or another one; return why it could not be, None to look again."""
        turns, clock = self.turns, self._clock
        ended = turns.ended()
        if not (yield from self._overdue(limit)):
            return ""
        if clock() >= began + REST and turns.ended_since(began):
            # A slow node would otherwise keep each of many calls for as long as all those before it.
            return turns.trouble
        while (turn := turns.take(clock(), ended)) == "wait":
            yield Pause(ASKING_POLL)
        if turn == "again" and clock() < began + REST:
            # Whoever asked has stopped when it was enough for itself.
            return None
        if turn != "ask":
            return turns.trouble
        found, trouble = Findings(), ""
        try:
            # Looked up again: another call, or process, may just have corrected them.
            entries = yield from self._overdue(limit)
            if not entries:
                turns.leave()
                return ""
            yield from self._ask_chain(entries, lambda: self._budget.fits(amount, clock()), found)
            trouble = next(iter(found.in_vain.values()), "")
        except (ConfigurationError, DiscoveryError) as exc:
            trouble = str(exc)
        # A cancelled call must give its turn away, or all others wait until the turn is taken for lost.
        except BaseException:
            turns.leave()
            raise
        turns.end(clock(), gave_back=found.corrected > 0, in_vain=found.in_vain, trouble=trouble)
        return trouble

    def _overdue(self, limit: str) -> Generator[Any, Any, list[Entry]]:
        """Return what to ask about: the oldest first, since nodes forget; but last what they could not explain."""
        now = self._clock()
        found = yield from consulted(self._budget, lambda: self._budget.overdue(now, limit))
        return sorted(found, key=lambda entry: (self.turns.was_in_vain(entry.id), entry.at))
