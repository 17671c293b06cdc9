"""
Who gets the receipts of calls: lists in memory, recordings into a ledger, and the ledger of the whole process.

`collect_receipts` catches the receipt of every call, through engines, agents, tasks and the threads they start.
A `ContextVar` holds the open collectors. Frameworks copy the context into their threads and tasks; a
bare `ThreadPoolExecutor` does not: submit `contextvars.copy_context().run` there. The ledger of the process
(`set_ledger`, `OG_LEDGER`) needs no context and misses nothing.
"""

import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Unpack, overload
from uuid import uuid4

from og_integrations._accounting import reported_cost
from og_integrations._forking import survive_forks
from og_integrations.client._settings import ledger_setting
from og_integrations.errors import ConfigurationError
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.receipt import is_verified, receipts_table

if TYPE_CHECKING:
    from og_integrations.client._evidence import Shown
    from og_integrations.ledger._entry import Exchanges, LedgerEntry, Wishes
    from og_integrations.ledger._ledger import Ledger, Ticket
    from og_integrations.ledger._totals import Totals

    Everywhere = tuple[tuple[Ledger, Exchanges], ...]

_collectors: ContextVar[tuple["Receipts | Recording", ...]] = ContextVar("og_integrations_collectors", default=())
_tags: ContextVar[tuple[str, ...]] = ContextVar("og_integrations_tags", default=())


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
        self._kept: list[tuple[JsonObject, JsonObject | None, Shown | None]] = []

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
        return sum(reported_cost(receipt) or 0 for receipt in self)

    @property
    def verified(self) -> bool:
        """Return whether there is at least one receipt, and every one is verified."""
        return bool(self) and all(map(is_verified, self))

    def add(self, receipt: JsonObject, exchange: JsonObject | None, shown: "Shown | None" = None) -> None:
        """Keep one more receipt, and where that is wanted its exchange and what its enclave showed; any thread may."""
        if self.keep_exchanges:
            self._kept.append((receipt, exchange, shown))
        self.append(receipt)

    def totals(self) -> "Totals":
        """Return the sums over the receipts in this list; printed, they are a report in OPG."""
        from og_integrations.ledger._totals import Totals

        totals = Totals()
        for receipt in list(self):
            totals.add(receipt)
        return totals

    def _repr_html_(self) -> str:
        """Return one row for each call, for notebooks; everything in it is escaped."""
        return receipts_table(self)

    def save(self, folder: str | Path) -> list[Path]:
        """
        Write each receipt with its exchange to a new JSON file in `folder`; return the files.

        They hold prompts and answers in clear: `verify` needs them. Where the enclave showed its attestation document,
        they are evidence (`og-evidence/1`) that a stranger checks from AWS's root down. Files that are there are kept.
        Raises `ConfigurationError` if that is not possible.
        """
        from og_integrations.client._evidence import NOTHING_SHOWN, evidence

        target = Path(folder)
        files: list[Path] = []
        try:
            target.mkdir(parents=True, exist_ok=True)
            names = (target / f"receipt-{n:03}.json" for n in count(1))
            for receipt, exchange, shown in self._kept_now():
                text = json.dumps(evidence(receipt, exchange, shown or NOTHING_SHOWN), indent=2) + "\n"
                files.append(_write_new(names, text))
        except OSError as exc:
            raise ConfigurationError(f"The receipts could not be saved in {folder}: {exc}.") from exc
        return files

    def _kept_now(self) -> "list[tuple[JsonObject, JsonObject | None, Shown | None]]":
        kept = {id(receipt): (exchange, shown) for receipt, exchange, shown in self._kept}
        return [(receipt, *kept.get(id(receipt), (None, None))) for receipt in list(self)]


def _write_new(names: Iterator[Path], text: str) -> Path:
    """Write `text` to the first of `names` that is free; asking first would overwrite what comes in between."""
    for file in names:
        with suppress(FileExistsError), file.open("x", encoding="utf-8") as target:
            target.write(text)
            return file
    raise FileNotFoundError("no name is free")


class Recording:
    """
    A recording writes the receipts of all calls inside one `collect_receipts(to=…)` to a ledger, and counts them.

    Its memory does not grow with the calls: the receipts are in the `ledger`, under the `run` of this recording, and
    `entries()` reads them from there.
    """

    def __init__(self, ledger: "Ledger", exchanges: "Exchanges") -> None:
        from og_integrations.ledger._totals import Totals

        self.ledger = ledger
        self.exchanges = exchanges
        self.run: str = uuid4().hex
        self._totals = Totals()
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Have a lock that nobody holds, also in a forked child."""
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Recording of {self._totals.calls} calls in {self.ledger.name}>"

    @property
    def verified(self) -> bool:
        """Return whether there was at least one call, and every one is verified."""
        return self._totals.calls > 0 and self._totals.calls == self._totals.verified

    def totals(self) -> "Totals":
        """Return the sums over the calls so far, of this process; printed, they are a report in OPG."""
        with self._lock:
            return self._totals.copy()

    def entries(self, **wishes: "Unpack[Wishes]") -> "Iterator[LedgerEntry]":
        """Yield the entries of this recording that `wishes` describe, from the ledger."""
        wishes["run"] = self.run
        return self.ledger.entries(**wishes)

    def count(self, receipt: JsonObject) -> None:
        """Count one more call; from whatever thread."""
        with self._lock:
            self._totals.add(receipt)


@overload
def collect_receipts(
    *, keep_exchanges: bool = False, to: None = None, tags: Iterable[str] = ()
) -> AbstractContextManager[Receipts]: ...


@overload
def collect_receipts(
    *, keep_exchanges: "bool | Exchanges" = False, to: "str | Path | Ledger", tags: Iterable[str] = ()
) -> AbstractContextManager[Recording]: ...


def collect_receipts(
    *, keep_exchanges: "bool | Exchanges" = False, to: "str | Path | Ledger | None" = None, tags: Iterable[str] = ()
) -> AbstractContextManager[Receipts] | AbstractContextManager[Recording]:
    """
    Collect the receipts of all calls made inside the `with`, by any model and framework.

    In a list (`Receipts`), or, with `to`, in a ledger as they happen (`Recording`): `"receipts.jsonl"`,
    `"sqlite:///receipts.db"`, `"postgresql://…"`, `"s3://bucket/receipts"`, or what `open_ledger` returned.
    `keep_exchanges` keeps requests and answers beside them: True or `"full"` the exact bytes, which `verify` needs and
    which hold prompts in clear; `"hash"` (ledgers only) their SHA-256. `tags` go into ledgers with each call inside,
    those of outer collectors too.

    Streams have to be read to their end inside it. Collectors nest; each gets every receipt. With `to`, leaving waits
    until everything is written. Raises `ConfigurationError`, on leaving also `LedgerBusyError`.
    """
    from og_integrations.ledger._entry import check_exchanges

    how = check_exchanges(keep_exchanges)
    if to is not None:
        from og_integrations.ledger._ledger import open_ledger

        return _recording(Recording(open_ledger(to), how), tags)
    if how == "hash":
        raise ConfigurationError('keep_exchanges="hash" needs a ledger (to=…): a list in memory keeps them or not.')
    return _listing(Receipts(keep_exchanges=how == "full"), tags)


@contextmanager
def _listing(receipts: Receipts, tags: Iterable[str]) -> Iterator[Receipts]:
    with collecting(receipts), tagged(tags):
        yield receipts


@contextmanager
def _recording(recording: Recording, tags: Iterable[str]) -> Iterator[Recording]:
    with collecting(recording), tagged(tags):
        yield recording
    recording.ledger.flush()


@contextmanager
def collecting(collector: Receipts | Recording) -> Iterator[None]:
    """Have `collector` get the receipts of calls that end inside the `with`, in this context."""
    token = _collectors.set((*_collectors.get(), collector))
    try:
        yield
    finally:
        _collectors.reset(token)


class tagged:  # noqa: N801 - used as a function is; a generator would cost every call of an adapter a microsecond
    """The calls that begin inside this `with` carry `tags`, besides those around it."""

    __slots__ = ("_tags", "_token")

    def __init__(self, tags: Iterable[str] | None) -> None:
        if isinstance(tags, str):
            raise ConfigurationError(f"tags is the text {tags!r:.60}, expected a list of them.")
        # PostgreSQL takes no NUL in a text.
        self._tags = [str(tag).replace("\0", "") for tag in tags or ()]

    def __enter__(self) -> None:
        self._token = _tags.set((*_tags.get(), *self._tags))

    def __exit__(self, *_exc_info: object) -> None:
        _tags.reset(self._token)


def current_tags() -> tuple[str, ...]:
    """Return the tags of calls that begin now, each once."""
    return tuple(dict.fromkeys(_tags.get()))


class _OfProcess:
    """The ledger that all calls of this process leave their receipts in, besides those of collectors."""

    def __init__(self) -> None:
        self.chosen: Everywhere = ()
        self._named: tuple[tuple[str, str], Everywhere] | None = None

    def get(self) -> "Everywhere":
        """Return it, and how much of exchanges it keeps; nothing without one. Raises `ConfigurationError`."""
        if self.chosen:
            return self.chosen
        setting = ledger_setting()
        if setting is None:
            return ()
        if self._named is None or self._named[0] != setting:
            from og_integrations.ledger._entry import EXCHANGES, check_exchanges
            from og_integrations.ledger._ledger import open_ledger

            if setting[1] not in EXCHANGES:
                raise ConfigurationError(f"OG_LEDGER_EXCHANGES is {setting[1]!r:.40}, expected one of {EXCHANGES}.")
            # Kept: a relative path is meant from where the process was when it first wrote there.
            self._named = (setting, ((open_ledger(setting[0]), check_exchanges(setting[1])),))
        return self._named[1]


_of_process = _OfProcess()


def set_ledger(to: "str | Path | Ledger | None", *, keep_exchanges: "bool | Exchanges" = False) -> None:
    """
    Have every call of this process leave its receipt in the ledger `to` from now on, whoever makes it.

    It is what the variables `OG_LEDGER` and `OG_LEDGER_EXCHANGES` (none, hash or full) say, and wins over them; None
    ends it. Raises `ConfigurationError`.
    """
    if to is None:
        _of_process.chosen = ()
        return
    from og_integrations.ledger._entry import check_exchanges
    from og_integrations.ledger._ledger import open_ledger

    _of_process.chosen = ((open_ledger(to), check_exchanges(keep_exchanges)),)


def kept_everywhere() -> "Everywhere":
    """Return the ledger of all calls that this process begins now, and how much of exchanges it keeps; or nothing."""
    return _of_process.get()


def wanted_here(everywhere: "Everywhere | None" = None) -> "tuple[tuple[Ledger, ...], bool]":
    """
    Return the ledgers that a call made in this context is written to, and whether anybody here keeps its exchange.

    `everywhere` is what `kept_everywhere` said, if it was asked. Raises `ConfigurationError`.
    """
    ledgers = _ledgers(everywhere)
    kept = [how for how, _ in ledgers.values() if how != "none"]
    held = [found for found in _collectors.get() if isinstance(found, Receipts) and found.keep_exchanges]
    return tuple(ledgers), bool(kept or held)


def _ledgers(everywhere: "Everywhere | None") -> "dict[Ledger, tuple[Exchanges, str | None]]":
    """Return each ledger here once, with the most that anybody wants kept of exchanges, and the innermost run."""
    found: dict[Ledger, tuple[Exchanges, str | None]] = {}
    for ledger, how in kept_everywhere() if everywhere is None else everywhere:
        found[ledger] = (how, None)
    for collector in _collectors.get():
        if isinstance(collector, Recording):
            from og_integrations.ledger._entry import EXCHANGES

            wanted, _ = found.get(collector.ledger, ("none", None))
            found[collector.ledger] = (max(wanted, collector.exchanges, key=EXCHANGES.index), collector.run)
    return found


def hand_out(
    receipt: JsonObject,
    exchange: JsonObject | None,
    tags: tuple[str, ...],
    *,
    shown: "Shown | None" = None,
    ledgers: bool = True,
    everywhere: "Everywhere | None" = None,
) -> "list[Ticket]":
    """
    Hand the receipt of a call that ended to every collector in this context, and to its ledgers.

    `everywhere` is what `kept_everywhere` said when it began, None if it ended before that was asked.
    Returns a ticket for each ledger, which says when the receipt is written there.
    """
    for collector in _collectors.get():
        if isinstance(collector, Receipts):
            collector.add(receipt, exchange, shown)
        else:
            collector.count(receipt)
    written = _ledgers(everywhere) if ledgers else {}
    if not written:
        return []
    from og_integrations.ledger._entry import LedgerEntry, kept_exchange

    return [
        ledger.add(
            LedgerEntry(receipt=receipt, exchange=kept_exchange(exchange, how), at=time.time(), run=run, tags=tags)
        )
        for ledger, (how, run) in written.items()
    ]
