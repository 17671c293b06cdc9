"""
What our models are made with: the fields that the chat model and the text model share.

Names are those of LangChain's own `ChatOpenAI` where it has one, and those of our `Client` for the
rest. What is not set is not sent.
"""

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from langchain_core.load.serializable import Serializable
from langchain_core.utils import secret_from_env
from pydantic import ConfigDict, Field, SecretStr, SkipValidation, ValidationError, field_validator, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler

from og_integrations.errors import ConfigurationError
from og_integrations.langchain.arguments import known_arguments, named_model, under_our_names
from og_integrations.langchain.blocks import MODEL_PROVIDER
from og_integrations.langchain.engines import Clients, Engines
from og_integrations.langchain.errors import RETRYABLE
from og_integrations.langchain.plain import plain_settings
from og_integrations.models import model_name
from og_integrations.networks import Network
from og_integrations.protocol.payment.x402 import SettlementMode

if TYPE_CHECKING:
    from langchain_core.language_models.base import BaseLanguageModel, LangSmithParams
    from langchain_core.runnables import Runnable
    from langchain_core.runnables.retry import ExponentialJitterParams

_KEY = re.compile(r"(0x)?[0-9a-fA-F]{64}")
_NOT_TAKEN_ALONG = ("private_key", "signer", "http_client", "http_async_client", "engines")


class ModelParams(Serializable):
    """The fields of our models, and the clients that they add up to."""

    model_config = ConfigDict(
        populate_by_name=True,
        arbitrary_types_allowed=True,
        validate_default=False,
        protected_namespaces=(),
        hide_input_in_errors=True,
    )

    model_name: str = Field(alias="model")
    """Model to ask, as `provider/name` (`"openai/gpt-5"`) or a `TEE_LLM`."""
    temperature: float | None = None
    """Sampling temperature, 0 to 2. Not sent unless set; the gateway drops it for gpt-5 models."""
    max_tokens: int | None = None
    """Most tokens to answer with. The gateway's default is 4096."""
    stop: list[str] | None = None
    """Where to cut the answer, at most four. Cut here, after verification: the gateway ignores it."""
    timeout: float | None = None
    """Seconds to wait for each piece of an answer; 120 unless set."""
    spread: bool = False
    """Whether calls go round all enclaves in turn, each with a session of its own."""
    max_retries: int | None = None
    """How many other enclaves to try if one cannot be connected to. Nothing paid is ever repeated."""
    default_headers: dict[str, str] | None = Field(default=None, exclude=True, repr=False)
    """Headers to send with every request."""
    http_client: Any = Field(default=None, exclude=True, repr=False)
    """A function that takes an `ssl_context` and returns a `Client` of httpx or httpx2; a client with `gateway_url`."""
    http_async_client: Any = Field(default=None, exclude=True, repr=False)
    """The same for an `AsyncClient`."""

    private_key: SecretStr | None = Field(
        default_factory=secret_from_env(["OG_PRIVATE_KEY", "OPENGRADIENT_PRIVATE_KEY"], default=None), repr=False
    )
    """Key of the wallet that pays; also accepted as `api_key`. Never in repr, dumps, traces or pickles."""
    signer: Any = Field(default=None, exclude=True, repr=False)
    """Instead of a key: an object with `address` and `sign_typed_data`, sync or async."""
    network: str | Network | None = None
    """`"base"`, `"base-sepolia"`, `"devnet"` or a `Network`. Read from `OG_NETWORK` if not set."""
    rpc_url: str | None = None
    """Node of the payment chain. Read from `OG_RPC_URL` if not set."""
    registry_rpc_url: str | None = None
    """Node of the chain with the TEERegistry. Read from `OG_REGISTRY_RPC_URL` if not set."""
    registry_address: str | None = None
    """Where the TEERegistry is. Read from `OG_REGISTRY_ADDRESS` if not set."""
    gateway_url: str | None = None
    """One gateway without registry, for development: its answers are not attested."""
    settlement_mode: str | None = None
    """`"batch"` (hashes are published), `"private"`, or `"individual"` (everything is, in clear)."""
    spend_policy: Any = None
    """Limits of spending: a `SpendPolicy`, or its fields as dict."""
    enclave_policy: SkipValidation[Any] = None
    """Which enclaves may see a prompt: an `EnclavePolicy`, or its fields as dict."""
    verification: Literal["end", "buffer"] = "end"
    """When a stream's text is shown: before its proof (tool calls never are), or after it."""
    gateway_generation: Literal["2026-04", "next"] = "2026-04"
    """What the gateways can do: `"next"` ones take images and files, the others drop them (so they are refused)."""

    engines: SkipValidation[Engines] = Field(default_factory=Engines, exclude=True, repr=False)
    """Wallet, budget, sessions and connections; give one model's to another to share its budget."""

    @model_validator(mode="wrap")
    @classmethod
    def _read_arguments(cls, values: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        """Raise `ConfigurationError`, never pydantic's `ValueError`, which holds all that was given."""
        if not isinstance(values, Mapping):
            return read(values)
        arguments = known_arguments(cls, dict(values))
        if isinstance(arguments.get("private_key"), str):
            arguments["private_key"] = SecretStr(arguments["private_key"])
        try:
            return read(arguments)
        except ValidationError as exc:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors(include_input=False))
        raise ConfigurationError(f"{cls.__name__} cannot be made. {problems}.")

    @field_validator("model_name", mode="before")
    @classmethod
    def _read_model(cls, value: Any) -> str:
        return str(model_name(value))

    @field_validator("stop", mode="before")
    @classmethod
    def _read_stop(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value or None

    @field_validator("settlement_mode", mode="before")
    @classmethod
    def _read_settlement_mode(cls, value: "Enum | str | None") -> str | None:
        return None if value is None else SettlementMode.parse(value).value

    @field_validator("private_key", mode="after")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _KEY.fullmatch(value.get_secret_value().strip()):
            raise ConfigurationError("private_key is not a key: expected 64 hex digits. It is not shown here.")
        return value

    @field_validator("spend_policy", mode="after")
    @classmethod
    def _check_spend_policy(cls, value: Any) -> Any:
        from og_integrations.protocol.payment.policy import SpendPolicy

        return None if value is None else SpendPolicy.of(value)

    @field_validator("enclave_policy", mode="after")
    @classmethod
    def _check_enclave_policy(cls, value: Any) -> Any:
        from og_integrations.protocol.proof.enclave import EnclavePolicy

        return None if value is None else EnclavePolicy.of(value)

    @property
    def model(self) -> str:
        """The model's name, under the name it was given by."""
        return self.model_name

    @property
    def clients(self) -> Clients:
        """The clients that ask for this model. Raises `ConfigurationError`."""
        key = self.private_key.get_secret_value() if self.private_key is not None and self.signer is None else ""
        options = {
            "private_key": key or None,
            "signer": self.signer,
            "network": self.network,
            "rpc_url": self.rpc_url,
            "registry_rpc_url": self.registry_rpc_url,
            "registry_address": self.registry_address,
            "gateway_url": self.gateway_url,
            "spend_policy": self.spend_policy,
            "enclave_policy": self.enclave_policy,
            "verification": self.verification,
            "max_retries": 2 if self.max_retries is None else self.max_retries,
            "default_headers": self.default_headers,
            "gateway_generation": self.gateway_generation,
            "spread": self.spread,
        }
        return self.engines.clients(options, http_client=self.http_client, http_async_client=self.http_async_client)

    def with_retry(
        self,
        *,
        retry_if_exception_type: "tuple[type[BaseException], ...] | Callable[[BaseException], bool]" = RETRYABLE,
        wait_exponential_jitter: bool = True,
        exponential_jitter_params: "ExponentialJitterParams | None" = None,
        stop_after_attempt: int = 3,
    ) -> "Runnable[Any, Any]":
        """
        Repeat failed calls, but by default none that was paid or whose proof failed: that would pay again.

        Of a chain (`prompt | model`, `with_structured_output`), `with_retry` is LangChain's own and repeats
        everything; there, give it `retry_if_exception_type=RETRYABLE` (of `og_integrations.langchain.errors`).
        """
        return cast("BaseLanguageModel[Any]", super()).with_retry(
            retry_if_exception_type=retry_if_exception_type,
            wait_exponential_jitter=wait_exponential_jitter,
            exponential_jitter_params=exponential_jitter_params,
            stop_after_attempt=stop_after_attempt,
        )

    def close(self) -> None:
        """Close the connections of synchronous calls; the model can be used again."""
        for clients in self.engines.made():
            clients.sync.close()

    async def aclose(self) -> None:
        """Close the connections of the running loop; the model can be used again."""
        for clients in self.engines.made():
            await clients.asynchronous.aclose()

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """What is dumped in another form than it is held: policies and networks as plain values."""
        return plain_settings(self.network, self.spend_policy, self.enclave_policy)

    @property
    def lc_secrets(self) -> dict[str, str]:
        """Where a loaded model finds its key; it is never dumped."""
        return {"private_key": "OG_PRIVATE_KEY"}

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Whether LangChain may dump this model; otherwise it would post its `repr` to LangSmith."""
        return True

    def identifying_params(self) -> dict[str, Any]:
        """Return what shapes an answer, and where it comes from, for traces and caches: no key or header."""
        return {
            "model_name": self.model_name,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "stop": self.stop,
            "settlement_mode": self.settlement_mode,
            **plain_settings(None, None, self.enclave_policy),
            **self.source(),
        }

    def source(self) -> dict[str, str | None]:
        """Return where answers come from, as the environment has it: a cache must not mix them up."""
        from og_integrations.client._settings import keyless_settings

        names = ("network", "registry_rpc_url", "registry_address", "gateway_url")
        try:
            return keyless_settings(**{name: getattr(self, name) for name in names}).source
        except ConfigurationError:  # which the call will raise as well, at a better place
            return {"network": str(self.network)}

    def asked_model(self, arguments: Mapping[str, Any]) -> str:
        """Return the model that a call with these arguments asks, by whichever name they have it."""
        named = named_model(arguments, self.model_name)
        return str(named.value if isinstance(named, Enum) else named)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> "LangSmithParams":
        given = under_our_names(kwargs)
        options = {**given, "model": self.asked_model(kwargs), "stop": stop or given.get("stop") or self.stop}
        params = cast("BaseLanguageModel[Any]", super())._get_ls_params(**options)  # noqa: SLF001 - a hook of LangChain's
        params["ls_provider"] = MODEL_PROVIDER
        return params

    def __getstate__(self) -> dict[Any, Any]:
        """Return what may be pickled: no key, signer, session or connection."""
        state = super().__getstate__()
        fields = {name: value for name, value in state["__dict__"].items() if name not in _NOT_TAKEN_ALONG}
        return {**state, "__dict__": fields}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Come back with the key of the environment here, if there is one."""
        super().__setstate__(state)
        for name in _NOT_TAKEN_ALONG:
            self.__dict__[name] = type(self).model_fields[name].get_default(call_default_factory=True)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Copy settings; what talks, counts or remembers stays the same object, as does the budget."""
        shared = {} if memo is None else memo
        for name in ("signer", "http_client", "http_async_client", "cache", "rate_limiter"):
            value = getattr(self, name, None)
            shared[id(value)] = value
        return super().__deepcopy__(shared)
