"""
This module asks a model one question, which may take a second call, and says what is handed on beside its answer.

Models of Anthropic and Google take no schema beside tools, so the schema is sent as one more tool
(`protocol.chat._translation`), and nothing makes a model call it. LangChain's agents do the same with models that they
know to be so. A model that answers in text instead is asked once more, with the same history and for the form alone,
which its provider enforces. The second call is one of its own: it is paid within the same limits, and leaves a receipt
of its own.
"""

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, cast

from og_integrations._accounting import estimated_cost, reported_cost
from og_integrations.errors import ToolChoiceNotHonoredError
from og_integrations.models._catalogue import info_of
from og_integrations.protocol._strict_json import JsonObject, decode_answer
from og_integrations.protocol.chat._wire import Usage
from og_integrations.receipt import RECEIPT_KEY

if TYPE_CHECKING:
    from og_integrations.chat._model import OpenGradientModel
    from og_integrations.client import Answer, AsyncStream, ChatOptions
    from og_integrations.client._call import Piece

    Pieces = Generator[Piece, None, None]
    AsyncPieces = AsyncStream | AsyncGenerator[Piece, None]

EARLIER_KEY = "opengradient_earlier"
"""Where the receipts of the calls before the last one stand, beside that one's, if there were any."""
_OF_TOOLS = ("tools", "tool_choice", "parallel_tool_calls")


class Question(NamedTuple):
    """
    A question is what one call asks the model `name`, with the wallet of `model`.

    `form_tool` names the tool that stands for the form of the answer, if there is one among the tools: nobody runs it.
    """

    model: "OpenGradientModel"
    name: str
    messages: Sequence[JsonObject]
    options: "ChatOptions"
    form_tool: str | None = None

    def ask(self) -> "Answer":
        """Return the answer. Raises `OpenGradientError`."""
        client, again = self.model.clients.sync, _Again.of(self)
        first: Answer | ToolChoiceNotHonoredError
        try:
            first = client.chat(self.name, self.messages, **self.options)
        except ToolChoiceNotHonoredError as exc:
            if again is None or not again.for_tool:
                raise
            first = exc
        if again is None or again.needs_none(first):
            return cast("Answer", first)
        return _joined(first, client.chat(self.name, self.messages, **again.options))

    async def aask(self) -> "Answer":
        """Return the answer like `ask`."""
        client, again = self.model.clients.asynchronous, _Again.of(self)
        first: Answer | ToolChoiceNotHonoredError
        try:
            first = await client.chat(self.name, self.messages, **self.options)
        except ToolChoiceNotHonoredError as exc:
            if again is None or not again.for_tool:
                raise
            first = exc
        if again is None or again.needs_none(first):
            return cast("Answer", first)
        return _joined(first, await client.chat(self.name, self.messages, **again.options))

    def stream(self) -> "Pieces":
        """Return the pieces of the answer; what is wrong with the request is raised at once."""
        client, again = self.model.clients.sync, _Again.of(self)
        pieces = client.stream(self.name, self.messages, **self.options)
        if again is None:
            return pieces
        return _either(pieces, again, lambda: client.stream(self.name, self.messages, **again.options))

    def astream(self) -> "AsyncPieces":
        """Return the pieces of the answer like `stream`."""
        client, again = self.model.clients.asynchronous, _Again.of(self)
        pieces = client.stream(self.name, self.messages, **self.options)
        if again is None:
            return pieces
        return _aeither(pieces, again, lambda: client.stream(self.name, self.messages, **again.options))


class _Again(NamedTuple):
    """This is the second call that a question may take: for a form as a tool, or for a schema with these members."""

    options: "ChatOptions"
    for_tool: bool
    required: Sequence[str] = ()

    @classmethod
    def of(cls, question: Question) -> "_Again | None":
        """Return the second call, None if there is none, whatever the first one answers."""
        asked = question.options
        tools, form = asked.get("tools"), asked.get("response_format") or {}
        if not question.model.ask_again or not tools:
            return None
        wanted = {name: value for name, value in asked.items() if name not in _OF_TOOLS}
        if question.form_tool is not None and asked.get("tool_choice") == "required":
            named = {"type": "function", "function": {"name": question.form_tool}}
            only = [tool for tool in tools if tool["function"]["name"] == question.form_tool]
            return cls(options=cast("ChatOptions", wanted | {"tools": only, "tool_choice": named}), for_tool=True)
        if form.get("type") != "json_schema" or info_of(question.name).tools_with_schema:
            return None
        schema = (form.get("json_schema") or {}).get("schema") or {}
        return cls(options=cast("ChatOptions", wanted), for_tool=False, required=schema.get("required") or ())

    def needs_none(self, first: "Answer | ToolChoiceNotHonoredError") -> bool:
        """Return whether `first` calls tools, or is an object with what the schema requires."""
        if isinstance(first, ToolChoiceNotHonoredError):
            return False
        if first.tool_calls or self.for_tool:
            return True
        try:
            value = decode_answer(first.text)
        except ValueError:
            return False
        return isinstance(value, dict) and value.keys() >= set(self.required)


def counts_of(answer: "Answer") -> dict[str, int]:
    """
    Return what frameworks call usage: token counts, and the cost in base units of OPG, named by who says it.

    `reported_cost_opg` is the gateway's, `estimated_cost_opg` the price list's where the gateway says none; neither is
    signed. What was settled is known for whole payments only, later, and stands in `totals()` and ledgers.
    """
    counts = {} if answer.usage is None else answer.usage.to_json()
    for receipt in (answer.receipt, *answer.earlier):
        name, cost = "reported_cost_opg", reported_cost(receipt)
        if cost is None:
            name, cost = "estimated_cost_opg", estimated_cost(receipt)
        if cost is not None:
            counts[name] = counts.get(name, 0) + cost
    return counts


def receipts_of(answer: "Answer") -> JsonObject:
    """Return the receipts of all calls that `answer` took, as adapters put them into what frameworks hand on."""
    return {RECEIPT_KEY: answer.receipt} | ({EARLIER_KEY: list(answer.earlier)} if answer.earlier else {})


def notes_of(answer: "Answer") -> JsonObject:
    """Return what the gateway says beside an answer, where it says something; the receipt names it as not signed."""
    notes = {"citations": list(answer.citations), "searches": list(answer.searches), "moderation": answer.moderation}
    return {name: said for name, said in notes.items() if said}


def search_artifact(answer: "Answer") -> JsonObject:
    """Return what stands beside the text of a web search: its citations, and its receipt."""
    return {"citations": list(answer.citations), RECEIPT_KEY: answer.receipt}


def _joined(first: "Answer | ToolChoiceNotHonoredError", second: "Answer") -> "Answer":
    """Return `second`, which took both calls."""
    earlier = () if first.receipt is None else (first.receipt,)
    usage, before = second.usage, None if isinstance(first, ToolChoiceNotHonoredError) else first.usage
    if usage is not None and before is not None:
        usage = Usage(
            usage.prompt_tokens + before.prompt_tokens,
            usage.completion_tokens + before.completion_tokens,
            usage.total_tokens + before.total_tokens,
        )
    return replace(second, usage=usage, earlier=earlier)


def _either(pieces: "Pieces", again: _Again, ask_again: "Callable[[], Pieces]") -> "Pieces":
    first: Answer | ToolChoiceNotHonoredError
    held: list[Piece] = []
    # Nothing is shown before it is known whether it is the answer.
    with closing(pieces):
        try:
            held += pieces
            first = cast("Answer", held[-1])
        except ToolChoiceNotHonoredError as exc:
            if not again.for_tool:
                raise
            first = exc
    if again.needs_none(first):
        yield from held
        return
    with closing(ask_again()) as more:
        for piece in more:
            yield piece if isinstance(piece, str) else _joined(first, piece)


async def _aeither(
    pieces: "AsyncStream", again: _Again, ask_again: "Callable[[], AsyncStream]"
) -> "AsyncGenerator[Piece, None]":
    first: Answer | ToolChoiceNotHonoredError
    held: list[Piece] = []
    async with aclosing(pieces):
        try:
            held += [piece async for piece in pieces]
            first = cast("Answer", held[-1])
        except ToolChoiceNotHonoredError as exc:
            if not again.for_tool:
                raise
            first = exc
    if again.needs_none(first):
        for piece in held:
            yield piece
        return
    async with aclosing(ask_again()) as more:
        async for piece in more:
            yield piece if isinstance(piece, str) else _joined(first, piece)
