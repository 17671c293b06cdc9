"""
One paid call, in its six forms, without LlamaIndex's events: the public endpoints go through here, so
that each call makes one event, one span and one receipt.
"""

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import Any, TypeVar

from llama_index.core.base.llms.types import ChatMessage, MessageRole

from og_integrations.client import Answer, AsyncStream
from og_integrations.errors import InvalidRequestError
from og_integrations.llama_index.messages import Receiver, to_wire
from og_integrations.llama_index.params import ChatParams, chat_params, completion_options
from og_integrations.llama_index.spans import CallSpan
from og_integrations.llama_index.wallet import WalletLLM
from og_integrations.protocol.strict_json import JsonObject

_Response = TypeVar("_Response")
_Respond = Callable[[str | Answer], _Response]


class CallingLLM(WalletLLM):
    """Asks the client; every method raises errors of `OpenGradientError`."""

    def _params(self, kwargs: Mapping[str, Any]) -> ChatParams:
        return chat_params(self._defaults(), kwargs, strict=self.strict)

    def _wire(self, messages: Sequence[ChatMessage]) -> list[JsonObject]:
        return to_wire(messages, Receiver(self.model, self.gateway_generation))

    def _ask(self, messages: Sequence[ChatMessage], params: ChatParams) -> Answer:
        with CallSpan() as span:
            return span.note(self._backend.client.chat(self.model, self._wire(messages), **params.options))

    async def _aask(self, messages: Sequence[ChatMessage], params: ChatParams) -> Answer:
        with CallSpan() as span:
            return span.note(await self._backend.async_client.chat(self.model, self._wire(messages), **params.options))

    def _stream(
        self, messages: Sequence[ChatMessage], params: ChatParams, respond: _Respond[_Response]
    ) -> Generator[_Response, None, None]:
        # Not a generator: what is wrong with a request is said at once, not at the first piece.
        pieces = self._backend.client.stream(self.model, self._wire(messages), **params.options)
        return _each(pieces, CallSpan(), respond)

    def _astream(
        self, messages: Sequence[ChatMessage], params: ChatParams, respond: _Respond[_Response]
    ) -> AsyncGenerator[_Response, None]:
        pieces = self._backend.async_client.stream(self.model, self._wire(messages), **params.options)
        return _each_async(pieces, CallSpan(), respond)

    def _continue(self, prompt: str, kwargs: Mapping[str, Any]) -> Answer:
        options = completion_options(self._defaults(), kwargs)
        with CallSpan() as span:
            return span.note(self._backend.client.complete(self.model, prompt, **options))

    async def _acontinue(self, prompt: str, kwargs: Mapping[str, Any]) -> Answer:
        options = completion_options(self._defaults(), kwargs)
        with CallSpan() as span:
            return span.note(await self._backend.async_client.complete(self.model, prompt, **options))

    def _formatted(self, prompt: str, formatted: bool) -> str:
        text = prompt if formatted or self.completion_to_prompt is None else self.completion_to_prompt(prompt)
        if not isinstance(text, str):
            # Of anything else LlamaIndex makes an empty message, whose answer would be paid.
            raise InvalidRequestError(f"The prompt is a {type(text).__name__}, expected text. Nothing was sent.")
        return text

    def _defaults(self) -> dict[str, Any]:
        own = {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "stop": self.stop,
            "settlement_mode": self.settlement_mode,
            "timeout": self.timeout,
        }
        return {name: value for name, value in own.items() if value is not None} | self.additional_kwargs


def as_user(prompt: str) -> list[ChatMessage]:
    """Return `prompt` as a conversation."""
    return [ChatMessage(role=MessageRole.USER, content=prompt)]


def _each(
    pieces: Generator[str | Answer, None, None], span: CallSpan, respond: _Respond[_Response]
) -> Generator[_Response, None, None]:
    """Yield a response per piece and note the receipt. A real generator: LlamaIndex takes no other stream."""
    with closing(pieces), span:
        for piece in pieces:
            yield respond(span.note(piece))


async def _each_async(
    pieces: AsyncStream, span: CallSpan, respond: _Respond[_Response]
) -> AsyncGenerator[_Response, None]:
    """Do what `_each` does."""
    async with aclosing(pieces):
        with span:
            async for piece in pieces:
                yield respond(span.note(piece))
