"""
Every option of clients and models, declared once: its type, default, environment variable and meaning.

`ClientOptions`, `CallOptions` and `ChatOptions` are what type checkers and editors know. What stands beside
each type is read at run time: the engine takes its defaults from here, `client._settings` the variables, the
adapters their fields (`chat._model`), and a test holds the table in docs/settings.md equal to `options_table`.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, cast, get_args

from og_integrations.errors import ConfigurationError
from og_integrations.protocol._strict_json import JsonObject

if TYPE_CHECKING:
    from pydantic import SecretStr

    from og_integrations.client._signer import Signer
    from og_integrations.networks import Network
    from og_integrations.protocol.payment._policy import SpendPolicy
    from og_integrations.protocol.payment._x402 import SettlementMode
    from og_integrations.protocol.proof._enclave import EnclavePolicy

_KEY = re.compile(r"(0x)?[0-9a-fA-F]{64}")
GatewayGeneration = Literal["auto", "2026-04", "next"]
ReasoningEffort = Literal["low", "medium", "high"]
Verification = Literal["end", "buffer"]
Nonce = Literal["auto", "require", "off"]
ChannelWord = Literal["pinned", "ohttp"]


@dataclass(frozen=True, slots=True)
class Option:
    """
    An option is described by what is known of it besides its type.

    `meaning` is one line of docs/settings.md. None as a value means `default`; `shown` describes a default that is
    no plain value. `variables` are the environment variables that stand in for the argument. `hidden` says that
    the value may be a secret: it is kept out of reprs, dumps and traces.
    """

    meaning: str
    default: object = None
    shown: str = ""
    variables: tuple[str, ...] = ()
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class SameAs:
    """This marks another name of the option `name`, which `ChatOpenAI` or the published client has for it."""

    name: str


class SettingsOptions(TypedDict, total=False):
    """These options say who pays, and where."""

    private_key: Annotated[
        "str | SecretStr | None",
        Option(
            "key of the wallet that pays, 64 hex digits",
            variables=("OG_PRIVATE_KEY", "OPENGRADIENT_PRIVATE_KEY"),
            hidden=True,
        ),
    ]
    signer: Annotated[
        "Signer | None",
        Option(
            "instead of `private_key`: an object with `address` and `sign_typed_data`, such as "
            "`LocalSigner.from_keystore(path, password)`; the variables name a keystore file and its password",
            variables=("OG_KEYSTORE", "OG_KEYSTORE_PASSWORD"),
            hidden=True,
        ),
    ]
    network: Annotated[
        "str | Network | None",
        Option('`"base"`, `"base-sepolia"`, `"devnet"` or a `Network`', shown='`"base"`', variables=("OG_NETWORK",)),
    ]
    rpc_url: Annotated[
        str | None,
        Option("node of the payment chain", shown="the network's", variables=("OG_RPC_URL",), hidden=True),
    ]
    registry_rpc_url: Annotated[
        str | None,
        Option(
            "node of the chain with the TEERegistry",
            shown="the network's",
            variables=("OG_REGISTRY_RPC_URL",),
            hidden=True,
        ),
    ]
    registry_address: Annotated[
        str | None,
        Option("where the TEERegistry is", shown="the network's", variables=("OG_REGISTRY_ADDRESS",)),
    ]
    gateway_url: Annotated[
        str | None,
        Option("one gateway, without registry, for development: not attested", variables=("OG_GATEWAY_URL",)),
    ]


class ChannelOptions(TypedDict, total=False):
    """These options say how requests reach the enclave."""

    channel: Annotated[
        ChannelWord,
        Option(
            '`"ohttp"` seals each request for the enclave, see [Sealed requests](security.md#sealed-requests)',
            default="pinned",
        ),
    ]
    relay_url: Annotated[
        str | None,
        Option("relay that carries sealed requests and pays; without one the wallet does", variables=("OG_RELAY_URL",)),
    ]
    relay_token: Annotated[
        "str | SecretStr | Callable[[], str | Awaitable[str]] | None",
        Option(
            "what the relay is shown: a token, or a function that returns a fresh one",
            variables=("OG_RELAY_TOKEN",),
            hidden=True,
        ),
    ]


class SharedOptions(TypedDict, total=False):
    """A client is made with these options, and a call may have them differently."""

    settlement_mode: Annotated[
        "SettlementMode | Enum | str | None",
        Option("what is published about a call, see [Settlement modes](#settlement-modes)", shown='`"batch"`'),
    ]
    x402_settlement_mode: Annotated["SettlementMode | Enum | str | None", SameAs("settlement_mode")]
    # Long, since no header comes before a model's first token, and gateways wait up to 240 s for a provider.
    timeout: Annotated[float | None, Option("seconds, for each wait on the network", default=300.0)]


class ClientOptions(SettingsOptions, ChannelOptions, SharedOptions, total=False):
    """A client is made with these options, all of which may be left out."""

    spend_policy: Annotated[
        "SpendPolicy | dict[str, Any] | None",
        Option("what may be spent, see [Spending](spending.md): a `SpendPolicy` or its fields as a dict"),
    ]
    enclave_policy: Annotated[
        "EnclavePolicy | dict[str, Any] | None",
        Option(
            'whom to accept: `EnclavePolicy(measurements=…)`, `attestation="require"`, `allowed_pcr_hashes=…`, '
            "`allowed_tee_ids=…`, or its fields as a dict",
            shown="all but debug mode",
        ),
    ]
    verification: Annotated[
        Verification, Option('`"buffer"` shows nothing of a stream before the proof', default="end")
    ]
    nonce: Annotated[
        Nonce | None,
        Option(
            'a random nonce in what is signed, so that an answer is to this call alone: `"auto"` where there is a '
            'place for it, `"require"` refuses what has none, `"off"`',
            shown='`"auto"` if `enclave_policy` requires attestation, else `"off"`',
        ),
    ]
    gateway_generation: Annotated[
        GatewayGeneration,
        Option(
            '`"auto"` sends images and files unless a gateway is known to drop them; `"next"` always; `"2026-04"` not',
            default="auto",
        ),
    ]
    max_concurrency: Annotated[
        int | None,
        Option("how many calls are made at once, by event loop; others wait, and `timeout` does not run", default=100),
    ]
    max_retries: Annotated[int | None, Option("how many other enclaves to try; nothing paid is repeated", default=2)]
    spread: Annotated[
        bool,
        Option("calls take turns on all enclaves, each with a session (and authorization) of its own", default=False),
    ]
    default_headers: Annotated["Mapping[str, str] | None", Option("sent with every request", hidden=True)]


class CallOptions(SharedOptions, total=False):
    """A call of either endpoint can ask for these."""

    temperature: Annotated[
        float | None, Option("sampling temperature, 0 to 2; gateways drop it for gpt-5 models", shown="not sent")
    ]
    max_tokens: Annotated[int | None, Option("most tokens to answer with", shown="the gateway's, 4096")]
    stop: Annotated[
        "str | Sequence[str] | None",
        Option("where to cut the answer, at most four texts; cut here, after the proof: gateways ignore it"),
    ]


class ChatOptions(CallOptions, total=False):
    """A chat call can ask for these; `tool_choice` is sent, but no gateway enforces it."""

    tools: Annotated["Sequence[JsonObject] | None", Option("functions that the model may call")]
    tool_choice: Annotated["str | JsonObject | None", Option("which of them it has to call")]
    response_format: Annotated["JsonObject | None", Option("the form of the answer")]
    parallel_tool_calls: Annotated[
        bool | None, Option("False shows the first tool call only; kept here, since gateways ignore it")
    ]
    reasoning_effort: Annotated[
        ReasoningEffort | None,
        Option(
            '`"low"`, `"medium"` or `"high"`; many gateways ignore it, and the receipt says when it was not signed',
            shown="not sent",
        ),
    ]
    extra: Annotated["JsonObject | None", Option("further members of the request, sent as they are")]


class OtherNames(TypedDict, total=False):
    """These are the names that `ChatOpenAI` has for the same options."""

    api_key: Annotated["str | SecretStr | None", SameAs("private_key")]
    max_completion_tokens: Annotated[int | None, SameAs("max_tokens")]
    request_timeout: Annotated[float | None, SameAs("timeout")]
    stop_sequences: Annotated["str | Sequence[str] | None", SameAs("stop")]


def _beside(kind: type, wanted: type) -> Iterator[tuple[str, Any]]:
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
    "anthropic_api_key": "private_key",
    "anthropic_api_url": "gateway_url",
    "api_base": "gateway_url",
    "base_url": "gateway_url",
    "default_request_timeout": "timeout",
    "extra_body": "model_kwargs",
    "llm_server_url": "gateway_url",
    "max_output_tokens": "max_tokens",
    "max_tokens_to_sample": "max_tokens",
    "model_cid": "model",
    "openai_api_base": "gateway_url",
    "openai_api_key": "private_key",
}
"""What options of other clients are called here."""
_MEANS_NOTHING_HERE = frozenset({"fallbacks"})
"""Options of others that only look like one of ours (`callbacks`)."""
CONSTRUCTOR_ONLY = frozenset({*ClientOptions.__annotations__, "api_key"} - CallOptions.__annotations__.keys()) | {
    name for name, meant in _MEANT.items() if meant in ("private_key", "gateway_url")
}
"""Names that no call has; some of them are secrets."""


def seal(options: Mapping[str, object]) -> None:
    """
    Wrap the secrets in `options`, a function's own keyword arguments, so that no repr of them shows one.

    It is the first thing that happens: from here on a traceback with local variables is safe to report.
    """
    from pydantic import SecretStr

    own = cast("dict[str, object]", options)
    for name in ("private_key", "api_key"):
        if own.get(name) is not None and not isinstance(own[name], SecretStr):
            own[name] = SecretStr(cast("str", own[name]))
    if isinstance(token := own.get("relay_token"), str):
        own["relay_token"] = SecretStr(token)


def complete(options: ClientOptions) -> ClientOptions:
    """
    Return `options` under their own names, with the defaults of those that are missing or None.

    Raises `ConfigurationError` for a name that is none, or two names of one option.
    """
    given = under_own_names({name: value for name, value in options.items() if value is not None})
    known = options_of(ClientOptions)
    for name in given.keys() - known.keys():
        raise ConfigurationError(f"There is no option {name!r}.{hint(name, known)}")
    return cast("ClientOptions", {name: given.get(name, option.default) for name, option in known.items()})


def check_key(key: "SecretStr") -> "SecretStr":
    """Return `key` if it has the form of a private key. Raises `ConfigurationError`, which does not show it."""
    text: object = key.get_secret_value()  # deleted before anything is raised: tracebacks are reported with locals
    expected = "expected 64 hex digits, with or without 0x"
    if isinstance(text, str):
        found = "" if _KEY.fullmatch(text.strip()) else f"it has {len(text)} characters"
        if text.startswith("sk-"):
            found = "it is the API key of a model provider (sk-…), and no wallet"
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


def _words_of(declared: Any) -> Iterator[Any]:
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
    for name, option in options_of(kind).items():
        variables = ", ".join(f"`{variable}`" for variable in option.variables)
        plain = option.default
        default = option.shown or ("" if plain is None else f'`"{plain}"`' if isinstance(plain, str) else f"`{plain}`")
        rows.append(f"| `{name}` | {variables} | {default} | {option.meaning} |")
    return "\n".join(rows)
