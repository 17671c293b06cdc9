"""
This module says what a model of ours is, in whatever framework: its fields, engines and wallet, and how it is copied
and stored.

Frameworks copy models freely: LangChain's `configurable_fields` builds a new one for each call, LlamaIndex
deep-copies them, workers get them in pickles. Were each copy to have an engine of its own, each would pay anew,
and a total in the `SpendPolicy` would bound nothing. So all copies share one `Engines`, and all engines of one
wallet in it count on one account, whatever else was changed in a copy.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Self, Unpack, cast
from uuid import uuid4
from weakref import WeakValueDictionary

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    SkipValidation,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic.functional_validators import ModelWrapValidatorHandler

from og_integrations._forking import survive_forks
from og_integrations._urls import NodeUrl
from og_integrations.chat._arguments import OF_A_CALL, constructor_arguments, warn_ignored
from og_integrations.chat._policies import plain_enclave_policy, plain_network, plain_spend_policy, portable
from og_integrations.client._options import (
    ALIASES,
    OPTIONS,
    URLS,
    CallOptions,
    ChannelWord,
    ClientOptions,
    GatewayGeneration,
    Nonce,
    Option,
    OtherNames,
    SettingsOptions,
    Verification,
    check_key,
    options_of,
    seal,
)
from og_integrations.errors import ConfigurationError, InvalidRequestError
from og_integrations.models._catalogue import info_of
from og_integrations.networks import Network
from og_integrations.protocol.payment._x402 import SettlementMode

if TYPE_CHECKING:
    from enum import Enum

    from og_integrations.client import AsyncClient, Client, Signer
    from og_integrations.client._clients import AsyncHttpClient, SyncHttpClient
    from og_integrations.client.chain._approval import Amount, Approval, ApprovalOptions
    from og_integrations.protocol.payment._budget import BudgetStore, BudgetTotals
    from og_integrations.protocol.payment._policy import SpendPolicy
    from og_integrations.protocol.proof._enclave import EnclavePolicy
else:
    # What pydantic reads of the fields below, whose values it does not look into: the classes are heavy.
    AsyncHttpClient = EnclavePolicy = Signer = SpendPolicy = SyncHttpClient = Any


class Clients(NamedTuple):
    """Clients are the two that share one engine."""

    sync: "Client"
    asynchronous: "AsyncClient"


class Engines:
    """Engines are made on first use, one for each set of options that was ever asked for; one account per wallet."""

    def __init__(self) -> None:
        self._made: list[tuple[tuple[object, ...], Clients]] = []
        self._stores: dict[str, BudgetStore] = {}
        self._token: str | None = None
        self.sources: list[tuple[tuple[object, ...], dict[str, str | None]]] = []
        """Where answers come from, by what was asked for; read of the environment once, as the engines are."""
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Have a lock that nobody holds, also in a forked child."""
        self._lock = threading.Lock()

    def clients(self, wanted: tuple[object, ...]) -> Clients:
        """Return the clients for these values of `ENGINE_OPTIONS`. Raises `ConfigurationError`."""
        with self._lock:
            for known, clients in self._made:
                if known == wanted:
                    return clients
            made = self._connect(dict(zip(ENGINE_OPTIONS, wanted, strict=True)))
            self._made.append((wanted, made))
            return made

    def made(self) -> list[Clients]:
        """Return all clients made so far."""
        with self._lock:
            return [clients for _, clients in self._made]

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Stay the same: a copy of a model spends from the same budget."""
        return self

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Travel as a name: neither key nor sessions leave this process, but copies that meet again share."""
        if self._token is None:
            self._token = uuid4().hex
        _TRAVELLERS.keep(self._token, self)
        return _arrived, (self._token,)

    def _connect(self, options: dict[str, Any]) -> Clients:
        from og_integrations.client import AsyncClient, Client, Engine
        from og_integrations.client._settings import resolve_settings
        from og_integrations.protocol.payment._policy import SpendPolicy

        http_client, http_async_client = options.pop("http_client"), options.pop("http_async_client")
        if options["signer"] is not None:
            options["private_key"] = None  # which may be the environment's
        signer = resolve_settings(**{name: options[name] for name in _SETTINGS}).signer
        policy = SpendPolicy.of(options["spend_policy"])
        wallet = None if signer is None or policy.store is not None else signer.address.lower()
        if wallet in self._stores:
            # A copy with other rules, or at another gateway, still counts on the account of the first one.
            policy = policy.model_copy(update={"store": self._stores[wallet]})
        engine = Engine(**{**options, "private_key": None, "signer": signer, "spend_policy": policy})
        if wallet is not None:
            self._stores.setdefault(wallet, engine.budget.store)
        return Clients(
            Client(engine=engine, http_client=http_client), AsyncClient(engine=engine, http_client=http_async_client)
        )


class _Travellers:
    """
    Travellers are the `Engines` of this process that were pickled or came out of a pickle, by name.

    A task that unpickles a model for each of its calls finds the account of the call before. The last ones are
    kept alive for that, with their sessions; of older ones the account alone is, which is small.
    """

    _KEPT = 32

    def __init__(self) -> None:
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Know nobody: a forked child counts by itself, as any other process."""
        self._lock = threading.Lock()
        self._last: OrderedDict[str, Engines] = OrderedDict()
        self._living: WeakValueDictionary[str, Engines] = WeakValueDictionary()
        self._stores: dict[str, dict[str, BudgetStore]] = {}

    def keep(self, name: str, engines: Engines) -> Engines:
        """Remember `engines` under `name`."""
        with self._lock:
            self._living[name] = self._last[name] = engines
            self._last.move_to_end(name)
            while len(self._last) > self._KEPT:
                self._last.popitem(last=False)
            # The same dict, so that accounts opened later are kept as well.
            self._stores[name] = engines._stores  # noqa: SLF001 - of this file
        return engines

    def find(self, name: str) -> Engines:
        """Return the engines of this `name`; new ones, on its accounts, if they are gone or were never here."""
        with self._lock:
            found = self._living.get(name)
            if found is None:
                found = Engines()
                found._token = name  # noqa: SLF001 - of this file
                found._stores = self._stores.get(name, found._stores)  # noqa: SLF001 - of this file
        return self.keep(name, found)


_TRAVELLERS = _Travellers()


def _arrived(name: str) -> Engines:
    """Return the engines that travelled under `name`."""
    return _TRAVELLERS.find(name)


class ModelOptions(ClientOptions, CallOptions, OtherNames, total=False):
    """These options are what every model takes by name, besides those of its framework."""

    http_client: Annotated[
        "SyncHttpClient | None",
        Option(
            shown="our own",
            hidden=True,
        ),
    ]
    """
    A function that makes a client of httpx or httpx2 with the `ssl_context` that it is given; or, with `gateway_url`,
    such a client.
    """
    http_async_client: Annotated[
        "AsyncHttpClient | None",
        Option(shown="our own", hidden=True),
    ]
    """The same for asynchronous calls; `AsyncClient` has it as `http_client`."""
    ask_again: Annotated[
        bool,
        Option(
            default=True,
        ),
    ]
    """
    With tools and a schema, models of Anthropic and Google may answer in text: they are asked once more, without the
    tools, which is a second paid call.
    """
    engines: Annotated[
        "Engines",
        Option(shown="its own, shared by its copies", hidden=True),
    ]
    """Another model's `engines`, to spend from its account."""


_OPTIONS = {**OPTIONS, **options_of(ModelOptions)}
_SETTINGS = tuple(SettingsOptions.__annotations__)
ENGINE_OPTIONS = (
    *sorted(ClientOptions.__annotations__.keys() - ALIASES.keys() - CallOptions.__annotations__.keys()),
    "http_client",
    "http_async_client",
)
"""What an engine is made with; the other options are those of each call."""
_OF_EACH_CALL = tuple(sorted(OF_A_CALL - {"stop"}))
_wanted = attrgetter(*ENGINE_OPTIONS)
_PLACE = ("network", "registry_rpc_url", "registry_address", "gateway_url")
_place = attrgetter(*_PLACE)
_STAYS_HERE = ("private_key", "signer", "relay_token", "http_client", "http_async_client", "default_headers")
"""What no pickle takes along: secrets, and what is open."""


def declared(name: str, *, made_by: Callable[[], object] | None = None, at_least: int | None = None) -> Any:
    """Return the pydantic field of the option `name`, with its declared default unless `made_by` makes one."""
    option = _OPTIONS[name]
    hidden = option.hidden
    if made_by is not None:
        return Field(default_factory=made_by, exclude=hidden or None, repr=not hidden)
    return Field(default=option.default, exclude=hidden or None, repr=not hidden, ge=at_least)


class OpenGradientModel(BaseModel):
    """
    A model of ours has these fields, and its owner can ask this of the wallet behind it.

    Types, defaults and meanings are those of `client._options`; here stands what is held of each.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        populate_by_name=True,
        arbitrary_types_allowed=True,
        validate_default=False,
        protected_namespaces=(),
        hide_input_in_errors=True,
        # Nobody makes one of this class, nor of LangChain's: only those that are made (`defer_build=False`) need the
        # validators, which take longer than a call.
        defer_build=True,
    )
    _SHARED_BY_COPIES: ClassVar[tuple[str, ...]] = (
        "signer",
        "http_client",
        "http_async_client",
        "spend_policy",
        "enclave_policy",
    )

    temperature: float | None = declared("temperature")
    max_tokens: int | None = declared("max_tokens")
    stop: list[str] | None = declared("stop")
    timeout: float | None = declared("timeout")
    settlement_mode: str | None = declared("settlement_mode")

    private_key: SecretStr | None = declared("private_key")
    signer: "SkipValidation[Signer | None]" = declared("signer")
    network: SkipValidation[str | Network | None] = declared("network")
    rpc_url: str | None = declared("rpc_url")
    registry_rpc_url: str | None = declared("registry_rpc_url")
    registry_address: str | None = declared("registry_address")
    gateway_url: str | None = declared("gateway_url")
    channel: ChannelWord = declared("channel")
    relay_url: str | None = declared("relay_url")
    relay_token: SkipValidation[SecretStr | Callable[[], object] | None] = declared("relay_token")
    spend_policy: "SkipValidation[SpendPolicy | None]" = declared("spend_policy")
    enclave_policy: "SkipValidation[EnclavePolicy | None]" = declared("enclave_policy")
    verification: Verification = declared("verification")
    gateway_generation: GatewayGeneration = declared("gateway_generation")
    max_concurrency: int | None = declared("max_concurrency", at_least=1)
    max_retries: int | None = declared("max_retries", at_least=0)
    spread: bool = declared("spread")
    nonce: Nonce = declared("nonce")
    default_headers: dict[str, str] | None = declared("default_headers")
    http_client: "SkipValidation[SyncHttpClient | None]" = declared("http_client")
    http_async_client: "SkipValidation[AsyncHttpClient | None]" = declared("http_async_client")
    ask_again: bool = declared("ask_again")
    engines: SkipValidation[Engines] = declared("engines", made_by=Engines)

    if not TYPE_CHECKING:  # each framework's class says what it takes

        def __init__(self, *unnamed: object, **options: object) -> None:
            """Take `options` by name. Raises `ConfigurationError`."""
            seal(options)
            if unnamed:
                name = type(self).__name__
                raise ConfigurationError(f"{name} takes everything by name: write {name}(model=…), as for the others.")
            super().__init__(**options)

    @model_validator(mode="wrap")
    @classmethod
    def _read_arguments(cls, values: object, read: ModelWrapValidatorHandler[Self]) -> Self:
        """Raise `ConfigurationError`, never pydantic's `ValueError`, which holds all that was given."""
        if not isinstance(values, Mapping):
            return read(values)
        seal(values)
        arguments = constructor_arguments(cls, values)
        seal(arguments)
        if arguments.get("private_key") is not None and arguments.get("signer") is not None:
            raise ConfigurationError("Both private_key and signer were given; give one.")
        try:
            return read(arguments)
        except ValidationError as exc:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors(include_input=False))
        raise ConfigurationError(f"{cls.__name__} cannot be made. {problems}.")

    @field_validator("stop", mode="before")
    @classmethod
    def _read_stop(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value or None

    @field_validator("settlement_mode", mode="before")
    @classmethod
    def _read_settlement_mode(cls, value: "Enum | str | None") -> str | None:
        return None if value is None else SettlementMode.parse(value).value

    # Pydantic's own reading of a text would make a plain one of it.
    @field_validator(*URLS, mode="plain")
    @classmethod
    def _read_url(cls, value: object) -> NodeUrl | None:
        if not isinstance(value, str | None):
            raise ValueError(f"Input should be a valid URL, not a {type(value).__name__}")
        return None if value is None else NodeUrl(value)

    @field_validator("private_key", mode="after")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        return value if value is None else check_key(value)

    @field_validator("network", mode="before")
    @classmethod
    def _read_network(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        try:
            return Network(**value)
        except TypeError:
            known = ", ".join(item.name for item in fields(Network))
        raise ConfigurationError(f"network is a dict that is no Network, expected its members: {known}.")

    @field_validator("spend_policy", mode="before")
    @classmethod
    def _read_spend_policy(cls, value: "SpendPolicy | dict[str, object] | None") -> "SpendPolicy | None":
        from og_integrations.protocol.payment._policy import SpendPolicy

        return None if value is None else SpendPolicy.of(value)

    @field_validator("enclave_policy", mode="before")
    @classmethod
    def _read_enclave_policy(cls, value: "EnclavePolicy | dict[str, object] | None") -> "EnclavePolicy | None":
        from og_integrations.protocol.proof._enclave import EnclavePolicy

        return None if value is None else EnclavePolicy.of(value)

    @field_serializer("network", "spend_policy", "enclave_policy", "gateway_url", "relay_url")
    def _write(self, value: object) -> object:
        return _plain_setting(value)

    @property
    def clients(self) -> Clients:
        """Return the clients that ask for this model. Raises `ConfigurationError`."""
        return self.engines.clients(_wanted(self))

    def call_options(self, name: str, arguments: Mapping[str, object], stop: object = None) -> CallOptions:
        """
        Return the options that any call has, here one that asks the model `name`; its own `arguments` win.

        Raises `InvalidRequestError` for a `timeout` that is no number.
        """
        options: dict[str, object] = {}
        for key in _OF_EACH_CALL:
            value = arguments.get(key)
            if value is None:
                value = getattr(self, key)
            # The engine has the same defaults, and need not check them with every call.
            if value is not None and value != _OPTIONS[key].default:
                options[key] = value
        if wanted := stop or arguments.get("stop") or self.stop:
            options["stop"] = wanted
        timeout, temperature = options.get("timeout"), options.get("temperature")
        if timeout is not None and not isinstance(timeout, int | float):
            raise InvalidRequestError(
                f"timeout is a {type(timeout).__name__}, expected seconds as one number: the longest wait for each "
                "piece of an answer."
            )
        if not info_of(name).temperature and temperature != type(self).model_fields["temperature"].default:
            warn_ignored("temperature", temperature, f" for {name}")
        return cast("CallOptions", options)

    def source(self) -> dict[str, str | None]:
        """Return where answers come from, as the environment had it: a cache must not mix them up."""
        place = _place(self)
        # Compared and not hashed, as engines are: the very same values are equal at once, and hashing takes them all.
        for known, source in self.engines.sources:
            if known == place:
                return source
        from og_integrations.client._settings import keyless_settings

        try:
            found = keyless_settings(**dict(zip(_PLACE, place, strict=True))).source
        except ConfigurationError:  # which the call will raise as well, at a better place
            return {"network": str(self.network)}
        self.engines.sources.append((place, found))
        return found

    def plain_settings(self) -> dict[str, object]:
        """Return the settings that are no plain JSON as such, and addresses without their keys, by name."""
        held = {name: getattr(self, name) for name in ("network", "spend_policy", "enclave_policy", "gateway_url")}
        plain = {name: _plain_setting(value) for name, value in held.items() if value is not None}
        return {name: value for name, value in plain.items() if value is not held[name]}

    # -- The wallet, as on `Client` and `AsyncClient` --

    def ensure_opg_approval(
        self, min_allowance: "Amount", approve_amount: "Amount | None" = None, **options: "Unpack[ApprovalOptions]"
    ) -> "Approval":
        """
        Allow Permit2 to take OPG, if less than `min_allowance` is allowed; see `Client.ensure_opg_approval`.

        Raises `ConfigurationError` or `ApprovalError`.
        """
        with self._own_errors():
            return self.clients.sync.ensure_opg_approval(min_allowance, approve_amount, **options)

    async def aensure_opg_approval(
        self, min_allowance: "Amount", approve_amount: "Amount | None" = None, **options: "Unpack[ApprovalOptions]"
    ) -> "Approval":
        """Do what `ensure_opg_approval` does; `on_progress` may be asynchronous, and the signer too."""
        with self._own_errors():
            return await self.clients.asynchronous.ensure_opg_approval(min_allowance, approve_amount, **options)

    def spent(self) -> "BudgetTotals":
        """Return what the budget has authorized; printed, it is a report. See `Client.spent`."""
        with self._own_errors():
            return self.clients.sync.spent()

    def stop_spending(self, reason: str = "stop_spending() was called") -> None:
        """Use the kill switch, for everybody who shares the budget. See `Client.stop_spending`."""
        with self._own_errors():
            self.clients.sync.stop_spending(reason)

    def resume_spending(self) -> None:
        """Allow spending again."""
        with self._own_errors():
            self.clients.sync.resume_spending()

    def reconcile_spending(self) -> "BudgetTotals":
        """Ask the chain what was really taken. See `Client.reconcile_spending`. Raises `DiscoveryError`."""
        with self._own_errors():
            return self.clients.sync.reconcile_spending()

    async def areconcile_spending(self) -> "BudgetTotals":
        """Do what `reconcile_spending` does."""
        with self._own_errors():
            return await self.clients.asynchronous.reconcile_spending()

    def close(self) -> None:
        """Close the connections of synchronous calls; the model can be used again."""
        for clients in self.engines.made():
            clients.sync.close()

    async def aclose(self) -> None:
        """Close the connections of the running loop; the model can be used again."""
        for clients in self.engines.made():
            await clients.asynchronous.aclose()

    def _own_errors(self) -> AbstractContextManager[object]:
        """Return what turns errors of the client into the framework's own kind."""
        return nullcontext()

    # -- Copies, pickles and what is shown --

    def __setattr__(self, name: str, value: object) -> None:
        """Set a field. Raises `ConfigurationError` for one that the engine was made with."""
        if name in _FIXED:
            raise ConfigurationError(
                f"{name} is fixed, since the wallet and its sessions were made with it. Make another model, or a copy: "
                f"model_copy(update={{{name!r}: …}})."
            )
        super().__setattr__(name, value)

    def model_copy(self, *, update: Mapping[str, object] | None = None, deep: bool = False) -> Self:
        """Copy it, with `update` in place of its fields, which pydantic does not check."""
        changed = dict(update or {})
        seal(changed)
        return super().model_copy(update=changed, deep=deep)

    def __deepcopy__(self, memo: dict[int, object] | None = None) -> Self:
        """Copy settings; what talks, counts or remembers stays the same object, as do policies and the budget."""
        shared = {} if memo is None else memo
        for name in self._SHARED_BY_COPIES:
            value = getattr(self, name, None)
            shared[id(value)] = value
        return super().__deepcopy__(shared)

    def __getstate__(self) -> dict[str, object]:
        """
        Return what may be pickled: no key, signer, session or connection.

        A policy that cannot be (its callback, its store, its class) travels as one that refuses everything.
        """
        leaving = self.__copy__()  # frameworks change the state that they hand out
        for name in _STAYS_HERE:
            del leaving.__dict__[name]
        for name in ("spend_policy", "enclave_policy"):
            leaving.__dict__[name] = portable(leaving.__dict__[name])
        return super(OpenGradientModel, leaving).__getstate__()

    def __setstate__(self, state: dict[str, object]) -> None:
        """Come back with the key of the environment here, if there is one."""
        super().__setstate__(state)
        for name in _STAYS_HERE:
            self.__dict__[name] = type(self).model_fields[name].get_default(call_default_factory=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, object]]:
        """Show what differs from the defaults; of networks and gateways nothing that may hold a key."""
        # The model first, whose field stands last.
        for name, value in sorted(super().__repr_args__(), key=lambda pair: pair[0] not in ("model", "model_name")):
            info = type(self).model_fields.get(name or "")
            if info is not None and (info.exclude or value == info.get_default(call_default_factory=True)):
                continue
            yield name, value.name if isinstance(value, Network) else _plain_setting(value)


_FIXED = frozenset(ENGINE_OPTIONS)


def _plain_setting(value: object) -> object:
    """Return a network, policy or gateway's address as plain JSON; what is plain already is returned as it is."""
    from og_integrations.protocol.payment._policy import SpendPolicy
    from og_integrations.protocol.proof._enclave import EnclavePolicy

    if isinstance(value, Network):
        return plain_network(value)
    if isinstance(value, SpendPolicy):
        return plain_spend_policy(value)
    if isinstance(value, EnclavePolicy):
        return plain_enclave_policy(value)
    return str(value) if isinstance(value, NodeUrl) else value
