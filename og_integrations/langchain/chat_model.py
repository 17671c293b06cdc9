"""`ChatOpenGradient`: LangChain's chat model on top of our clients. Mapping only."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, closing
from typing import TYPE_CHECKING, Any, Self, Unpack

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field, model_validator
from typing_extensions import override

import og_integrations
from og_integrations.langchain.arguments import check_extra
from og_integrations.langchain.blocks import register_blocks
from og_integrations.langchain.calls import ChatCall, chat_call
from og_integrations.langchain.errors import model_errors
from og_integrations.langchain.outputs import chat_result, chunks_of, combined_llm_output
from og_integrations.langchain.profile import build_profile, count_message_tokens, count_text_tokens, overflow_check
from og_integrations.langchain.spans import CallSpan
from og_integrations.langchain.structured import Method, Schema, structured_output
from og_integrations.langchain.tools import wire_tool_choice, wire_tools
from og_integrations.langchain.wallet import WalletModel

if TYPE_CHECKING:
    from langchain_core.language_models.model_profile import ModelProfile

    from og_integrations.langchain.options import ChatModelOptions

register_blocks()


class ChatOpenGradient(WalletModel, BaseChatModel):
    """
    Chat models that run in attested enclaves, paid per call, each answer with a receipt.

    Setup:
        Install `og-integrations[langchain]` and set the key of a wallet that holds OPG and has approved
        Permit2 (`og-integrations doctor` tells what is missing).

        ```bash
        pip install "og-integrations[langchain]"
        export OG_PRIVATE_KEY="0x…"
        ```

    Key init args — completion params:
        model: Model to ask, as `provider/name`.
        temperature: Sampling temperature, 0 to 2.
        max_tokens: Most tokens to answer with.
        stop: Where to cut the answer.

    Key init args — client params:
        private_key: Key of the paying wallet, else `OG_PRIVATE_KEY` (`api_key` means the same).
        network: `"base"`, `"base-sepolia"` or `"devnet"`, else `OG_NETWORK`.
        spend_policy: What may be spent, for example `{"total": "1"}` (OPG).
        settlement_mode: `"batch"`, `"private"` or `"individual"`.
        gateway_generation: `"next"` for gateways that take images and files.
        timeout: Seconds to wait for each piece of an answer.

    Instantiate:
        ```python
        from og_integrations.langchain import ChatOpenGradient

        model = ChatOpenGradient(model="anthropic/claude-sonnet-4-6", spend_policy={"total": "1"})
        ```

    Invoke:
        ```python
        answer = model.invoke("What is a trusted execution environment?")  # or: await model.ainvoke(…)
        print(answer.text)
        ```

    Stream:
        ```python
        for chunk in model.stream("Count to ten."):
            print(chunk.text, end="")
        ```

    Tool calling:
        ```python
        def get_price(symbol: str) -> float:
            '''Return the price of a token in USD.'''

        model.bind_tools([get_price]).invoke("What is ETH worth?").tool_calls
        ```

    Structured output:
        ```python
        class City(BaseModel):
            name: str
            inhabitants: int

        model.with_structured_output(City).invoke("The capital of Norway?")
        ```

    Response metadata:
        ```python
        receipt = answer.response_metadata["opengradient"]
        receipt["status"], receipt["payment"]["payment_hash"], receipt["tee_signature"]
        ```

    Raises:
        Every error of a call is both an `og_integrations.errors.OpenGradientError` and a
        `langchain_core.exceptions.ModelError`, whose `is_retryable` says whether repeating is safe.
    """

    streaming: bool = False
    """Whether `invoke` streams under the hood."""
    stream_usage: bool = True
    """Whether the last chunk of a stream tells the token counts."""
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further members of the request, sent as they are."""

    if TYPE_CHECKING:

        def __init__(self, **options: Unpack[ChatModelOptions]) -> None: ...

    @model_validator(mode="after")
    def _set_og_integrations_version(self) -> Self:
        check_extra(self.model_kwargs)
        self._add_version("og-integrations", og_integrations.__version__)
        return self

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with self._errors(messages, kwargs), CallSpan(run_manager) as span:
            call = self._call(messages, stop, kwargs)
            return chat_result(span.note(self.clients.sync.chat(call.model, call.messages, **call.options)))

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with self._errors(messages, kwargs), CallSpan(run_manager) as span:
            call = self._call(messages, stop, kwargs)
            return chat_result(
                span.note(await self.clients.asynchronous.chat(call.model, call.messages, **call.options))
            )

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        with self._errors(messages, kwargs), CallSpan(run_manager) as span:
            call = self._call(messages, stop, kwargs)
            items = self.clients.sync.stream(call.model, call.messages, **call.options)
            with closing(items):
                for item in items:
                    for chunk in chunks_of(span.note(item), usage=call.stream_usage):
                        if run_manager is not None:  # only LangChain's v3 path leaves this to us
                            run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                        yield chunk

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        with self._errors(messages, kwargs), CallSpan(run_manager) as span:
            call = self._call(messages, stop, kwargs)
            items = self.clients.asynchronous.stream(call.model, call.messages, **call.options)
            async with aclosing(items):
                async for item in items:
                    for chunk in chunks_of(span.note(item), usage=call.stream_usage):
                        if run_manager is not None:
                            await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                        yield chunk

    @override
    def bind_tools(
        self,
        # `with_fallbacks` evaluates these types; a BaseTool is a Runnable, and importing its module takes 46 ms.
        tools: Sequence[Mapping[str, Any] | type | Callable[..., Any] | Runnable[Any, Any]],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """
        Return this model with `tools` to call; the model itself stays as it is.

        Args:
            tools: Functions, LangChain tools, pydantic classes, TypedDicts or schemas.
            tool_choice: `"auto"`, `"none"`, `"any"`/`"required"`/`True` (some tool), a tool's name, or a
                dict of OpenAI's or Anthropic's form. The gateway does not enforce it: a single forced tool
                is asked for as a json_schema where that is possible, and an answer that still disobeys is
                a `ToolChoiceNotHonoredError`.
            strict: Whether arguments have to fit the schemas exactly.
            **kwargs: Further arguments of each call, such as `response_format`.

        Raises:
            InvalidRequestError: If `tool_choice` is none of these, or names no bound tool.
        """
        with model_errors():
            schemas = wire_tools(tools, strict=strict)
            choice = wire_tool_choice(tool_choice, schemas)
        if choice is not None:
            kwargs["tool_choice"] = choice
        return self.bind(tools=schemas, **kwargs)

    @override
    def with_structured_output(
        self,
        schema: Schema | None = None,
        *,
        method: Method = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        tools: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """
        Return this model answering with instances of `schema`; the model itself stays as it is.

        Args:
            schema: A pydantic class (instances of it come back), TypedDict or JSON schema (dicts do).
            method: `"json_schema"` (enforced by providers), `"function_calling"` or `"json_mode"`.
            include_raw: Whether to return `{"raw": message, "parsed": …, "parsing_error": …}`. The receipt
                is in the message; without it, use `get_receipt_callback` or `collect_receipts`.
            strict: Whether providers enforce the schema exactly; by default where that changes nothing.
            tools: Tools that the model may call before it answers.
            **kwargs: Further arguments of each call.

        Raises:
            InvalidRequestError: If these do not go together.
        """
        with model_errors():
            options: dict[str, Any] = {"method": method, "include_raw": include_raw, "strict": strict, "tools": tools}
            return structured_output(self, schema, name=self.model_name, arguments=kwargs, **options)

    @override
    def get_token_ids(self, text: str) -> list[int]:
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        raise NotImplementedError("No tokenizer is available offline: give the model custom_get_token_ids.")

    @override
    def get_num_tokens(self, text: str) -> int:
        """Return about how many tokens `text` has, offline; exactly with `custom_get_token_ids`."""
        return len(self.get_token_ids(text)) if self.custom_get_token_ids else count_text_tokens(text)

    @override
    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Return about how many tokens `messages` and `tools` have, offline."""
        if self.custom_get_token_ids is not None and tools is None:
            return super().get_num_tokens_from_messages(messages)
        return count_message_tokens(messages, tools)

    @property
    @override
    def _llm_type(self) -> str:
        return "opengradient-chat"

    @property
    @override
    def _identifying_params(self) -> dict[str, Any]:
        return self.identifying_params() | {"model_kwargs": self.model_kwargs}

    @override
    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        # What LangChain dumps for its cache knows nothing of the environment.
        return f"{super()._get_llm_string(stop, **kwargs)}---{sorted(self.source().items())}"

    @override
    def _resolve_model_profile(self) -> "ModelProfile | None":
        return build_profile(self.model_name, self.gateway_generation)

    @override
    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None], /) -> dict[str, Any]:
        return combined_llm_output(llm_outputs)

    def _call(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> ChatCall:
        return chat_call(self, messages, stop, kwargs, model_kwargs=self.model_kwargs, stream_usage=self.stream_usage)

    def _errors(self, messages: Sequence[BaseMessage], kwargs: dict[str, Any]) -> AbstractContextManager[None]:
        return model_errors(overflow_check(self.asked_model(kwargs), messages, kwargs.get("tools")))
