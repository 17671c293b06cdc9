"""
Every option of clients and models, declared once: its type, default, environment variable and meaning.

`ClientOptions`, `CallOptions` and `ChatOptions` are what type checkers and editors know. What stands beside
each type is read at run time: the engine takes its defaults from here, `client._settings` the variables, the
adapters their fields (`chat._model`), and a test holds the table in docs/settings.md equal to `options_table`.
"""

import ast
import inspect
import sys
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypedDict, TypeVar, cast, get_args

from og_integrations._urls import NodeUrl
from og_integrations.errors import ConfigurationError
from og_integrations.protocol._redact import Secret
from og_integrations.protocol._strict_json import JsonObject

if TYPE_CHECKING:
    from pydantic import SecretStr

    from og_integrations.client._signer import Signer
    from og_integrations.networks import Network
    from og_integrations.protocol.payment._policy import SpendPolicy
    from og_integrations.protocol.payment._x402 import SettlementMode
    from og_integrations.protocol.proof._enclave import EnclavePolicy

GatewayGeneration = Literal["auto", "2026-04", "next"]
ReasoningEffort = Literal["low", "medium", "high"]
Verification = Literal["end", "buffer"]
Nonce = Literal["auto", "require", "off"]
ChannelWord = Literal["pinned", "ohttp"]


class Option(NamedTuple):
    """
    An option is described by what is known of it besides its type.

    What it means is the text below it, which editors and docs/settings.md show. None as a value means `default`;
    `shown` describes a default that is no plain value. `variables` are the environment variables that stand in for the
    argument. `hidden` says that the value may be a secret: it is kept out of reprs, dumps and traces.
    """

    default: object = None
    shown: str = ""
    variables: tuple[str, ...] = ()
    hidden: bool = False


class SameAs(NamedTuple):
    """This marks another name of the option `name`, which `ChatOpenAI` or the published client has for it."""

    name: str


class SettingsOptions(TypedDict, total=False):
    """These options say who pays, and where."""

    private_key: Annotated[
        "str | SecretStr | None",
        Option(
            variables=("OG_PRIVATE_KEY", "OPENGRADIENT_PRIVATE_KEY"),
            hidden=True,
        ),
    ]
    """Key of the wallet that pays, 64 hex digits."""
    signer: Annotated[
        "Signer | None",
        Option(
            variables=("OG_KEYSTORE", "OG_KEYSTORE_PASSWORD"),
            hidden=True,
        ),
    ]
    """
    Instead of `private_key`: an object with `address` and `sign_typed_data`, such as `LocalSigner.from_keystore(path,
    password)`; the variables name a keystore file and its password.
    """
    network: Annotated[
        "str | Network | None",
        Option(shown='`"base"`', variables=("OG_NETWORK",)),
    ]
    """`"base"`, `"base-sepolia"`, `"devnet"` or a `Network`."""
    rpc_url: Annotated[
        str | None,
        Option(shown="the network's", variables=("OG_RPC_URL",), hidden=True),
    ]
    """Node of the payment chain."""
    registry_rpc_url: Annotated[
        str | None,
        Option(
            shown="the network's",
            variables=("OG_REGISTRY_RPC_URL",),
            hidden=True,
        ),
    ]
    """Node of the chain with the TEERegistry."""
    registry_address: Annotated[
        str | None,
        Option(shown="the network's", variables=("OG_REGISTRY_ADDRESS",)),
    ]
    """Where the TEERegistry is."""
    gateway_url: Annotated[
        str | None,
        Option(variables=("OG_GATEWAY_URL",)),
    ]
    """One gateway, without registry, for development: not attested."""


class ChannelOptions(TypedDict, total=False):
    """These options say how requests reach the enclave."""

    channel: Annotated[
        ChannelWord,
        Option(
            default="pinned",
        ),
    ]
    """`"ohttp"` seals each request for the enclave, see [Sealed requests](security.md#sealed-requests)."""
    relay_url: Annotated[
        str | None,
        Option(variables=("OG_RELAY_URL",)),
    ]
    """Relay that carries sealed requests and pays; without one the wallet does."""
    relay_token: Annotated[
        "str | SecretStr | Callable[[], str | Awaitable[str]] | None",
        Option(
            variables=("OG_RELAY_TOKEN",),
            hidden=True,
        ),
    ]
    """What the relay is shown: a token, or a function that returns a fresh one."""


class SharedOptions(TypedDict, total=False):
    """A client is made with these options, and a call may have them differently."""

    settlement_mode: Annotated[
        "SettlementMode | Enum | str | None",
        Option(shown='`"batch"`'),
    ]
    """What is published about a call, see [Settlement modes](#settlement-modes)."""
    x402_settlement_mode: Annotated["SettlementMode | Enum | str | None", SameAs("settlement_mode")]
    """The same as `settlement_mode`, which is its name here."""
    # Long, since no header comes before a model's first token, and gateways wait up to 240 s for a provider.
    timeout: Annotated[float | None, Option(default=300.0)]
    """Seconds, for each wait on the network; blanks, comments and other bytes that say nothing end none."""


class ClientOptions(SettingsOptions, ChannelOptions, SharedOptions, total=False):
    """A client is made with these options, all of which may be left out."""

    spend_policy: Annotated[
        "SpendPolicy | Mapping[str, object] | None",
        Option(),
    ]
    """What may be spent, see [Spending](spending.md): a `SpendPolicy` or its fields as a dict."""
    enclave_policy: Annotated[
        "EnclavePolicy | dict[str, Any] | None",
        Option(
            shown="all but debug mode",
        ),
    ]
    """
    Whom to accept: `EnclavePolicy(measurements=…)`, `attestation="require"`, `allowed_pcr_hashes=…`,
    `allowed_tee_ids=…`, or its fields as a dict.
    """
    verification: Annotated[Verification, Option(default="end")]
    """`"buffer"` shows nothing of a stream before the proof."""
    nonce: Annotated[Nonce, Option(default="auto")]
    """
    A random nonce in what is signed, so that an answer is to this call alone: `"auto"` where there is a place for it,
    `"require"` refuses what has none, `"off"` leaves it out, so that equal calls send equal bytes.
    """
    gateway_generation: Annotated[
        GatewayGeneration,
        Option(
            default="auto",
        ),
    ]
    """`"auto"` sends images and files unless a gateway is known to drop them; `"next"` always; `"2026-04"` not."""
    max_concurrency: Annotated[
        int | None,
        Option(default=100),
    ]
    """How many calls are made at once, by event loop; others wait, and `timeout` does not run."""
    max_retries: Annotated[int | None, Option(default=2)]
    """How many other enclaves to try; nothing paid is repeated."""
    spread: Annotated[
        bool,
        Option(default=False),
    ]
    """Calls take turns on all enclaves, each with a session (and authorization) of its own."""
    default_headers: Annotated["Mapping[str, str] | None", Option(hidden=True)]
    """Sent with every request."""


class CallOptions(SharedOptions, total=False):
    """A call of either endpoint can ask for these."""

    temperature: Annotated[float | None, Option(shown="not sent")]
    """Sampling temperature, 0 to 2; gateways drop it for gpt-5 models."""
    max_tokens: Annotated[int | None, Option(shown="the gateway's, 4096")]
    """Most tokens to answer with."""
    stop: Annotated[
        "str | Sequence[str] | None",
        Option(),
    ]
    """Where to cut the answer, at most four texts; cut here, after the proof: gateways ignore it."""


class ChatOptions(CallOptions, total=False):
    """A chat call can ask for these; `tool_choice` is sent, but no gateway enforces it."""

    tools: Annotated["Sequence[JsonObject] | None", Option()]
    """Functions that the model may call."""
    tool_choice: Annotated["str | JsonObject | None", Option()]
    """Which of them it has to call."""
    response_format: Annotated["JsonObject | None", Option()]
    """The form of the answer."""
    parallel_tool_calls: Annotated[bool | None, Option()]
    """False shows the first tool call only; kept here, since gateways ignore it."""
    reasoning_effort: Annotated[
        ReasoningEffort | None,
        Option(
            shown="not sent",
        ),
    ]
    """`"low"`, `"medium"` or `"high"`; many gateways ignore it, and the receipt says when it was not signed."""
    extra: Annotated["JsonObject | None", Option()]
    """Further members of the request, sent as they are."""


class OtherNames(TypedDict, total=False):
    """These are the names that `ChatOpenAI` has for the same options."""

    api_key: Annotated["str | SecretStr | None", SameAs("private_key")]
    """The same as `private_key`, which is its name here."""
    max_completion_tokens: Annotated[int | None, SameAs("max_tokens")]
    """The same as `max_tokens`, which is its name here."""
    request_timeout: Annotated[float | None, SameAs("timeout")]
    """The same as `timeout`, which is its name here."""
    stop_sequences: Annotated["str | Sequence[str] | None", SameAs("stop")]
    """The same as `stop`, which is its name here."""


T = TypeVar("T")


def _beside(kind: type, wanted: type[T]) -> Iterator[tuple[str, T]]:
    for name, hint in kind.__annotations__.items():
        for note in get_args(hint)[1:]:
            if isinstance(note, wanted):
                yield name, note


def options_of(kind: type) -> dict[str, Option]:
    """Return what is known of the options in `kind`, one of these TypedDicts or one that extends them."""
    return dict(_beside(kind, Option))


OPTIONS = {name: option for kind in (ClientOptions, ChatOptions) for name, option in options_of(kind).items()}
ALIASES = {name: same.name for kind in (ClientOptions, OtherNames) for name, same in _beside(kind, SameAs)}
"""Other name of an option -> its name here."""
_MEANT = {
    "attestation": "enclave_policy",
    "allowed_pcr_hashes": "enclave_policy",
    "allowed_tee_ids": "enclave_policy",
    "measurements": "enclave_policy",
    "anthropic_api_key": "private_key",
    "anthropic_api_url": "gateway_url",
    "api_base": "gateway_url",
    "azure_deployment": "model",
    "base_url": "gateway_url",
    "budget": "spend_policy",
    "default_request_timeout": "timeout",
    "deployment_name": "model",
    "engine_name": "model",
    "extra_body": "model_kwargs",
    "extra_headers": "default_headers",
    "google_api_key": "private_key",
    "headers": "default_headers",
    "key": "private_key",
    "llm_server_url": "gateway_url",
    "max_attempts": "max_retries",
    "max_concurrent_requests": "max_concurrency",
    "max_output_tokens": "max_tokens",
    "max_tokens_to_sample": "max_tokens",
    "model_cid": "model",
    "model_id": "model",
    "num_retries": "max_retries",
    "openai_api_base": "gateway_url",
    "openai_api_key": "private_key",
    "per_day": "spend_policy",
    "per_hour": "spend_policy",
    "pk": "private_key",
    "policy": "spend_policy",
    "retries": "max_retries",
    "rpc": "rpc_url",
    "stop_token": "stop",
    "stop_words": "stop",
    "temp": "temperature",
    "total": "spend_policy",
    "wallet": "private_key",
    "wallet_key": "private_key",
}
"""What options of other clients are called here."""
_MEANS_NOTHING_HERE = frozenset({"fallbacks"})
"""Options of others that only look like one of ours (`callbacks`)."""
CONSTRUCTOR_ONLY = frozenset({*ClientOptions.__annotations__, "api_key"} - CallOptions.__annotations__.keys()) | {
    name for name, meant in _MEANT.items() if meant in ("private_key", "gateway_url")
}
"""Names that no call has; some of them are secrets."""


URLS = ("rpc_url", "registry_rpc_url", "gateway_url", "relay_url")
"""Options whose value may hold an API key of whoever runs the server."""


def seal(options: Mapping[str, object]) -> None:
    """
    Wrap the secrets and URLs in `options`, a function's own keyword arguments, so that no repr of them shows one.

    It is the first thing that happens: from here on a traceback with local variables is safe to report.
    """
    from pydantic import SecretStr

    own = cast("dict[str, object]", options)
    for name, value in own.items():
        meant = own_name(name)
        if meant == "private_key" and value is not None and not isinstance(value, SecretStr):
            own[name] = SecretStr(cast("str", value))
        elif meant == "relay_token" and isinstance(value, str):
            own[name] = SecretStr(value)
        elif meant in URLS and isinstance(value, str):
            own[name] = NodeUrl(value)


def complete(options: ClientOptions) -> ClientOptions:
    """
    Return `options` under their own names, with the defaults of those that are missing or None.

    Raises `ConfigurationError` for a name that is none, or two names of one option.
    """
    given = under_own_names({name: value for name, value in options.items() if value is not None})
    known = options_of(ClientOptions)
    for name in given.keys() - known.keys():
        of_calls = " It is an option of each call." if own_name(name) in (*ChatOptions.__annotations__, "model") else ""
        # The clients take `http_client` themselves.
        raise ConfigurationError(f"There is no option {name!r}.{hint(name, {*known, 'http_client'}) or of_calls}")
    return cast("ClientOptions", {name: given.get(name, option.default) for name, option in known.items()})


def check_key(key: "SecretStr") -> "SecretStr":
    """Return `key` if it has the form of a private key. Raises `ConfigurationError`, which does not show it."""
    from og_integrations.client._signer import KEY, what_it_is

    text: object = key.get_secret_value()  # deleted before anything is raised: tracebacks are reported with locals
    expected = "expected 64 hex digits, with or without 0x"
    if isinstance(text, str):
        found = "" if KEY.fullmatch(text.strip()) else f"it {what_it_is(Secret(text))}"
    else:
        found = f"it is of type {type(text).__name__}"
    del text
    if found:
        raise ConfigurationError(f"private_key is not a key: {expected}; {found}. It is not shown here.")
    return key


def check_choice(name: str, value: str) -> str:
    """Return `value` if the option `name`, which has a few words, has this one. Raises `ConfigurationError`."""
    words = list(_words_of(get_args(ClientOptions.__annotations__[name])[0]))
    if value not in words:
        raise ConfigurationError(f"{name} is {value!r:.80}, expected one of {', '.join(words)}.")
    return value


def _words_of(declared: object) -> Iterator[str]:
    """Yield the words of a `Literal`, alone or beside None."""
    for part in get_args(declared):
        yield from _words_of(part) if get_args(part) else [part] if isinstance(part, str) else []


def under_own_names(given: Mapping[str, object]) -> dict[str, object]:
    """Return `given` without other names. Raises `ConfigurationError` if an option has two of them."""
    named = dict(given)
    for other in ALIASES.keys() & given.keys():
        own, value = ALIASES[other], named.pop(other)
        if value is not None and named.get(own) is not None:
            raise ConfigurationError(f"Both {own} and {other} were given, which mean the same; give one.")
        if named.get(own) is None:
            named[own] = value
    return named


def hint(name: str, known: Collection[str]) -> str:
    """Return the sentence that names what `name` stands for among `known`, or was meant to be; "" if nothing is."""
    meant = _MEANT.get(name) or ALIASES.get(name)
    if meant in known:
        return f" Did you mean {meant!r}?"
    # Less alike are words with one ending (`tags` for `betas`), which would send the reader astray.
    close = [] if name in _MEANS_NOTHING_HERE else get_close_matches(name, sorted({*known} - {name}), 1, cutoff=0.8)
    return f" Did you mean {close[0]!r}?" if close else ""


def own_name(name: str) -> str:
    """Return what `name`, of an option here or elsewhere, is called here."""
    return ALIASES.get(name) or _MEANT.get(name) or name


def options_table(kind: type) -> str:
    """Return the options in `kind` as the table of docs/settings.md, in Markdown."""
    rows = ["| argument | variable | default | meaning |", "| --- | --- | --- | --- |"]
    meanings = _meanings(kind)
    for name, option in options_of(kind).items():
        variables = ", ".join(f"`{variable}`" for variable in option.variables)
        plain = option.default
        default = option.shown or ("" if plain is None else f'`"{plain}"`' if isinstance(plain, str) else f"`{plain}`")
        rows.append(f"| `{name}` | {variables} | {default} | {meanings[name]} |")
    return "\n".join(rows)


def _meanings(kind: type) -> dict[str, str]:
    """Return what stands below each option in the source of this file, and of the one of `kind`, in one line each."""
    found: dict[str, str] = {}
    # A TypedDict of Python 3.11 does not tell which others it extends, so all of both files are read.
    for module in {__name__, kind.__module__}:
        for declared in ast.parse(inspect.getsource(sys.modules[module])).body:
            for member, below in pairwise(declared.body if isinstance(declared, ast.ClassDef) else ()):
                if isinstance(member, ast.AnnAssign) and isinstance(below, ast.Expr):
                    text = str(ast.literal_eval(below.value))
                    found[ast.unparse(member.target)] = " ".join(text.split()).removesuffix(".")
    return found
