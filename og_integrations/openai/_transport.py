"""
Transports below the openai package's clients: requests become our calls, and never HTTP.

The openai client repeats what it takes for a passing failure. Here that can never pay twice: every failure comes
back as an answer that says in `x-should-retry` whether anything may have been charged, and a repetition of a request
that may have been is refused, whoever asks for it.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from functools import cache, partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, Self, Unpack

from og_integrations.client import Answer, AsyncClient, Client
from og_integrations.errors import ConfigurationError, InvalidRequestError, OpenGradientError
from og_integrations.openai._calls import aanswer_of, aevents_of, answer_of, events_of
from og_integrations.openai._translation import CHAT, TEXT, Wish, completion_of, error_of, model, models

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

    from og_integrations.client import ClientOptions
    from og_integrations.protocol._strict_json import JsonObject

BASE_URL = "http://opengradient.invalid/v1"
"""Where the openai client believes to send to; the name can never be resolved."""
_REMEMBERED = 1024
_UNUSED = "unused: the wallet pays"


class _Request(Protocol):
    """What of httpx's and httpx2's requests is read here."""

    method: str
    url: Any
    headers: Mapping[str, str]
    extensions: Mapping[str, Any]

    def read(self) -> bytes: ...

    async def aread(self) -> bytes: ...


class _Spent:
    """Remembers the requests that may have been charged and gave no answer, so that no retry pays for them again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._errors: OrderedDict[bytes, OpenGradientError] = OrderedDict()

    def check(self, request: _Request, body: bytes) -> None:
        """Raise the error of the first attempt if `request` is the client's repetition of one that may be charged."""
        if request.headers.get("x-stainless-retry-count", "0") == "0":
            return
        with self._lock:
            error = self._errors.get(_digest(body))
        if error is not None:
            raise error

    def note(self, body: bytes, exc: OpenGradientError) -> None:
        """Remember that the call with `body` ended with `exc`."""
        if exc.is_retryable:
            return
        with self._lock:
            self._errors[_digest(body)] = exc
            if len(self._errors) > _REMEMBERED:
                self._errors.popitem(last=False)


class OpenGradientTransport:
    """
    A transport answers the requests of an `httpx` or `httpx2` client with verified, paid calls.

    ```python
    import httpx2
    from openai import OpenAI
    from og_integrations.openai import OpenGradientTransport

    http = httpx2.Client(transport=OpenGradientTransport(spend_policy={"total": "1"}))
    client = OpenAI(api_key="unused", base_url="http://opengradient.invalid/v1", http_client=http)
    ```

    Takes the options of `Client` (see `ClientOptions`), or a ready `client`, which stays open when the transport is
    closed. Answers `POST …/chat/completions`, `POST …/completions`, `GET …/models`; everything else is a 404 that
    says so. The read timeout of a request, if it has one, is the call's `timeout`.
    """

    def __init__(self, *, client: Client | None = None, **options: Unpack["ClientOptions"]) -> None:
        self._own = client is None
        self._client = client if client is not None else Client(**options)
        self._spent = _Spent()

    def handle_request(self, request: Any) -> Any:
        """Return the answer to a request of httpx or httpx2 as a response of the same package."""
        body = request.read()
        try:
            wish = _wish(request, body)
            if not isinstance(wish, Wish):
                return _json(request, 200, wish)
            self._spent.check(request, body)
            if wish.streamed:
                return _stream(request, events_of(self._client, wish, partial(self._spent.note, body)))
            return _json(request, 200, completion_of(wish, answer_of(self._client, wish)))
        except OpenGradientError as exc:
            self._spent.note(body, exc)
            return _failure(request, exc)

    def close(self) -> None:
        """Close the client, if it was made here."""
        if self._own:
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class AsyncOpenGradientTransport:
    """
    A transport answers the requests of an asynchronous client; otherwise as `OpenGradientTransport`.

    `told` is called with the receipt of each call, where its answer is read.
    """

    told: "Callable[[JsonObject], None] | None" = None

    def __init__(self, *, client: AsyncClient | None = None, **options: Unpack["ClientOptions"]) -> None:
        self._own = client is None
        self._client = client if client is not None else AsyncClient(**options)
        self._spent = _Spent()

    async def handle_async_request(self, request: Any) -> Any:
        """Return the answer to a request of httpx or httpx2 as a response of the same package."""
        body = await request.aread()
        try:
            wish = _wish(request, body)
            if not isinstance(wish, Wish):
                return _json(request, 200, wish)
            self._spent.check(request, body)
            if wish.streamed:
                return _stream(request, await aevents_of(self._client, wish, partial(self._ended, body)))
            answer = await aanswer_of(self._client, wish)
            self._ended(body, answer)
            return _json(request, 200, completion_of(wish, answer))
        except OpenGradientError as exc:
            self._ended(body, exc)
            return _failure(request, exc)

    def _ended(self, body: bytes, end: Answer | OpenGradientError) -> None:
        if isinstance(end, OpenGradientError):
            self._spent.note(body, end)
        if self.told is not None and end.receipt is not None:
            self.told(end.receipt)

    async def aclose(self) -> None:
        """Close the client, if it was made here."""
        if self._own:
            await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()


def openai_client(**options: Unpack["ClientOptions"]) -> "OpenAI":
    """
    Return the openai package's client with `OpenGradientTransport` below it; `options` are those of `Client`.

    Raises `ConfigurationError` if the package is missing.
    """
    openai = _openai()
    http = openai.DefaultHttpxClient(transport=OpenGradientTransport(**options))
    client: OpenAI = openai.OpenAI(api_key=_UNUSED, base_url=BASE_URL, http_client=http)
    return client


def async_openai_client(**options: Unpack["ClientOptions"]) -> "AsyncOpenAI":
    """
    Return the openai package's asynchronous client with our transport below it; `options` are those of `Client`.

    Raises `ConfigurationError` if the package is missing.
    """
    return async_client_on(AsyncOpenGradientTransport(**options))


def async_client_on(transport: AsyncOpenGradientTransport) -> "AsyncOpenAI":
    """Return the openai package's asynchronous client with `transport` below it. Raises `ConfigurationError`."""
    openai = _openai()
    http = openai.DefaultAsyncHttpxClient(transport=transport)
    client: AsyncOpenAI = openai.AsyncOpenAI(api_key=_UNUSED, base_url=BASE_URL, http_client=http)
    return client


def _openai() -> ModuleType:
    try:
        return import_module("openai")
    except ModuleNotFoundError as exc:
        raise ConfigurationError(
            f'The openai package is not installed ({exc.name} is missing). Run: pip install "og-integrations[openai]"'
        ) from exc


def _wish(request: _Request, body: bytes) -> "Wish | JsonObject":
    """Return the call that `request` asks for, or the answer if it asks for the models."""
    path = str(request.url.path)
    if request.method == "POST" and path.endswith(CHAT):
        return _timed(request, Wish.of(CHAT, body))
    if request.method == "POST" and path.endswith(TEXT):
        return _timed(request, Wish.of(TEXT, body))
    if request.method == "GET" and path.endswith("/models"):
        return models()
    if request.method == "GET" and "/models/" in path:
        return model(path.partition("/models/")[2])
    error = InvalidRequestError(
        f"{request.method} {path[:80]} is not offered: an enclave answers chat completions and completions, and what "
        "else OpenAI's API has would be neither paid nor proven. Nothing was sent. (In the Agents SDK, use "
        "OpenGradientProvider, which asks for chat completions.)"
    )
    raise error


def _timed(request: _Request, wish: Wish) -> Wish:
    seconds = (request.extensions.get("timeout") or {}).get("read")
    if seconds:
        wish.options["timeout"] = seconds
    return wish


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def _http(request: object) -> ModuleType:
    """Return the package that `request` is of, httpx or httpx2: its client takes only its own responses."""
    return import_module(type(request).__module__.partition(".")[0])


def _json(request: _Request, status: int, body: "JsonObject", **headers: str) -> object:
    return _http(request).Response(status, json=body, headers=headers, request=request)


def _failure(request: _Request, exc: OpenGradientError) -> object:
    status, body = error_of(exc)
    return _json(request, status, body, **{"x-should-retry": "true" if exc.is_retryable else "false"})


def _stream(request: _Request, events: "Iterator[bytes] | AsyncIterator[bytes]") -> object:
    http = _http(request)
    kind = _async_stream_class(http) if isinstance(events, AsyncIterator) else _stream_class(http)
    return http.Response(200, headers={"content-type": "text/event-stream"}, stream=kind(events), request=request)


@cache
def _stream_class(http: ModuleType) -> type:
    """Return a stream of `http` that ends our call when the response is closed: httpx's own does not."""

    class EventStream(http.SyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, events: Generator[bytes, None, None]) -> None:
            self._events = events

        def __iter__(self) -> Iterator[bytes]:
            return self._events

        def close(self) -> None:
            self._events.close()

    return EventStream


@cache
def _async_stream_class(http: ModuleType) -> type:
    class AsyncEventStream(http.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
            self._events = events

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self._events

        async def aclose(self) -> None:
            await self._events.aclose()

    return AsyncEventStream
