"""This module has `LLM` of versions from 0.8 on, which is awaited, and the chat of `Client` before, which is not."""

import warnings
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Self

from pydantic import SecretStr

from og_integrations.client import Answer, AsyncClient, CallOptions, ChatOptions, Client
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.sdk._errors import OldErrors, WrongArgumentError, hidden
from og_integrations.sdk.types import (
    TEE_LLM,
    Permit2ApprovalResult,
    ResponseFormat,
    StreamChunk,
    TextGenerationOutput,
    TextGenerationStream,
    x402SettlementMode,
)

Model = str | Enum
Mode = x402SettlementMode | str | None
Tools = Sequence[JsonObject] | None


class LLM:
    """
    This has chat and completions, awaited, as `LLM` of the published package has them.

    `rpc_url` is the node of the enclaves' registry. Other options are those of `AsyncClient`.
    """

    def __init__(
        self,
        private_key: str | SecretStr | None = None,
        rpc_url: str | None = None,
        tee_registry_address: str | None = None,
        **options: Any,
    ) -> None:
        if not private_key and not {"signer", "engine"} & options.keys():
            raise WrongArgumentError(
                "private_key is empty, expected the wallet's key, 0x-hex, which this class, like the published one, "
                'reads from no variable: say private_key=os.environ["OG_PRIVATE_KEY"]. Nothing was sent.'
            )
        private_key = hidden(private_key or None)
        places = {
            "registry_rpc_url": rpc_url,
            "registry_address": tee_registry_address,
            "private_key": private_key,
        }
        given: dict[str, Any] = {name: value for name, value in places.items() if value is not None}
        with OldErrors():
            self._client: AsyncClient = AsyncClient(**given, **options)

    @classmethod
    def from_url(cls, private_key: str, llm_server_url: str, **options: Any) -> Self:
        """Return one for a gateway by its URL, pinned to the key that it shows, never with TLS off."""
        return cls(private_key, gateway_url=llm_server_url, **options)

    async def chat(
        self,
        model: Model,
        messages: Sequence[JsonObject],
        max_tokens: int = 100,
        stop_sequence: Sequence[str] | None = None,
        temperature: float = 0.0,
        tools: Tools = None,
        tool_choice: str | JsonObject | None = None,
        response_format: ResponseFormat | Mapping[str, object] | None = None,
        web_search: bool = False,
        x402_settlement_mode: Mode = x402SettlementMode.BATCH_HASHED,
        stream: bool = False,
    ) -> TextGenerationOutput | TextGenerationStream:
        """
        Ask, and return the verified answer; with `stream` an asynchronous iterator of `StreamChunk`.

        Raises errors of this package, which are a `ValueError` or `RuntimeError` as well.
        """
        options: ChatOptions = {}
        _put(options, max_tokens, stop_sequence, temperature, x402_settlement_mode)
        _put_tools(options, tools, tool_choice)
        if response_format is not None:
            given = response_format.to_dict() if isinstance(response_format, ResponseFormat) else dict(response_format)
            options["response_format"] = given
        if web_search:
            options["extra"] = {"web_search": True}
        if stream:
            return TextGenerationStream(self._stream(model, messages, options), _is_async=True)
        with OldErrors():
            return TextGenerationOutput.of(await self._client.chat(model, messages, **options), endpoint="chat")

    async def completion(
        self,
        model: Model,
        prompt: str,
        max_tokens: int = 100,
        stop_sequence: Sequence[str] | None = None,
        temperature: float = 0.0,
        x402_settlement_mode: Mode = x402SettlementMode.BATCH_HASHED,
    ) -> TextGenerationOutput:
        """Continue `prompt`, and return the verified answer."""
        options: CallOptions = {}
        _put(options, max_tokens, stop_sequence, temperature, x402_settlement_mode)
        with OldErrors():
            answer = await self._client.complete(model, prompt, **options)
            return TextGenerationOutput.of(answer, endpoint="completion")

    def ensure_opg_approval(
        self,
        min_allowance: float | str | None = None,
        approve_amount: float | str | None = None,
        **old: float | str | None,
    ) -> Permit2ApprovalResult:
        """Allow Permit2 to take OPG if less than `min_allowance` is allowed; costs gas once. Not awaited."""
        with OldErrors(), Client(engine=self._client.engine) as client:
            return approved(client, min_allowance, approve_amount, old)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _stream(
        self, model: Model, messages: Sequence[JsonObject], options: ChatOptions
    ) -> AsyncIterator[StreamChunk]:
        with OldErrors():
            pieces = self._client.stream(model, messages, **options)
            try:
                async for piece in pieces:
                    yield _piece(piece, model)
            finally:
                await pieces.aclose()


class SyncLLM:
    """This is the chat of `Client` before 0.8: the same, not awaited, and paid under the names of that time."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def chat(
        self,
        model: Model,
        messages: Sequence[JsonObject],
        max_tokens: int = 100,
        stop_sequence: Sequence[str] | None = None,
        temperature: float = 0.0,
        tools: Tools = None,
        tool_choice: str | JsonObject | None = None,
        x402_settlement_mode: Mode = x402SettlementMode.BATCH_HASHED,
        stream: bool = False,
    ) -> TextGenerationOutput | TextGenerationStream:
        """Ask, and return the verified answer; with `stream` an iterator of `StreamChunk`."""
        options: ChatOptions = {}
        _put(options, max_tokens, stop_sequence, temperature, x402_settlement_mode)
        _put_tools(options, tools, tool_choice)
        model = _as_it_was(model)
        if stream:
            return TextGenerationStream(self._stream(model, messages, options))
        with OldErrors():
            return TextGenerationOutput.of(self._client.chat(model, messages, **options), endpoint="chat")

    def completion(
        self,
        model: Model,
        prompt: str,
        max_tokens: int = 100,
        stop_sequence: Sequence[str] | None = None,
        temperature: float = 0.0,
        x402_settlement_mode: Mode = x402SettlementMode.BATCH_HASHED,
    ) -> TextGenerationOutput:
        """Continue `prompt`, and return the verified answer."""
        options: CallOptions = {}
        _put(options, max_tokens, stop_sequence, temperature, x402_settlement_mode)
        model = _as_it_was(model)
        with OldErrors():
            return TextGenerationOutput.of(self._client.complete(model, prompt, **options), endpoint="completion")

    def ensure_opg_approval(
        self,
        opg_amount: float | str | None = None,
        approve_amount: float | str | None = None,
        **later: float | str | None,
    ) -> Permit2ApprovalResult:
        """Allow Permit2 to take `opg_amount` OPG, if less is allowed; costs gas once."""
        with OldErrors():
            return approved(self._client, opg_amount, approve_amount, later)

    def _stream(self, model: Model, messages: Sequence[JsonObject], options: ChatOptions) -> Iterator[StreamChunk]:
        with OldErrors():
            for piece in self._client.stream(model, messages, **options):
                yield _piece(piece, model)


def approved(
    client: Client,
    first: float | str | None,
    approve_amount: float | str | None,
    other_name: Mapping[str, float | str | None],
) -> Permit2ApprovalResult:
    """
    Approve by either form: `(min_allowance, approve_amount)`, or `(opg_amount)` of the versions before; all in OPG.

    At least the amount is allowed afterwards, while the old client was content with a tenth of it.
    """
    unknown = other_name.keys() - {"opg_amount", "min_allowance"}
    amount = first if first is not None else next(iter(other_name.values()), None)
    if unknown or amount is None:
        raise WrongArgumentError("ensure_opg_approval takes min_allowance and approve_amount, or opg_amount.")
    found = client.ensure_opg_approval(_amount(amount), None if approve_amount is None else _amount(approve_amount))
    tx_hash = None if found.tx_hash is None else found.tx_hash.removeprefix("0x")
    return Permit2ApprovalResult(found.allowance_before, found.allowance_after, tx_hash)


def _amount(opg: float | str) -> str:
    return opg if isinstance(opg, str) else repr(opg)


def _put(options: CallOptions, max_tokens: int, stop: Sequence[str] | None, temperature: float, mode: Mode) -> None:
    options["max_tokens"], options["temperature"] = max_tokens, temperature
    if mode is not None:
        options["settlement_mode"] = mode
    if stop:
        options["stop"] = stop


def _put_tools(options: ChatOptions, tools: Tools, tool_choice: str | JsonObject | None) -> None:
    if tools:
        options["tools"] = tools
    if tool_choice:
        options["tool_choice"] = tool_choice


def _as_it_was(model: Model) -> Model:
    """Return what a member named until 0.7.5, where later versions gave its name to another model."""
    if model is not TEE_LLM.GROK_4_1_FAST:
        return model
    meant = TEE_LLM.GROK_4_1_FAST_DOTTED
    warnings.warn(
        f"TEE_LLM.GROK_4_1_FAST was {meant.value} until 0.7.5, which Client asks for; since then it is {model.value}. "
        "Give the name as text to say which.",
        DeprecationWarning,
        stacklevel=3,
    )
    return meant


def _piece(piece: str | Answer, model: Model) -> StreamChunk:
    if isinstance(piece, Answer):
        return StreamChunk.last(piece)
    return StreamChunk.piece(piece, str(model.value if isinstance(model, Enum) else model))
