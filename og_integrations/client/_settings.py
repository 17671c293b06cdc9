"""
Settings come from arguments and the environment, which nothing else reads.

`_options` says which variable stands for which argument.

An argument wins over the environment, the environment over the network's own values. Both names of the key's
variable mean the same, and `OG_KEYSTORE_PASSWORD` belongs to `OG_KEYSTORE`.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from og_integrations._urls import NodeUrl, server_of
from og_integrations.client._options import OPTIONS
from og_integrations.client._signer import LocalSigner, Signer, sealed
from og_integrations.client.channels._addresses import NO_SERVER, is_server
from og_integrations.errors import ConfigurationError
from og_integrations.networks import NETWORKS, Network
from og_integrations.protocol._redact import Secret

if TYPE_CHECKING:
    from pydantic import SecretStr

    from og_integrations.client.channels._relay import Relay

ONCHAIN_KEY_VARIABLE = "OG_ONCHAIN_PRIVATE_KEY"
PRIVATE_KEY_VARIABLES = OPTIONS["private_key"].variables
SESSION_SECRET_VARIABLE = "OG_SESSION_SECRET"
LEAST_SECRET = 32
"""Characters: as many as 16 random bytes have in hex."""
_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}")
MOST_SECONDS = 10**9
"""No socket takes a longer time to wait, and none needs it."""
HUB_VARIABLES = {
    "email": ("OG_MODEL_HUB_EMAIL",),
    "password": ("OG_MODEL_HUB_PASSWORD",),
    "api_key": ("OG_MODEL_HUB_API_KEY", "FIREBASE_API_KEY"),
    "url": ("OG_MODEL_HUB_URL",),
    "login_url": ("OG_MODEL_HUB_LOGIN_URL",),
}
"""What a `ModelHub` is made with, and the variables that stand in for it."""
TWINS_VARIABLES = {"api_key": ("OG_TWINS_API_KEY",), "url": ("OG_TWINS_URL",)}
HUB_URL = "https://api.opengradient.ai/api/v0"
TWINS_URL = "https://chat-api.memchat.io/api/v1"
_SERVICE_VARIABLES = tuple(
    name for table in (HUB_VARIABLES, TWINS_VARIABLES) for names in table.values() for name in names
)
_VARIABLES = frozenset(
    {
        ONCHAIN_KEY_VARIABLE,
        SESSION_SECRET_VARIABLE,
        *_SERVICE_VARIABLES,
        *(name for option in OPTIONS.values() for name in option.variables),
    }
)
_PLACE_VARIABLES = tuple(
    variable
    for name in ("network", "rpc_url", "registry_rpc_url", "registry_address", "gateway_url")
    for variable in OPTIONS[name].variables
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    The settings say where to go and who pays. `signer` is None if nothing is to be paid.

    `gateway_url` is None unless one gateway was named instead of the registry.
    """

    network: Network
    gateway_url: str | None = field(default=None, repr=False)
    signer: Signer | None = field(default=None, repr=False)
    session_secret: Secret | None = field(default=None, repr=False)

    def require_signer(self) -> Signer:
        """Return the signer. Raises `ConfigurationError` that says how to set one."""
        if self.signer is None:
            raise no_wallet()
        return self.signer

    @cached_property
    def source(self) -> dict[str, str | None]:
        """
        Return what tells answers from here from answers from elsewhere, for caches and traces; no secret is in it.

        Of the gateway there is the server, of the registry's node a digest of that.
        """
        node = hashlib.sha256(server_of(self.network.registry_rpc_url).encode()).hexdigest()[:16]
        return {
            "network": f"{self.network.name} {self.network.caip2}",
            "registry": f"{self.network.registry_address.lower()} {node}",
            "gateway": self.gateway_url and server_of(self.gateway_url),
        }


def no_wallet() -> ConfigurationError:
    """Return the error of a client that has nothing to pay with."""
    return ConfigurationError(
        "No wallet: set OG_PRIVATE_KEY (a program may pass private_key=… or signer=…). Every call is paid from "
        "it, within SpendPolicy. To try it without one, run `og-integrations devnet`, which prints the "
        "settings to copy."
    )


def resolve_settings(
    *,
    private_key: "str | Secret | SecretStr | None" = None,
    signer: Signer | None = None,
    network: str | Network | None = None,
    rpc_url: str | None = None,
    registry_rpc_url: str | None = None,
    registry_address: str | None = None,
    gateway_url: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """
    Return the settings from arguments and environment.

    Raises `ConfigurationError` for an unknown network, a malformed URL, key or keystore, or two wallets.
    """
    env = _Environment(os.environ if environment is None else environment)
    key = None if private_key is None else sealed(private_key)
    del environment, private_key
    if key is not None and signer is not None:
        raise ConfigurationError("Both private_key and signer were given; give one.")
    if signer is None:
        signer = _signer(env) if key is None else LocalSigner(key)
    elif not isinstance(signer, Signer):
        raise ConfigurationError(
            f"signer is a {type(signer).__name__}, expected an object with `address` and `sign_typed_data`."
        )
    address = None if signer is None else signer.address
    if signer is not None and not (isinstance(address, str) and _ADDRESS.fullmatch(address)):
        raise ConfigurationError(
            f"signer.address is {address!r:.60}, expected the wallet's address: 0x and 40 hex digits."
        )
    return Settings(
        network=_network(
            network or env.get("OG_NETWORK") or "base",
            env,
            registry_address=registry_address or env.get("OG_REGISTRY_ADDRESS"),
            rpc_url=rpc_url,
            registry_rpc_url=registry_rpc_url,
        ),
        gateway_url=_server("gateway_url", gateway_url, env),
        signer=signer,
        session_secret=_session_secret(signer, env),
    )


def resolve_relay(url: str | None, token: object) -> "Relay | None":
    """Return the relay of arguments and environment, None if none is named. Raises `ConfigurationError`."""
    from og_integrations.client.channels._relay import Relay

    env = _Environment(os.environ)
    named = _server("relay_url", url, env)
    return Relay.of(named, token if token is not None else env.secret("OG_RELAY_TOKEN"))


def onchain_settings(
    *, private_key: "str | Secret | SecretStr | None" = None, signer: Signer | None = None, **options: Any
) -> Settings:
    """
    Return the settings for models on chain, whose wallet may be another one (`OG_ONCHAIN_PRIVATE_KEY`).

    Raises `ConfigurationError` as `resolve_settings` does.
    """
    key = None if private_key is None else sealed(private_key)
    del private_key
    if key is None and signer is None:
        key = _Environment(os.environ).secret(ONCHAIN_KEY_VARIABLE)
    return resolve_settings(private_key=key, signer=signer, **options)


@dataclass(frozen=True, kw_only=True)
class HubSettings:
    """
    The settings of the model hub say where it is, and who logs in.

    `login_url` is a server that plays both of the identity service's, which are on two hosts (None: those).
    """

    url: str = HUB_URL
    login_url: str | None = None
    email: str | None = field(default=None, repr=False)
    password: Secret | None = field(default=None, repr=False)
    api_key: Secret | None = field(default=None, repr=False)

    @property
    def missing(self) -> list[str]:
        """Return what a login needs and nobody has given: each argument with its variable."""
        names = [name for name in ("email", "password", "api_key") if getattr(self, name) is None]
        return [f"{name} ({' or '.join(HUB_VARIABLES[name])})" for name in names]


def hub_settings(
    *,
    email: str | None = None,
    password: Secret | None = None,
    api_key: Secret | None = None,
    url: str | None = None,
    login_url: str | None = None,
) -> HubSettings:
    """Return the settings of the model hub. Raises `ConfigurationError` for an address that is none."""
    env = _Environment(os.environ)
    return HubSettings(
        url=_service(url, HUB_VARIABLES["url"], env) or HUB_URL,
        login_url=_service(login_url, HUB_VARIABLES["login_url"], env),
        email=email or env.get("OG_MODEL_HUB_EMAIL"),
        password=password or env.secret(*HUB_VARIABLES["password"]),
        api_key=api_key or env.secret(*HUB_VARIABLES["api_key"]),
    )


def twins_settings(api_key: Secret | None, url: str | None) -> tuple[str, Secret | None]:
    """Return where twins answer, and the key that they want. Raises `ConfigurationError` as `hub_settings` does."""
    env = _Environment(os.environ)
    where = _service(url, TWINS_VARIABLES["url"], env) or TWINS_URL
    return where, api_key or env.secret(*TWINS_VARIABLES["api_key"])


def _service(argument: str | None, variables: tuple[str, ...], env: "_Environment") -> str | None:
    (variable,) = variables
    given = argument or env.get(variable)
    return check_server("url" if argument else variable, given).under("") if given else None


def ledger_setting() -> tuple[str, str] | None:
    """Return what `OG_LEDGER` names and how much of exchanges it keeps (`OG_LEDGER_EXCHANGES`), None without one."""
    to = os.environ.get("OG_LEDGER")
    return (to, os.environ.get("OG_LEDGER_EXCHANGES") or "none") if to else None


def opg_price_setting() -> Decimal | None:
    """Return what one OPG costs in US dollars (`OG_OPG_PRICE_USD`), None without one. Raises `ConfigurationError`."""
    text = os.environ.get("OG_OPG_PRICE_USD")
    return _price(text) if text else None


@lru_cache(maxsize=8)
def _price(text: str) -> Decimal:
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal(0)
    if not price.is_finite() or not Decimal("1e-9") <= price <= Decimal("1e9"):
        raise ConfigurationError(f"OG_OPG_PRICE_USD is {text[:40]!r}, expected US dollars for one OPG, such as 0.05.")
    return price


def keyless_settings(**options: Any) -> Settings:
    """
    Return the settings from `options` and the environment without a wallet: read-only users need none.

    Raises `ConfigurationError` for an unknown network or a malformed URL.
    """
    # LangChain asks with every call, for its caches and traces.
    places = tuple((name, value) for name in _PLACE_VARIABLES if (value := os.environ.get(name)) is not None)
    return _keyless(tuple(options.items()), places)


@lru_cache(maxsize=64)
def _keyless(options: tuple[tuple[str, Any], ...], places: tuple[tuple[str, str], ...]) -> Settings:
    return resolve_settings(**dict(options), environment=dict(places))


def check_seconds(name: str, value: float | None) -> float:
    """Return `value` if it is a time to wait, positive and finite. Raises `ConfigurationError`."""
    if value is None or type(value) not in (int, float) or not 0 < value < MOST_SECONDS:
        raise ConfigurationError(f"{name} is {value!r:.40}, expected a number of seconds above 0.")
    return value


def check_count(name: str, value: int | None, least: int = 0) -> int:
    """Return `value` if it is a whole number, at least `least`. Raises `ConfigurationError`."""
    if value is None or type(value) is not int or value < least:
        raise ConfigurationError(f"{name} is {value!r:.40}, expected a whole number, {least} or more.")
    return value


def check_switch(name: str, value: object) -> bool:
    """Return `value` if it is True or False: of a text, "no" would be true. Raises `ConfigurationError`."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} is {value!r:.40}, expected True or False.")
    return value


def check_server(name: str, url: object) -> NodeUrl:
    """Return `url` if it is a server's. Raises `ConfigurationError`, which does not repeat it: it may hold a key."""
    if not isinstance(url, str) or not is_server(url):
        del url
        raise ConfigurationError(f"{name} is {NO_SERVER}.")
    return NodeUrl(url)


def _session_secret(signer: Signer | None, env: "_Environment") -> Secret | None:
    """Return what seals the sessions of a signer whose key is elsewhere, None if nothing was given."""
    if signer is None or isinstance(signer, LocalSigner):
        return None
    secret = sealed(getattr(signer, "session_secret", None) or env.secret(SESSION_SECRET_VARIABLE) or "")
    if secret.reveal() == "":
        return None
    if not isinstance(secret.reveal(), str) or len(secret.reveal()) < LEAST_SECRET:
        raise ConfigurationError(
            f"The signer's session_secret (OG_SESSION_SECRET) is no secret: expected a text of {LEAST_SECRET} "
            "characters or more. Its value is not shown here."
        )
    return secret


def rpc_url_setting(rpc_url: str | None) -> NodeUrl | None:
    """
    Return `rpc_url`, or `OG_RPC_URL` if it is set: the node to ask whatever network a receipt names.

    Raises `ConfigurationError` for a malformed URL.
    """
    return _server("rpc_url", rpc_url, _Environment(os.environ))


class _Environment:
    """
    This holds the variables that are settings, and shows none: errors are reported with the frames they passed.

    All of `os.environ` in such a frame would give away the keys of every other service, too.
    """

    __slots__ = ("_values",)

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._values = {name: Secret(environment[name]) for name in _VARIABLES if environment.get(name)}

    def get(self, name: str) -> str | None:
        """Return what `name` is set to, None if it is not or empty; do not keep a secret in a variable."""
        value = self._values.get(name)
        return None if value is None else value.reveal()

    def secret(self, *names: str) -> Secret | None:
        """Return what the first of `names` that is set is set to."""
        return next((self._values[name] for name in names if name in self._values), None)


def _signer(env: _Environment) -> Signer | None:
    key, keystore = env.secret(*PRIVATE_KEY_VARIABLES), env.get("OG_KEYSTORE")
    if key and keystore:
        raise ConfigurationError("Both OG_KEYSTORE and a private key are in the environment; unset one.")
    if keystore:
        return LocalSigner.from_keystore(keystore, env.get("OG_KEYSTORE_PASSWORD") or "")
    return LocalSigner(key) if key else None


def _server(name: str, argument: str | None, env: _Environment) -> NodeUrl | None:
    (variable,) = OPTIONS[name].variables
    if not argument and env.get(variable) is None:
        return None
    return check_server(name if argument else variable, argument or env.get(variable))


def _network(
    value: object,
    env: _Environment,
    *,
    registry_address: str | None,
    rpc_url: str | None,
    registry_rpc_url: str | None,
) -> Network:
    if isinstance(value, Network):
        # A value is complete by itself; the environment speaks about networks by name only.
        check_server("network.rpc_url", value.rpc_url)
        check_server("network.registry_rpc_url", value.registry_rpc_url)
        return value
    if not isinstance(value, str) or value not in NETWORKS:
        close = get_close_matches(str(value).lower().replace("_", "-"), NETWORKS, 1) if isinstance(value, str) else []
        raise ConfigurationError(
            f"Unknown network {value!r:.60}; expected one of {', '.join(NETWORKS)} (a program may pass a Network)."
            + (f" Did you mean {close[0]!r}?" if close else "")
        )
    known = NETWORKS[value]
    return replace(
        known,
        rpc_url=_server("rpc_url", rpc_url, env) or known.rpc_url,
        registry_rpc_url=_server("registry_rpc_url", registry_rpc_url, env) or known.registry_rpc_url,
        registry_address=registry_address or known.registry_address,
    )
