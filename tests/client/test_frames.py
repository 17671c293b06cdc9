"""No frame that an error of ours has passed holds a secret in clear: error reporters send the variables of all."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

from og_integrations.client import AsyncClient, Client, LocalSigner
from og_integrations.client._settings import onchain_settings, resolve_settings
from og_integrations.devnet import CATALOGUE, Devnet
from og_integrations.errors import ConfigurationError, DiscoveryError, OpenGradientError
from og_integrations.langchain import ChatOpenGradient
from og_integrations.llama_index import OpenGradientLLM
from tests.adapters.faults_met import stalls
from tests.client.ways_to_ask import MODEL, WAYS, WEATHER, user
from tests.frames import secrets_in_frames
from tests.sizes import sized

KEY = "0x" + "4fa7" * 16
PASSWORD = "canary-password-91c2"
OTHERS = "sk-canary-of-another-service"


def _failed(net: Devnet, fault: str, way: str, **options: Any) -> OpenGradientError | None:
    """Return what came of a first call by `way` with a fresh wallet, having looked at all frames it passed."""
    wallet, known = net.new_wallet(), net.secrets()
    tools = {"tools": [WEATHER]} if fault == "altered_tool_call" else {}
    error: OpenGradientError | None = None
    net.inject(fault)
    try:
        patience = 0.6 if stalls(fault) else 20.0
        WAYS[way](net, f"[[tokens=4]] {fault}", private_key=wallet.private_key, timeout=patience, **tools, **options)
    except OpenGradientError as exc:
        error = exc
    finally:
        net.clear_faults()
    if error is not None:
        paid = net.secrets() - known
        assert secrets_in_frames(error, [wallet.private_key, *paid]) == [], f"{fault} by {way}"
    return error


@sized("ways", small=1, full=4)
def test_no_fault_leaves_a_secret_in_a_frame(ways: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fault of the catalogue: by one of the ways to ask in turn, or by all of them."""
    monkeypatch.setattr("og_integrations.protocol.chat._answers.MAX_EVENTS", 500)
    failed = 0
    # Of the small size: the rest is looked at by the fault tables of both adapters.
    faults = list(CATALOGUE)[:: 1 if ways == 4 else 3]
    turns = itertools.cycle(WAYS)
    with Devnet() as net:
        for fault in faults:
            failed += sum(_failed(net, fault, next(turns)) is not None for _ in range(ways))
    assert failed > len(faults) * ways // 2


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the frames below a channel were left as they are."""
    monkeypatch.setattr("og_integrations.protocol._redact.empty_frames", lambda *_: None)


@pytest.mark.usefixtures("unwatched")
def test_the_search_finds_what_a_channel_holds(net: Devnet) -> None:
    """Otherwise it would find nothing anywhere."""
    with pytest.raises(AssertionError, match=r"_pool\.py"):
        _failed(net, "stall_after_payment", "chat")


@pytest.mark.parametrize("library", [httpx, httpx2])
@pytest.mark.parametrize("fault", ["stall_after_payment", "cut_head", "stall_mid_body", "garbage_header"])
@pytest.mark.parametrize("way", ["chat", "astream"])
def test_no_frame_of_a_users_client_holds_a_secret(net: Devnet, library: Any, fault: str, way: str) -> None:
    made = library.AsyncClient if way == "astream" else library.Client
    assert _failed(net, fault, way, http_client=lambda context: made(verify=context or True)) is not None


async def test_call_that_is_given_up_leaves_none(net: Devnet, make_async_client: Callable[..., AsyncClient]) -> None:
    """A time-out of the caller's own passes through all frames, too."""
    client = make_async_client()
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(1):
            await client.chat(MODEL, user("[[delay=60000]] hi"))
    assert len(net.journal.secrets) >= 1
    assert secrets_in_frames(caught.value, [net.private_key, *net.secrets()]) == []


def test_frames_of_the_caller_are_left_alone(net: Devnet, make_client: Callable[..., Client]) -> None:
    """What the caller was handling before is behind the context of ours, and is not ours to empty."""
    net.inject("cut_head")

    def lookup(wanted: str) -> None:
        raise KeyError(wanted)

    def fall_back() -> None:
        try:
            lookup("theirs")
        except KeyError:
            make_client().chat(MODEL, user("hi"))

    with pytest.raises(OpenGradientError) as caught:
        fall_back()
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, KeyError):
        error = error.__context__
    assert error is not None
    assert error.__traceback__ is not None
    assert error.__traceback__.tb_next is not None
    assert error.__traceback__.tb_next.tb_frame.f_locals == {"wanted": "theirs"}


NODES_KEY = "canary-key-51d0"


@pytest.mark.parametrize("library", [None, httpx, httpx2], ids=["ours", "httpx", "httpx2"])
@pytest.mark.parametrize("way", ["chat", "astream"])
def test_no_frame_shows_the_key_of_a_node(net: Devnet, library: Any, way: str) -> None:
    """Providers of nodes put keys into URLs, and a node that fails is the most common failure of all."""
    keyed = f"{net.rpc_url}/v2/{NODES_KEY}?key={NODES_KEY}"
    options: dict[str, Any] = {"network": replace(net.network, rpc_url=keyed, registry_rpc_url=keyed)}
    if library is not None:
        made = library.AsyncClient if way == "astream" else library.Client
        options["http_client"] = lambda context: made(verify=context or True)
    for fault in ("dead_registry", "garbage_registry", "silent_registry"):
        net.inject(fault)
        with pytest.raises(DiscoveryError) as caught:
            WAYS[way](net, "hi", timeout=0.5, **options)
        net.clear_faults()
        assert secrets_in_frames(caught.value, [NODES_KEY]) == [], fault


def test_no_frame_of_an_approval_shows_the_key_of_a_node(net: Devnet) -> None:
    nowhere = replace(net.network, rpc_url=f"http://127.0.0.1:9/v2/{NODES_KEY}")
    with Client(private_key=net.private_key, network=nowhere) as client, pytest.raises(DiscoveryError) as caught:
        client.ensure_opg_approval(1)
    assert secrets_in_frames(caught.value, [NODES_KEY]) == []


TYPOS: list[dict[str, str]] = [
    {"OG_NETWORK": "base_sepolia"},
    {"OG_RPC_URL": f"node.example/{OTHERS}"},
    {"OG_REGISTRY_RPC_URL": f"node.example/{OTHERS}"},
    {"OG_PRIVATE_KEY": KEY + "\n"},
    {"OG_PRIVATE_KEY": KEY + " "},
    {"OG_PRIVATE_KEY": "f" * 56 + KEY[2:10]},
    {"OG_PRIVATE_KEY": "", "OG_KEYSTORE": "wallet.json", "OG_KEYSTORE_PASSWORD": PASSWORD},
]


@pytest.fixture(params=TYPOS, ids=str)
def typo(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Return the secrets of an environment with one thing wrong."""
    (tmp_path / "wallet.json").write_text('{"version": 3}')
    monkeypatch.chdir(tmp_path)
    for name, value in ({"OG_PRIVATE_KEY": KEY, "OPENAI_API_KEY": OTHERS} | request.param).items():
        monkeypatch.setenv(name, value)
    return [KEY, OTHERS, PASSWORD, request.param.get("OG_PRIVATE_KEY") or KEY]


def _langchain(**options: Any) -> None:
    ChatOpenGradient(model=MODEL, **options).invoke("hi")


def _llama_index(**options: Any) -> None:
    OpenGradientLLM(MODEL, **options).complete("hi")


@pytest.mark.parametrize(
    "make",
    [Client, AsyncClient, resolve_settings, _langchain, _llama_index],
    ids=["Client", "AsyncClient", "settings", "langchain", "llama_index"],
)
def test_typo_in_a_setting_shows_no_secret(typo: list[str], make: Callable[[], object]) -> None:
    """The key, or the whole environment with the keys of other services, stood in the frames of the error."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert secrets_in_frames(caught.value, typo) == []


WRONG: list[Any] = [KEY + "0", KEY[:-1], bytes.fromhex(KEY[2:]), int(KEY, 16), [KEY]]


@pytest.mark.parametrize("key", WRONG, ids=lambda key: type(key).__name__)
@pytest.mark.parametrize(
    "make",
    [Client, LocalSigner, resolve_settings, onchain_settings, _langchain, _llama_index],
    ids=["Client", "LocalSigner", "settings", "onchain", "langchain", "llama_index"],
)
def test_wrong_key_shows_in_no_frame(key: Any, make: Callable[..., object]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make(private_key=key)
    assert secrets_in_frames(caught.value, [KEY, KEY[:-1]]) == []


def test_good_key_shows_in_no_frame_of_another_mistake() -> None:
    for wrong in ({"verification": "off"}, {"timeout": -1}, {"network": "nowhere"}, {"bogus": 1}):
        with pytest.raises(ConfigurationError) as caught:
            Client(private_key=KEY, **wrong)
        assert secrets_in_frames(caught.value, [KEY]) == []


def test_signer_that_was_never_made_has_a_repr() -> None:
    """Reporters ask for it."""
    with pytest.raises(ConfigurationError) as caught:
        LocalSigner("0x12")
    frames = caught.traceback
    assert "LocalSigner()" in {repr(entry.frame.f_locals.get("self")) for entry in frames}


def test_transaction_that_cannot_be_signed_shows_no_key() -> None:
    with pytest.raises(TypeError) as caught:
        LocalSigner(KEY).sign_transaction({"to": "nobody"})
    assert secrets_in_frames(caught.value, [KEY]) == []


def test_typed_data_that_cannot_be_signed_shows_no_key() -> None:
    data = {"types": {"EIP712Domain": [], "A": [{"name": "x", "type": "int8"}]}, "primaryType": "A", "domain": {}}
    with pytest.raises(Exception) as caught:  # noqa: PT011 - eth-account's, of several kinds
        LocalSigner(KEY).sign_typed_data(data | {"message": {"x": 1000}})
    assert secrets_in_frames(caught.value, [KEY]) == []
