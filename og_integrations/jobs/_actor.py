"""
This module offers jobs to Ray Data: a class whose objects live in actors, one for each worker.

```python
answers = ray.data.read_json("prompts.jsonl").map_batches(
    BatchActor,
    fn_constructor_kwargs={"model": "openai/gpt-5.4-mini", "ledger": "postgresql://…", "job": "tonight",
                           "spend_policy": {"total": "5", "store": "postgresql://…"}},
    compute=ray.data.ActorPoolStrategy(size=2), batch_size=64,
)
```

No key travels: each worker reads it from its own environment. Workers that name one store share its budget and its
sessions. A batch that Ray runs again, since its worker died, finds in the ledger what was paid for. Nothing here
imports Ray; whoever hands batches of columns to a callable can use it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Unpack

from og_integrations.client._call import Call
from og_integrations.client._clients import AsyncClient
from og_integrations.client._collecting import collect_receipts
from og_integrations.client._options import ClientOptions
from og_integrations.errors import InvalidRequestError, OpenGradientError
from og_integrations.jobs._answers import JOB_TAG, REQUEST_TAG, Found, find_answers
from og_integrations.jobs._batch import STOPPING, asked
from og_integrations.jobs._prompts import Prompt, read_prompt, request_key
from og_integrations.ledger._ledger import open_ledger

Columns = Mapping[str, Sequence[Any]]


class BatchActor:
    """
    An actor asks the prompts in the column `prompt` of each batch, and adds the columns `answer` and `error`.

    A prompt is a text, or a list of messages. `error` is empty, or says why `answer` is: such a prompt may be asked
    again by a later job, unless `maybe_paid` (the third column) is true. `job` names what is asked in the `ledger`:
    the same request in the same job is paid once. `concurrency` prompts of a batch are asked at once. An empty budget,
    the kill switch or a wallet that cannot pay raises, which ends Ray's job.

    Raises `ConfigurationError` for what cannot be used.
    """

    def __init__(
        self,
        *,
        model: str,
        ledger: str | Path,
        job: str,
        prompt: str = "prompt",
        answer: str = "answer",
        error: str = "error",
        maybe_paid: str = "maybe_paid",
        concurrency: int = 64,
        **options: Unpack[ClientOptions],
    ) -> None:
        self._model, self._job = model, job
        self._ledger = open_ledger(ledger)
        self._columns = (prompt, answer, error, maybe_paid)
        options.setdefault("max_concurrency", concurrency)
        self._client = AsyncClient(**options)

    def __call__(self, batch: Columns) -> dict[str, Sequence[Any]]:
        """Return `batch` with its answers."""
        prompt, answer, error, maybe_paid = self._columns
        texts = list(batch[prompt])
        # A loop for each batch: an actor is never told that it ends, and connections left open would warn.
        results = asyncio.run(self._answers(texts))
        return {
            **batch,
            answer: [found.text for found in results],
            error: [found.error for found in results],
            maybe_paid: [found.maybe_paid for found in results],
        }

    async def _answers(self, texts: Sequence[object]) -> list[Found]:
        prompts = [self._prompt(value, number) for number, value in enumerate(texts, 1)]
        calls = [(prompt, prompt.prepared(self._client.engine)) for prompt in prompts]
        known = await asyncio.to_thread(self._known, calls)
        with collect_receipts(to=self._ledger, keep_exchanges="full", tags=[JOB_TAG + self._job]):
            # Equal requests of one batch are one call, too: the next batch would find it in the ledger.
            first = {request_key(call): prompt for prompt, call in reversed(calls)}
            missing = {key: prompt for key, prompt in first.items() if key not in known}
            found = await asyncio.gather(*(self._ask(prompt, key) for key, prompt in missing.items()))
        await self._client.aclose()
        known |= dict(zip(missing, found, strict=True))
        return [known[request_key(call)] for _, call in calls]

    def _known(self, calls: list[tuple[Prompt, Call]]) -> dict[str, Found]:
        wanted = {request_key(call): (prompt, call) for prompt, call in calls}
        tags = [REQUEST_TAG + key for key in wanted]
        entries = self._ledger.entries(tag=JOB_TAG + self._job, status="verified", any_tag=tags)
        return find_answers(entries, wanted)

    async def _ask(self, prompt: Prompt, key: str) -> Found:
        try:
            answer = await asked(self._client, prompt, key)
        except STOPPING:
            raise
        except OpenGradientError as exc:
            return Found.failed(exc)
        return Found(answer.text)

    def _prompt(self, value: Any, number: int) -> Prompt:
        # numpy hands out arrays of dicts for lists of them.
        messages = value if isinstance(value, str) else [dict(message) for message in value]
        line = {"prompt": messages} if isinstance(messages, str) else {"messages": messages}
        return read_prompt(line, number=number, model=self._model)

    def __reduce__(self) -> NoReturn:
        raise InvalidRequestError("An actor is not pickled: hand Ray the class, and its arguments by name.")
