"""This module holds `ChatOpenGradient`, LangChain's chat model over our clients, and what the text model shares."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, closing
from enum import Enum
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, Unpack, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.load.serializable import Serializable
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils import secret_from_env
from pydantic import Field, SecretStr, field_validator, model_validator
from typing_extensions import override

import og_integrations
from og_integrations.chat._arguments import OF_A_CALL, OF_A_CHAT, call_arguments, check_extra, named_model
from og_integrations.chat._asking import Question
from og_integrations.chat._model import Engines, ModelOptions, OpenGradientModel, declared
from og_integrations.chat._requests import wire_tool_choice
from og_integrations.client._collecting import tagged
from og_integrations.client._options import ALIASES, OPTIONS, ReasoningEffort
from og_integrations.errors import ConfigurationError
from og_integrations.langchain._messages import (
    Method,
    Schema,
    Tool,
    build_profile,
    count_message_tokens,
    count_text_tokens,
    form_tools,
    to_wire,
    wire_tools,
)
from og_integrations.langchain._outputs import (
    MODEL_PROVIDER,
    chat_result,
    chunks_of,
    combined_llm_output,
    register_blocks,
)
from og_integrations.langchain._runs import Run
from og_integrations.models import model_name
from og_integrations.protocol._strict_json import JsonObject

if TYPE_CHECKING:
    from langchain_core.caches import BaseCache
    from langchain_core.callbacks import Callbacks
    from langchain_core.language_models.base import BaseLanguageModel, LangSmithParams
    from langchain_core.language_models.model_profile import ModelProfile
    from langchain_core.rate_limiters import BaseRateLimiter
    from langchain_core.runnables.retry import ExponentialJitterParams

    from og_integrations.client import ChatOptions

_OF_LANGCHAIN = frozenset({"stream", "stream_usage", "stream_options"})
"""Arguments that choose between LangChain's own paths, and say nothing to the gateway."""
OF_BOTH = _OF_LANGCHAIN | {"model", "model_name"} | OF_A_CALL
"""Arguments of a call that both models take."""
_OF_CHATS = OF_BOTH | OF_A_CHAT | {"form_tool", "model_kwargs", "strict"}


class LangChainOptions(ModelOptions, total=False):
    """These options are what both models take by name."""

    model: str | Enum
    model_name: str | Enum
    cache: "BaseCache | bool | None"
    callbacks: "Callbacks"
    custom_get_token_ids: Callable[[str], list[int]] | None
    metadata: JsonObject | None
    name: str | None
    tags: list[str] | None
    verbose: bool


class ChatModelOptions(LangChainOptions, total=False):
    """These options are what the chat model takes besides."""

    streaming: bool
    """Whether `invoke` asks for a stream, as of `ChatOpenAI`."""
    stream_usage: bool
    model_kwargs: JsonObject
    """Further members of each request, sent as they are."""
    reasoning_effort: ReasoningEffort | None
    """How long the model thinks; many gateways ignore it, and the receipt says when it was not signed."""
    disable_streaming: bool | Literal["tool_calling"]
    output_version: str | None
    profile: "ModelProfile | None"
    rate_limiter: "BaseRateLimiter | None"


register_blocks()


class LangChainModel(OpenGradientModel, Serializable):
    """This class is what both models are to LangChain, besides models of ours."""

    _SHARED_BY_COPIES: ClassVar[tuple[str, ...]] = (
        *OpenGradientModel._SHARED_BY_COPIES,  # noqa: SLF001 - its subclass
        "cache",
        "rate_limiter",
    )

    model_name: str = Field(alias="model")
    """Model to ask, as `provider/name` (`"openai/gpt-5.2"`) or a `TEE_LLM`."""
    private_key: SecretStr | None = declared(
        "private_key", made_by=secret_from_env(list(OPTIONS["private_key"].variables), default=None)
    )
    """Key of the wallet that pays; read here, as LangChain's users expect it."""

    @field_validator("model_name", mode="before")
    @classmethod
    def _read_model(cls, value: str | Enum) -> str:
        return model_name(value)

    @model_validator(mode="after")
    def _set_og_integrations_version(self) -> Self:
        cast("BaseLanguageModel[AIMessage]", self)._add_version("og-integrations", og_integrations.__version__)  # noqa: SLF001 - a hook of LangChain's
        return self

    @property
    def model(self) -> str:
        """Return the model's name, under the name it was given by."""
        return self.model_name

    def asked_model(self, arguments: Mapping[str, object]) -> str:
        """Return the model that a call with these arguments asks, by whichever name they have it."""
        try:
            return named_model(arguments, self.model_name)
        except ConfigurationError:  # which the call raises
            return self.model_name

    def with_retry(
        self,
        *,
        retry_if_exception_type: "tuple[type[BaseException], ...] | Callable[[BaseException], bool] | None" = None,
        wait_exponential_jitter: bool = True,
        exponential_jitter_params: "ExponentialJitterParams | None" = None,
        stop_after_attempt: int = 3,
    ) -> "Runnable[Any, Any]":
        """
        Repeat failed calls, but by default none that was paid or whose proof failed: that would pay again.

        Of a chain (`prompt | model`, `with_structured_output`), `with_retry` is LangChain's own and repeats
        everything; there, give it `retry_if_exception_type=RETRYABLE` (of `og_integrations.langchain.errors`), which
        None means here.
        """
        from og_integrations.langchain.errors import RETRYABLE

        return cast("BaseLanguageModel[AIMessage]", super()).with_retry(
            retry_if_exception_type=RETRYABLE if retry_if_exception_type is None else retry_if_exception_type,
            wait_exponential_jitter=wait_exponential_jitter,
            exponential_jitter_params=exponential_jitter_params,
            stop_after_attempt=stop_after_attempt,
        )

    @property
    def lc_attributes(self) -> dict[str, object]:
        """Return what is dumped in another form than it is held: policies, networks, and addresses without keys."""
        return self.plain_settings()

    @property
    def lc_secrets(self) -> dict[str, str]:
        """Return where a loaded model finds its key; it is never dumped."""
        return {"private_key": OPTIONS["private_key"].variables[0]}

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return whether LangChain may dump this model; otherwise it would post its `repr` to LangSmith."""
        return True

    @classmethod
    @override
    def get_lc_namespace(cls) -> list[str]:
        """Return where a dump is loaded from: the public package, since files inside it may move."""
        return cls.__module__.partition("._")[0].split(".")

    def identifying_params(self) -> dict[str, object]:
        """Return what shapes an answer, and where it comes from, for traces and caches: no key or header."""
        params: dict[str, object] = {
            "model_name": self.model_name,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "stop": self.stop,
            "settlement_mode": self.settlement_mode,
        }
        if self.enclave_policy is not None:
            params["enclave_policy"] = self.plain_settings()["enclave_policy"]
        return params | self.source()

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: object) -> "LangSmithParams":
        given = {ALIASES.get(name, name): value for name, value in kwargs.items()}
        options: JsonObject = {
            **given,
            "model": self.asked_model(kwargs),
            "stop": stop or given.get("stop") or self.stop,
        }
        params = cast("BaseLanguageModel[AIMessage]", super())._get_ls_params(**options)  # noqa: SLF001 - a hook of LangChain's
        params["ls_provider"] = MODEL_PROVIDER
        return params

    @override
    def _own_errors(self) -> AbstractContextManager[object]:
        from og_integrations.langchain.errors import ModelErrors

        return ModelErrors()


class ChatOpenGradient(LangChainModel, BaseChatModel, defer_build=False):
    """
    `ChatOpenGradient` asks chat models that run in attested enclaves; each call is paid and each answer has a receipt.

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
        gateway_generation: `"auto"` sends images and files unless the gateway is known to drop them.
        timeout: Seconds to wait for each piece of an answer.
        docs/settings.md has them all.

    Instantiate:
        ```python
        from og_integrations.langchain import ChatOpenGradient

        model = ChatOpenGradient(model="anthropic/claude-sonnet-4-6", spend_policy={"total": "1"})
        answer = model.invoke("What is a trusted execution environment?")  # or: await model.ainvoke(…)
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
        `langchain_core.exceptions.ModelError`, whose `is_retryable` says whether repeating is safe; its
        class is the one of that name in `og_integrations.langchain.errors`.
    """

    streaming: bool = False
    """Whether `invoke` streams under the hood."""
    stream_usage: bool = True
    """Whether the last chunk of a stream tells the token counts."""
    model_kwargs: JsonObject = Field(default_factory=dict)
    """Further members of the request, sent as they are."""
    reasoning_effort: ReasoningEffort | None = declared("reasoning_effort")
    """How long the model may think: low, medium or high. Many gateways ignore it; the receipt says so."""

    if TYPE_CHECKING:

        def __init__(self, **options: Unpack[ChatModelOptions]) -> None: ...

    @model_validator(mode="after")
    def _check_model_kwargs(self) -> Self:
        check_extra(self.model_kwargs)
        return self

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> ChatResult:
        with Run(self, run_manager, messages, kwargs) as run, tagged(run_manager.tags if run_manager else ()):
            return chat_result(run.note(self._question(messages, stop, kwargs).ask()))

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> ChatResult:
        with Run(self, run_manager, messages, kwargs) as run, tagged(run_manager.tags if run_manager else ()):
            return chat_result(run.note(await self._question(messages, stop, kwargs).aask()))

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> Iterator[ChatGenerationChunk]:
        with Run(self, run_manager, messages, kwargs) as run:
            usage = self._usage_wanted(kwargs)
            with closing(self._question(messages, stop, kwargs).stream()) as items:
                for item in items:
                    for chunk in chunks_of(item if isinstance(item, str) else run.note(item), usage=usage):
                        if run_manager is not None:  # only LangChain's v3 path leaves this to us
                            run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                        yield chunk

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> AsyncIterator[ChatGenerationChunk]:
        with Run(self, run_manager, messages, kwargs) as run:
            usage = self._usage_wanted(kwargs)
            async with aclosing(self._question(messages, stop, kwargs).astream()) as items:
                async for item in items:
                    for chunk in chunks_of(item if isinstance(item, str) else run.note(item), usage=usage):
                        if run_manager is not None:
                            await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                        yield chunk

    def _question(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, arguments: Mapping[str, object]
    ) -> Question:
        """Return what one call asks. Raises `InvalidRequestError` for what is not known."""
        given = call_arguments(arguments, _OF_CHATS)
        name = named_model(given, self.model_name)
        options = cast("ChatOptions", self.call_options(name, given, stop))
        if given:
            options |= _wished_form(given)
        if effort := given.get("reasoning_effort") or self.reasoning_effort:
            options["reasoning_effort"] = cast("ReasoningEffort", effort)
        if extra := {**self.model_kwargs, **cast("JsonObject", given.get("model_kwargs") or {})}:
            check_extra(extra)
            options["extra"] = extra
        return Question(
            model=self,
            name=name,
            messages=to_wire(messages, model=name, generation=self.gateway_generation),
            options=options,
            form_tool=cast("str | None", given.get("form_tool")),
        )

    def _usage_wanted(self, arguments: Mapping[str, object]) -> bool:
        if arguments.get("stream_usage") is not None:
            return bool(arguments["stream_usage"])
        wished = cast("Mapping[str, object]", arguments.get("stream_options") or {})
        return bool(wished.get("include_usage", self.stream_usage))

    @override
    def bind_tools(
        self,
        tools: Sequence[Tool],
        *,
        tool_choice: str | bool | dict[str, object] | None = None,
        strict: bool | None = None,
        **kwargs: object,
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
            **kwargs: Further arguments of each call, such as `response_format` or `parallel_tool_calls`
                (False shows the first call only).

        Raises:
            InvalidRequestError: If `tool_choice` is none of these, or names no bound tool.
        """
        with self._own_errors():
            schemas = wire_tools(tools, strict=strict)
            choice = wire_tool_choice(tool_choice, schemas)
        if choice is not None:
            kwargs["tool_choice"] = choice
        if choice == "required" and (forms := form_tools(tools)) and len(forms) == 1:
            kwargs["form_tool"] = forms[0]
        return self.bind(tools=schemas, **kwargs)

    @override
    def with_structured_output(
        self,
        schema: Schema | None = None,
        *,
        method: Method = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        tools: Sequence[Tool] | None = None,
        **kwargs: object,
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
        from og_integrations.langchain._structured import Wish, structured_output

        wish = Wish(method=method, include_raw=include_raw, strict=strict, tools=tools)
        with self._own_errors():
            return structured_output(self, self.model_name, schema, wish, kwargs)

    @override
    def get_token_ids(self, text: str) -> list[int]:
        """Return the ids that `custom_get_token_ids` gives `text`. Raises `NotImplementedError` without one."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        raise NotImplementedError("No tokenizer is available offline: give the model custom_get_token_ids.")

    @override
    def get_num_tokens(self, text: str) -> int:
        """Return about how many tokens `text` has, offline; exactly with `custom_get_token_ids`."""
        return len(self.get_token_ids(text)) if self.custom_get_token_ids else count_text_tokens(text)

    @override
    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Tool] | None = None) -> int:
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
    def _identifying_params(self) -> dict[str, object]:
        effort = {"reasoning_effort": self.reasoning_effort} if self.reasoning_effort else {}
        return self.identifying_params() | {"model_kwargs": self.model_kwargs} | effort

    @override
    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: object) -> dict[str, object]:
        # LangChain's own calls the deprecated `dict`, and switches its warning off, which takes twice as long as this.
        return {**self.asdict(), "stop": stop, **kwargs}

    @override
    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: object) -> str:
        # What LangChain dumps for its cache knows nothing of the environment.
        return f"{super()._get_llm_string(stop, **kwargs)}---{sorted(self.source().items())}"

    @override
    def _resolve_model_profile(self) -> "ModelProfile | None":
        return build_profile(self.model_name, self.gateway_generation)

    @override
    def _combine_llm_outputs(self, llm_outputs: list[JsonObject | None], /) -> JsonObject:
        return combined_llm_output(llm_outputs)


def _wished_form(given: Mapping[str, object]) -> "ChatOptions":
    """Return the tools, and the form of the answer, that the arguments of a call ask for."""
    options: ChatOptions = {}
    strict = cast("bool | None", given.get("strict"))
    if given.get("tools"):
        options["tools"] = wire_tools(cast("Sequence[Tool]", given["tools"]), strict=strict)
    if given.get("tool_choice") is not None:
        options["tool_choice"] = wire_tool_choice(given["tool_choice"], options.get("tools") or ())
    if given.get("parallel_tool_calls") is not None:
        options["parallel_tool_calls"] = cast("bool", given["parallel_tool_calls"])
    if given.get("response_format") is not None:
        from og_integrations.langchain._structured import response_format

        options["response_format"] = response_format(given["response_format"], strict=strict)
    return options


for _method in (ChatOpenGradient._generate, ChatOpenGradient._agenerate):  # noqa: SLF001 - LangChain inspects both with each call
    _method.__signature__ = signature(_method)  # type: ignore[union-attr]


def register_with_langchain() -> None:
    """
    Make `langchain.chat_models.init_chat_model` know the provider `opengradient`.

    LangChain has no public way to add a provider, so this writes into its private table, on request only. Models that
    are made by name, with `configurable_fields` one for each call, share their wallet's sessions and one account.

    Raises `ConfigurationError` if `langchain` is missing or its table moved.
    """
    try:
        module = import_module("langchain.chat_models.base")
        providers = module._BUILTIN_PROVIDERS  # noqa: SLF001 - see the docstring
    except (ImportError, AttributeError) as exc:
        raise ConfigurationError(
            f"init_chat_model cannot be told about this provider: {exc}. Use ChatOpenGradient(model=…) directly."
        ) from exc
    engines = Engines()

    def make(cls: type[ChatOpenGradient], **options: Unpack[ChatModelOptions]) -> ChatOpenGradient:
        options.setdefault("engines", engines)
        return cls(**options)

    providers["opengradient"] = ("og_integrations.langchain", "ChatOpenGradient", make)
