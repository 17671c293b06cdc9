"""
One inference: simulated, sent, mined, found in the events of its own request, and, if it comes late, waited for.

The generator yields effects, so that it exists once for both clients. Whatever stops it leaves a receipt.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Literal
from urllib.parse import quote

from og_integrations._urls import url_below
from og_integrations.client._collecting import Recording, collecting
from og_integrations.client.chain._jsonrpc import as_number, decode_hex, rpc
from og_integrations.client.chain._transactions import GasLimits, Sending, SentTransaction, Waiting, resume, send_again
from og_integrations.errors import (
    ConfigurationError,
    DiscoveryError,
    OnchainError,
    OpenGradientError,
    TransactionError,
    TransactionInDoubtError,
    TransactionRefusedError,
    TransactionRevertedError,
    VerificationError,
)
from og_integrations.ledger._ledger import Ledger
from og_integrations.onchain._receipts import Record
from og_integrations.onchain._setup import Notes, Setup, check_place, cost_of, send
from og_integrations.protocol._strict_json import JsonObject, parse_json_object
from og_integrations.protocol.chain._execution import ModelFile, differences
from og_integrations.protocol.chain._inference import (
    InferenceEvent,
    Log,
    ModelOutput,
    Request,
    decode_node_result,
    decode_run,
    find_result,
    has_node_result,
    run_calldata,
)
from og_integrations.protocol.chain._workflow import check_address
from og_integrations.protocol.payment._flow import Consult, Fetch, Pause
from og_integrations.protocol.payment._x402 import checksum_address
from og_integrations.receipt import Receipt, is_verified, leaves, names_of_chain, names_of_proven

_WHAT = "The inference"
_API_PATH = "/artela-network/artela-rollkit/inference/tx/"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0
_FINAL = (OnchainError, TransactionRefusedError, TransactionRevertedError, VerificationError)
"""After these a later look at the transaction finds nothing else."""


@dataclass(frozen=True, kw_only=True)
class Inference:
    """
    This is the result of a model on chain.

    `values` maps each output's name to nested lists of exact `int` or `Decimal`, of texts, or to parsed JSON.
    """

    output: ModelOutput
    transaction_hash: str
    receipt: JsonObject = field(repr=False)

    @property
    def values(self) -> dict[str, object]:
        """Return the outputs by name."""
        return self.output.values

    @property
    def verified(self) -> bool:
        """Return whether the chain's own events vouch for the result, or the model's file does."""
        return is_verified(self.receipt)


@dataclass(frozen=True, kw_only=True)
class TransactionStatus:
    """
    This is what became of a transaction: mined, reverted, pending (a node has it), or unknown to the node.

    `cost` is what its gas cost, in wei; None where the node does not say it, or nothing is mined.
    """

    transaction_hash: str
    status: Literal["mined", "reverted", "pending", "unknown"]
    block_number: int | None = None
    gas_used: int | None = None
    cost: int | None = None


@dataclass(frozen=True, kw_only=True)
class Recomputing:
    """The model's file, and how much its numbers may differ from the network's."""

    model: ModelFile
    relative: float = 1e-5
    absolute: float = 1e-9


def infer(
    setup: Setup, request: Request, *, limits: GasLimits | None = None, recomputing: Recomputing | None = None
) -> Sending[Inference]:
    """
    Run the model of `request` on chain and return its result.

    Raises `TransactionError` (see there whether anything was sent), `OnchainError` if the chain's answer is not
    the answer to this request, `VerificationError` if the model's file gives another result; all with a receipt.
    """
    record = Record(setup, request, int(time.time()), sender=setup.signer().address)
    with _recorded(record):
        calldata = run_calldata(request.model_cid, request.mode, request.inputs)
        mined = yield from send(setup, setup.hub, calldata, _WHAT, limits=limits, notes=record.notes)
        record.transaction_hash = mined.sent.transaction_hash
        record.passed("transaction", "signed here: a call of the hub with this model, mode and input")
        record.cost = mined.cost
        return (yield from _concluded(record, mined.receipt, recomputing))


def resume_inference(
    setup: Setup, sent: SentTransaction | str, recomputing: Recomputing | None = None
) -> Sending[Inference]:
    """
    Return the result of an inference that was sent before, given its hash or the transaction as it was written down.

    With the transaction itself it is sent again where the node does not know it. Its request is read from the chain.
    Raises as `infer` does, `OnchainError` if the transaction is no inference of this hub, and
    `TransactionRefusedError` if another transaction has its number, so that it can never be mined.
    """
    yield from check_place(setup)
    if isinstance(sent, SentTransaction) and sent.chain_id != setup.place.chain_id:
        # Its number counts there only: here it would seem to be another one's.
        raise ConfigurationError(
            f"The transaction {sent.transaction_hash} is of chain {sent.chain_id}, expected {setup.place.chain_id}. "
            "Nothing was sent."
        )
    transaction_hash = sent if isinstance(sent, str) else sent.transaction_hash
    found = yield from rpc(setup.url, "eth_getTransactionByHash", [transaction_hash])
    if not isinstance(found, dict) and isinstance(sent, SentTransaction):
        yield from send_again(setup.place, sent)
        found = yield from rpc(setup.url, "eth_getTransactionByHash", [transaction_hash])
        if not isinstance(found, dict):
            yield from _resumed_unknown(setup, sent)
            found = yield from rpc(setup.url, "eth_getTransactionByHash", [transaction_hash])
    if not isinstance(found, dict):
        error = TransactionInDoubtError(f"The node does not know the transaction {transaction_hash} (yet).")
        error.transaction_hash = transaction_hash
        raise error
    if str(found.get("to")).lower() != setup.hub.lower():
        raise OnchainError(f"The transaction {transaction_hash} is no call of the hub {setup.hub}.")
    request = decode_run(decode_hex(found.get("input"), setup.url))
    sender = _sender_of(found)
    record = Record(setup, request, int(time.time()), sender=sender, transaction_hash=transaction_hash)
    with _recorded(record):
        receipt = yield from resume(setup.place, sent, Waiting(_WHAT, setup.timeout))
        record.cost = cost_of(receipt, setup.url)
        if setup.budget is not None and record.cost is not None:
            budget, cost = setup.budget, record.cost
            yield Consult(lambda: budget.concluded(transaction_hash, cost))
        record.passed("transaction", "read from the chain: a call of the hub with this model, mode and input")
        return (yield from _concluded(record, receipt, recomputing))


def resume_from(setup: Setup, ledger: Ledger) -> Sending[list[Inference]]:
    """
    Return the results of the inferences that left and are not over in `ledger`; their receipts are written there.

    What was reverted or replaced is left out, and is over by that. What is not mined in time, or left for another
    chain, is left out and met again the next time. Raises `ConfigurationError` or `DiscoveryError`.
    """
    found: list[Inference] = []
    with collecting(Recording(ledger, "none")):
        for written in (yield Consult(ledger.unfinished)):
            sent = SentTransaction.from_json(written)
            if sent.chain_id != setup.place.chain_id:
                continue
            try:
                found.append((yield from resume_inference(setup, sent)))
            except (OnchainError, TransactionError, VerificationError):
                continue
    yield Consult(ledger.flush)
    return found


def _resumed_unknown(setup: Setup, sent: SentTransaction) -> Sending[None]:
    """Send a transaction until the node knows it. Raises `TransactionRefusedError` once it can never be mined."""
    try:
        yield from resume(setup.place, sent, Waiting(_WHAT, setup.timeout))
    except (TransactionRefusedError, TransactionRevertedError) as exc:
        # There is no receipt: what it asked is read from the chain, which does not have it.
        Notes().end(sent.transaction_hash, type(exc).__name__)
        if setup.budget is not None and isinstance(exc, TransactionRefusedError):
            yield Consult(partial(setup.budget.concluded, sent.transaction_hash, 0))
        raise


def lookup(setup: Setup, transaction_hash: str) -> Sending[TransactionStatus]:
    """Return what became of a transaction. Raises `DiscoveryError` or `ConfigurationError`; needs no wallet."""
    yield from check_place(setup)
    mined = yield from rpc(setup.url, "eth_getTransactionReceipt", [transaction_hash])
    if not isinstance(mined, dict):
        found = yield from rpc(setup.url, "eth_getTransactionByHash", [transaction_hash])
        status: Literal["pending", "unknown"] = "pending" if isinstance(found, dict) else "unknown"
        return TransactionStatus(transaction_hash=transaction_hash, status=status)
    return TransactionStatus(
        transaction_hash=transaction_hash,
        status="mined" if mined.get("status") == "0x1" else "reverted",
        block_number=as_number(mined.get("blockNumber"), setup.url),
        gas_used=as_number(mined.get("gasUsed"), setup.url),
        cost=cost_of(mined, setup.url),
    )


def call(setup: Setup, address: str, data: bytes) -> Sending[TransactionStatus]:
    """Send a transaction that calls a contract and return what became of it. Raises `TransactionError`."""
    check_address(address)
    mined = yield from send(setup, address, data, "The call")
    return TransactionStatus(
        transaction_hash=mined.sent.transaction_hash,
        status="mined",
        block_number=as_number(mined.receipt.get("blockNumber"), setup.url),
        gas_used=as_number(mined.receipt.get("gasUsed"), setup.url),
        cost=mined.cost,
    )


def _sender_of(transaction: JsonObject) -> str:
    try:
        return checksum_address(str(transaction.get("from")))
    except OpenGradientError as exc:
        raise OnchainError("The node's transaction names no sender.") from exc


def verify(setup: Setup, receipt: Mapping[str, object], recomputing: Recomputing | None = None) -> Sending[Inference]:
    """
    Read again from the chain what a saved receipt claims, and return the inference with a receipt of its own.

    Raises `VerificationError` if the chain has something else, and what `resume_inference` raises; `ConfigurationError`
    if it is no receipt of an inference on chain.
    """
    saved = Receipt(dict(receipt))
    if saved.kind != "onchain" or saved.transaction_hash is None:
        raise ConfigurationError("This is no receipt of an inference that was sent: it names no transaction.")
    found = yield from resume_inference(setup, saved.transaction_hash, recomputing)
    claimed, read = leaves(receipt), leaves(found.receipt)
    others = [name for name in (*names_of_proven(), *names_of_chain()) if claimed.get(name) != read.get(name)]
    if others:
        raise VerificationError(
            f"The receipt is not of the transaction that it names: {', '.join(others)} differ on the chain.",
            step="transaction",
        )
    return found


def _concluded(record: Record, receipt: JsonObject, recomputing: Recomputing | None) -> Sending[Inference]:
    record.chain = receipt
    record.passed("mined", f"status 1 in block {receipt.get('blockNumber')}")
    event = find_result(_logs(receipt), record.request, hub=record.setup.hub, precompile=record.setup.precompile)
    record.inference_id = event.inference_id
    record.passed("result_event", "exactly one result, written by the hub")
    record.passed("inference_event", "the precompile wrote this request and the same result")
    from_chain = not (event.response.is_empty or event.response.is_simulation_result)
    if from_chain:
        record.result_source, record.output = "event", event.response
        record.passed("not_simulated", "the network ran the model")
    else:
        record.result_source = "node-api"
        record.output = yield from _late_result(record, event)
        record.skipped("not_simulated", "the event has no result; this one is what the node's API says")
    recomputed = _recomputed(record, record.output, recomputing)
    transaction_hash = record.transaction_hash or ""
    made = record.receipt(verified=from_chain or recomputed, final=True)
    return Inference(output=record.output, transaction_hash=transaction_hash, receipt=made)


def _late_result(record: Record, event: InferenceEvent) -> Sending[ModelOutput]:
    """Ask the node's API until it has the result, or the deadline is over."""
    setup = record.setup
    url = url_below(setup.settings.network.node_api_url, _API_PATH + quote(event.inference_id, safe=""))
    until, pause = time.monotonic() + setup.result_timeout, _FIRST_PAUSE
    while True:
        try:
            body: JsonObject = parse_json_object((yield Fetch(url)), "The node's API")
        except OpenGradientError:
            body = {}
        if has_node_result(body):
            return decode_node_result(record.request.mode, body)
        if time.monotonic() + pause > until:
            error = TransactionInDoubtError(
                f"{_WHAT} was mined, and its result did not come within {setup.result_timeout:.0f} s. Its gas is "
                f"spent; ask for it later. Transaction: {record.transaction_hash}. Inference: {event.inference_id}."
            )
            error.transaction_hash = record.transaction_hash
            raise error
        yield Pause(pause)
        pause = min(_LONGEST_PAUSE, 2 * pause)


def _recomputed(record: Record, output: ModelOutput, recomputing: Recomputing | None) -> bool:
    """Run the model's file and compare. Raises `VerificationError`."""
    if recomputing is None:
        record.skipped("recomputed", "the model's file was not given")
        return False
    ours = recomputing.model.run(record.request.inputs)
    found = differences(ours, output, relative=recomputing.relative, absolute=recomputing.absolute)
    if found:
        raise VerificationError(
            f"The model's file gives another result than the chain: {'; '.join(found[:3])}. The gas is spent; do not "
            "use the result.",
            step="recomputed",
        )
    record.passed("recomputed", f"the model's file gives the same, within {recomputing.relative:g} of each number")
    return True


@contextmanager
def _recorded(record: Record) -> Iterator[None]:
    """Leave a receipt with status "unverified" for whatever stops the inference inside."""
    try:
        yield
    except BaseException as exc:
        step = exc.step if isinstance(exc, VerificationError) and exc.step else record.next_step()
        record.failed(step, exc)
        if isinstance(exc, TransactionError):
            record.transaction_hash = exc.transaction_hash or record.transaction_hash
        receipt = record.receipt(verified=False, final=isinstance(exc, _FINAL))
        if isinstance(exc, OpenGradientError):
            exc.receipt = receipt
        raise


def _logs(receipt: JsonObject) -> Iterable[Log]:
    """Read the logs of a node's receipt. Raises `OnchainError`."""
    logs = receipt.get("logs")
    if not isinstance(logs, list):
        raise OnchainError("The node's receipt has no logs. The gas is spent.")
    return [_log(raw) for raw in logs]


def _log(raw: JsonObject) -> Log:
    try:
        topics = tuple(str(topic).lower() for topic in raw["topics"])
        return Log(str(raw["address"]), topics, decode_hex(raw["data"], "http://node"))
    except (KeyError, TypeError, DiscoveryError) as exc:
        raise OnchainError("The node's receipt has a log that cannot be read. The gas is spent.") from exc
