"""
What an `OpenGradientLLM` is made with, and how it is copied, stored and shown without its key.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from difflib import get_close_matches
from enum import Enum
from typing import TYPE_CHECKING, Any, Self

from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.llms.function_calling import FunctionCallingLLM
from pydantic import Field, PrivateAttr, ValidationError

from og_integrations.client import ClientOptions
from og_integrations.client._options import check_choice
from og_integrations.errors import ConfigurationError
from og_integrations.llama_index.backend import Backend
from og_integrations.llama_index.fields import EnclavePolicyField, NetworkField, SpendPolicyField, StopField
from og_integrations.llama_index.params import chat_params
from og_integrations.models import model_info, model_name
from og_integrations.networks import Network
from og_integrations.protocol.payment.x402 import SettlementMode

if TYPE_CHECKING:
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.types import BaseOutputParser, PydanticProgramMode

    from og_integrations.client._clients import AsyncHttpClient, SyncHttpClient

DEFAULT_CONTEXT_WINDOW = 128_000
"""Assumed of models that the catalogue does not know; set `context_window` if it is wrong."""
DEFAULT_MAX_TOKENS = 4096
"""What the gateway allows an answer when nothing else is asked for (PROTOCOL §2)."""


class LLMOptions(ClientOptions, total=False):
    """Everything an `OpenGradientLLM` takes by name; the wallet and network part is `ClientOptions`."""

    temperature: float | None
    max_tokens: int | None
    stop: "str | Sequence[str] | None"
    context_window: int | None
    is_function_calling_model: bool
    should_use_structured_outputs: bool
    use_chat_completions: bool
    strict: bool
    additional_kwargs: dict[str, Any]
    callback_manager: "CallbackManager | None"
    rate_limiter: Any
    system_prompt: str | None
    messages_to_prompt: Callable[..., str] | None
    completion_to_prompt: Callable[..., str] | None
    output_parser: "BaseOutputParser | None"
    pydantic_program_mode: "PydanticProgramMode"
    query_wrapper_prompt: Any


_OF_ENGINE = (
    "network",
    "rpc_url",
    "registry_rpc_url",
    "registry_address",
    "gateway_url",
    "spend_policy",
    "enclave_policy",
    "verification",
    "max_retries",
    "default_headers",
    "gateway_generation",
    "spread",
)


def split_options(
    model: "str | Enum", options: LLMOptions, known: Iterable[str]
) -> tuple[dict[str, Any], ClientOptions]:
    """Return the fields and the wallet among `options`. Raises `ConfigurationError` for fields that are not `known`."""
    fields: dict[str, Any] = {"model": model_name(model), **options}
    wallet: ClientOptions = {"private_key": fields.pop("private_key", None), "signer": fields.pop("signer", None)}
    x402_mode = fields.pop("x402_settlement_mode", None)
    if mode := fields.get("settlement_mode") or x402_mode:
        fields["settlement_mode"] = SettlementMode.parse(mode).value
    _check_names(fields, known)
    return fields, wallet


def _check_names(names: Iterable[str], known: Iterable[str]) -> None:
    for name in set(names).difference(known):
        close = get_close_matches(name, {*known, *ClientOptions.__annotations__} - {name}, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigurationError(f"OpenGradientLLM has no option {name!r}.{hint}")


@contextmanager
def configuration_errors() -> Iterator[None]:
    """Turn pydantic's error, which quotes values and is a `ValueError`, into a `ConfigurationError`."""
    try:
        yield
    except ValidationError as exc:
        found = exc.errors(include_input=False, include_url=False)
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in found)
        raise ConfigurationError(f"OpenGradientLLM's options are not valid: {problems}.") from None


class ConfiguredLLM(FunctionCallingLLM):
    """The fields of `OpenGradientLLM`. Those of the engine are fixed once it is made."""

    model: str = Field(description="The model's name, provider/name.")
    temperature: float | None = Field(default=0.0, description="Always sent and signed; None sends none.")
    max_tokens: int | None = Field(default=None, description="The answer's limit; the gateway's own is 4096.")
    stop: StopField = Field(default=None, description="Where to cut answers, at most four; the gateway ignores it.")
    context_window: int | None = Field(default=None, description="Overrides the catalogue's, in tokens.")
    is_function_calling_model: bool = Field(default=True, description="False lets agents use ReAct prompts.")
    should_use_structured_outputs: bool = Field(default=True, description="False uses tools for pydantic classes.")
    use_chat_completions: bool = Field(default=True, description="False sends `complete` to /v1/completions.")
    strict: bool = Field(default=False, description="Ask providers to keep to the tools' schemas.")
    additional_kwargs: dict[str, Any] = Field(default_factory=dict, description="Options for every call.")
    settlement_mode: str | None = Field(default=None, description="What is published: private, batch, individual.")
    timeout: float | None = Field(default=120.0, description="Seconds for each wait on the network.")

    network: NetworkField = Field(default=None, frozen=True)
    rpc_url: str | None = Field(default=None, frozen=True, exclude=True, repr=False)
    registry_rpc_url: str | None = Field(default=None, frozen=True, exclude=True, repr=False)
    registry_address: str | None = Field(default=None, frozen=True)
    gateway_url: str | None = Field(default=None, frozen=True)
    spend_policy: SpendPolicyField = Field(default=None, frozen=True)
    enclave_policy: EnclavePolicyField = Field(default=None, frozen=True)
    verification: str = Field(default="end", frozen=True)
    max_retries: int = Field(default=2, ge=0, frozen=True)
    default_headers: dict[str, str] | None = Field(default=None, frozen=True, exclude=True, repr=False)
    spread: bool = Field(default=False, frozen=True, description="Go round all enclaves in turn.")
    gateway_generation: str = Field(default="2026-04", frozen=True, description='"next" gateways take images.')

    _backend: Backend = PrivateAttr()

    def _connect(
        self,
        wallet: ClientOptions,
        http_client: "SyncHttpClient | None",
        async_http_client: "AsyncHttpClient | None",
    ) -> None:
        """Finish an `__init__`; nothing is opened, signed or sent yet."""
        check_choice("verification", self.verification)
        check_choice("gateway_generation", self.gateway_generation)
        chat_params({}, self.additional_kwargs, strict=False)
        engine: Any = {name: getattr(self, name) for name in _OF_ENGINE}
        self._backend = Backend(wallet | engine, http_client=http_client, async_http_client=async_http_client)

    @classmethod
    def class_name(cls) -> str:
        """The name in serialized LLMs."""
        return "opengradient_llm"

    @property
    def metadata(self) -> LLMMetadata:
        """Read often, by everything; from the catalogue, never from the network."""
        return LLMMetadata(
            context_window=self.context_window or model_info(self.model).context_window or DEFAULT_CONTEXT_WINDOW,
            num_output=self.max_tokens or DEFAULT_MAX_TOKENS,
            is_chat_model=True,
            is_function_calling_model=self.is_function_calling_model,
            model_name=self.model,
        )

    def to_payload(self) -> dict[str, Any]:
        """Describe this LLM to events and spans; instrumentation reads `model` and `temperature`."""
        own = {"class_name": self.class_name(), "model": self.model, "temperature": self.temperature}
        return self.metadata.model_dump() | own  # the inherited one came with llama-index-core 0.14.23

    def close(self) -> None:
        """Close the connections of synchronous calls; later calls open new ones."""
        self._backend.close()

    async def aclose(self) -> None:
        """Close the running loop's connections, and those of synchronous calls."""
        await self._backend.aclose()

    def __enter__(self) -> Self:
        """Use it in a `with`, which closes its connections."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the connections of synchronous calls."""
        self.close()

    async def __aenter__(self) -> Self:
        """Use it in an `async with`, which closes the loop's connections."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the running loop's connections."""
        await self.aclose()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy it, with other call options. Raises `ConfigurationError` for options of the engine or unknown ones."""
        fixed = sorted(set(update or ()) & {*_OF_ENGINE, "private_key", "signer"})
        if fixed:
            raise ConfigurationError(
                f"A copy shares wallet, budget and network with the original, so {', '.join(fixed)} cannot differ. "
                "Make a new OpenGradientLLM."
            )
        _check_names(update or (), type(self).model_fields)
        return super().model_copy(update=update, deep=deep)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Copy what can be changed; the wallet, its budget and its connections are shared."""
        copy = self.__copy__()
        for name in ("additional_kwargs", "stop"):
            setattr(copy, name, deepcopy(getattr(self, name), memo))
        return copy

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Show what differs from the defaults; of a network its name, since its URLs may hold a key."""
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            if info.repr and not info.exclude and value != info.get_default(call_default_factory=True):
                yield name, value.name if isinstance(value, Network) else value

    def __getstate__(self) -> dict[str, Any]:
        """
        Return the options without key, signer, clients and connections.

        A policy that cannot be pickled (its callback, its store) is written as `to_dict` writes it: stricter.
        """
        # LlamaIndex deletes what cannot be pickled, limits too, and from the LLM that is being used.
        state: dict[str, Any] = super(ConfiguredLLM, self.__copy__()).__getstate__()
        lost = {"spend_policy", "enclave_policy"} - state["__dict__"].keys()
        state["__dict__"] |= {name: self.to_dict()[name] for name in lost}
        return state | {"__pydantic_private__": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Come back with the wallet of the environment here. Raises `ConfigurationError`."""
        # LlamaIndex's own goes on without `__init__` where that fails; calls would end in a TypeError then.
        self.__init__(**state["__dict__"])  # type: ignore[misc]
