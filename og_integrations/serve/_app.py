"""
The web application: OpenAI's endpoints for chat completions, completions and models, each call paid and verified.

`openai._translation` says what a request means and how an answer looks; this file says who may ask, on which budget,
and what happens to a body that is too large or a caller who leaves.
"""

import asyncio
import base64
import hashlib
import json
import socket
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Unpack

from og_integrations.client import Answer, AsyncClient, ClientOptions
from og_integrations.errors import ConfigurationError, OpenGradientError, PaymentInDoubtError
from og_integrations.openai._calls import aanswer_of, aevents_of
from og_integrations.openai._translation import CHAT, TEXT, Wish, completion_of, error_of, model, models
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.payment._policy import SpendPolicy
from og_integrations.serve._keys import Holder, Keys

try:
    from starlette.applications import Starlette
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Route
except ModuleNotFoundError as _exc:
    raise ConfigurationError(
        f'The server is not installed ({_exc.name} is missing). Run: pip install "og-integrations[serve]"'
    ) from _exc

MAX_BODY_BYTES = 32 * 1024 * 1024
RETRY_COUNT = "x-stainless-retry-count"
"""The clients of OpenAI say in this header how often they have sent the same request before."""
_REMEMBERED = 256
"""Calls that a repetition may still come for."""
RECEIPT_HEADER = "OpenGradient-Receipt"
"""Holds the receipt of a whole answer as base64url of its JSON; that of a stream is in its last chunk."""


def application(keys: Keys, **options: Unpack[ClientOptions]) -> Starlette:
    """
    Return the ASGI application that answers those who have one of `keys`; `options` are those of `AsyncClient`.

    Each key has an account of its own: its limit, and the rules of `spend_policy` besides. Raises
    `ConfigurationError` for options that no client could be made with.
    """
    desk = _Desk(keys, options)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None, None]:
        yield
        await desk.close()

    routes = [
        Route("/v1/chat/completions", desk.chat, methods=["POST"]),
        Route("/v1/completions", desk.completion, methods=["POST"]),
        Route("/v1/models", desk.models, methods=["GET"]),
        Route("/v1/models/{name:path}", desk.model, methods=["GET"]),
        Route("/health", _health, methods=["GET"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={404: _unknown, 405: _unknown})


def listen(port: int) -> socket.socket:
    """Return a socket that listens on 127.0.0.1, and nowhere else. Raises `ConfigurationError` if it cannot."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen(2048)  # from here on callers wait in line, and are not refused
    except (OSError, OverflowError) as exc:
        listening.close()
        raise ConfigurationError(
            f"Port {port} of 127.0.0.1 cannot be listened on: {exc}. Give another --port."
        ) from exc
    return listening


def run(app: Starlette, listening: socket.socket) -> None:
    """Serve `app` on a socket until the process is interrupted or told to end; calls under way end first."""
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=30)
    uvicorn.Server(config).run(sockets=[listening])


class _Desk:
    """Takes requests, one client and account for each holder of a key."""

    def __init__(self, keys: Keys, options: ClientOptions) -> None:
        self._keys = keys
        self._options = options
        self._policy = SpendPolicy.of(options.get("spend_policy"))
        self._clients: dict[Holder, AsyncClient] = {}
        self._made = _Made()

    async def chat(self, request: Request) -> Response:
        return await self._call(request, CHAT)

    async def completion(self, request: Request) -> Response:
        return await self._call(request, TEXT)

    async def models(self, request: Request) -> Response:
        return _refused() if self._holder(request) is None else JSONResponse(models())

    async def model(self, request: Request) -> Response:
        return _refused() if self._holder(request) is None else JSONResponse(model(request.path_params["name"]))

    async def close(self) -> None:
        """Close the clients of all keys."""
        await asyncio.gather(*(client.aclose() for client in self._clients.values()))

    async def _call(self, request: Request, path: str) -> Response:
        holder = self._holder(request)
        if holder is None:
            return _refused()
        try:
            body = await _body(request)
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return _error(413, "request_too_large", f"The body has more than {MAX_BODY_BYTES} bytes. Nothing was sent.")
        try:
            client, wish = self._client(holder), Wish.of(path, body)
            asked = (holder, hashlib.sha256(path.encode() + body).digest())
            repeated = request.headers.get(RETRY_COUNT, "0") != "0"
            if wish.streamed:
                forget = self._made.stream(asked, repeated=repeated)
                try:
                    events = await aevents_of(client, wish, forget)
                except OpenGradientError as exc:
                    forget(exc)
                    raise
                return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
            answer = await self._made.answer(asked, lambda: aanswer_of(client, wish), repeated=repeated)
            return JSONResponse(completion_of(wish, answer), headers={RECEIPT_HEADER: _packed(answer.receipt)})
        except OpenGradientError as exc:
            status, told = error_of(exc)
            again = "true" if exc.is_retryable else "false"
            return JSONResponse(told, status_code=status, headers={"x-should-retry": again})

    def _holder(self, request: Request) -> Holder | None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        return self._keys.holder(key.strip()) if scheme.lower() == "bearer" else None

    def _client(self, holder: Holder) -> AsyncClient:
        """Return the client of `holder`, whose account is none of the others'. Raises `ConfigurationError`."""
        if holder not in self._clients:
            own: dict[str, object] = {"account": holder.name}
            if holder.limit is not None:
                own["total"] = holder.limit
            policy = SpendPolicy.of({name: getattr(self._policy, name) for name in SpendPolicy.model_fields} | own)
            options: ClientOptions = {**self._options, "spend_policy": policy}
            self._clients[holder] = AsyncClient(**options)
        return self._clients[holder]


_Asked = tuple[Holder, bytes]


class _Made:
    """
    The calls that were made, by who asked what: a client that lost its patience sends the same request again.

    Such a repetition gets the answer of the first call, which went on, and a stream that was begun is not begun again:
    each is paid once. A call that was not charged and may be made again is forgotten.
    """

    def __init__(self) -> None:
        self._calls: OrderedDict[_Asked, asyncio.Task[Answer] | None] = OrderedDict()

    async def answer(
        self, asked: _Asked, make: Callable[[], Coroutine[object, None, Answer]], *, repeated: bool
    ) -> Answer:
        """Return the answer to what was asked, that of the first call if this is a repetition of it."""
        call = self._calls.get(asked) if repeated else None
        if call is None:
            call = asyncio.create_task(make())
            self._note(asked, call)
        try:
            # Whoever waits for it may leave; the call goes on, since it is paid.
            return await asyncio.shield(call)
        except OpenGradientError as exc:
            self._forget(asked, exc)
            raise

    def stream(self, asked: _Asked, *, repeated: bool) -> Callable[[Answer | OpenGradientError], None]:
        """Note a stream that begins, and return what is told of its end. Raises `PaymentInDoubtError`."""
        if repeated and asked in self._calls:
            raise PaymentInDoubtError(
                "This stream was begun before, and is not begun again: the first one may have been charged. Give the "
                "client more patience (timeout=…), or max_retries=0."
            )
        self._note(asked, None)
        return lambda ended: self._forget(asked, ended)

    def _note(self, asked: _Asked, call: "asyncio.Task[Answer] | None") -> None:
        self._calls[asked] = call
        self._calls.move_to_end(asked)
        while len(self._calls) > _REMEMBERED:
            self._calls.popitem(last=False)

    def _forget(self, asked: _Asked, ended: Answer | OpenGradientError) -> None:
        if isinstance(ended, OpenGradientError) and ended.is_retryable:
            self._calls.pop(asked, None)


async def _body(request: Request) -> bytes | None:
    """Return the body, None if it is too large: it is never kept whole to find that out."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _packed(receipt: JsonObject) -> str:
    return base64.urlsafe_b64encode(json.dumps(receipt, separators=(",", ":")).encode()).decode()


def _refused() -> Response:
    said = "This server does not know the key. Give one that `og-integrations serve` showed, as the API key."
    return _error(401, "invalid_api_key", said)


def _error(status: int, kind: str, message: str) -> Response:
    told = {"error": {"message": message, "type": kind, "code": kind, "param": None}}
    return JSONResponse(told, status_code=status, headers={"x-should-retry": "false"})


async def _health(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _unknown(request: Request, _exc: Exception) -> Response:
    offered = "POST /v1/chat/completions, POST /v1/completions, GET /v1/models"
    said = f"{request.method} {request.url.path[:80]} is not offered here. There are: {offered}."
    return _error(404, "not_found", said)
