"""
`OpenGradientLLM`: the eight endpoints, function calling and structured output, over our clients.

Everything is passed to the client as it was asked for: paying, verifying, and saying to the gateway
what it does not understand are done there.
"""

from collections.abc import AsyncGenerator, Generator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Unpack

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
)
from llama_index.core.instrumentation.events.llm import LLMStructuredPredictEndEvent, LLMStructuredPredictStartEvent
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.prompts import PromptTemplate
from llama_index.core.types import Model, PydanticProgramMode
from llama_index_instrumentation import get_dispatcher

from og_integrations.llama_index.calls import CallingLLM, as_user
from og_integrations.llama_index.configuration import LLMOptions, configuration_errors, split_options
from og_integrations.llama_index.responses import (
    chat_response,
    chat_stream,
    completion_response,
    completion_stream,
)
from og_integrations.llama_index.structured import (
    parse_structured,
    partial_structured,
    programs_errors,
    whole_at_last,
    whole_at_last_async,
    with_schema,
)
from og_integrations.llama_index.tools import (
    keep_first_call,
    tool_selections,
    wire_tool,
    wire_tool_choice,
    with_user_message,
)

if TYPE_CHECKING:
    from llama_index.core.tools.types import BaseTool

    from og_integrations.client._clients import AsyncHttpClient, SyncHttpClient

dispatcher = get_dispatcher(__name__)


class OpenGradientLLM(CallingLLM):
    """
    A LlamaIndex LLM whose every answer comes from an attested enclave, is paid from a wallet within
    limits, and leaves a receipt.

    ```python
    llm = OpenGradientLLM(model="openai/gpt-5", spend_policy={"total": "2"})
    print(llm.complete("Say hello.").additional_kwargs["opengradient"]["status"])
    ```

    Args:
        model: `provider/name`, or a `TEE_LLM` member.
        private_key: The wallet that pays; default `OG_PRIVATE_KEY`. Never stored, shown or pickled.
        signer: A wallet elsewhere (KMS, hardware); instead of `private_key`.
        network: `"base"` (default), `"base-sepolia"`, `"devnet"` or a `Network`.
        spend_policy: What may be spent: a `SpendPolicy` or its fields as a dict.
        enclave_policy: Which enclaves may see prompts: an `EnclavePolicy`.
        settlement_mode: What is published about calls: `"private"`, `"batch"` or `"individual"`.
        verification: `"end"` shows a stream's text before its proof, `"buffer"` nothing.
        additional_kwargs: Options for every call, as `{"stop": ["\\n\\n"]}`.

    All other options are those of `og_integrations.client.ClientOptions` and of LlamaIndex's `LLM`.
    """

    def __init__(
        self,
        model: "str | Enum",
        *,
        http_client: "SyncHttpClient | None" = None,
        async_http_client: "AsyncHttpClient | None" = None,
        **options: Unpack[LLMOptions],
    ) -> None:
        """Check and keep the options. Raises `ConfigurationError`."""
        fields, wallet = split_options(model, options, type(self).model_fields)
        with configuration_errors():
            super().__init__(**fields)
        self._connect(wallet, http_client, async_http_client)

    # -- Endpoints --

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer `messages`. Raises `OpenGradientError`."""
        params = self._params(kwargs)
        return chat_response(self._ask(messages, params), one_call=params.one_call)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer `messages`. Raises `OpenGradientError`."""
        params = self._params(kwargs)
        return chat_response(await self._aask(messages, params), one_call=params.one_call)

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Answer `messages` piece by piece; the last response has the receipt. Raises `OpenGradientError`."""
        params = self._params(kwargs)
        return self._stream(messages, params, chat_stream(one_call=params.one_call))

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Answer `messages` piece by piece; the last response has the receipt. Raises `OpenGradientError`."""
        params = self._params(kwargs)
        return self._astream(messages, params, chat_stream(one_call=params.one_call))

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer `prompt`; over /v1/completions with `use_chat_completions=False`. Raises `OpenGradientError`."""
        prompt = self._formatted(prompt, formatted)
        if kwargs.pop("use_chat_completions", self.use_chat_completions):
            return completion_response(self._ask(as_user(prompt), self._params(kwargs)))
        return completion_response(self._continue(prompt, kwargs))

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer `prompt`; over /v1/completions with `use_chat_completions=False`. Raises `OpenGradientError`."""
        prompt = self._formatted(prompt, formatted)
        if kwargs.pop("use_chat_completions", self.use_chat_completions):
            return completion_response(await self._aask(as_user(prompt), self._params(kwargs)))
        return completion_response(await self._acontinue(prompt, kwargs))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Answer `prompt` piece by piece, always as a chat: /v1/completions never streams."""
        kwargs.pop("use_chat_completions", None)
        messages = as_user(self._formatted(prompt, formatted))
        return self._stream(messages, self._params(kwargs), completion_stream())

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """Answer `prompt` piece by piece, always as a chat: /v1/completions never streams."""
        kwargs.pop("use_chat_completions", None)
        messages = as_user(self._formatted(prompt, formatted))
        return self._astream(messages, self._params(kwargs), completion_stream())

    # -- Function calling --

    def _prepare_chat_with_tools(
        self,
        tools: "Sequence[BaseTool]",
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        tool_choice: str | dict[str, Any] | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        as_strict = self.strict if strict is None else strict
        wired = [wire_tool(tool, strict=as_strict) for tool in tools]
        return {
            "messages": with_user_message(chat_history, user_msg),
            "tools": wired or None,
            "tool_choice": wire_tool_choice(tool_choice or tool_required, wired),
            "parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }

    def _validate_chat_with_tools_response(
        self,
        response: ChatResponse,
        tools: "Sequence[BaseTool]",
        allow_parallel_tool_calls: bool = False,
        **kwargs: Any,
    ) -> ChatResponse:
        return response if allow_parallel_tool_calls else keep_first_call(response)

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """Return the tool calls. Raises `ToolChoiceNotHonoredError` if there is none and one is expected."""
        return tool_selections(response, error_if_none=error_on_no_tool_call)

    # -- Structured output --

    def structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """Return the answer as an instance of `output_cls`. Raises `MalformedReplyError` if it is none."""
        if not self._natively_structured():
            with programs_errors(output_cls):
                made: Model = super().structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
            return made
        dispatcher.event(
            LLMStructuredPredictStartEvent(output_cls=output_cls, template=prompt, template_args=prompt_args)
        )
        messages = self._extend_messages(prompt.format_messages(llm=self, **prompt_args))
        result = parse_structured(self.chat(messages, **with_schema(output_cls, llm_kwargs)), output_cls)
        dispatcher.event(LLMStructuredPredictEndEvent(output=result))
        return result

    async def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """Return the answer as an instance of `output_cls`. Raises `MalformedReplyError` if it is none."""
        if not self._natively_structured():
            with programs_errors(output_cls):
                made: Model = await super().astructured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
            return made
        dispatcher.event(
            LLMStructuredPredictStartEvent(output_cls=output_cls, template=prompt, template_args=prompt_args)
        )
        messages = self._extend_messages(prompt.format_messages(llm=self, **prompt_args))
        result = parse_structured(await self.achat(messages, **with_schema(output_cls, llm_kwargs)), output_cls)
        dispatcher.event(LLMStructuredPredictEndEvent(output=result))
        return result

    def _structured_stream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> "Generator[Any, None, None]":
        if not self._natively_structured():
            stream = super()._structured_stream_call(output_cls, prompt, llm_kwargs, **prompt_args)
            yield from whole_at_last(stream, output_cls)
            return
        messages = self._extend_messages(prompt.format_messages(llm=self, **prompt_args))
        made: Any = None
        for response in self.stream_chat(messages, **with_schema(output_cls, llm_kwargs)):
            made = partial_structured(response, output_cls, made)
            yield made

    async def _structured_astream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> "AsyncGenerator[Any, None]":
        if not self._natively_structured():
            stream = await super()._structured_astream_call(output_cls, prompt, llm_kwargs, **prompt_args)
            return whole_at_last_async(stream, output_cls)
        messages = self._extend_messages(prompt.format_messages(llm=self, **prompt_args))
        responses = await self.astream_chat(messages, **with_schema(output_cls, llm_kwargs))

        async def objects() -> AsyncGenerator[Any, None]:
            made: Any = None
            async for response in responses:
                made = partial_structured(response, output_cls, made)
                yield made

        return objects()

    def _natively_structured(self) -> bool:
        return self.should_use_structured_outputs and self.pydantic_program_mode == PydanticProgramMode.DEFAULT
