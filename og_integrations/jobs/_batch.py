"""
A job asks many prompts at once, within limits, and is resumed after any interruption.

Each answer is in the ledger before it is in `out`, and in `out` before the next prompt is taken. So a job that is
killed at any moment goes on where it was: what stands in `out` is done, what stands in the ledger alone is written out,
and only the rest is asked. The calls that were in flight when it was killed may have been charged without an answer.

What fails and was not charged is tried again, a few times, after a while; all else goes to the dead letters. An empty
budget, the kill switch or a wallet that cannot pay stops the job as a whole: every other prompt would fail alike.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

from og_integrations.client._call import Answer, Call
from og_integrations.client._clients import AsyncClient
from og_integrations.client._collecting import Recording, collect_receipts, tagged
from og_integrations.client._options import ClientOptions
from og_integrations.client._settings import check_count
from og_integrations.errors import (
    BudgetExceededError,
    ConfigurationError,
    InvalidRequestError,
    OpenGradientError,
    PaymentRefusedError,
    SigningError,
    SpendingStoppedError,
)
from og_integrations.jobs._answers import JOB_TAG, REQUEST_TAG, Done, answer_line, dead_letter, read_done, recovered
from og_integrations.jobs._prompts import Prompt, Source, lines_of, read_prompt, request_key
from og_integrations.ledger._files import LineFile
from og_integrations.ledger._ledger import Ledger, open_ledger
from og_integrations.ledger._totals import Totals

ATTEMPTS = 5
"""How often a prompt is asked that fails and is not charged."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before the second attempt, doubled each time, and the most of them."""
STOPPING = (BudgetExceededError, SpendingStoppedError, SigningError, PaymentRefusedError, ConfigurationError)
"""Errors that every other prompt would meet as well."""


@dataclass(slots=True)
class Progress:
    """
    This is the progress of a job, in prompts.

    `earlier` were answered in earlier runs, `recovered` paid then and written out now, `answered` asked in this one;
    `failed` went to the dead letters, in this run or (`maybe paid`) an earlier one. `stopped` says why the job ended
    early, None if it did not. `totals` are the sums over the calls of this run.
    """

    total: int = 0
    earlier: int = 0
    recovered: int = 0
    answered: int = 0
    failed: int = 0
    stopped: str | None = None
    totals: Totals = field(default_factory=Totals)

    @property
    def done(self) -> int:
        """Return how many prompts have an answer."""
        return self.earlier + self.recovered + self.answered

    @property
    def complete(self) -> bool:
        """Return whether every prompt has an answer."""
        return self.done == self.total


OnProgress = Callable[[Progress], object]


class BatchJob:
    """
    A job asks every prompt of `prompts` once, and keeps verified answers only.

    ```python
    job = BatchJob("prompts.jsonl", model="openai/gpt-5.4-mini", out="answers.jsonl", concurrency=32)
    print(job.run())
    ```

    `prompts` is a file or an iterable that can be read more than once (`jobs._prompts` says what a line is); `out` gets
    a line of JSON for each answer, in order of ending; `dead_letters` (default: beside `out`) for each prompt that has
    none. `ledger` (default: a file beside `out`) keeps receipts with their exchanges. `job` names it there: jobs of
    one name share what was answered. `concurrency` prompts are asked at once. `again` asks also those anew that failed
    in an earlier run and may have been paid then. `client` is one of your own; `options` are those of a client
    otherwise.

    Raises `ConfigurationError` for what cannot be used; nothing was asked then.
    """

    def __init__(
        self,
        prompts: Source,
        *,
        out: str | Path,
        model: str | None = None,
        ledger: str | Path | Ledger | None = None,
        dead_letters: str | Path | None = None,
        job: str | None = None,
        concurrency: int = 16,
        attempts: int = ATTEMPTS,
        again: bool = False,
        client: AsyncClient | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        self.out: Path = Path(out).expanduser().absolute()
        self.dead_letters: Path = Path(dead_letters or f"{self.out}.dead").expanduser().absolute()
        self.ledger: Ledger = open_ledger(ledger if ledger is not None else f"{self.out}.receipts.jsonl")
        self.job: str = job or str(self.out)
        self._prompts, self._model, self._again = prompts, model, again
        self._concurrency = check_count("concurrency", concurrency, least=1)
        self._attempts = check_count("attempts", attempts, least=1)
        self._owned = client is None
        options.setdefault("max_concurrency", self._concurrency)
        self._client = client if client is not None else AsyncClient(**options)
        self._on_progress = on_progress or (lambda progress: None)
        self._answers, self._dead = LineFile(self.out), LineFile(self.dead_letters)
        self._progress = Progress()

    def run(self) -> Progress:
        """Run the job on an event loop of its own, and return how it ended. Raises `ConfigurationError`."""
        return asyncio.run(self.arun())

    def stop(self, reason: str) -> None:
        """Ask nothing more; calls that are on their way are waited for. Any thread or signal handler may call it."""
        if self._progress.stopped is None:
            self._progress.stopped = reason

    async def arun(self) -> Progress:
        """Do what `run` does, on the running loop."""
        progress = self._progress = Progress()
        self._answers.append(b"")
        self.ledger.prepare()
        done = read_done(self.out, self.dead_letters, again=self._again)
        with collect_receipts(to=self.ledger, keep_exchanges="full", tags=[JOB_TAG + self.job]) as recording:
            try:
                await asyncio.to_thread(self._survey, done)
                todo = self._todo(done)
                self._tell(recording)
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(self._concurrency, progress.total)):
                        group.create_task(self._work(todo, recording))
            finally:
                if self._owned:
                    await self._client.aclose()
                self._answers.close()
                self._dead.close()
        self._tell(recording)
        return progress

    def _survey(self, done: Done) -> None:
        """Count the prompts, and write out what earlier runs paid for. Raises `ConfigurationError` for equal ids."""
        progress, names, pending = self._progress, set[str](), list[tuple[Prompt, Call]]()
        paid = next(self.ledger.entries(tag=JOB_TAG + self.job, status="verified"), None) is not None
        for prompt, error in self._read():
            progress.total += 1
            if prompt.id in names:
                raise ConfigurationError(
                    f"Two prompts have the id {prompt.id!r}; expected one each. Nothing was asked."
                )
            names.add(prompt.id)
            if error is not None or not (paid or prompt.id in done.answered or prompt.id in done.left):
                continue
            try:
                call = prompt.prepared(self._client.engine)
            except OpenGradientError:
                continue
            key = request_key(call)
            if done.answered.get(prompt.id) == key:
                progress.earlier += 1
            elif paid:
                pending.append((prompt, call))
        for name, key in recovered(self.ledger, self.job, pending, self._answers.append):
            done.answered[name] = key
            progress.recovered += 1

    def _read(self) -> Iterator[tuple[Prompt, OpenGradientError | None]]:
        """Yield every prompt, or one without messages and why it is none."""
        for number, line in lines_of(self._prompts):
            try:
                yield read_prompt(line, number=number, model=self._model), None
            except InvalidRequestError as exc:
                yield Prompt(id=str(number), model="", messages=[]), exc

    def _todo(self, done: Done) -> Iterator[tuple[Prompt, str]]:
        """Yield (prompt, key) of what is to be asked; what never can be goes to the dead letters."""
        for prompt, error in self._read():
            key = None
            try:
                if error is not None:
                    raise error
                key = request_key(prompt.prepared(self._client.engine))
            except OpenGradientError as exc:
                self._fail(prompt, None, exc)
                continue
            if done.answered.get(prompt.id) == key:
                continue
            if done.left.get(prompt.id) == key:
                self._progress.failed += 1
                continue
            yield prompt, key

    async def _work(self, todo: Iterator[tuple[Prompt, str]], recording: Recording) -> None:
        """Ask one prompt after the other, until there is none, or the job stops."""
        # Looked at before a prompt is taken: one that is taken is asked.
        while self._progress.stopped is None and (found := next(todo, None)) is not None:
            prompt, key = found
            try:
                answer = await asked(self._client, prompt, key, self._attempts, lambda: self._progress.stopped is None)
            except OpenGradientError as exc:
                self._give_up(prompt, key, exc)
            else:
                self._answers.append(answer_line(prompt, key, answer, answer.usage, answer.receipt))
                self._progress.answered += 1
            self._tell(recording)

    def _give_up(self, prompt: Prompt, key: str, error: OpenGradientError) -> None:
        if isinstance(error, STOPPING) and not error.is_retryable:
            # It says nothing about this prompt: the next run asks it.
            self.stop(f"{type(error).__name__}: {error}")
        elif self._progress.stopped is None or not error.is_retryable:
            self._fail(prompt, key, error)

    def _fail(self, prompt: Prompt, key: str | None, error: OpenGradientError) -> None:
        self._dead.append(dead_letter(prompt.id, key, error))
        self._progress.failed += 1

    def _tell(self, recording: Recording) -> None:
        self._progress.totals = recording.totals()
        self._on_progress(self._progress)


async def asked(
    client: AsyncClient, prompt: Prompt, key: str, attempts: int = ATTEMPTS, going_on: Callable[[], bool] = lambda: True
) -> Answer:
    """
    Return the answer to `prompt`, asked again only where nothing was charged, `attempts` times at most.

    Its entries in the ledger are found by `key`, the `request_key`. Raises what the last attempt raised.
    """
    attempt = 1
    while True:
        try:
            with tagged([REQUEST_TAG + key]):
                return await client.chat(prompt.model, prompt.messages, **prompt.options)
        except OpenGradientError as exc:
            if not exc.is_retryable or attempt >= attempts or not going_on():
                raise
        await asyncio.sleep(_pause(attempt))
        attempt += 1


def _pause(attempt: int) -> float:
    """Return the seconds to wait after an attempt; they differ, or what failed together would come back together."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (attempt - 1))
    return float(longest * (0.5 + random.random() / 2))  # noqa: S311 - no secret
