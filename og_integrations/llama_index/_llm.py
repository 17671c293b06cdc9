"""
This module holds `OpenGradientLLM`: the eight endpoints, function calling and structured output, over our clients.

Everything is passed to the client as it was asked for: paying, verifying, and saying to the gateway
what it does not understand are done there.
"""

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, closing
from copy import deepcopy
from enum import Enum
from typing import TYPE_CHECKING, Any, Never, Self, TypeVar, Unpack, cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.instrumentation.events.llm import LLMStructuredPredictEndEvent, LLMStructuredPredictStartEvent
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.program.utils import FlexibleModel
from llama_index.core.prompts import PromptTemplate
from llama_index.core.types import Model, PydanticProgramMode
from llama_index_instrumentation import get_dispatcher
from pydantic import Field, field_validator, model_validator

from og_integrations.chat._arguments import OF_A_CALL, OF_A_CHAT, call_arguments
from og_integrations.chat._asking import Question
from og_integrations.chat._model import ENGINE_OPTIONS, ModelOptions, OpenGradientModel, declared
from og_integrations.chat._requests import wire_tool_choice
from og_integrations.client import Answer, ChatOptions
from og_integrations.client._options import ReasoningEffort, hint, seal
from og_integrations.client._telemetry import ReceiptSpan, current_span
from og_integrations.errors import ConfigurationError, InvalidRequestError, OpenGradientError
from og_integrations.llama_index._messages import to_wire, wire_tool, with_user_message
from og_integrations.llama_index._responses import (
    chat_response,
    chat_stream,
    completion_response,
    completion_stream,
    tool_selections,
)
from og_integrations.llama_index._structured import (
    parse_structured,
    partial_structured,
    programs_errors,
    unknown_tool_errors,
    whole_at_last,
    whole_at_last_async,
    with_schema,
)
from og_integrations.models import model_name
from og_integrations.models._catalogue import info_of
from og_integrations.protocol._strict_json import JsonObject

if TYPE_CHECKING:
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.chat_engine.types import AgentChatResponse
    from llama_index.core.prompts import BasePromptTemplate
    from llama_index.core.rate_limiter import BaseRateLimiter
    from llama_index.core.tools.types import BaseTool
    from llama_index.core.types import BaseOutputParser

    from og_integrations.chat._asking import AsyncPieces
    from og_integrations.client._clients import AsyncHttpClient

DEFAULT_CONTEXT_WINDOW = 128_000
"""Assumed of models that the catalogue does not know; set `context_window` if it is wrong."""
DEFAULT_MAX_TOKENS = 4096
"""What the gateway allows an answer when nothing else is asked for (docs/protocol.md §2)."""
_Response = TypeVar("_Response")
dispatcher = get_dispatcher(__name__)


class LLMOptions(ModelOptions, total=False):
    """These options are everything that an `OpenGradientLLM` takes by name."""

    async_http_client: "AsyncHttpClient | None"
    """The same as `http_async_client`."""
    context_window: int | None
    """How many tokens fit into a request; known of the models in the catalogue."""
    is_function_calling_model: bool
    """Whether tools are sent as such."""
    should_use_structured_outputs: bool
    use_chat_completions: bool
    strict: bool
    reasoning_effort: ReasoningEffort | None
    """How long the model thinks; many gateways ignore it, and the receipt says when it was not signed."""
    additional_kwargs: JsonObject
    """Further members of each request, sent as they are."""
    callback_manager: "CallbackManager | None"
    rate_limiter: "BaseRateLimiter | None"
    system_prompt: str | None
    messages_to_prompt: Callable[..., str] | None
    completion_to_prompt: Callable[..., str] | None
    output_parser: "BaseOutputParser | None"
    pydantic_program_mode: PydanticProgramMode
    query_wrapper_prompt: "BasePromptTemplate | None"


def is_retryable(error: BaseException) -> bool:
    """
    Return whether the call that ended in `error` was not charged, and may succeed if it is made again.

    LlamaIndex's own retries (of workflow steps, of `BatchEvalRunner`, of extractors) repeat whatever is an
    `Exception`: calls that were paid, and answers that were not proven. Where they take a predicate, this is it.
    False for all errors of others: what was paid before them is not known.
    """
    return isinstance(error, OpenGradientError) and error.is_retryable


class OpenGradientLLM(OpenGradientModel, FunctionCallingLLM, defer_build=False):
    """
    This is a LlamaIndex LLM whose every answer comes from an attested enclave, is paid from a wallet within
    limits, and leaves a receipt.

    ```python
    llm = OpenGradientLLM(model="openai/gpt-5.2", spend_policy={"total": "2"})
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

    The table in docs/settings.md has all others; besides there are those of LlamaIndex's `LLM`.
    """

    model: str = Field(description="The model's name, provider/name.")
    temperature: float | None = Field(default=0.0, description="Always sent and signed; None sends none.")
    context_window: int | None = Field(default=None, description="Overrides the catalogue's, in tokens.")
    is_function_calling_model: bool = Field(default=True, description="False lets agents use ReAct prompts.")
    should_use_structured_outputs: bool = Field(default=True, description="False uses tools for pydantic classes.")
    use_chat_completions: bool = Field(default=True, description="False sends `complete` to /v1/completions.")
    strict: bool = Field(default=False, description="Ask providers to keep to the tools' schemas.")
    reasoning_effort: ReasoningEffort | None = declared("reasoning_effort")
    additional_kwargs: JsonObject = Field(default_factory=dict, description="Options for every call.")

    def __init__(self, model: str | Enum, *others: Never, **options: Unpack[LLMOptions]) -> None:
        """Check and keep the options; nothing is opened, signed or sent yet. Raises `ConfigurationError`."""
        if others:
            raise ConfigurationError(
                "OpenGradientLLM takes everything but the model by name: write OpenGradientLLM(model, private_key=…), "
                "as for the others."
            )
        seal(options)
        fields = {"model": model, **cast("JsonObject", options)}
        if "async_http_client" in fields:
            fields["http_async_client"] = fields.pop("async_http_client")
        super().__init__(**fields)

    @field_validator("model", mode="before")
    @classmethod
    def _read_model(cls, value: str | Enum) -> str:
        return model_name(value)

    @model_validator(mode="after")
    def _check_additional_kwargs(self) -> Self:
        self._asked(self.additional_kwargs, OF_A_CHAT)
        return self

    @classmethod
    def class_name(cls) -> str:
        """Return the name in serialized LLMs."""
        return "opengradient_llm"

    @property
    def metadata(self) -> LLMMetadata:
        """Return what the catalogue knows of the model, never the network: everything reads it often."""
        return LLMMetadata(
            context_window=self.context_window or info_of(self.model).context_window or DEFAULT_CONTEXT_WINDOW,
            num_output=self.max_tokens or DEFAULT_MAX_TOKENS,
            is_chat_model=True,
            is_function_calling_model=self.is_function_calling_model,
            model_name=self.model,
        )

    def to_payload(self) -> JsonObject:
        """Describe this LLM to events and spans; instrumentation reads `model` and `temperature`."""
        own = {"class_name": self.class_name(), "model": self.model, "temperature": self.temperature}
        return self.metadata.model_dump() | own  # the inherited one came with llama-index-core 0.14.23

    # -- Endpoints --

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: object) -> ChatResponse:
        """Answer `messages`. Raises `OpenGradientError`."""
        return chat_response(self._ask(messages, kwargs))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: object) -> ChatResponse:
        """Answer `messages`. Raises `OpenGradientError`."""
        return chat_response(await self._aask(messages, kwargs))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: object) -> ChatResponseGen:
        """Answer `messages` piece by piece; the last response has the receipt. Raises `OpenGradientError`."""
        return self._stream(messages, kwargs, chat_stream())

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: object) -> ChatResponseAsyncGen:
        """Answer `messages` piece by piece; the last response has the receipt. Raises `OpenGradientError`."""
        return self._astream(messages, kwargs, chat_stream())

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: object) -> CompletionResponse:
        """Answer `prompt`; over /v1/completions with `use_chat_completions=False`. Raises `OpenGradientError`."""
        prompt = self._formatted(prompt, formatted)
        if kwargs.pop("use_chat_completions", self.use_chat_completions):
            return completion_response(self._ask(_as_user(prompt), kwargs))
        options = self.call_options(self.model, self._asked(kwargs, OF_A_CALL))
        with ReceiptSpan(current_span()) as span:
            return completion_response(span.note(self.clients.sync.complete(self.model, prompt, **options)))

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: object) -> CompletionResponse:
        """Answer `prompt`; over /v1/completions with `use_chat_completions=False`. Raises `OpenGradientError`."""
        prompt = self._formatted(prompt, formatted)
        if kwargs.pop("use_chat_completions", self.use_chat_completions):
            return completion_response(await self._aask(_as_user(prompt), kwargs))
        options = self.call_options(self.model, self._asked(kwargs, OF_A_CALL))
        with ReceiptSpan(current_span()) as span:
            return completion_response(
                span.note(await self.clients.asynchronous.complete(self.model, prompt, **options))
            )

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: object) -> CompletionResponseGen:
        """Answer `prompt` piece by piece, always as a chat: /v1/completions never streams."""
        kwargs.pop("use_chat_completions", None)
        return self._stream(_as_user(self._formatted(prompt, formatted)), kwargs, completion_stream())

    @llm_completion_callback()
    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: object
    ) -> CompletionResponseAsyncGen:
        """Answer `prompt` piece by piece, always as a chat: /v1/completions never streams."""
        kwargs.pop("use_chat_completions", None)
        return self._astream(_as_user(self._formatted(prompt, formatted)), kwargs, completion_stream())

    # -- One paid call, without LlamaIndex's events: each call makes one event, one span and one receipt --

    def _ask(self, messages: Sequence[ChatMessage], arguments: Mapping[str, object]) -> Answer:
        with ReceiptSpan(current_span()) as span:
            return span.note(self._question(messages, arguments).ask())

    async def _aask(self, messages: Sequence[ChatMessage], arguments: Mapping[str, object]) -> Answer:
        with ReceiptSpan(current_span()) as span:
            return span.note(await self._question(messages, arguments).aask())

    def _stream(
        self,
        messages: Sequence[ChatMessage],
        arguments: Mapping[str, object],
        respond: Callable[[str | Answer], _Response],
    ) -> Generator[_Response, None, None]:
        # Not a generator: what is wrong with a request is said at once, not at the first piece.
        return _each(self._question(messages, arguments).stream(), ReceiptSpan(current_span()), respond)

    def _astream(
        self,
        messages: Sequence[ChatMessage],
        arguments: Mapping[str, object],
        respond: Callable[[str | Answer], _Response],
    ) -> AsyncGenerator[_Response, None]:
        return _each_async(self._question(messages, arguments).astream(), ReceiptSpan(current_span()), respond)

    def _question(self, messages: Sequence[ChatMessage], arguments: Mapping[str, object]) -> Question:
        """Return what one chat asks. Raises `InvalidRequestError` for what is not known."""
        given = self._asked(arguments, OF_A_CHAT)
        options = cast("ChatOptions", self.call_options(self.model, given))
        if given.get("tools"):
            tools = cast("Sequence[BaseTool | JsonObject]", given["tools"])
            options["tools"] = [wire_tool(tool, strict=self.strict) for tool in tools]
        if given.get("tool_choice") is not None:
            options["tool_choice"] = wire_tool_choice(given["tool_choice"], options.get("tools") or ())
        if given.get("response_format") is not None:
            options["response_format"] = cast("JsonObject", given["response_format"])
        if given.get("parallel_tool_calls") is not None:
            options["parallel_tool_calls"] = cast("bool", given["parallel_tool_calls"])
        if effort := given.get("reasoning_effort") or self.reasoning_effort:
            options["reasoning_effort"] = cast("ReasoningEffort", effort)
        wire = to_wire(messages, model=self.model, generation=self.gateway_generation)
        return Question(model=self, name=self.model, messages=wire, options=options)

    def _asked(self, arguments: Mapping[str, object], known: frozenset[str]) -> dict[str, object]:
        # LlamaIndex passes None for what was not asked for.
        asked = {name: value for name, value in arguments.items() if value is not None and not _is_hint(name, value)}
        if "model" in asked:
            raise InvalidRequestError(
                "Another model is a copy, which spends from the same budget: llm.model_copy(update={'model': …})."
            )
        own = {} if arguments is self.additional_kwargs else call_arguments(self.additional_kwargs, known)
        return own | call_arguments(asked, known)

    def _formatted(self, prompt: str, formatted: bool) -> str:
        text: object = prompt if formatted or self.completion_to_prompt is None else self.completion_to_prompt(prompt)
        if not isinstance(text, str):
            # Of anything else LlamaIndex makes an empty message, whose answer would be paid.
            raise InvalidRequestError(f"The prompt is a {type(text).__name__}, expected text. Nothing was sent.")
        return text

    # -- Function calling --

    def _prepare_chat_with_tools(
        self,
        tools: "Sequence[BaseTool]",
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        tool_choice: str | JsonObject | None = None,
        strict: bool | None = None,
        **kwargs: object,
    ) -> JsonObject:
        as_strict = self.strict if strict is None else strict
        wired = [wire_tool(tool, strict=as_strict) for tool in tools]
        return {
            "messages": with_user_message(chat_history, user_msg),
            "tools": wired or None,
            "tool_choice": wire_tool_choice(tool_choice or tool_required, wired),
            "parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: object
    ) -> list[ToolSelection]:
        """Return the tool calls. Raises `ToolChoiceNotHonoredError` if there is none and one is expected."""
        return tool_selections(response, error_if_none=error_on_no_tool_call)

    def predict_and_call(self, *args: Any, **kwargs: Any) -> "AgentChatResponse":
        """Ask with tools and run what is called, as LlamaIndex does. Raises `ToolChoiceNotHonoredError` for others."""
        with unknown_tool_errors():
            return super().predict_and_call(*args, **kwargs)

    async def apredict_and_call(self, *args: Any, **kwargs: Any) -> "AgentChatResponse":
        """Do what `predict_and_call` does."""
        with unknown_tool_errors():
            return await super().apredict_and_call(*args, **kwargs)

    # -- Structured output --

    def structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: JsonObject | None = None,
        **prompt_args: object,
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
        llm_kwargs: JsonObject | None = None,
        **prompt_args: object,
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
        llm_kwargs: JsonObject | None = None,
        **prompt_args: object,
    ) -> "Generator[Model | FlexibleModel, None, None]":
        if not self._natively_structured():
            stream = super()._structured_stream_call(output_cls, prompt, llm_kwargs, **prompt_args)
            yield from whole_at_last(stream, output_cls)
            return
        messages = self._extend_messages(prompt.format_messages(llm=self, **prompt_args))
        made: Model | FlexibleModel | None = None
        for response in self.stream_chat(messages, **with_schema(output_cls, llm_kwargs)):
            made = partial_structured(response, output_cls, made)
            yield made

    async def _structured_astream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: JsonObject | None = None,
        **prompt_args: object,
    ) -> "AsyncGenerator[Model | FlexibleModel, None]":
        if not self._natively_structured():
            stream = await super()._structured_astream_call(output_cls, prompt, llm_kwargs, **prompt_args)
            return whole_at_last_async(stream, output_cls)
        messages = self._extend_messages(prompt.format_messages(llm=self, **prompt_args))
        responses = await self.astream_chat(messages, **with_schema(output_cls, llm_kwargs))

        async def objects() -> "AsyncGenerator[Model | FlexibleModel, None]":
            made: Model | FlexibleModel | None = None
            async for response in responses:
                made = partial_structured(response, output_cls, made)
                yield made

        return objects()

    def _natively_structured(self) -> bool:
        return self.should_use_structured_outputs and self.pydantic_program_mode == PydanticProgramMode.DEFAULT

    # -- Copies and pickles --

    def model_copy(self, *, update: Mapping[str, object] | None = None, deep: bool = False) -> Self:
        """Copy it, with other call options. Raises `ConfigurationError` for options of the engine or unknown ones."""
        names = set(update or ())
        if fixed := sorted(names & {*ENGINE_OPTIONS, "engines"}):
            raise ConfigurationError(
                f"A copy shares wallet, budget and network with the original, so {', '.join(fixed)} cannot differ. "
                "Make a new OpenGradientLLM; with engines=llm.engines it spends from the same account."
            )
        known = type(self).model_fields.keys()
        for name in names - known:
            raise ConfigurationError(f"{type(self).__name__} has no parameter {name!r}.{hint(name, known)}")
        return super().model_copy(update=update, deep=deep)

    def __deepcopy__(self, memo: dict[int, object] | None = None) -> Self:
        """Copy what can be changed; the wallet, its budget and its connections are shared."""
        copy = self.__copy__()
        for name in ("additional_kwargs", "stop"):
            setattr(copy, name, deepcopy(getattr(self, name), memo))
        return copy

    def __setstate__(self, state: JsonObject) -> None:
        """Come back with the wallet of the environment here. Raises `ConfigurationError`."""
        # LlamaIndex's own goes on without `__init__` where that fails; calls would end in a TypeError then.
        self.__init__(**state["__dict__"])  # type: ignore[misc]

    def __enter__(self) -> Self:
        """Use it in a `with`, which closes its connections."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the connections of synchronous calls."""
        self.close()

    async def aclose(self) -> None:
        """Close the running loop's connections, and those of synchronous calls."""
        self.close()
        await super().aclose()

    async def __aenter__(self) -> Self:
        """Use it in an `async with`, which closes the loop's connections."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the running loop's connections."""
        await self.aclose()


def _as_user(prompt: str) -> list[ChatMessage]:
    return [ChatMessage(role=MessageRole.USER, content=prompt)]


def _is_hint(name: str, value: object) -> bool:
    # `DocumentContextExtractor` has one for Anthropic's cache in every call, and takes an error for "no context".
    # Other headers would turn something on, and without effect.
    return (
        name == "extra_headers"
        and isinstance(value, Mapping)
        and value.keys() == {"anthropic-beta"}
        and str(value["anthropic-beta"]).startswith("prompt-caching-")
    )


def _each(
    pieces: Generator[str | Answer, None, None], span: ReceiptSpan, respond: Callable[[str | Answer], _Response]
) -> Generator[_Response, None, None]:
    """Yield a response per piece and note the receipt. A real generator: LlamaIndex takes no other stream."""
    with closing(pieces), span:
        for piece in pieces:
            yield respond(span.note(piece))


async def _each_async(
    pieces: "AsyncPieces", span: ReceiptSpan, respond: Callable[[str | Answer], _Response]
) -> AsyncGenerator[_Response, None]:
    """Do what `_each` does."""
    async with aclosing(pieces):
        with span:
            async for piece in pieces:
                yield respond(span.note(piece))
