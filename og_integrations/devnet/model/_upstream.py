"""
Any OpenAI-compatible server (Ollama, llama.cpp, vLLM, …) can be the model behind the gateways.

The devnet takes payment for its answers and signs them like any other's: what it proves is that the gateway said so,
not that the server is what it claims. Its errors become the gateway's.

Beside it stands what every model meets: the gateway forwards a part of a request (docs/protocol.md §2), and tool
calls look different in a stream from provider to provider (docs/protocol.md §5).
"""

import json
import logging
import math
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager

import httpx

from og_integrations.devnet.model._model import Answer, Family, ModelCall, ModelRequest, ProviderFailedError, text_of
from og_integrations.errors import ConfigurationError, MalformedReplyError
from og_integrations.protocol._strict_json import JsonObject, decode_json
from og_integrations.protocol.chat._sse import DONE, SSEDecoder
from og_integrations.protocol.chat._wire import COMPLETION_PATH, ToolCall, Usage

_FRAGMENT_CHARS = 8


def call_deltas(family: Family, calls: Sequence[ToolCall], *, after_text: bool) -> Iterator[JsonObject]:
    """Yield the deltas that carry `calls`; `after_text` says whether text came before them."""
    # Anthropic's index counts content blocks, and a text is one.
    first = 1 if family is Family.ANTHROPIC and after_text else 0
    for index, call in enumerate(calls, first):
        if family is Family.XAI:
            yield from _fragments(index, call)
        else:
            yield _delta(
                {
                    "index": None if family is Family.GOOGLE else index,
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
            )


def merged_calls(calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
    """
    Return what the gateway re-assembles from calls without index: one, whatever their number.

    Id and name are the last ones, the arguments all in a row; that is what it signs.
    """
    if not calls:
        return ()
    return (ToolCall(calls[-1].id, calls[-1].name, "".join(call.arguments for call in calls)),)


def _fragments(index: int, call: ToolCall) -> Iterator[JsonObject]:
    yield _delta({"index": index, "type": "function", "function": {"name": call.name}, "id": call.id})
    for start in range(0, len(call.arguments), _FRAGMENT_CHARS):
        piece = call.arguments[start : start + _FRAGMENT_CHARS]
        yield _delta({"index": index, "type": "function", "function": {"arguments": piece}})


def _delta(call: JsonObject) -> JsonObject:
    return {"role": "assistant", "tool_calls": [call]}


_CHAT_MAX_TOKENS = 4096
_COMPLETION_MAX_TOKENS = 16
_JSON_INSTRUCTION = "Respond in JSON format."


def forwarded(
    path: str,
    body: JsonObject,
    family: Family,
    *,
    attachments: bool = False,
    web_search: bool = False,
    effort: bool = False,
) -> ModelRequest:
    """
    Return what the model of `family` is asked for the accepted `body`.

    Which generation lets parts other than text, `web_search` and `reasoning_effort` through is the gateway's affair.
    """
    if path == COMPLETION_PATH:
        return _completion(body, family)
    response_format = body.get("response_format")
    kind = response_format.get("type") if response_format else None
    messages = [message if attachments else _without_images(message) for message in body["messages"]]
    if kind == "json_object" and not any("json" in text_of(message.get("content")).lower() for message in messages):
        messages.insert(0, {"role": "system", "content": _JSON_INSTRUCTION})
    # Anthropic's structured output is a tool of the gateway's own: it takes the place of the caller's.
    drops_tools = family is Family.ANTHROPIC and kind == "json_schema"
    max_tokens = body.get("max_tokens")
    return ModelRequest(
        model=body["model"],
        family=family,
        messages=messages,
        tools=[] if drops_tools else body.get("tools", []),
        response_format=None if kind == "text" else response_format,
        max_tokens=_CHAT_MAX_TOKENS if max_tokens is None else max_tokens,
        temperature=_temperature(body, absent=0.0),
        web_search=web_search and bool(body.get("web_search")),
        reasoning_effort=body.get("reasoning_effort") if effort else None,
    )


def _completion(body: JsonObject, family: Family) -> ModelRequest:
    prompt = body["prompt"] if isinstance(body["prompt"], str) else body["prompt"][0]
    max_tokens = body.get("max_tokens", _COMPLETION_MAX_TOKENS)
    return ModelRequest(
        model=body["model"],
        family=family,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=_CHAT_MAX_TOKENS if max_tokens is None else max_tokens,
        temperature=_temperature(body, absent=1.0),
    )


def _temperature(body: JsonObject, *, absent: float) -> float | None:
    """Return what reaches the model; what is signed is another matter."""
    if body["model"].startswith("gpt-5"):
        return None
    if body["model"] == "o4-mini":
        return 1.0
    value = body.get("temperature", absent)
    return 0.0 if value is None else float(value)


def _without_images(message: JsonObject) -> JsonObject:
    content = message.get("content")
    return {**message, "content": text_of(content)} if isinstance(content, list) else message


def cannot_be_asked(body: JsonObject, family: Family) -> bool:
    """Return whether the provider's adapter in the gateway fails before anything is sent."""
    temperature = _temperature(body, absent=0.0)
    if temperature is not None and math.isnan(temperature):
        # Uncaptured: Python reads NaN in JSON, and JSON Schema's limits do not exclude it, but the HTTP
        # libraries of the providers' SDKs refuse to write it.
        return True
    calls = (call for message in body.get("messages") or () for call in message.get("tool_calls") or ())
    if any(_unwritable(call["function"]["arguments"]) for call in calls):
        return True
    return family is Family.ANTHROPIC and (body.get("response_format") or {}).get("type") == "json_object"


def _unwritable(arguments: str) -> bool:
    """Return whether a call of the history ends in the gateway: it reads the arguments and writes them anew."""
    try:
        value = json.loads(arguments)
    except json.JSONDecodeError:
        return False  # it goes on with none
    except (ValueError, RecursionError):
        return True
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return True
    return not isinstance(value, dict)


def reserialised(arguments: str) -> str:
    """Return tool arguments as the gateway writes them when it has parsed them."""
    try:
        return json.dumps(json.loads(arguments))
    except ValueError:
        return arguments


TIMEOUT_SECONDS = 120.0
_LOG = logging.getLogger(__name__)
_LOGGED_BYTES = 500
_NO_USAGE = Usage(0, 0, 0)


class Upstream:
    """
    Asks `url`/v1/chat/completions. `model` is asked instead of whatever the client names.

    `api_key` is sent as bearer token. A server that tells no usage is charged by words and pieces.
    Why it failed is logged: clients learn no more than from the real gateway.
    Raises `ConfigurationError` for a `url` that is none.
    """

    def __init__(self, url: str, *, model: str | None = None, api_key: str | None = None) -> None:
        if not _is_url(url):
            raise ConfigurationError(f"upstream is {url!r}, expected a URL such as http://127.0.0.1:11434.")
        self.url: str = f"{url.rstrip('/').removesuffix('/v1')}/v1/chat/completions"
        self._model = model
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}

    async def answer(self, request: ModelRequest) -> Answer:
        """Return the whole answer; one with `error_status` for whatever goes wrong."""
        try:
            async with self._opened(self._body(request, stream=False)) as reply:
                body = await reply.aread()
                if reply.status_code != 200:
                    _LOG.warning("%s answered HTTP %s: %r", self.url, reply.status_code, body[:_LOGGED_BYTES])
                    return Answer(usage=_NO_USAGE, error_status=reply.status_code)
            with _understood():
                value = decode_json(body)
                message = value["choices"][0]["message"]
                text = _text(message.get("content"))
                calls = tuple(_call(item["function"]) for item in message.get("tool_calls") or ())
                usage = _usage(value.get("usage"), request, 1)
        except ProviderFailedError as exc:
            _LOG.warning("%s: %s", self.url, exc)
            return Answer(usage=_NO_USAGE, error_status=502)
        return Answer(pieces=(text,) if text else (), calls=calls, usage=usage)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[str | Answer, None]:
        """Yield text as it comes, then the whole answer. Raises `ProviderFailedError`."""
        try:
            async with aclosing(self._stream(request)) as items:
                async for item in items:
                    yield item
        except ProviderFailedError as exc:
            _LOG.warning("%s: %s", self.url, exc)
            raise

    async def _stream(self, request: ModelRequest) -> AsyncGenerator[str | Answer, None]:
        heard, decoder = _Heard(), SSEDecoder()
        async with self._opened(self._body(request, stream=True)) as reply:
            if reply.status_code != 200:
                raise ProviderFailedError(
                    f"HTTP {reply.status_code}: {(await reply.aread())[:_LOGGED_BYTES]!r}", status=reply.status_code
                )
            async for data in reply.aiter_bytes():
                with _understood():
                    events = decoder.feed(data)
                for event in events:
                    if text := heard.event(event):
                        yield text
        yield heard.answer(request)

    def _body(self, request: ModelRequest, *, stream: bool) -> JsonObject:
        body: JsonObject = {
            "model": self._model or request.model,
            "messages": request.messages,
            "max_tokens": request.max_tokens,
            "stream": stream,
        }
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.tools:
            body["tools"] = request.tools
        if request.response_format is not None:
            body["response_format"] = request.response_format
        return body | {"stream_options": {"include_usage": True}} if stream else body

    @asynccontextmanager
    async def _opened(self, body: JsonObject) -> AsyncGenerator[httpx.Response, None]:
        # A client for each request: nothing to close when the devnet stops. The proxies of the
        # environment are not for a server on this machine.
        verify = self.url.startswith("https")
        try:
            async with (
                httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False, verify=verify) as http,
                http.stream("POST", self.url, json=body, headers=self._headers) as reply,
            ):
                yield reply
        except httpx.HTTPError as exc:
            raise ProviderFailedError(type(exc).__name__) from exc


class _Heard:
    """This is what a stream said so far."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._calls: dict[int, list[str]] = {}
        self._usage: JsonObject | None = None
        self._finished = False

    def event(self, event: str) -> str:
        """Take one event; return its text. Raises `ProviderFailedError` for one that says so, or is none."""
        if event == DONE:
            return ""
        with _understood():
            value = decode_json(event)
            self._usage = value.get("usage") or self._usage
            if value.get("error") is not None:
                raise ProviderFailedError("error event")
            text = "".join(self._choice(choice) for choice in (value.get("choices") or ())[:1])
        if text:
            self._pieces.append(text)
        return text

    def _choice(self, choice: JsonObject) -> str:
        self._finished = self._finished or choice.get("finish_reason") is not None
        delta = choice.get("delta") or {}
        for item in delta.get("tool_calls") or ():
            function = item.get("function") or {}
            call = self._calls.setdefault(int(item.get("index") or 0), ["", ""])
            call[0] = _text(function.get("name")) or call[0]
            call[1] += _text(function.get("arguments"))
        return _text(delta.get("content"))

    def answer(self, request: ModelRequest) -> Answer:
        """Return the answer. Raises `ProviderFailedError` if the stream ended before it was finished."""
        if not self._finished:
            raise ProviderFailedError("cut")
        calls = tuple(ModelCall(name, arguments) for _, (name, arguments) in sorted(self._calls.items()))
        with _understood():
            usage = _usage(self._usage, request, len(self._pieces))
        return Answer(pieces=tuple(self._pieces), calls=calls, usage=usage)


def _is_url(text: str) -> bool:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return False
    return url.scheme in {"http", "https"} and bool(url.host) and (url.port or 0) < 65536


@contextmanager
def _understood() -> Iterator[None]:
    """Turn what a stranger's JSON can do into `ProviderFailedError`."""
    try:
        yield
    except (AttributeError, LookupError, MalformedReplyError, OverflowError, TypeError, ValueError) as exc:
        raise ProviderFailedError("not an answer of this kind of server") from exc


def _text(content: object) -> str:
    if content is None:
        return ""
    if not isinstance(content, str):
        raise TypeError
    content.encode()  # raises for a lone surrogate, which nobody could send on or sign
    return content


def _call(function: JsonObject) -> ModelCall:
    name, arguments = function["name"], function["arguments"]
    if not isinstance(name, str) or not isinstance(arguments, str):
        raise TypeError
    return ModelCall(name, arguments)


def _usage(reported: JsonObject | None, request: ModelRequest, pieces: int) -> Usage:
    if not reported:
        words = sum(len(text_of(message.get("content")).split()) for message in request.messages)
        return Usage(words, pieces, words + pieces)
    prompt, completion = int(reported["prompt_tokens"]), int(reported["completion_tokens"])
    if min(prompt, completion) < 0:
        raise ValueError("negative usage would pay money back")
    return Usage(prompt, completion, prompt + completion)
