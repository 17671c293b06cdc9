"""
This module chats with digital twins: personas of a service that signs nothing and takes no payment of ours.

Its receipts say so: they are `unverified`, always, and stand in the same collectors as those of paid calls.
"""

import contextlib
import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypedDict, Unpack

from og_integrations._urls import server_of, url_below
from og_integrations.client._call import now
from og_integrations.client._collecting import current_tags, hand_out
from og_integrations.client._runner import adrive, drive
from og_integrations.client._settings import TWINS_VARIABLES, check_seconds, twins_settings
from og_integrations.client._signer import sealed
from og_integrations.client.channels._channel import UNPINNED, HttpRequest, Pace
from og_integrations.client.channels._connections import AsyncConnections, Borrowed, SyncConnections
from og_integrations.errors import (
    ConfigurationError,
    InvalidRequestError,
    MalformedReplyError,
    OpenGradientError,
    TwinsError,
)
from og_integrations.hub._calls import MOST_BYTES, part
from og_integrations.hub._clients import TIMEOUT
from og_integrations.hub._login import Answered
from og_integrations.protocol._redact import Secret, quotable
from og_integrations.protocol._strict_json import JsonObject, parse_json_object
from og_integrations.receipt import Check, Receipt

if TYPE_CHECKING:
    from pydantic import SecretStr

    from og_integrations.client.channels._httpx_client import AsyncClient, SyncClient

_NO_PROOF = "twins answer without a signature: nobody vouches for this text"


class TwinsOptions(TypedDict, total=False):
    """
    A client of twins is made with these options, all of which may be left out.

    `url`: another server (`OG_TWINS_URL`). `timeout`: seconds, for each wait on the network. `http_client`: a client
    of httpx or httpx2 of your own; it stays yours.
    """

    url: str | None
    timeout: float
    http_client: "SyncClient | AsyncClient | None"


@dataclass(frozen=True, slots=True)
class TwinAnswer:
    """This is what a twin said. `message` is the message of the chat, `receipt` says that nothing proves it."""

    text: str
    message: JsonObject
    finish_reason: str | None
    usage: JsonObject | None = None
    receipt: JsonObject = field(default_factory=dict, repr=False)


class _Place:
    """A place says where twins answer, and with which key."""

    def __init__(self, api_key: Secret | None, options: TwinsOptions) -> None:
        self.timeout: float = check_seconds("timeout", options.get("timeout", TIMEOUT))
        self.url, key = twins_settings(api_key, options.get("url"))
        if key is None:
            raise ConfigurationError(
                f"Twins want a key: set {TWINS_VARIABLES['api_key'][0]} (a program may pass api_key=…). "
                "Nothing was sent."
            )
        self.key: Secret = key
        self.client: Any = options.get("http_client")


class Twins:
    """
    This client chats with digital twins; many threads may share it. `api_key`: default `OG_TWINS_API_KEY`.

    No answer is proven or paid. Raises `ConfigurationError` without a key.
    """

    def __init__(self, api_key: "str | SecretStr | None" = None, **options: Unpack[TwinsOptions]) -> None:
        key = None if api_key is None else sealed(api_key)
        del api_key
        self._place = _Place(key, options)
        client = self._place.client
        self._connections = SyncConnections(None if client is None else Borrowed(client))

    def chat(
        self,
        twin_id: str,
        model: "str | Enum",
        messages: Sequence[JsonObject],
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
    ) -> TwinAnswer:
        """
        Ask a twin, `twin_id` being 0x and 32 hex digits, and return its answer with an unverified receipt.

        Raises `InvalidRequestError`, `TwinsError`, `ConnectionFailedError` or `ConnectionLostError`.
        """
        return drive(_chat(self._place, twin_id, model, messages, temperature, max_tokens), self._perform)

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _perform(self, request: HttpRequest) -> Answered:
        with contextlib.closing(self._connections.get(UNPINNED).send(request)) as reply:
            body, pace = bytearray(), Pace(request.timeout, request.whom)
            while len(body) <= MOST_BYTES and (data := reply.read()) is not None:
                body += data
                pace.came(data)
        return Answered(reply.status, bytes(body))


class AsyncTwins:
    """This client is a `Twins` that is awaited."""

    def __init__(self, api_key: "str | SecretStr | None" = None, **options: Unpack[TwinsOptions]) -> None:
        key = None if api_key is None else sealed(api_key)
        del api_key
        self._place = _Place(key, options)
        client = self._place.client
        self._connections = AsyncConnections(None if client is None else Borrowed(client))

    async def chat(
        self,
        twin_id: str,
        model: "str | Enum",
        messages: Sequence[JsonObject],
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
    ) -> TwinAnswer:
        """Do what `Twins.chat` does."""
        flow = _chat(self._place, twin_id, model, messages, temperature, max_tokens)
        return await adrive(flow, self._perform)

    async def aclose(self) -> None:
        """Close the running loop's connections."""
        await self._connections.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def _perform(self, request: HttpRequest) -> Answered:
        channel = await self._connections.get(UNPINNED)
        async with contextlib.aclosing(await channel.send(request)) as reply:
            body, pace = bytearray(), Pace(request.timeout, request.whom)
            while len(body) <= MOST_BYTES and (data := await reply.read()) is not None:
                body += data
                pace.came(data)
        return Answered(reply.status, bytes(body))


def _chat(
    place: _Place,
    twin_id: str,
    model: "str | Enum",
    messages: Sequence[JsonObject],
    temperature: float | None,
    max_tokens: int | None,
) -> Generator[HttpRequest, Answered, TwinAnswer]:
    path = f"/twins/{part(twin_id, 'The twin')}/chat"
    name = str(model.value if isinstance(model, Enum) else model)
    asked: JsonObject = {"model": name, "messages": list(messages)}
    given = {"temperature": temperature, "max_tokens": max_tokens}
    asked |= {word: value for word, value in given.items() if value is not None}
    created = now()
    request = HttpRequest(
        url=url_below(place.url, path),
        whom=f"the twins ({server_of(place.url)})",
        headers={"Content-Type": "application/json", "Accept": "application/json"},
        secrets={"X-API-Key": place.key},
        body=_encoded(asked),
        timeout=place.timeout,
    )
    try:
        answered = yield request
        message, reason, usage = _read(answered, messages)
    except OpenGradientError as exc:
        exc.receipt = _receipt(name, twin_id, created, failed=exc)
        raise
    text = message.get("content")
    return TwinAnswer(
        text=text if isinstance(text, str) else "",
        message=message,
        finish_reason=reason,
        usage=usage,
        receipt=_receipt(name, twin_id, created),
    )


def _encoded(asked: JsonObject) -> bytes:
    try:
        return json.dumps(asked, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidRequestError(f"The messages are no JSON ({type(exc).__name__}). Nothing was sent.") from exc


def _read(answered: Answered, messages: Sequence[JsonObject]) -> tuple[JsonObject, str | None, JsonObject | None]:
    if answered.status != 200:
        _refuse(answered, messages)
    try:
        said = parse_json_object(answered.body, "The twin's answer")
    except MalformedReplyError as exc:
        raise _failed(f"{exc} Nothing is paid.", answered.status) from exc
    choices = said.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise _failed("The twin answered without a choice that holds a message. Nothing is paid.", answered.status)
    reason, usage = choice.get("finish_reason"), said.get("usage")
    return message, reason if isinstance(reason, str) else None, usage if isinstance(usage, dict) else None


def _refuse(answered: Answered, messages: Sequence[JsonObject]) -> NoReturn:
    try:
        said = parse_json_object(answered.body, "The twin's answer")
        reason = quotable(
            said.get("detail") or said.get("error"), [str(message.get("content")) for message in messages]
        )
    except MalformedReplyError:
        reason = ""
    about = f"The twin did not answer (HTTP {answered.status}){f': {reason}' if reason else ''}. Nothing is paid."
    if answered.status in (401, 403):
        about += f" The key is refused: check api_key ({TWINS_VARIABLES['api_key'][0]})."
    elif answered.status == 404:
        about += " Check its id."
    raise _failed(about, answered.status)


def _failed(message: str, status: int) -> TwinsError:
    error = TwinsError(message)
    error.status, error.is_retryable = status, status == 429 or status >= 500
    return error


def _receipt(model: str, twin_id: str, created: int, failed: OpenGradientError | None = None) -> JsonObject:
    """Return the receipt of a chat, which proves nothing, and hand it to every open collector."""
    checks = [Check("signature", "skip", f"{_NO_PROOF} (twin {twin_id})")]
    if failed is not None:
        checks.insert(0, Check("answer", "fail", f"{type(failed).__name__}: {failed}"))
    made = Receipt(kind="twin", status="unverified", model=model, created=created, checks=tuple(checks)).to_json()
    hand_out(made, None, current_tags())
    return made
