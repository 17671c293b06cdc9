"""API keys in the URLs of nodes, gateways and relays: nothing that models and clients hold or hand out shows them."""

import asyncio
import copy
import gc
import json
import logging
import pickle
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from types import FunctionType, MethodType, ModuleType
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumpd, dumps, load
from llama_index_instrumentation import get_dispatcher

from og_integrations import AsyncClient, Client
from og_integrations._urls import NodeUrl
from og_integrations.devnet import Devnet
from og_integrations.errors import ConfigurationError, OpenGradientError
from og_integrations.langchain import ChatOpenGradient, OpenGradientCompletion
from og_integrations.llama_index import OpenGradientLLM
from tests.adapters.llama_index.test_secrets import Everything
from tests.client.ways_to_ask import MODEL, user
from tests.frames import secrets_in_frames

CANARY = "cAnArY5f21"
URLS = ("rpc_url", "registry_rpc_url", "gateway_url", "relay_url")


def keyed(url: str) -> str:
    """Return `url` with a key at each place where providers want one."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://user:{CANARY}@{rest.rstrip('/')}/v2/{CANARY}?key={CANARY}"


def plain_texts(root: object) -> Iterator[str]:
    """Yield every text that can be reached from `root`, however deep, but what a `NodeUrl` reveals."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type | ModuleType | FunctionType | MethodType):
            continue
        seen.add(id(one))
        if isinstance(one, bytes):
            yield one.decode(errors="replace")
        elif isinstance(one, str):
            yield str(one)
        else:
            waiting += gc.get_referents(one)


class Seen(BaseCallbackHandler):
    """What tracers are handed."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        self.texts += [repr(args), repr(kwargs), json.dumps([args[0], kwargs], default=repr)]

    on_llm_start = on_llm_end = on_llm_error = on_llm_new_token = on_chat_model_start


def node_options(net: Devnet) -> dict[str, Any]:
    """Return options of a model whose nodes want keys."""
    return {
        "private_key": net.private_key,
        "network": "devnet",
        "rpc_url": keyed(net.rpc_url),
        "registry_rpc_url": keyed(net.rpc_url),
        "registry_address": net.registry_address,
    }


def ask(thing: Any, *, stream: bool = False) -> list[str]:
    """Ask `thing`, with everybody listening who may, and return what they were told."""
    seen = Seen()
    if isinstance(thing, ChatOpenGradient | OpenGradientCompletion):
        config: Any = {"callbacks": [seen]}
        answer: Any = list(thing.stream("hi", config)) if stream else thing.invoke("hi", config)
        return [*seen.texts, repr(answer)]
    if isinstance(thing, OpenGradientLLM):
        events, dispatcher = Everything(texts=[]), get_dispatcher()
        dispatcher.add_event_handler(events)
        try:
            answer = list(thing.stream_complete("hi")) if stream else thing.complete("hi")
        finally:
            dispatcher.event_handlers.remove(events)
        return [*events.texts, repr(answer)]
    if isinstance(thing, Client):
        return [repr(list(thing.stream(MODEL, user("hi"))) if stream else thing.chat(MODEL, user("hi")))]
    return [repr(asyncio.run(thing.chat(MODEL, user("hi"))))]


def shown_by(thing: Any) -> dict[str, str]:
    """Return what a curious program can print of `thing`, by the way it did so."""
    ways = {
        "repr": repr(thing),
        "str": str(thing),
        "vars": repr(vars(thing)),
        "values": " ".join(f"{value}" for value in vars(thing).values()),
        "json": json.dumps(vars(thing), default=repr),
        "texts": "\n".join(plain_texts(vars(thing))),
    }
    if isinstance(thing, Client | AsyncClient):
        settings = thing.engine.settings
        return ways | {"settings": repr(vars(settings)), "network": json.dumps(asdict(settings.network))}
    ways |= {"dump": repr(thing.model_dump()), "model_dump_json": json.dumps(thing.model_dump(), default=repr)}
    if isinstance(thing, ChatOpenGradient | OpenGradientCompletion):
        ways |= {
            "dumps": dumps(thing),
            "cache": repr(thing._identifying_params),
            "traced": repr(thing._get_ls_params()),
        }
    else:
        ways |= {"to_dict": repr(thing.to_dict()), "to_json": thing.to_json()}
    return ways


MAKERS: dict[str, Callable[..., Any]] = {
    "chat": lambda **options: ChatOpenGradient(model=MODEL, **options),
    "completion": lambda **options: OpenGradientCompletion(model=MODEL, **options),
    "llama_index": lambda **options: OpenGradientLLM(MODEL, **options),
    "client": Client,
    "async_client": AsyncClient,
}


@pytest.fixture(scope="module")
def net() -> Iterator[Devnet]:
    with Devnet() as devnet:
        yield devnet


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return MAKERS[request.param]


@pytest.mark.filterwarnings("ignore:.*is in beta")
def test_nothing_shows_the_key_of_a_node(
    net: Devnet, make: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Before a call, after it, of its copies, and of what listeners and logs got."""
    caplog.set_level(logging.DEBUG)
    thing = make(**node_options(net))
    told = {"unused": shown_by(thing), "listeners": {"all": "\n".join(ask(thing) + ask(thing, stream=True))}}
    told |= {"used": shown_by(thing), "logs": {"text": caplog.text, "records": repr(list(map(vars, caplog.records)))}}
    if not isinstance(thing, Client | AsyncClient):
        told |= {"copied": shown_by(thing.model_copy()), "deep": shown_by(copy.deepcopy(thing))}
        told |= {"pickled": shown_by(pickle.loads(pickle.dumps(thing)))}
    # The search goes as deep as what was made for the first call.
    assert net.registry_address in told["used"]["texts"]
    places = [f"{where}: {way}" for where, ways in told.items() for way, text in ways.items() if CANARY in text]
    assert places == []


def test_named_gateway_shows_no_key(net: Devnet, make: Callable[..., Any]) -> None:
    """Its URL becomes the endpoint of an enclave, and with it part of receipts, targets and errors."""
    with Devnet(tls=False) as plain:
        url = f"{plain.enclaves[0].endpoint}/{CANARY}"
        thing = make(private_key=plain.private_key, network=plain.network, gateway_url=url, timeout=2.0)
        with pytest.raises(OpenGradientError) as caught:  # the devnet has no gateway below a path
            ask(thing)
    assert CANARY not in f"{caught.value} {caught.value!r} {vars(caught.value)}"
    assert secrets_in_frames(caught.value, [CANARY]) == []
    assert [way for way, text in shown_by(thing).items() if CANARY in text] == []


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_url_is_kept_and_not_shown(
    net: Devnet, make: Callable[..., Any], name: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, other = keyed("https://server.example:8443"), {"channel": "ohttp"} if name == "relay_url" else {}
    if by == "environment":
        monkeypatch.setenv(f"OG_{name.upper()}", url)
        thing = make(private_key=net.private_key, **other)
    else:
        thing = make(private_key=net.private_key, **other, **{name: url})
        if not isinstance(thing, Client | AsyncClient):
            held = getattr(thing, name)
            assert (held, f"{held}") == (url, "https://server.example:8443")
            assert getattr(pickle.loads(pickle.dumps(thing)), name).reveal() == url
            assert getattr(copy.deepcopy(thing), name).reveal() == url
    assert [way for way, text in shown_by(thing).items() if CANARY in text] == []


@pytest.mark.parametrize("word", [*URLS, "base_url", "api_base", "rpc_ulr"])
def test_no_error_of_a_constructor_shows_a_key(net: Devnet, make: Callable[..., Any], word: str) -> None:
    for url in (f"server.example/{CANARY}", 5, [keyed("https://server.example")]):
        options: dict[str, Any] = {word: url, "private_key": net.private_key, "bogus": 1}
        with pytest.raises(ConfigurationError) as caught:
            make(**options)
        assert CANARY not in f"{caught.value} {caught.value!r}"


@pytest.mark.filterwarnings("ignore:.*is in beta")
def test_dump_names_servers_and_is_read_again(net: Devnet) -> None:
    model = ChatOpenGradient(model=MODEL, private_key=net.private_key, gateway_url=keyed("https://gateway.example"))
    dumped = json.loads(dumps(model))
    assert dumped["kwargs"]["gateway_url"] == "https://gateway.example"
    assert dumped == dumpd(model)
    loaded: Any = load(
        dumped,
        allowed_objects=[ChatOpenGradient],
        valid_namespaces=["og_integrations"],
        secrets_map={"OG_PRIVATE_KEY": net.private_key},
    )
    assert isinstance(loaded.gateway_url, NodeUrl)


def test_copy_with_another_node_hides_it_too(net: Devnet) -> None:
    model = ChatOpenGradient(model=MODEL, **node_options(net))
    other = model.model_copy(update={"rpc_url": keyed("https://other.example"), "private_key": "0x" + "7c" * 32})
    assert CANARY not in repr(vars(other))
    assert "7c7c" not in repr(vars(other))
    assert other.rpc_url == keyed("https://other.example")


def test_node_is_asked_with_its_whole_url(net: Devnet) -> None:
    """What is hidden still arrives: keys in path and query are why such URLs exist."""
    where: list[str] = []
    with Client(private_key=net.private_key, network=replace(net.network, registry_rpc_url="http://127.0.0.1:1")) as no:
        assert no.engine.settings.network.registry_rpc_url == "http://127.0.0.1:1"
    with Client(**node_options(net), http_client=_noting(where)) as client:
        client.chat(MODEL, user("hi"))
    assert any(f"/v2/{CANARY}?key={CANARY}" in url for url in where)


def _noting(where: list[str]) -> Callable[[Any], Any]:
    import httpx

    def made(context: Any) -> httpx.Client:
        return httpx.Client(
            verify=context or True, event_hooks={"request": [lambda request: where.append(str(request.url))]}
        )

    return made
