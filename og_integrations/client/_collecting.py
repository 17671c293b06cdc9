"""
`collect_receipts` catches the receipt of every call, through engines, agents, tasks and the threads they start.

A `ContextVar` holds the open collectors. Frameworks copy the context into their threads and tasks; a
bare `ThreadPoolExecutor` does not: submit `contextvars.copy_context().run` there.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from itertools import count
from pathlib import Path

from og_integrations.client._evidence import Attested, evidence
from og_integrations.errors import ConfigurationError
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.receipt import is_verified, reported_cost

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
        self._kept: list[tuple[JsonObject, JsonObject | None, Attested | None]] = []

    @property
    def exchanges(self) -> list[JsonObject | None]:
        """Return the exchanges of the receipts, as they stand in this list now."""
        return [exchange for _, exchange, _ in self._kept_now()]

    @property
    def reported_cost(self) -> int:
        """
        Return what the gateways say these calls cost, in base units of OPG; calls of which none says it count 0.

        Nobody signs it, and no budget believes it.
        """
        return sum(map(reported_cost, self))

    @property
    def verified(self) -> bool:
        """Return whether there is at least one receipt, and every one is verified."""
        return bool(self) and all(map(is_verified, self))

    def add(self, receipt: JsonObject, exchange: JsonObject | None, attested: Attested | None = None) -> None:
        """Keep one more receipt, and where that is wanted its exchange and what its enclave showed; any thread may."""
        if self.keep_exchanges:
            self._kept.append((receipt, exchange, attested))
        self.append(receipt)

    def save(self, folder: str | Path) -> list[Path]:
        """
        Write each receipt with its exchange to a new JSON file in `folder`; return the files.

        They hold prompts and answers in clear: `verify` needs them. Where the enclave showed its attestation document,
        they are evidence (`og-evidence/1`) that a stranger checks from AWS's root down. Files that are there are kept.
        Raises `ConfigurationError` if that is not possible.
        """
        target = Path(folder)
        files: list[Path] = []
        try:
            target.mkdir(parents=True, exist_ok=True)
            names = (target / f"receipt-{n:03}.json" for n in count(1))
            for receipt, exchange, attested in self._kept_now():
                text = json.dumps(evidence(receipt, exchange, attested), indent=2) + "\n"
                files.append(_write_new(names, text))
        except OSError as exc:
            raise ConfigurationError(f"The receipts could not be saved in {folder}: {exc}.") from exc
        return files

    def _kept_now(self) -> list[tuple[JsonObject, JsonObject | None, Attested | None]]:
        kept = {id(receipt): (exchange, attested) for receipt, exchange, attested in self._kept}
        return [(receipt, *kept.get(id(receipt), (None, None))) for receipt in list(self)]


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
