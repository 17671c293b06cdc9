"""
Every call leaves its receipt with the open collectors, whatever stopped it.
"""

import json
import time
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from og_integrations.client.call import Call, Progress
from og_integrations.client.collector import active_collectors
from og_integrations.client.directory import Directory
from og_integrations.errors import (
    InvalidRequestError,
    OpenGradientError,
    ToolChoiceNotHonoredError,
    VerificationError,
)
from og_integrations.protocol.canonical import HASHINGS, request_hash
from og_integrations.protocol.chat import JsonObject
from og_integrations.protocol.checks import Check
from og_integrations.protocol.receipt import build_receipt
from og_integrations.protocol.verification import VerifiedReceipt
from og_integrations.protocol.x402 import ReplyHead


def wants_exchange() -> bool:
    """Return whether a collector in this context keeps the bytes of requests and answers."""
    return any(receipts.keep_exchanges for receipts in active_collectors())


def collect_verified(progress: Progress, verified: VerifiedReceipt) -> JsonObject:
    """Return the receipt of a call whose answer is proven, and hand it to every collector."""
    receipt = build_receipt(progress.record(), verified=verified)
    collect(progress, receipt)
    return receipt


@contextmanager
def recorded(progress: Progress, directory: Directory) -> Iterator[None]:
    """
    Whatever stops the call inside leaves a receipt with status "unverified".

    An enclave that is to blame for it is left for another one of `directory`; this call is not repeated.
    """
    try:
        yield
    except ToolChoiceNotHonoredError:
        # The answer itself was verified, and its receipt collected.
        raise
    except BaseException as exc:
        record = replace(progress.record(), request_hash=_hash_of(progress.call))
        receipt = build_receipt(record, checks=_failed_checks(exc))
        if isinstance(exc, OpenGradientError | CancelledError):
            exc.receipt = receipt  # type: ignore[union-attr]
        if isinstance(exc, OpenGradientError):
            if _came_from_elsewhere(progress.head):
                exc.blames_enclave = True
            if exc.blames_enclave and progress.enclave is not None:
                directory.distrust(progress.enclave, time.time())
        collect(progress, receipt)
        raise


def collect(progress: Progress, receipt: JsonObject) -> None:
    """Hand `receipt`, and the exchange where it was kept, to every collector in this context."""
    exchange = progress.exchange()
    for receipts in active_collectors():
        receipts.add(receipt, exchange)


def _came_from_elsewhere(head: ReplyHead | None) -> bool:
    """Whether an answer is none that a working gateway gives: a redirect, or a failure in front of it."""
    if head is None:
        return False
    return 300 <= head.status < 400 or (head.status >= 500 and not head.names_session)


def _hash_of(call: Call) -> str | None:
    """Return the hash of what was asked, as the first generation of gateways that takes it makes it."""
    for hashing in HASHINGS:
        with suppress(InvalidRequestError):
            return request_hash(call.path, json.loads(call.wire), hashing).hex()
    return None


def _failed_checks(exc: BaseException) -> list[Check]:
    if isinstance(exc, VerificationError) and exc.step:
        return list(exc.checks) or [Check(exc.step, "fail", str(exc))]
    detail = f"{type(exc).__name__}: {exc}" if isinstance(exc, OpenGradientError) else type(exc).__name__
    return [Check("answer", "fail", detail)]
