"""Asking both adapters the same thing, and what of it may be compared."""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from langchain_core.messages import AIMessage, convert_to_messages
from llama_index.core.base.llms.types import ContentBlock, ImageBlock, TextBlock, ToolCallBlock
from llama_index.core.llms import ChatMessage, ChatResponse

from og_integrations import OpenGradientError, collect_receipts, errors
from og_integrations.chat._asking import EARLIER_KEY
from og_integrations.devnet import Devnet
from og_integrations.langchain import ChatOpenGradient
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.protocol._strict_json import JsonObject

NO_DEFAULTS = {"temperature": None, "timeout": 5.0, "nonce": "off"}
"""Where the constructors differ (`test_defaults`), what keeps a broken test short, and what makes bytes comparable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """
    One thing to ask. `messages` are in wire form; each adapter gets them in its framework's classes.

    `sent` is what `messages` become on the wire, if not themselves; `call` are options of the call,
    `options` of the constructor. `error` is what both raise. `differs` names members of `Outcome` in
    which the two may differ, each with the reason.
    """

    name: str
    messages: list[JsonObject]
    sent: list[JsonObject] | None = None
    model: str = "openai/gpt-4.1"
    call: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    fault: str | None = None
    error: str | None = None
    generation: str = "2026-04"
    differs: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Name it in pytest's list."""
        return self.name


@dataclass(slots=True, kw_only=True)
class Outcome:
    """
    What came of it: on the wire (as the devnet saw it), for the caller, in the receipts.

    `exchanges` holds fingerprints of the exact bodies: equal bytes, equal text. `error` is the class's
    own name, `kind` that of the class in `og_integrations.errors` that it derives from.
    """

    exchanges: list[tuple[Any, ...]] = field(default_factory=list)
    charges: list[int] = field(default_factory=list)
    text: str | None = None
    pieces: list[str] = field(default_factory=list)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    reasoning: str = ""
    usage: tuple[int, int, int] | None = None
    finish_reason: str | None = None
    error: str | None = None
    kind: str | None = None
    says: str | None = None
    details: JsonObject = field(default_factory=dict)
    receipts: list[JsonObject] = field(default_factory=list)
    handed_out: bool = False

    def differences(self, other: "Outcome") -> dict[str, tuple[Any, Any]]:
        """Return the members that are not equal, with both values."""
        pairs = {item.name: (getattr(self, item.name), getattr(other, item.name)) for item in fields(self)}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def ask(adapter: str, net: Devnet, case: Case, *, streamed: bool, asynchronous: bool = False) -> tuple[Outcome, Any]:
    """Return the outcome of `case`, and the request that was sent, parsed (None if none was answered)."""
    outcome = Outcome()
    asking = {"langchain": _ask_langchain, "llama_index": _ask_llama_index}[adapter]
    net.stats()
    before, charged = len(net.journal.exchanges), len(net.journal.charges)
    if case.fault:
        net.inject(case.fault)
    options = {"private_key": net.new_wallet().private_key, "network": net.network, **NO_DEFAULTS, **case.options}
    handed_out: list[JsonObject] = []
    with collect_receipts(keep_exchanges=True) as receipts:
        try:
            handed_out = asking(case, options, outcome, streamed, asynchronous)
        except OpenGradientError as exc:
            handed_out = [] if exc.receipt is None else [exc.receipt]
            _note_error(exc, outcome)
        finally:
            net.clear_faults()
    net.stats()  # runs after everything that the devnet's loop still had to write down
    outcome.exchanges = [
        (seen.method, seen.path, seen.body, seen.paid_by, seen.status, seen.settlement_word, seen.streamed)
        for seen in net.journal.exchanges[before:]
    ]
    outcome.charges = [charge.amount for charge in net.journal.charges[charged:]]
    outcome.receipts = [_comparable(item) for item in receipts]
    outcome.handed_out = list(receipts) == handed_out
    exchanges = [exchange for exchange in receipts.exchanges if exchange is not None]
    return outcome, json.loads(exchanges[-1]["request"]) if exchanges else None


def _ask_langchain(
    case: Case, options: dict[str, Any], outcome: Outcome, streamed: bool, asynchronous: bool
) -> list[JsonObject]:
    call = dict(case.call)
    model = ChatOpenGradient(model=case.model, **options)
    try:
        tools, choice = call.pop("tools", None), call.pop("tool_choice", None)
        bound: Any = model.bind_tools(tools, tool_choice=choice, **call) if tools else model.bind(**case.call)
        messages = convert_to_messages(case.messages)

        async def collected() -> list[Any]:
            return [chunk async for chunk in bound.astream(messages)] if streamed else [await bound.ainvoke(messages)]

        if asynchronous:
            chunks = asyncio.run(collected())
        else:
            chunks = list(bound.stream(messages)) if streamed else [bound.invoke(messages)]
    finally:
        model.close()
    answer: AIMessage = chunks[0]
    for chunk in chunks[1:]:
        answer = answer + chunk
    usage = answer.usage_metadata
    outcome.text = answer.text
    outcome.pieces = [chunk.text for chunk in chunks if chunk.text]
    outcome.calls = [(made["name"], made["args"]) for made in answer.tool_calls]
    outcome.calls += [(str(made["name"]), {}) for made in answer.invalid_tool_calls]
    outcome.images = [
        str(block.get("base64") or block.get("url")) for block in answer.content_blocks if block["type"] == "image"
    ]
    outcome.reasoning = answer.additional_kwargs.get("reasoning_content", "")
    outcome.usage = (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) if usage else None
    outcome.finish_reason = answer.response_metadata["finish_reason"]
    told = answer.response_metadata
    return [*told.get(EARLIER_KEY, ()), told["opengradient"]]


def _ask_llama_index(
    case: Case, options: dict[str, Any], outcome: Outcome, streamed: bool, asynchronous: bool
) -> list[JsonObject]:
    llm = OpenGradientLLM(case.model, **options)
    messages = [_llama_index_message(message) for message in case.messages]

    async def collected() -> list[ChatResponse]:
        if not streamed:
            return [await llm.achat(messages, **case.call)]
        return [response async for response in await llm.astream_chat(messages, **case.call)]

    with llm:
        if asynchronous:
            responses = asyncio.run(collected())
        elif streamed:
            responses = list(llm.stream_chat(messages, **case.call))
        else:
            responses = [llm.chat(messages, **case.call)]
    last = responses[-1]
    extra = last.additional_kwargs
    outcome.text = last.message.content or ""
    outcome.pieces = (
        [item.delta for item in responses if item.delta] if streamed else [outcome.text] * bool(outcome.text)
    )
    selections = llm.get_tool_calls_from_response(last, error_on_no_tool_call=False)
    outcome.calls = [(item.tool_name, item.tool_kwargs) for item in selections]
    outcome.images = [
        # An address is compared as it stands: to resolve it would call the stranger whom it names.
        str(block.url) if block.url else block.resolve_image(as_base64=True).read().decode()
        for block in last.message.blocks
        if isinstance(block, ImageBlock)
    ]
    outcome.reasoning = extra.get("reasoning_content", "")
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    outcome.usage = (extra[names[0]], extra[names[1]], extra[names[2]]) if names[0] in extra else None
    assert isinstance(last.raw, dict)
    outcome.finish_reason = last.raw["choices"][0]["finish_reason"]
    return [*extra.get(EARLIER_KEY, ()), extra["opengradient"]]


def _llama_index_message(message: JsonObject) -> ChatMessage:
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}] if content else []
    blocks: list[ContentBlock] = [
        TextBlock(text=part["text"]) if part["type"] == "text" else ImageBlock(url=part["image_url"]["url"])
        for part in parts
    ]
    blocks += [
        ToolCallBlock(
            tool_call_id=made["id"],
            tool_name=made["function"]["name"],
            tool_kwargs=made["function"]["arguments"],
        )
        for made in message.get("tool_calls") or ()
    ]
    extra = {name: message[name] for name in ("tool_call_id", "name") if name in message}
    return ChatMessage(role=message["role"], blocks=blocks, additional_kwargs=extra)


def _note_error(exc: OpenGradientError, outcome: Outcome) -> None:
    outcome.error = type(exc).__name__
    outcome.kind = next(cls.__name__ for cls in type(exc).__mro__ if cls.__module__ == errors.__name__)
    outcome.says = _timeless(str(exc))
    names = ("status", "reason", "step", "partial_text", "timed_out")
    outcome.details = {name: getattr(exc, name) for name in names if hasattr(exc, name)}


_OF_ONE_CALL = {
    "blob_id",
    "created",
    "deadline",
    "nonce",
    "payer",
    "payment_hash",
    "session_ref",
    "tee_signature",
    "tee_timestamp",
    "transaction_hash",
    "valid_after",
}


def _timeless(text: str) -> str:
    return re.sub(r"\b\d{10}\b", "(unix seconds)", text)


def _comparable(receipt: JsonObject) -> JsonObject:
    """Return a receipt in which what differs from call to call is only there or not there."""
    # The gateway makes up ids for tool calls, which are signed.
    calls = any(check["detail"].endswith("of the tool calls") for check in receipt["checks"])
    of_one_call = _OF_ONE_CALL | ({"output_hash"} if calls else set())

    def masked(values: JsonObject) -> JsonObject:
        return {
            name: type(value).__name__
            if name in of_one_call and value is not None
            else masked(value)
            if isinstance(value, dict)
            else value
            for name, value in values.items()
        }

    checks = [check | {"detail": _timeless(check["detail"])} for check in receipt["checks"]]
    return masked(receipt | {"checks": checks})
