"""
Every call leaves its receipt with the open collectors, whatever stopped it.
"""

import time
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager

from og_integrations.client.call import Progress
from og_integrations.client.collector import active_collectors
from og_integrations.client.directory import Directory
from og_integrations.errors import OpenGradientError, ToolChoiceNotHonoredError, VerificationError
from og_integrations.protocol.chat import JsonObject
from og_integrations.protocol.checks import Check
from og_integrations.protocol.record import build_receipt


def wants_exchange() -> bool:
    """Return whether a collector in this context keeps the bytes of requests and answers."""
    return any(receipts.keep_exchanges for receipts in active_collectors())


def collect(progress: Progress, receipt: JsonObject) -> None:
    """Hand `receipt`, and the exchange where it was kept, to every collector in this context."""
    # None if nobody keeps it.
    exchange = progress.exchange()
    for receipts in active_collectors():
        receipts.add(receipt, exchange)


@contextmanager
def recorded(progress: Progress, directory: Directory) -> Iterator[None]:
    """
    Whatever stops the call inside leaves a receipt with status "unverified".

    An enclave whose answer was not proven is left for another one of `directory`.
    """
    try:
        yield
    except ToolChoiceNotHonoredError:
        # The answer itself was verified, and its receipt collected.
        raise
    except BaseException as exc:
        receipt = build_receipt(progress.record(), checks=_failed_checks(exc))
        if isinstance(exc, OpenGradientError | CancelledError):
            exc.receipt = receipt  # type: ignore[union-attr]
        if isinstance(exc, VerificationError) and progress.enclave is not None:
            directory.distrust(progress.enclave, time.time())
        collect(progress, receipt)
        raise


def _failed_checks(exc: BaseException) -> list[Check]:
    if isinstance(exc, VerificationError) and exc.step:
        return list(exc.checks) or [Check(exc.step, "fail", str(exc))]
    detail = f"{type(exc).__name__}: {exc}" if isinstance(exc, OpenGradientError) else type(exc).__name__
    return [Check("answer", "fail", detail)]
