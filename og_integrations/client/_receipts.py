"""
`collect_receipts` catches the receipt of every call, through engines, agents, tasks and the threads they start.

A `ContextVar` holds the open collectors. Frameworks copy the context into their threads and tasks; a
bare `ThreadPoolExecutor` does not: submit `contextvars.copy_context().run` there.

Every call leaves its receipt with the open collectors, whatever stopped it: `build_receipt` makes it.

`ReplayCache` knows which answers this client has seen already: PSS is randomised, so an honest enclave repeats no
signature.
"""

import json
import threading
from asyncio import CancelledError
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from itertools import count
from pathlib import Path

from og_integrations.client._call import Call, CallState
from og_integrations.errors import (
    ConfigurationError,
    InvalidRequestError,
    MalformedReplyError,
    OpenGradientError,
    VerificationError,
)
from og_integrations.forking import survive_forks
from og_integrations.protocol.payment.schemes.upto import Permit2Authorization
from og_integrations.protocol.payment.session import PaymentSession
from og_integrations.protocol.payment.x402 import (
    ReplyHead,
    ToldSettlement,
    blob_id,
    parse_settlement,
    session_ref,
    transaction_hash,
)
from og_integrations.protocol.proof.canonical import RULES, request_hash
from og_integrations.protocol.proof.verification import VerifiedExchange
from og_integrations.protocol.receipt import KINDS, described
from og_integrations.protocol.strict_json import JsonObject
from og_integrations.receipt import OWN_HASH, Check, Receipt, ReceiptPayment, is_verified

_collectors: ContextVar[tuple["Receipts", ...]] = ContextVar("og_integrations_collectors", default=())


class Receipts(list[JsonObject]):
    """
    This list holds the receipts of all calls inside one `collect_receipts`, failed ones too, in order of ending.

    `exchanges` holds, at the same positions, the exact request and answer of each (None unless
    `keep_exchanges=True`, or if no answer came), in the form that `og-integrations verify` reads.
    """

    def __init__(self, *, keep_exchanges: bool = False) -> None:
        super().__init__()
        self.keep_exchanges = keep_exchanges
        # Beside each other, and found by the receipt itself: two lists would get out of step, with threads.
        self._kept: list[tuple[JsonObject, JsonObject | None]] = []

    @property
    def exchanges(self) -> list[JsonObject | None]:
        """Return the exchanges of the receipts, as they stand in this list now."""
        return [exchange for _, exchange in self._pairs()]

    @property
    def verified(self) -> bool:
        """Return whether there is at least one receipt, and every one is verified."""
        return bool(self) and all(map(is_verified, self))

    def add(self, receipt: JsonObject, exchange: JsonObject | None) -> None:
        """Keep one more receipt, and its exchange where that is wanted; from whatever thread."""
        if self.keep_exchanges:
            self._kept.append((receipt, exchange))
        self.append(receipt)

    def save(self, folder: str | Path) -> list[Path]:
        """
        Write each receipt with its exchange to a new JSON file in `folder`; return the files.

        They hold prompts and answers in clear: `verify` needs them. Files that are there are kept.
        Raises `ConfigurationError` if that is not possible.
        """
        target = Path(folder)
        files: list[Path] = []
        try:
            target.mkdir(parents=True, exist_ok=True)
            names = (target / f"receipt-{n:03}.json" for n in count(1))
            for receipt, exchange in self._pairs():
                text = json.dumps({"receipt": receipt, "exchange": exchange}, indent=2) + "\n"
                files.append(_write_new(names, text))
        except OSError as exc:
            raise ConfigurationError(f"The receipts could not be saved in {folder}: {exc}.") from exc
        return files

    def _pairs(self) -> list[tuple[JsonObject, JsonObject | None]]:
        receipts = list(self)
        kept = {id(receipt): exchange for receipt, exchange in self._kept}
        return [(receipt, kept.get(id(receipt))) for receipt in receipts]


def _write_new(names: Iterator[Path], text: str) -> Path:
    """Write `text` to the first of `names` that is free; asking first would overwrite what comes in between."""
    for file in names:
        with suppress(FileExistsError), file.open("x", encoding="utf-8") as target:
            target.write(text)
            return file
    raise FileNotFoundError("no name is free")


@contextmanager
def collect_receipts(*, keep_exchanges: bool = False) -> Iterator[Receipts]:
    """
    Collect the receipts of all calls made inside the `with`, by any model and framework.

    Streams have to be read to their end inside it. Collectors nest; each gets every receipt.
    """
    receipts = Receipts(keep_exchanges=keep_exchanges)
    token = _collectors.set((*_collectors.get(), receipts))
    try:
        yield receipts
    finally:
        _collectors.reset(token)


def active_collectors() -> tuple[Receipts, ...]:
    """Return the collectors open in this context, outermost first."""
    return _collectors.get()


def wants_exchange() -> bool:
    """Return whether a collector in this context keeps the bytes of requests and answers."""
    return any(receipts.keep_exchanges for receipts in active_collectors())


def collect_verified(state: CallState, verified: VerifiedExchange) -> JsonObject:
    """Return the receipt of a call whose answer is proven, and hand it to every collector."""
    receipt = build_receipt(state, verified=verified).to_json()
    collect(state, receipt)
    return receipt


def build_receipt(
    state: CallState, *, verified: VerifiedExchange | None = None, checks: Sequence[Check] = ()
) -> Receipt:
    """
    Return the receipt of a call; its status is "verified" only with a `VerifiedExchange`.

    `checks` are the verdicts of a call without one.
    """
    call, enclave = state.call, state.target.enclave if state.target is not None else None
    payment = _payment(state, state.grant, verified) if state.grant is not None else None
    if verified is None:
        return Receipt(
            kind=KINDS.get(call.path),
            model=call.model,
            created=call.created,
            presentation=state.presentation,
            # Says which request a call without proof was about.
            request_hash=_hash_of(call),
            tee_id=enclave.tee_id if enclave else None,
            enclave=described(enclave) if enclave else None,
            payment=payment,
            checks=tuple(checks),
        )
    proof, exchange = verified.proof, verified.exchange
    return Receipt(
        kind=KINDS.get(call.path),
        status="verified",
        trust=exchange.trust.level if exchange.trust else None,
        hash_rule=verified.hash_rule,
        channel=exchange.channel,
        model=call.model,
        created=call.created,
        presentation=state.presentation,
        request_hash=proof.request_hash,
        output_hash=proof.output_hash,
        tee_timestamp=proof.timestamp,
        tee_signature=proof.signature,
        tee_id=proof.tee_id,
        enclave=described(enclave) if enclave else None,
        payment=payment,
        checks=verified.checks,
        unsigned=verified.unsigned(settlement_told=payment is not None and payment.tells_settlement),
    )


def _payment(state: CallState, grant: PaymentSession, verified: VerifiedExchange | None) -> ReceiptPayment:
    told, session = _told_settlement(state.head), grant.session_id
    if verified is not None and (streamed := verified.exchange.completion.settlement):
        told = told._replace(
            transaction_hash=told.transaction_hash
            or transaction_hash(streamed.get("data_settlement_transaction_hash")),
            blob_id=told.blob_id or blob_id(streamed.get("data_settlement_blob_id")),
        )
    return _paid(
        grant.authorization,
        grant.requirements.scheme,
        grant.requirements.network,
        session_ref(session.reveal()) if session else None,
        state.call.settlement_mode.value,
        told,
    )


@lru_cache(maxsize=256)
def _paid(
    authorization: Permit2Authorization, scheme: str, network: str, ref: str | None, mode: str, told: ToldSettlement
) -> ReceiptPayment:
    # Cached: the digest takes ten hashes, and all calls of a session have the same payment.
    return ReceiptPayment(
        payment_hash=told.payment_hash or "0x" + authorization.digest().hex(),
        payment_hash_source=told.payment_hash_source or OWN_HASH,
        scheme=scheme,
        network=network,
        asset=authorization.token,
        payer=authorization.payer,
        pay_to=authorization.pay_to,
        facilitator=authorization.facilitator,
        spender=authorization.spender,
        max_amount=str(authorization.amount),
        nonce=str(authorization.nonce),
        valid_after=authorization.valid_after,
        deadline=authorization.deadline,
        session_ref=ref,
        settlement_mode=mode,
        transaction_hash=told.transaction_hash,
        blob_id=told.blob_id,
    )


def _told_settlement(head: ReplyHead | None) -> ToldSettlement:
    try:
        return parse_settlement(head) if head else ToldSettlement()
    except MalformedReplyError:
        # Nothing of it is signed, and a receipt is also made while another error is on its way.
        return ToldSettlement()


def collect_failed(state: CallState, exc: BaseException) -> None:
    """Hand the receipt of a call that `exc` stopped to `exc` and to every collector; its status is "unverified"."""
    receipt = build_receipt(state, checks=_failed_checks(exc)).to_json()
    if isinstance(exc, OpenGradientError | CancelledError):
        exc.receipt = receipt  # type: ignore[union-attr]
    collect(state, receipt)


def collect(state: CallState, receipt: JsonObject) -> None:
    """Hand `receipt`, and the exchange where it was kept, to every collector in this context."""
    exchange = state.exchange()
    for receipts in active_collectors():
        receipts.add(receipt, exchange)


def _hash_of(call: Call) -> str | None:
    """Return the hash of what was asked, by the first rule that has one for it."""
    for rule in RULES:
        with suppress(InvalidRequestError):
            return request_hash(call.path, json.loads(call.wire), rule).hex()
    return None


def _failed_checks(exc: BaseException) -> list[Check]:
    if isinstance(exc, VerificationError) and exc.step:
        return list(exc.checks) or [Check(exc.step, "fail", str(exc))]
    detail = f"{type(exc).__name__}: {exc}" if isinstance(exc, OpenGradientError) else type(exc).__name__
    return [Check("answer", "fail", detail)]


REMEMBERED_SIGNATURES = 4096


class ReplayCache:
    """A replay cache knows the last signatures that one client was shown. Threads may share it."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, None] = OrderedDict()
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Have a lock that nobody holds; what was seen stays seen."""
        self._lock = threading.Lock()

    def seen(self, signature: str) -> bool:
        """Remember `signature`, and return whether it was there."""
        with self._lock:
            seen = signature in self._seen
            self._seen[signature] = None
            if len(self._seen) > REMEMBERED_SIGNATURES:
                self._seen.popitem(last=False)
        return seen
