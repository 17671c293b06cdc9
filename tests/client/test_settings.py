"""Where settings come from, and what is said when they are wrong."""

import asyncio
import copy
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, Self

import httpx
import pytest
from pydantic import model_validator

from og_integrations.client import AsyncClient, Client, LocalSigner
from og_integrations.client._settings import keyless_settings, resolve_settings
from og_integrations.devnet import Devnet
from og_integrations.errors import (
    ConfigurationError,
    DiscoveryError,
    EnclaveRejectedError,
    InvalidRequestError,
    OpenGradientError,
)
from og_integrations.langchain import ChatOpenGradient
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.networks import BASE
from og_integrations.protocol.payment._policy import SpendPolicy
from og_integrations.protocol.proof._enclave import EnclavePolicy
from tests.client.ways_to_ask import MODEL, user

KEY = "0x" + "11" * 32


def one(name: str, value: object) -> dict[str, Any]:
    """Return keyword arguments that type checkers would refuse."""
    return {name: value}


MISSPELT = {
    "totl": "total",
    "max_total": "total",
    "budget": "total",
    "perhour": "per_hour",
    "daily": "per_day",
    "max_per_call": "max_per_authorization",
    "max_per_authorisation": "max_per_authorization",
    "expires": "valid_until",
    "payto": "pay_to",
    "path": "store",
    "stop_after": "stop_after_unanswered",
}


@pytest.mark.parametrize(("wrong", "right"), MISSPELT.items(), ids=str)
def test_limit_that_is_misspelt_is_none_of_any_way(wrong: str, right: str) -> None:
    """Made, given as a dict, or copied: without a word there would be no limit."""
    made: list[Callable[[], object]] = [
        lambda: SpendPolicy(**one(wrong, "1")),
        lambda: SpendPolicy.of({wrong: "1"}),
        lambda: SpendPolicy().model_copy(update={wrong: "1"}),
        lambda: Client(private_key=KEY, spend_policy={wrong: "1"}),
        lambda: ChatOpenGradient(model=MODEL, private_key=KEY, spend_policy={wrong: "1"}),
        lambda: OpenGradientLLM(MODEL, private_key=KEY, spend_policy={wrong: "1"}),
    ]
    for make in made:
        with pytest.raises(ConfigurationError, match=rf"{wrong}.*did you mean {right}\?"):
            make()


def test_value_of_a_policy_that_is_none_is_an_error_of_ours() -> None:
    made: list[Callable[[], object]] = [
        lambda: SpendPolicy(total="a lot"),
        lambda: SpendPolicy(share="1"),
        lambda: SpendPolicy.of({"total": -1}),
    ]
    for make in made:
        with pytest.raises(ConfigurationError, match="spend_policy is not valid"):
            make()


@pytest.mark.parametrize(
    ("wrong", "right"), {"allowed_tee_id": "allowed_tee_ids", "pcr_hashes": "allowed_pcr_hashes"}.items()
)
def test_rule_about_enclaves_that_is_misspelt_is_named(wrong: str, right: str) -> None:
    made: list[Callable[[], object]] = [
        lambda: EnclavePolicy(**one(wrong, [])),
        lambda: EnclavePolicy.of({wrong: []}),
    ]
    for make in made:
        with pytest.raises(ConfigurationError, match=f"no member '{wrong}'. Did you mean '{right}'"):
            make()
    assert copy.deepcopy(EnclavePolicy(allowed_tee_ids=["0x1"])) == EnclavePolicy(allowed_tee_ids=["0x1"])


TAKEN_FOR_KEYS = {
    "sk-proj-abc": "API key of a model provider",
    "AIzaSyAbc": "API key or token of a model provider",
    "0x" + "ab" * 20: "an address",
    "legal winner thank year wave sausage worth useful legal winner thank yellow": "a recovery phrase",
    '{"version": 3}': "a keystore",
    "~/wallet.json": "a keystore",
    f'"{KEY}"': "stands in quotes",
    "${OG_PRIVATE_KEY}": "the name of a variable",
    "0X" + "ab" * 32: "begins with 0X",
    "04" + "ab" * 64: "a public key",
    "xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi": (
        "the extended key"
    ),
    "5KJvsngHeMpm884wtkJNzQGaCErckhHJBGFsvd3VyK5qMZXj3hS": "a key of Bitcoin",
    "-----BEGIN EC PRIVATE KEY-----\nabc": "a PEM file",
    "ghp_abcdef": "a token of another service",
    KEY[:-1]: "has 65 characters",
}


@pytest.mark.parametrize(("key", "what"), TAKEN_FOR_KEYS.items(), ids=TAKEN_FOR_KEYS.values())
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_what_is_taken_for_a_key_is_named_and_not_shown(
    key: str, what: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"private_key": key} if by == "argument" else {}
    if by == "environment":
        monkeypatch.setenv("OG_PRIVATE_KEY", key)
    made: list[Callable[[], object]] = [
        lambda: Client(**options),
        lambda: ChatOpenGradient(model=MODEL, **options).clients,
        lambda: OpenGradientLLM(MODEL, **options).clients,
    ]
    for make in made:
        with pytest.raises(ConfigurationError, match=what) as caught:
            make()
        assert key not in str(caught.value)


ELSEWHERE = {
    "wallet": "private_key",
    "retries": "max_retries",
    "extra_headers": "default_headers",
    "budget": "spend_policy",
    "per_day": "spend_policy",
    "allowed_pcr_hashes": "enclave_policy",
    "rpc": "rpc_url",
    "max_concurrent_requests": "max_concurrency",
}


@pytest.mark.parametrize(("wrong", "right"), [*ELSEWHERE.items(), ("http_clent", "http_client")], ids=str)
def test_word_for_an_option_elsewhere_is_named(wrong: str, right: str) -> None:
    made: list[Callable[..., object]] = [
        Client,
        lambda **options: ChatOpenGradient(model=MODEL, **options),
        lambda **options: OpenGradientLLM(MODEL, **options),
    ]
    for make in made:
        with pytest.raises(ConfigurationError, match=f"'{wrong}'. Did you mean '{right}'"):
            make(**{wrong: "x"})


@pytest.mark.parametrize("name", ["model", "temperature", "tools", "stop"])
def test_option_of_a_call_is_said_to_be_one(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"no option '{name}'. It is an option of each call"):
        Client(**one(name, "x"))


@pytest.mark.parametrize("network", [["base"], {"name": "base"}, 8453, "base_sepolia", "Base", b"base"], ids=str)
def test_network_of_any_kind_is_an_error_of_ours(network: Any) -> None:
    made: list[Callable[[], object]] = [
        lambda: Client(private_key=KEY, network=network),
        lambda: ChatOpenGradient(model=MODEL, private_key=KEY, network=network).clients,
        lambda: OpenGradientLLM(MODEL, private_key=KEY, network=network).clients,
    ]
    for make in made:
        with pytest.raises(ConfigurationError, match="network"):
            make()


UNCHECKED: list[dict[str, Any]] = [
    {"total": 0.5},
    {"total": Decimal("NaN")},
    {"max_validity_seconds": "5"},
    {"valid_until": "2026"},
    {"payments_per_hour": "1"},
    {"stop_after_unanswered": "x"},
    {"on_payment": "x"},
    {"hosts": "a"},
    {"account": 5},
]


@pytest.mark.parametrize("update", UNCHECKED, ids=str)
def test_member_that_nothing_has_checked_is_found_before_any_call(update: dict[str, Any]) -> None:
    """Pydantic's copies check nothing, and what is compared within a call would raise a `TypeError` there."""
    for policy in (SpendPolicy().model_copy(update=update), SpendPolicy.model_construct(**update)):
        with pytest.raises(ConfigurationError, match=next(iter(update))):
            Client(private_key=KEY, spend_policy=policy)


class Tied(SpendPolicy):
    """A policy of an owner's, whose budget needs a name."""

    owner: str | None = None

    @model_validator(mode="after")
    def named(self) -> Self:
        if self.owner is None:
            raise ValueError("owner is missing")
        return self


def test_class_of_the_owners_is_checked_even_where_it_holds_our_defaults() -> None:
    """Our defaults need no check in a `SpendPolicy`; a subclass may refuse them."""
    Client(private_key=KEY, spend_policy=Tied(owner="treasury")).close()
    for policy in (Tied.model_construct(), Tied(owner="treasury").model_copy(update={"owner": None})):
        with pytest.raises(ConfigurationError, match="owner is missing"):
            Client(private_key=KEY, spend_policy=policy)


@pytest.mark.parametrize("address", [None, b"a", 5, "vitalik.eth", "0x12"], ids=str)
def test_address_of_a_signer_that_is_none_is_named(address: object) -> None:
    signer: Any = SimpleNamespace(address=address, sign_typed_data=lambda data: "0x")
    with pytest.raises(ConfigurationError, match=r"signer\.address is .* 40 hex digits"):
        Client(signer=signer)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temprature": 1}, "'temprature' is not an option of a call. Did you mean 'temperature'"),
        ({"private_key": "x"}, "'private_key' is not an option of a call"),
        ({"extra": ["x"]}, "extra is a list, expected a dict"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls is 'no', expected True or False"),
    ],
)
def test_wrong_option_of_a_call_is_an_error_of_ours(options: dict[str, Any], says: str) -> None:
    """Of each kind of call, of both clients; a bare `TypeError` names no option."""
    client, other = Client(private_key=KEY), AsyncClient(private_key=KEY)
    calls: list[Callable[[], object]] = [
        lambda: client.chat(MODEL, user("hi"), **options),
        lambda: client.stream(MODEL, user("hi"), **options),
        lambda: asyncio.run(other.chat(MODEL, user("hi"), **options)),
        lambda: other.stream(MODEL, user("hi"), **options),
    ]
    if "extra" not in options and "parallel_tool_calls" not in options:
        calls.append(lambda: client.complete(MODEL, "hi", **options))
    for call in calls:
        with pytest.raises(InvalidRequestError, match=says):
            call()


@pytest.mark.parametrize("name", ["OG_PRIVATE_KEY", "OPENGRADIENT_PRIVATE_KEY"])
def test_key_comes_from_the_environment(name: str) -> None:
    signer = resolve_settings(environment={name: KEY}).require_signer()
    assert signer.address == LocalSigner(KEY).address


def test_environment_changes_a_named_network() -> None:
    environment = {
        "OG_NETWORK": "base-sepolia",
        "OG_RPC_URL": "http://rpc",
        "OG_REGISTRY_RPC_URL": "http://registry",
        "OG_REGISTRY_ADDRESS": "0x01",
        "OG_GATEWAY_URL": "http://gateway",
    }
    settings = resolve_settings(environment=environment)
    network = settings.network
    assert (network.chain_id, network.rpc_url, network.registry_rpc_url) == (84532, "http://rpc", "http://registry")
    assert (network.registry_address, settings.gateway_url) == ("0x01", "http://gateway")


def test_argument_wins_over_environment() -> None:
    settings = resolve_settings(network="base", rpc_url="http://mine", environment={"OG_RPC_URL": "http://theirs"})
    assert settings.network.rpc_url == "http://mine"


def test_network_value_is_complete_by_itself() -> None:
    assert resolve_settings(network=BASE, environment={"OG_RPC_URL": "http://theirs"}).network == BASE


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"spread": "no"}, "spread is 'no', expected True or False"),
        ({"network": "base_sepolia"}, "Did you mean 'base-sepolia'"),
        ({"network": "mainnet"}, "Unknown network 'mainnet'; expected one of base, base-sepolia, devnet"),
        ({"private_key": KEY, "signer": LocalSigner(KEY)}, "Both private_key and signer"),
        ({"signer": object()}, "expected an object with `address` and `sign_typed_data`"),
        ({"private_key": "0x12"}, "expected 64 hex digits .* got 4 characters"),
        ({"settlement_mode": "privat"}, "Unknown settlement mode 'privat'"),
        ({"verification": "off"}, "expected one of end, buffer"),
        ({"spend_policy": {"total": True}}, "an amount of OPG is a Decimal, int, float or text, not a bool"),
        ({"spend_policy": {"totl": "1"}}, "totl: Extra inputs are not permitted"),
        ({"spend_policy": "5"}, "spend_policy is a str, expected a SpendPolicy or its fields as a dict"),
        ({"enclave_policy": 5}, "enclave_policy is a int, expected an EnclavePolicy"),
        ({"enclave_policy": {"tee_ids": []}}, "enclave_policy is not valid; expected lists of texts"),
        ({"enclave_policy": {"allowed_tee_ids": [5]}}, "enclave_policy is not valid"),
        ({"max_retries": -1}, "max_retries is -1, expected a whole number"),
        ({"max_retries": "2"}, "max_retries is '2', expected a whole number"),
        ({"default_headers": "X-A: b"}, "default_headers is a str, expected names and values"),
    ],
)
def test_wrong_setting_is_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Client(**options)


def test_enclave_policy_as_dict_is_one(make_client: Callable[..., Client]) -> None:
    """As a `spend_policy` may be, and as models take it."""
    client = make_client(enclave_policy={"allowed_tee_ids": ["0x" + "00" * 32]})
    with pytest.raises(EnclaveRejectedError):
        client.chat(MODEL, user("hi"))


def test_missing_key_says_how_to_set_it() -> None:
    with Client() as client, pytest.raises(ConfigurationError, match="set OG_PRIVATE_KEY"):
        client.chat(MODEL, user("hi"))


def test_foreign_settlement_enum_is_read_by_name() -> None:
    class Foreign(Enum):
        SETTLE_INDIVIDUAL = "settle"

    with Client(x402_settlement_mode=Foreign.SETTLE_INDIVIDUAL) as client:
        assert client.engine.settlement_mode.value == "private"


def test_ready_http_client_needs_a_gateway_url() -> None:
    with httpx.Client() as ready, pytest.raises(ConfigurationError, match="cannot be pinned"):
        Client(http_client=ready)


def test_ready_http_client_is_used_and_left_open() -> None:
    with Devnet(tls=False) as net, httpx.Client() as ready:
        url = net.enclaves[0].endpoint
        options: dict[str, Any] = {"private_key": net.private_key, "network": net.network, "gateway_url": url}
        with Client(http_client=ready, **options) as client:
            client.chat(MODEL, user("hi"))
        assert not ready.is_closed


def test_http_client_factory_takes_the_pinned_context(net: Devnet, make_client: Callable[..., Client]) -> None:
    contexts: list[object] = []

    def make(ssl_context: Any) -> httpx.Client:
        contexts.append(ssl_context)
        return httpx.Client(verify=ssl_context or True, headers={"X-Mine": "1"})

    assert make_client(http_client=make).chat(MODEL, user("hi")).receipt["status"] == "verified"
    assert [context is None for context in contexts] == [True, False]


def test_default_headers_are_sent(net: Devnet, make_client: Callable[..., Client]) -> None:
    assert make_client(default_headers={"X-Team": "blue"}).chat(MODEL, user("hi")).text


def test_spend_total_holds_across_sessions(net: Devnet, make_client: Callable[..., Client]) -> None:
    client = make_client(spend_policy={"total": "0.1"})
    client.chat(MODEL, user("hi"))
    with pytest.raises(Exception, match=r"needs 0.1 OPG, but 0.1 of 0.1 OPG .* authorized already"):
        client.complete(MODEL, "hi")
    assert net.stats().signatures == 1


@pytest.mark.parametrize(
    ("messages", "options", "says"),
    [
        ([], {}, "messages is empty"),
        ("hello", {}, "messages is a str, expected a list"),
        ([{"role": "developer", "content": "x"}], {}, "Send it as system"),
        ([{"role": "user", "content": None}], {}, "has no content"),
        (user("hi"), {"temperature": 3}, "expected a number from 0 to 2"),
        (user("hi"), {"temperature": float("nan")}, "expected a number from 0 to 2"),
        (user("hi"), {"max_tokens": 1.0}, "expected a whole number"),
        (user("hi"), {"stop": ["a", "b", "c", "d", "e"]}, "expected 1 to 4"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], {}, "would be paid for"),
        ([{"role": "user", "content": "x", "extra": {1: 2}}], {}, "JSON keys are strings"),
        ([{"role": "user", "content": "x", "extra": object()}], {}, "which JSON does not know"),
    ],
)
def test_request_the_gateway_would_refuse_is_not_sent(
    net: Devnet, client: Client, messages: list[dict[str, Any]], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidRequestError, match=says):
        client.chat(MODEL, messages, **options)
    assert net.stats().requests == 0


def test_one_engine_serves_both_clients(net: Devnet, client: Client) -> None:
    import asyncio

    other = AsyncClient(engine=client.engine)
    client.chat(MODEL, user("hi"))
    asyncio.run(other.chat(MODEL, user("hi")))
    assert (net.stats().payments, net.stats().statuses) == (1, {402: 1, 200: 2})


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), -1, 0, "5", True])
def test_time_to_wait_that_is_none_is_refused(timeout: Any) -> None:
    """Of a client and of a call."""
    with pytest.raises(ConfigurationError, match=r"timeout is .* expected a number of seconds above 0"):
        Client(private_key=KEY, timeout=timeout)
    with (
        Client(private_key=KEY) as client,
        pytest.raises(ConfigurationError, match=r"timeout is .* expected a number of seconds above 0"),
    ):
        client.chat(MODEL, user("hi"), timeout=timeout)


@pytest.mark.parametrize("name", ["settlement_mode", "x402_settlement_mode"])
def test_empty_settlement_mode_is_no_mode(name: str) -> None:
    """A variable that is not set would otherwise publish hashes instead of nothing."""
    with pytest.raises(ConfigurationError, match="Unknown settlement mode ''"):
        Client(private_key=KEY, **{name: ""})  # type: ignore[arg-type]
    with Client(private_key=KEY) as client, pytest.raises(ConfigurationError, match="Unknown settlement mode ''"):
        client.chat(MODEL, user("hi"), **{name: ""})  # type: ignore[arg-type]


def test_who_only_reads_opens_no_keystore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OG_KEYSTORE", "/nowhere/keystore.json")
    monkeypatch.setenv("OG_KEYSTORE_PASSWORD", "secret")
    assert keyless_settings().signer is None


class Refusing(BaseHTTPRequestHandler):
    """A node that answers the word in its path's last part."""

    def log_message(self, *args: object) -> None: ...

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.path.rpartition("=")[2]
        body = {"html": b"<html>", "refusal": b'{"error": {"message": "no"}}', "text": b'{"result": "x"}'}.get(
            kind, b"{}"
        )
        self.send_response(404 if kind == "status" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://user:SECRET@127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("kind", ["html", "refusal", "text", "status", "nobody"])
def test_key_in_a_nodes_url_does_not_show(node: str, kind: str) -> None:
    """Providers put it into path or query: messages name scheme and host."""
    url = ("http://127.0.0.1:1" if kind == "nobody" else node) + f"/v2/SECRET?SECRET={kind}"
    options: dict[str, Any] = {"private_key": KEY, "network": "base", "registry_rpc_url": url, "rpc_url": url}
    with Client(**options) as client:
        for ask in (lambda: client.chat(MODEL, user("hi")), lambda: client.ensure_opg_approval("1")):
            with pytest.raises(OpenGradientError, match="http://127") as caught:
                ask()
            assert "SECRET" not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("url", ["https://[SECRET", "ftp://host/SECRET", "SECRET", "https://SECRET@/x"])
def test_key_in_a_broken_url_does_not_show(url: str) -> None:
    for name in ("rpc_url", "registry_rpc_url", "gateway_url"):
        with pytest.raises(ConfigurationError, match=f"^{name} is no address of a server") as caught:
            Client(private_key=KEY, network="base", **{name: url})  # type: ignore[arg-type]
        assert "SECRET" not in f"{caught.value} {caught.value.__cause__} {caught.value.__context__}"


@pytest.mark.parametrize("name", ["OG_RPC_URL", "OG_REGISTRY_RPC_URL", "OG_GATEWAY_URL"])
def test_malformed_url_in_the_environment_is_named_by_its_variable(name: str) -> None:
    """A call's own error could not tell which of the three it was."""
    with pytest.raises(ConfigurationError, match=f"^{name} is no address of a server, expected http") as caught:
        resolve_settings(environment={name: "node.example/SECRET"})
    assert "SECRET" not in str(caught.value)
    argument: dict[str, Any] = {name.removeprefix("OG_").lower(): "http://mine"}
    settings = resolve_settings(environment={name: "node.example"}, **argument)
    assert "http://mine" in (settings.network.rpc_url, settings.network.registry_rpc_url, settings.gateway_url)


def test_malformed_url_of_a_network_value_is_named() -> None:
    """What the environment says about other networks is not looked at."""
    with pytest.raises(ConfigurationError, match=r"^network\.rpc_url is no address of a server"):
        resolve_settings(network=replace(BASE, rpc_url="node"), environment={})
    assert resolve_settings(network=BASE, environment={"OG_RPC_URL": "node"}).network == BASE


def test_node_that_is_away_is_said_once() -> None:
    """Not "nothing was sent. Nothing was sent to an enclave."."""
    with (
        Client(private_key=KEY, network="base", registry_rpc_url="http://127.0.0.1:1") as client,
        pytest.raises(DiscoveryError) as caught,
    ):
        client.chat(MODEL, user("hi"))
    assert str(caught.value).lower().count("nothing was sent") == 1


def test_gateway_without_a_public_certificate_is_not_called_pinned() -> None:
    """By URL nothing is pinned: "another certificate than the pinned one" would send people looking for thieves."""
    with Devnet() as net:
        options: dict[str, Any] = {"private_key": KEY, "gateway_url": net.enclaves[0].endpoint}
        with Client(**options) as client, pytest.raises(DiscoveryError, match="No TLS with https://127") as caught:
            client.chat(MODEL, user("hi"))
    assert "its certificate is not accepted (self-signed certificate)" in str(caught.value)
    assert "pinned" not in str(caught.value)


def test_missing_wallet_says_how_to_try_without_one() -> None:
    with Client(network="base") as client, pytest.raises(ConfigurationError, match="og-integrations devnet"):
        client.chat(MODEL, user("hi"))


def test_keys_in_urls_of_nodes_are_in_no_repr() -> None:
    """Providers of nodes put the key into the path or the query; reprs end in logs and error reports."""
    secret = "https://node.example/v2/CANARY-KEY?apikey=CANARY-KEY"
    network = replace(BASE, rpc_url=secret, registry_rpc_url=secret, node_api_url=secret)
    settings = resolve_settings(network=network, private_key=KEY, environment={})
    assert "CANARY" not in repr(network) + repr(settings) + str(settings.source)
