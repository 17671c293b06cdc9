"""
An accepted request becomes a signed answer, whole or streamed (docs/protocol.md §4, §5).

Answers come in four forms: JSON, compact JSON, problem+json, and event streams.

What a generation adds (`devnet._generations`) is signed by nobody: images as a list of `data:` URIs beside the message,
in a stream on the final event; citations, costs, moderation. `reasoning_content` in messages and deltas is how
providers of open models say it, and a guess even there.
"""

import asyncio
import contextlib
import json
import secrets
import uuid
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from og_integrations.devnet._clock import Clock
from og_integrations.devnet._enclave import END_OF_STREAM, EnclaveKeys, Output, Proof, StreamEvent, tool_calls_json
from og_integrations.devnet._fault import Events, RequestFaults
from og_integrations.devnet._generations import ErrorStyle, Generation, WebSearch, cost_block
from og_integrations.devnet._http import Reply
from og_integrations.devnet._journal import Exchange
from og_integrations.devnet.gateway._data_settlement import INDIVIDUAL, NO_USAGE, DataSettler, Posting, proof_headers
from og_integrations.devnet.gateway._search import found, results_for
from og_integrations.devnet.model._model import (
    Answer,
    Family,
    Model,
    ModelCall,
    ProviderFailedError,
    StreamingModel,
    last_user_text,
    spoken,
)
from og_integrations.devnet.model._upstream import call_deltas, cannot_be_asked, forwarded, merged_calls, reserialised
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._wire import COMPLETION_PATH, ToolCall, Usage
from og_integrations.protocol.proof._canonical import output_hash, request_hash

_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    415: "Unsupported Media Type",
    500: "Internal Server Error",
}
_DETAILS = {
    404: (
        "The requested URL was not found on the server. If you entered the URL manually please check your "
        "spelling and try again."
    ),
    405: "The method is not allowed for the requested URL.",
    500: (
        "The server encountered an internal error and was unable to complete your request. Either the server "
        "is overloaded or there is an error in the application."
    ),
}


def json_reply(body: JsonObject, status: int = 200) -> Reply:
    """Return `body` as the API handlers write it: sorted, indented, with a newline at the end."""
    text = json.dumps(body, sort_keys=True, indent=2) + "\n"
    return Reply(status=status, headers=[("Content-Type", "application/json")], body=text.encode())


def compact_reply(body: JsonObject, status: int = 200) -> Reply:
    """Return `body` as the payment layer and the plain routes write it: without blanks."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":")) + "\n"
    return Reply(status=status, headers=[("Content-Type", "application/json")], body=text.encode())


def problem(status: int, detail: str | None = None) -> Reply:
    """Return an application/problem+json answer."""
    body = {
        "detail": _DETAILS[status] if detail is None else detail,
        "status": status,
        "title": _TITLES[status],
        "type": "about:blank",
    }
    reply = json_reply(body, status)
    reply.headers = [("Content-Type", "application/problem+json")]
    return reply


def failed(message: str = "Request processing failed") -> Reply:
    """Return the 500 with which gateways of the first style stand for anything that went wrong at the provider."""
    return json_reply({"error": message}, 500)


_EXCEPTIONS = {
    None: "APIConnectionError",
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    408: "APITimeoutError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
}
"""What the providers' library calls its errors, by the HTTP status of the provider."""
_RETRYABLE = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_OPERATORS_TROUBLE = frozenset({401, 402, 403, 407})


def provider_error(style: ErrorStyle, status: int | None, *, streamed: bool) -> JsonObject:
    """
    Return the error object for a provider that answered the HTTP `status`, or (None) broke the connection.

    In a stream it is the content of the one event that ends it.
    """
    plain = "Stream processing failed" if streamed else "Request processing failed"
    if style is ErrorStyle.PLAIN:
        return {"error": plain}
    spoken = "Connection error." if status is None else f"Error code: {status} - the provider refused the request"
    body: JsonObject = {
        "error": plain if style is ErrorStyle.NAMED else spoken,
        "exception_type": _EXCEPTIONS.get(status, "InternalServerError"),
    }
    if style.describes_itself:
        body |= {"source": "provider"} | ({} if status is None else {"provider_status": status})
        body["retryable"] = status is None or status in _RETRYABLE
    return body


def outer_status(style: ErrorStyle, status: int | None) -> int:
    """Return the HTTP status of the gateway's own answer when the provider answered `status` (None: nothing)."""
    if not style.describes_itself:
        return 500
    if status in {408, 504}:
        return 504
    if style is ErrorStyle.ALL_502 or status is None or status >= 500 or status in _OPERATORS_TROUBLE:
        return 502
    return 503 if status == 429 else status


def stream_reply(events: Events) -> Reply:
    """Return an event stream, one HTTP chunk per event."""
    headers = [("Cache-Control", "no-cache"), ("Content-Type", "text/event-stream; charset=utf-8")]
    return Reply(status=200, headers=headers, body=_encoded(events))


async def _encoded(events: Events) -> AsyncGenerator[bytes, None]:
    try:
        async for event in events:
            yield event.encode()
    finally:
        await events.aclose()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """
    This is one paid and accepted request. `raw` is its body as text, `mode` how its data is settled.

    `charge` takes the usage and the number of pictures of an answer that costs something, once, before its last byte
    leaves, and returns what it cost in base units. `moderation` is the block of a request that was checked, {} of
    others.
    """

    path: str
    body: JsonObject
    raw: str
    family: Family
    mode: str
    exchange: Exchange
    faults: RequestFaults
    charge: Callable[[Usage, int], int]
    moderation: JsonObject = field(default_factory=dict)


class Answerer:
    """The part of a gateway that runs inside the enclave."""

    def __init__(
        self,
        keys: EnclaveKeys,
        model: Model,
        clock: Clock,
        settler: DataSettler,
        *,
        retry_seconds: float,
        generation: Generation,
    ) -> None:
        self._keys = keys
        self._model = model
        self._clock = clock
        self._settler = settler
        self._retry_seconds = retry_seconds
        self._generation = generation

    async def answer(self, job: Job) -> Reply:
        """Return the answer to `job`. Raises `InvalidRequestError` for what cannot be hashed."""
        job.exchange.streamed = streamed = bool(job.body.get("stream")) and job.path != COMPLETION_PATH
        if cannot_be_asked(job.body, job.family):
            return self._not_asked(streamed=streamed)
        # What cannot be hashed fails before the model is asked.
        request_hash(job.path, job.body, self._generation.hash_rule)
        asked = forwarded(
            job.path,
            job.body,
            job.family,
            attachments=self._generation.attachments,
            web_search=self._generation.web_search is WebSearch.PROVIDER,
            effort=self._generation.effort,
        )
        if streamed and isinstance(self._model, StreamingModel):
            return stream_reply(job.faults.events(self._events(job, self._model.stream(asked))))
        answer = await self._model.answer(asked)
        job.exchange.said = answer.text
        return (
            stream_reply(job.faults.events(self._events(job, spoken(answer))))
            if streamed
            else await self._whole(job, answer)
        )

    def _not_asked(self, *, streamed: bool) -> Reply:
        style = self._generation.errors
        if style is ErrorStyle.PLAIN:
            return failed("Stream setup failed") if streamed else failed()
        body: JsonObject = {"error": "Stream setup failed" if streamed else "Request processing failed"}
        body["exception_type"] = "ValueError"
        return json_reply(body | ({"source": "gateway", "retryable": False} if style.describes_itself else {}), 500)

    async def _whole(self, job: Job, answer: Answer) -> Reply:
        await asyncio.sleep(answer.delay * len(answer.pieces))
        if answer.error_status is not None or answer.fail_after is not None:
            # A 4xx of the provider is final, all else is tried again before it is given up.
            tried_again = answer.error_status not in {None, 400}
            await asyncio.sleep(self._retry_seconds if tried_again else 0)
            style = self._generation.errors
            body = provider_error(style, answer.error_status, streamed=False)
            return json_reply(body, outer_status(style, answer.error_status))
        calls = tuple(_tool_call(job.family, call, reserialised(call.arguments)) for call in answer.calls)
        output = job.faults.output(Output(text=answer.text, calls=calls))
        proof = self._sign(job, output)
        cost = job.charge(answer.usage, len(answer.images))
        body = job.faults.signed(
            self._body(job, output, proof, self._images(answer) | self._reasoning(answer) | self._citations(job))
            | _usage(answer.usage, sort=True)
            | self._cost(cost)
            | job.moderation
        )
        reply = json_reply(body)
        posted = self._post(job, proof, published=f"{job.raw}\n{reply.body!r}")
        if job.mode == INDIVIDUAL:
            reply.headers += proof_headers(proof)
        if isinstance(posted, Posting):
            reply.headers += posted.headers()
        return reply

    def _images(self, answer: Answer) -> JsonObject:
        return {"images": list(answer.images)} if answer.images and self._generation.newer else {}

    def _reasoning(self, answer: Answer) -> JsonObject:
        return {"reasoning_content": answer.reasoning} if answer.reasoning and self._generation.newer else {}

    def _searches(self, job: Job) -> bool:
        return self._generation.web_search is WebSearch.LOOP and bool(job.body.get("web_search"))

    def _citations(self, job: Job) -> JsonObject:
        if not self._searches(job):
            return {}
        return {"citations": [result.citation() for result in results_for(_query_of(job))]}

    def _cost(self, cost: int) -> JsonObject:
        return {"opengradient": cost_block(cost)} if self._generation.newer else {}

    def _body(self, job: Job, output: Output, proof: Proof, beside: JsonObject) -> JsonObject:
        if job.path == COMPLETION_PATH:
            choice: JsonObject = {"text": output.text, "index": 0, "finish_reason": "stop"}
            kind, prefix, top = "text_completion", "cmpl", self._citations(job)
        else:
            message: JsonObject = {"role": "assistant", "content": output.text, **beside}
            if output.calls:
                message["tool_calls"] = tool_calls_json(output.calls)
            choice = {"message": message, "index": 0, "finish_reason": output.finish_reason}
            kind, prefix, top = "chat.completion", "chatcmpl", {}
        return {
            "id": f"{prefix}-{uuid.uuid4()}",
            "object": kind,
            "created": self._clock.seconds(),
            "model": job.body["model"],
            "choices": [choice],
            **proof.fields(),
            **top,
        }

    def search(self, job: Job) -> Reply:
        """Return the answer to a web search, an accepted request of `SEARCH_PATH`."""
        results = found(job.body)
        output = job.faults.output(Output(text=results.content()))
        proof = self._sign(job, output)
        cost = job.charge(Usage(0, 0, 0), 0)
        body: JsonObject = {
            "id": f"search-{uuid.uuid4()}",
            "object": "web_search.result",
            "created": self._clock.seconds(),
            "query": results.query,
            "content": output.text,
            "citations": [result.citation() for result in results.listed],
            **proof.fields(),
        }
        return json_reply(job.faults.signed(body | self._cost(cost) | job.moderation))

    async def _events(self, job: Job, source: AsyncGenerator[str | Answer, None]) -> Events:
        answer: Answer | None = None
        pieces: list[str] = []
        provider_status: int | None = None
        if self._searches(job):
            yield StreamEvent(
                _chunk_value(job, {}, None) | {"web_search": {"status": "searching", "query": _query_of(job)}}
            )
        try:
            async with contextlib.aclosing(source):
                async for item in source:
                    if isinstance(item, Answer):
                        answer = item
                    else:
                        pieces.append(item)
                        yield _chunk(job, {"content": item, "role": "assistant"})
        except ProviderFailedError as exc:
            answer, provider_status = None, exc.status
        finally:
            if job.exchange.said is None:
                job.exchange.said = "".join(pieces)
        if answer is None:
            for event in _failure(job, self._generation, provider_status):
                yield event
            return
        if thought := self._reasoning(answer):
            yield _chunk(job, thought)
        output = job.faults.output(_streamed_output(job, answer))
        for delta in call_deltas(job.family, output.calls, after_text=bool(output.text)):
            yield _chunk(job, delta)
        yield self._final(job, output, answer)
        yield END_OF_STREAM

    def _final(self, job: Job, output: Output, answer: Answer) -> StreamEvent:
        proof = self._sign(job, output)
        cost = job.charge(answer.usage, len(answer.images))
        value = _chunk_value(job, {}, output.finish_reason) | proof.fields()
        value |= self._images(answer) | self._citations(job) | _usage(answer.usage, sort=False)
        value |= self._cost(cost) | job.moderation
        if job.mode != INDIVIDUAL:
            self._post(job, proof, published="")
            return StreamEvent(value)
        # Of a stream only this event is archived, without its text.
        posted = self._post(job, proof, published=f"{job.raw}\n{value}")
        if isinstance(posted, Posting):
            value |= posted.event_members()
        else:
            value |= {"data_settlement_success": False, "data_settlement_error": posted}
        return StreamEvent(value, compact=True)

    def _sign(self, job: Job, output: Output) -> Proof:
        calls = output.calls if output.signed_calls is None else output.signed_calls
        proof = job.faults.keys(self._keys).sign(
            request_hash(job.path, job.faults.hashed_request(job.body), self._generation.hash_rule),
            output_hash(output.text, calls, output.finish_reason),
            job.faults.timestamp(self._clock.seconds()),
        )
        exchange = job.exchange
        exchange.signature, exchange.said = proof.signature_text, output.text
        exchange.request_hash, exchange.output_hash = proof.request_hash.hex(), proof.output_hash.hex()
        return proof

    def _post(self, job: Job, proof: Proof, *, published: str) -> Posting | str | None:
        if job.mode == INDIVIDUAL and (error := job.faults.settle_data_error()) is not None:
            return error
        return self._settler.post(job.mode, proof, exchange=job.exchange.number, published=published)


def _tool_call(family: Family, call: ModelCall, arguments: str) -> ToolCall:
    match family:
        case Family.ANTHROPIC:
            identity = f"toolu_{secrets.token_hex(10)}"
        case Family.GOOGLE:
            identity = str(uuid.uuid4())
        case _:
            identity = f"call_{secrets.token_hex(12)}"
    return ToolCall(identity, call.name, arguments)


def _streamed_output(job: Job, answer: Answer) -> Output:
    # Only the OpenAI and xAI adapters keep the provider's bytes; the others have parsed them.
    kept = job.family in {Family.OPENAI, Family.XAI}
    calls = tuple(
        _tool_call(job.family, call, call.arguments if kept else reserialised(call.arguments)) for call in answer.calls
    )
    signed = merged_calls(calls) if job.family is Family.GOOGLE else None
    return Output(text=answer.text, calls=calls, signed_calls=signed)


def _query_of(job: Job) -> str:
    messages = job.body.get("messages")
    return last_user_text(messages) if isinstance(messages, list) else str(job.body.get("prompt"))


def _chunk_value(job: Job, delta: JsonObject, finish_reason: str | None) -> JsonObject:
    return {
        "choices": [{"delta": delta, "index": 0, "finish_reason": finish_reason}],
        "model": job.body["model"],
    }


def _chunk(job: Job, delta: JsonObject) -> StreamEvent:
    return StreamEvent(_chunk_value(job, delta, None))


def _failure(job: Job, generation: Generation, status: int | None) -> list[StreamEvent]:
    events = [StreamEvent(provider_error(generation.errors, status, streamed=True))]
    if job.mode == INDIVIDUAL:
        unsettled = {
            "choices": [],
            "model": "unknown",
            "data_settlement_success": False,
            "data_settlement_error": NO_USAGE,
        }
        events += [StreamEvent(unsettled, compact=True), END_OF_STREAM]
    return events


def _usage(usage: Usage, *, sort: bool) -> JsonObject:
    names = ("completion_tokens", "prompt_tokens") if sort else ("prompt_tokens", "completion_tokens")
    counts = {name: getattr(usage, name) for name in names}
    return {"usage": {**counts, "total_tokens": usage.total_tokens}}
