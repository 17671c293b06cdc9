"""This module has enums, results and chunks of the published package, under their names of both generations."""

import json
import time
import warnings
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import EnumType, StrEnum
from typing import TYPE_CHECKING, Any, Literal, Self

from og_integrations.client._call import Answer
from og_integrations.models import TEE_LLM
from og_integrations.onchain import CandleOrder, CandleType, InferenceMode, Query
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.receipt import Receipt, kind_of
from og_integrations.sdk._errors import WrongArgumentError

if TYPE_CHECKING:
    from numpy import ndarray

__all__ = [
    "CandleOrder",
    "CandleType",
    "FileUploadResult",
    "HistoricalInputQuery",
    "InferenceMode",
    "InferenceResult",
    "ModelOutput",
    "ModelRepository",
    "Permit2ApprovalResult",
    "ResponseFormat",
    "SchedulerParams",
    "StreamChoice",
    "StreamChunk",
    "StreamDelta",
    "StreamUsage",
    "TEE_LLM",
    "TextGenerationOutput",
    "TextGenerationStream",
    "x402SettlementMode",
]


_RENAMED_MODES = {
    "SETTLE": "PRIVATE",
    "SETTLE_INDIVIDUAL": "PRIVATE",
    "SETTLE_BATCH": "BATCH_HASHED",
    "SETTLE_METADATA": "INDIVIDUAL_FULL",
    "SETTLE_INDIVIDUAL_WITH_METADATA": "INDIVIDUAL_FULL",
}


class _OldModes(EnumType):
    """This finds the names that modes had before 0.8, and warns of them: they no longer say what is published."""

    def __getattr__(cls, name: str) -> Any:
        return cls[name] if name in _RENAMED_MODES else super().__getattribute__(name)

    def __getitem__(cls, name: str) -> Any:
        if name in _RENAMED_MODES:
            own = _RENAMED_MODES[name]
            warnings.warn(
                f"x402SettlementMode.{name} is the name before 0.8 of {own}: {_PUBLISHES[own]}.",
                DeprecationWarning,
                stacklevel=3,
            )
            name = own
        return super().__getitem__(name)

    def __dir__(cls) -> list[str]:
        return sorted({*super().__dir__(), *_RENAMED_MODES})


_PUBLISHES = {
    "PRIVATE": "nothing of a call is published",
    "BATCH_HASHED": "hashes are published, many together",
    "INDIVIDUAL_FULL": "prompt and answer are published in clear",
}


class x402SettlementMode(StrEnum, metaclass=_OldModes):  # noqa: N801 - the published name
    """A mode says what is published of a call. The names before 0.8 (`SETTLE`, …) work, with a `DeprecationWarning`."""

    PRIVATE = "private"
    BATCH_HASHED = "batch"
    INDIVIDUAL_FULL = "individual"

    if TYPE_CHECKING:
        SETTLE = PRIVATE
        SETTLE_INDIVIDUAL = PRIVATE
        SETTLE_BATCH = BATCH_HASHED
        SETTLE_METADATA = INDIVIDUAL_FULL
        SETTLE_INDIVIDUAL_WITH_METADATA = INDIVIDUAL_FULL

    @classmethod
    def _missing_(cls, value: object) -> "x402SettlementMode | None":
        # `x402SettlementMode("settle-batch")`: the values of that time were the names, with dashes.
        name = str(value).upper().replace("-", "_")
        return cls[name] if name in _RENAMED_MODES else None


@dataclass
class HistoricalInputQuery:
    """A query says which candles a workflow's model is run on."""

    base: str
    quote: str
    total_candles: int
    candle_duration_in_mins: int
    order: CandleOrder
    candle_types: list[CandleType]

    def to_query(self) -> Query:
        """Return the query as `og_integrations.onchain` takes it."""
        return Query(
            self.base,
            self.quote,
            self.total_candles,
            self.candle_duration_in_mins,
            int(self.order),
            list(map(int, self.candle_types)),
        )


@dataclass
class SchedulerParams:
    """The scheduler runs a workflow every `frequency` seconds, for `duration_hours`."""

    frequency: int
    duration_hours: int

    @property
    def end_time(self) -> int:
        """Return the unix time at which it ends, if it begins now."""
        return int(time.time()) + self.duration_hours * 3600

    @staticmethod
    def from_dict(data: Mapping[str, int] | None) -> "SchedulerParams | None":
        """Return it from a dict, with 600 s and 2 h where that says nothing; None for None."""
        if data is None:
            return None
        return SchedulerParams(frequency=data.get("frequency", 600), duration_hours=data.get("duration_hours", 2))


@dataclass
class ModelOutput:
    """These are the outputs of a workflow's model by name: float32 arrays, texts, parsed JSON."""

    numbers: "dict[str, ndarray]"
    strings: "dict[str, ndarray]"
    jsons: "dict[str, ndarray]"
    is_simulation_result: bool


@dataclass
class InferenceResult:
    """
    This is the result of a model on chain: the hash (hex without 0x), outputs by name as float32 arrays.

    `values` has the exact numbers, `receipt` the proof.
    """

    transaction_hash: str
    model_output: "dict[str, ndarray]"
    values: dict[str, object] = field(default_factory=dict)
    receipt: JsonObject = field(default_factory=dict, repr=False)


@dataclass
class ModelRepository:
    """This is a model at the hub, and what the hub calls its first version."""

    name: str
    initialVersion: str  # noqa: N815 - the published name


@dataclass
class FileUploadResult:
    """This is a file at the hub: the id that models on chain are called by, and its size in bytes."""

    modelCid: str  # noqa: N815 - the published name
    size: int


@dataclass
class Permit2ApprovalResult:
    """This is what `ensure_opg_approval` did: allowances in base units, `tx_hash` (hex without 0x, or None)."""

    allowance_before: int
    allowance_after: int
    tx_hash: str | None = None


@dataclass
class ResponseFormat:
    """This is the form of an answer: text, json_object, or json_schema with its schema."""

    type: str
    json_schema: JsonObject | None = None

    def __post_init__(self) -> None:
        if self.type not in ("text", "json_object", "json_schema"):
            raise WrongArgumentError(
                f"ResponseFormat.type is {self.type!r}, expected text, json_object or json_schema."
            )
        if self.type == "json_schema" and not self.json_schema:
            raise WrongArgumentError("ResponseFormat(type='json_schema') needs a json_schema.")

    def to_dict(self) -> JsonObject:
        """Return the form as a request has it."""
        return {"type": self.type} | ({} if self.json_schema is None else {"json_schema": self.json_schema})


@dataclass
class TextGenerationOutput:
    """
    This is a verified answer: `chat_output` is a message, `completion_output` a text; `receipt` says the rest.

    `payment_hash` names the authorization that paid, and is no transaction.
    """

    data_settlement_transaction_hash: str | None = None
    data_settlement_blob_id: str | None = None
    finish_reason: str | None = None
    chat_output: JsonObject | None = None
    completion_output: str | None = None
    images: list[str] | None = None
    usage: dict[str, int] | None = None
    payment_hash: str | None = None
    tee_signature: str | None = None
    tee_timestamp: int | None = None
    tee_id: str | None = None
    tee_endpoint: str | None = None
    tee_payment_address: str | None = None
    receipt: JsonObject = field(default_factory=dict, repr=False)

    @property
    def transaction_hash(self) -> str:
        """Return the transaction by its name before 1.0.2: "external" where none is told, empty where none can be."""
        return self.data_settlement_transaction_hash or ("" if kind_of(self.receipt) == "twin" else "external")

    @classmethod
    def of(cls, answer: Answer, *, endpoint: Literal["chat", "completion"]) -> Self:
        """Return a verified answer in the old form."""
        return cls(
            finish_reason=answer.finish_reason,
            chat_output=_message_of(answer) if endpoint == "chat" else None,
            completion_output=answer.text if endpoint == "completion" else None,
            images=list(answer.images) or None,
            usage=None if answer.usage is None else answer.usage.to_json(),
            **_proof_of(answer),
            payment_hash=Receipt(answer.receipt).payment_hash,
            receipt=answer.receipt,
        )


@dataclass
class StreamDelta:
    """This is a piece of an answer."""

    content: str | None = None
    role: str | None = None
    tool_calls: list[JsonObject] | None = None


@dataclass
class StreamChoice:
    """This is the choice of a chunk: there is one."""

    delta: StreamDelta
    index: int = 0
    finish_reason: str | None = None


@dataclass
class StreamUsage:
    """These are the tokens of a call, as the gateway counts them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@dataclass
class StreamChunk:
    """A chunk is a piece of a stream; the last one, `is_final`, comes after the proof, with the receipt."""

    choices: list[StreamChoice]
    model: str
    usage: StreamUsage | None = None
    is_final: bool = False
    tee_signature: str | None = None
    tee_timestamp: int | None = None
    tee_id: str | None = None
    tee_endpoint: str | None = None
    tee_payment_address: str | None = None
    data_settlement_transaction_hash: str | None = None
    data_settlement_blob_id: str | None = None
    images: list[str] | None = None
    payment_hash: str | None = None
    receipt: JsonObject = field(default_factory=dict, repr=False)

    @classmethod
    def piece(cls, text: str, model: str) -> Self:
        """Return a piece of text."""
        return cls([StreamChoice(StreamDelta(content=text, role="assistant"))], model)

    @classmethod
    def last(cls, answer: Answer) -> Self:
        """Return the end of a verified answer: its tool calls, usage and proof."""
        calls = _message_of(answer).get("tool_calls")
        counted = None if answer.usage is None else StreamUsage(**answer.usage.to_json())
        return cls(
            [StreamChoice(StreamDelta(tool_calls=calls), finish_reason=answer.finish_reason)],
            answer.model,
            counted,
            is_final=True,
            images=list(answer.images) or None,
            payment_hash=Receipt(answer.receipt).payment_hash,
            receipt=answer.receipt,
            **_proof_of(answer),
        )

    @classmethod
    def from_sse_data(cls, data: JsonObject) -> Self:
        """Return the chunk of an event's JSON; nothing of it is verified."""
        choices = []
        for choice in data.get("choices") or ():
            delta = choice.get("delta") or choice.get("message") or {}
            piece = StreamDelta(delta.get("content"), delta.get("role"), delta.get("tool_calls"))
            choices.append(StreamChoice(piece, choice.get("index", 0), choice.get("finish_reason")))
        usage = data.get("usage")
        counted = StreamUsage(**{name: usage.get(name, 0) for name in _COUNTS}) if usage else None
        final = usage is not None or any(choice.finish_reason for choice in choices)
        return cls(choices, data.get("model", "unknown"), counted, is_final=final)


_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


class TextGenerationStream:
    """This stream of chunks is iterated or awaited once, as its source is; lines of SSE are parsed."""

    def __init__(self, _iterator: "Iterable[object] | AsyncIterator[object]", _is_async: bool = False) -> None:
        self._iterator, self._is_async = _iterator, _is_async

    def __iter__(self) -> Iterator[StreamChunk]:
        if not isinstance(self._iterator, Iterable):
            raise TypeError("This stream is asynchronous: use `async for`.")
        for item in self._iterator:
            chunk, done = _chunk(item)
            if done:
                return
            if chunk is not None:
                yield chunk

    async def __aiter__(self) -> AsyncIterator[StreamChunk]:
        if not isinstance(self._iterator, AsyncIterator):
            raise TypeError("This stream is synchronous: use `for`.")
        async for item in self._iterator:
            chunk, done = _chunk(item)
            if done:
                return
            if chunk is not None:
                yield chunk


def _message_of(answer: Answer) -> JsonObject:
    """Return an answer as the message of a chat."""
    calls = [call.to_json() for call in answer.tool_calls]
    return {"role": "assistant", "content": answer.text} | ({"tool_calls": calls} if calls else {})


def _proof_of(answer: Answer) -> JsonObject:
    """Return what answers and last chunks tell of the proof, by their old names."""
    receipt = Receipt(answer.receipt)
    enclave, payment = receipt.enclave, receipt.payment
    return {
        "tee_signature": receipt.tee_signature,
        "tee_timestamp": receipt.tee_timestamp,
        "tee_id": receipt.tee_id,
        "tee_endpoint": enclave.endpoint if enclave else None,
        "tee_payment_address": enclave.payment_address if enclave else None,
        "data_settlement_transaction_hash": payment.transaction_hash if payment else None,
        "data_settlement_blob_id": payment.blob_id if payment else None,
    }


def _chunk(item: object) -> tuple[StreamChunk | None, bool]:
    """Return the chunk of an item, None for what is none, and whether the stream is over."""
    if isinstance(item, StreamChunk):
        return item, False
    line = item.decode() if isinstance(item, bytes) else str(item)
    if not line.startswith("data: "):
        return None, False
    text = line[len("data: ") :].strip()
    if text == "[DONE]":
        return None, True
    try:
        return StreamChunk.from_sse_data(json.loads(text)), False
    except ValueError:
        return None, False
