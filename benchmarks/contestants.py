"""
Who is measured, each behind the same four methods: one whole answer or one stream, waited for or not.

Every library is imported by the contestant that needs it: they live in different environments.
"""

import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from typing import Any, Protocol
from urllib.parse import urlsplit

from benchmarks.question import CHUNKS, FREE, MESSAGES, MODEL, PROMPT, Place, request

EQUAL_BYTES: Any = {"nonce": "off"}
"""The server has ready answers to known bytes, and a nonce would make each request another one."""


class Contestant(Protocol):
    """One client. `chunks` asks for a stream of that many pieces of text; methods return pieces or characters."""

    def call(self) -> int: ...

    async def acall(self) -> int: ...

    def stream(self, chunks: int | None = None) -> int: ...

    async def astream(self, chunks: int | None = None) -> int: ...


class Httpx:
    """The floor of the wire: httpx, and `json.loads` of what came. Nothing is paid or checked."""

    def __init__(self, place: Place) -> None:
        import httpx

        trust: Any = _trusting(place.gateway) if place.tls else True
        self._url = place.gateway + FREE + "/v1/chat/completions"
        self._client = httpx.Client(verify=trust, trust_env=False)
        self._async_client = httpx.AsyncClient(verify=trust, trust_env=False)

    def ask(self) -> Any:
        return self._client.post(self._url, json=request()).json()

    async def aask(self) -> Any:
        return (await self._async_client.post(self._url, json=request())).json()

    def events(self, chunks: int | None = None) -> Iterator[Any]:
        with self._client.stream("POST", self._url, json={**request(chunks), "stream": True}) as response:
            lines = Lines()
            for data in response.iter_raw():
                yield from lines.events(data)

    async def aevents(self, chunks: int | None = None) -> AsyncIterator[Any]:
        body = {**request(chunks), "stream": True}
        async with self._async_client.stream("POST", self._url, json=body) as response:
            lines = Lines()
            async for data in response.aiter_raw():
                for event in lines.events(data):
                    yield event

    def call(self) -> int:
        return len(self.ask())

    async def acall(self) -> int:
        return len(await self.aask())

    def stream(self, chunks: int | None = None) -> int:
        return sum(1 for _ in self.events(chunks))

    async def astream(self, chunks: int | None = None) -> int:
        return sum([1 async for _ in self.aevents(chunks)])


class OurClient:
    """`Client` and `AsyncClient`: paid, verified, with a receipt."""

    def __init__(self, place: Place) -> None:
        from og_integrations.client import AsyncClient, Client

        self._client = Client(gateway_url=None if place.tls else place.gateway, **EQUAL_BYTES)
        self._async_client = AsyncClient(engine=self._client.engine)

    def call(self) -> int:
        return len(self._client.chat(MODEL, MESSAGES).text)

    async def acall(self) -> int:
        return len((await self._async_client.chat(MODEL, MESSAGES)).text)

    def stream(self, chunks: int | None = None) -> int:
        return sum(1 for _ in self._client.stream(MODEL, MESSAGES, max_tokens=chunks))

    async def astream(self, chunks: int | None = None) -> int:
        return sum([1 async for _ in self._async_client.stream(MODEL, MESSAGES, max_tokens=chunks)])


class LangChainModel:
    """Any LangChain chat model, used as its users do."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def call(self) -> int:
        return len(self._model.invoke(PROMPT).content)

    async def acall(self) -> int:
        return len((await self._model.ainvoke(PROMPT)).content)

    def stream(self, chunks: int | None = None) -> int:
        return sum(1 for _ in self._model.stream(PROMPT, **_limit(chunks)))

    async def astream(self, chunks: int | None = None) -> int:
        return sum([1 async for _ in self._model.astream(PROMPT, **_limit(chunks))])


def _ours(place: Place) -> Contestant:
    from og_integrations.langchain import ChatOpenGradient

    gateway: dict[str, Any] = {} if place.tls else {"gateway_url": place.gateway}
    return LangChainModel(ChatOpenGradient(model=MODEL, **EQUAL_BYTES, **gateway))


def _nothing(_place: Place) -> Contestant:
    """Return LangChain's own floor: a chat model that answers from a constant."""
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

    class Nothing(BaseChatModel):
        @property
        def _llm_type(self) -> str:
            return "nothing"

        def _generate(self, *_args: Any, **_options: Any) -> ChatResult:
            return ChatResult(generations=[ChatGeneration(message=AIMessage("yes"))])

        async def _agenerate(self, *_args: Any, **_options: Any) -> ChatResult:
            return self._generate()

        def _stream(self, *_args: Any, **options: Any) -> Iterator[ChatGenerationChunk]:
            for _ in range(options.get("max_tokens", CHUNKS)):
                yield ChatGenerationChunk(message=AIMessageChunk(content="yes"))

        async def _astream(self, *_args: Any, **options: Any) -> AsyncIterator[ChatGenerationChunk]:
            for _ in range(options.get("max_tokens", CHUNKS)):
                yield ChatGenerationChunk(message=AIMessageChunk(content="yes"))

    return LangChainModel(Nothing())


def _bare(place: Place) -> Contestant:
    """Return the two floors in one: a chat model that asks by httpx. Nothing is paid, checked or reported."""
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

    http = Httpx(place)

    class Bare(BaseChatModel):
        @property
        def _llm_type(self) -> str:
            return "bare"

        def _generate(self, *_args: Any, **_options: Any) -> ChatResult:
            return _result(http.ask())

        async def _agenerate(self, *_args: Any, **_options: Any) -> ChatResult:
            return _result(await http.aask())

        def _stream(self, *_args: Any, **options: Any) -> Iterator[ChatGenerationChunk]:
            for event in http.events(options.get("max_tokens")):
                yield ChatGenerationChunk(message=AIMessageChunk(content=_text(event, "delta")))

        async def _astream(self, *_args: Any, **options: Any) -> AsyncIterator[ChatGenerationChunk]:
            async for event in http.aevents(options.get("max_tokens")):
                yield ChatGenerationChunk(message=AIMessageChunk(content=_text(event, "delta")))

    def _result(answer: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(_text(answer, "message")))])

    return LangChainModel(Bare())


def _openai_clients(place: Place, library: str) -> dict[str, Any]:
    """Return the HTTP clients, of `library`, that OpenAI's package needs to trust the gateway of `place`."""
    if not place.tls:
        return {}
    http, trust = import_module(library), _trusting(place.gateway)
    return {"http_client": http.Client(verify=trust), "async_http_client": http.AsyncClient(verify=trust)}


def _openai(place: Place) -> Contestant:
    clients = _openai_clients(place, "httpx2")
    if clients:
        clients["http_async_client"] = clients.pop("async_http_client")
    url = place.gateway + FREE + "/v1"
    return LangChainModel(
        import_module("langchain_openai").ChatOpenAI(model="gpt-5.2", base_url=url, api_key="none", **clients)
    )


class LlamaIndexModel:
    """Any LLM of LlamaIndex, used as its users do."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def call(self) -> int:
        return len(self._model.complete(PROMPT).text)

    async def acall(self) -> int:
        return len((await self._model.acomplete(PROMPT)).text)

    def stream(self, chunks: int | None = None) -> int:
        return sum(1 for _ in self._model.stream_complete(PROMPT, **_limit(chunks)))

    async def astream(self, chunks: int | None = None) -> int:
        return sum([1 async for _ in await self._model.astream_complete(PROMPT, **_limit(chunks))])


def _llama(place: Place) -> Contestant:
    from og_integrations.llama_index import OpenGradientLLM

    gateway: dict[str, Any] = {} if place.tls else {"gateway_url": place.gateway}
    return LlamaIndexModel(OpenGradientLLM(model=MODEL, **EQUAL_BYTES, **gateway))


def _llama_openai(place: Place) -> Contestant:
    model = import_module("llama_index.llms.openai").OpenAI
    url, clients = place.gateway + FREE + "/v1", _openai_clients(place, "httpx")
    return LlamaIndexModel(model(model="gpt-5.2", api_base=url, api_key="none", **clients))


def _published(place: Place) -> Contestant:
    if place.tls:
        where: dict[str, Any] = {
            "private_key": place.private_key,
            "rpc_url": place.rpc,
            "tee_registry_address": place.registry,
        }
    else:
        where = {"client": import_module("opengradient.client.llm").LLM.from_url(place.private_key, place.gateway)}
    adapter = import_module("opengradient.agents").langchain_adapter
    return LangChainModel(adapter(model=MODEL, max_tokens=CHUNKS, **where))


CONTESTANTS: dict[str, Callable[[Place], Contestant]] = {
    "httpx": Httpx,
    "client": OurClient,
    "ours": _ours,
    "nothing": _nothing,
    "bare": _bare,
    "openai": _openai,
    "llama": _llama,
    "llama_openai": _llama_openai,
    "published": _published,
}


def _trusting(url: str) -> ssl.SSLContext:
    """Return a context that trusts exactly the certificate shown at `url`."""
    address = urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=ssl.get_server_certificate((str(address.hostname), address.port or 443)))
    return context


class Lines:
    """The least that reads a stream: a piece of the body may end anywhere."""

    _rest = b""

    def events(self, data: bytes) -> list[Any]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]


def _text(event: Any, part: str) -> str:
    return event["choices"][0][part].get("content") or "" if event.get("choices") else ""


def _limit(chunks: int | None) -> dict[str, int]:
    return {} if chunks is None else {"max_tokens": chunks}


IMPORTS = {
    "httpx": "import httpx",
    "client": "from og_integrations.client import Client",
    "ours": "from og_integrations.langchain import ChatOpenGradient",
    "nothing": "from langchain_core.language_models.chat_models import BaseChatModel",
    "bare": "import httpx; from langchain_core.language_models.chat_models import BaseChatModel",
    "openai": "from langchain_openai import ChatOpenAI",
    "llama": "from og_integrations.llama_index import OpenGradientLLM",
    "llama_openai": "from llama_index.llms.openai import OpenAI",
    "published": "from opengradient.agents import langchain_adapter",
}
"""Contestant -> what its program imports."""
