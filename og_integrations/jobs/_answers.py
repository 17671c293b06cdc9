"""
This module says what a job leaves: a line for each prompt, answered or not, and how answers are found again.

An answer's line names its request (`key`), so that a prompt that was changed since is asked again. What a job paid for
before it was killed stands in its ledger, with the exact exchange: it is verified once more and never paid again.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from og_integrations._accounting import facts_of
from og_integrations.client._call import Answer, Call
from og_integrations.errors import (
    ConfigurationError,
    MalformedReplyError,
    OpenGradientError,
    PaymentInDoubtError,
    ToolChoiceNotHonoredError,
    VerificationError,
)
from og_integrations.jobs._prompts import Prompt, body_key, request_key
from og_integrations.ledger._entry import LedgerEntry
from og_integrations.ledger._files import json_lines
from og_integrations.ledger._ledger import Ledger
from og_integrations.ledger._lines import line_of
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._translation import Shown, cut_at_stop
from og_integrations.protocol.chat._wire import Usage
from og_integrations.receipt import signature_of
from og_integrations.verify._bundle import load_bundle
from og_integrations.verify._verifier import Verifier, read_answer

MAYBE_PAID = (PaymentInDoubtError, MalformedReplyError, VerificationError, ToolChoiceNotHonoredError)
"""Errors of calls that may have been charged: a job never makes them again by itself."""
JOB_TAG, REQUEST_TAG = "job:", "request:"
"""Before the names of a job and of a request (`request_key`), among the tags of an entry."""


@dataclass(frozen=True, slots=True)
class Done:
    """This holds what a job finds of earlier runs: id -> key of the answered request, and ids that stay unanswered."""

    answered: dict[str, str]
    left: dict[str, str]


def answer_line(prompt: Prompt, key: str, shown: Answer | Shown, usage: Usage | None, receipt: JsonObject) -> bytes:
    """Return the line of an answer; its receipt is in the ledger, under the same signature."""
    calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in shown.tool_calls]
    tokens = None if usage is None else {"input": usage.prompt_tokens, "output": usage.completion_tokens}
    return line_of(
        {
            "id": prompt.id,
            "model": prompt.model,
            "text": shown.text,
            "tool_calls": calls,
            "finish_reason": shown.finish_reason,
            "tokens": tokens,
            "signature": signature_of(receipt),
            "authorization": facts_of(receipt).payment,
            "key": key,
        }
    )


def dead_letter(name: str, key: str | None, error: OpenGradientError) -> bytes:
    """Return the line of a prompt without an answer."""
    return line_of(
        {
            "id": name,
            "error": type(error).__name__,
            "message": str(error),
            "maybe_paid": isinstance(error, MAYBE_PAID),
            "key": key,
        }
    )


def read_done(out: Path, dead_letters: Path, *, again: bool) -> Done:
    """
    Return what earlier runs left in `out` and `dead_letters`, and begin a new file of the latter.

    Only what may have been paid stays there, unless it is to be asked `again`. Raises `ConfigurationError`.
    """
    answered = {str(line["id"]): str(line.get("key")) for line in json_lines(out) if "id" in line}
    kept = [
        line
        for line in json_lines(dead_letters)
        if line.get("maybe_paid") and not again and str(line.get("id")) not in answered
    ]
    # A device or a pipe (/dev/null) holds no lines, and replacing it would, for root, replace it for the whole machine.
    if dead_letters.is_file():
        new = dead_letters.with_name(f"{dead_letters.name}.new")
        try:
            new.write_bytes(b"".join(map(line_of, kept)))
            os.replace(new, dead_letters)
        except OSError as exc:
            raise ConfigurationError(f"{dead_letters} cannot be written: {exc}.") from exc
    return Done(answered, {str(line["id"]): str(line.get("key")) for line in kept})


def recovered(
    ledger: Ledger, job: str, pending: Iterable[tuple[Prompt, Call]], write: Callable[[bytes], object]
) -> Iterator[tuple[str, str]]:
    """
    Yield (id, key) of the prompts in `pending` whose verified answers stand in the ledger; `write` gets their lines.

    Each entry of the ledger answers one prompt, also where several prompts are the same request.
    """
    wanted: dict[str, list[tuple[Prompt, Call]]] = defaultdict(list)
    for prompt, call in pending:
        wanted[request_key(call)].append((prompt, call))
    for entry in ledger.entries(tag=JOB_TAG + job, status="verified"):
        key = entry_key(entry)
        waiting = wanted.get(key or "")
        if key is None or not waiting:
            continue
        prompt, call = waiting[-1]
        answer = answer_in(entry, call)
        if answer is not None:
            waiting.pop()
            write(answer_line(prompt, key, *answer, entry.receipt))
            yield prompt.id, key


@dataclass(frozen=True, slots=True)
class Found:
    """This is what a batch gets for one prompt: a text, or why there is none and whether that may have been paid."""

    text: str
    error: str = ""
    maybe_paid: bool = False

    @classmethod
    def failed(cls, error: OpenGradientError) -> "Found":
        """Return what stands for an answer that did not come."""
        return cls("", f"{type(error).__name__}: {error}", isinstance(error, MAYBE_PAID))


def find_answers(entries: Iterable[LedgerEntry], wanted: Mapping[str, tuple[Prompt, Call]]) -> dict[str, Found]:
    """Return key -> answer of those of `wanted` that stand in `entries`, verified once more."""
    found: dict[str, Found] = {}
    for entry in entries:
        key = entry_key(entry)
        if key is None or key not in wanted or key in found:
            continue
        if (answer := answer_in(entry, wanted[key][1])) is not None:
            found[key] = Found(answer[0].text)
    return found


def entry_key(entry: LedgerEntry) -> str | None:
    """Return the key of the request of an entry, None if its exchange was not kept."""
    exchange = entry.exchange or {}
    path, request = exchange.get("path"), exchange.get("request")
    if not isinstance(path, str) or not isinstance(request, str):
        return None
    try:
        return body_key(path, request)
    except OpenGradientError:
        return None


def answer_in(entry: LedgerEntry, call: Call) -> tuple[Shown, Usage | None] | None:
    """Return the answer that stands in an entry, as `call` wants it shown; None if it does not prove to be one."""
    try:
        saved = load_bundle(entry.line())
        if not Verifier.unsafe_file_key().verify(saved).verified:
            return None
        completion, _ = read_answer(saved)
        return cut_at_stop(call.plan.show(completion), call.stop), completion.usage
    except (ConfigurationError, MalformedReplyError, VerificationError, ToolChoiceNotHonoredError):
        return None
