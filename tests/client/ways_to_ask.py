"""The four ways to ask, as one table: every promise of the client holds for each of them."""

import asyncio
from collections.abc import Callable
from typing import Any

from og_integrations.client import Answer, AsyncClient, Client
from og_integrations.devnet import Devnet

MODEL = "openai/gpt-5-mini"
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def user(text: str) -> list[dict[str, Any]]:
    """Return the messages of one question."""
    return [{"role": "user", "content": text}]


def by_chat(net: Devnet, text: str, **options: Any) -> Answer:
    """Ask synchronously."""
    with Client(**_of_client(net, options)) as client:
        return client.chat(MODEL, user(text), **options)


def by_stream(net: Devnet, text: str, **options: Any) -> Answer:
    """Ask by a synchronous stream; the pieces must add up to the answer."""
    with Client(**_of_client(net, options)) as client:
        *texts, answer = client.stream(MODEL, user(text), **options)
        return _added_up(texts, answer)


def by_achat(net: Devnet, text: str, **options: Any) -> Answer:
    """Ask asynchronously, on a loop of its own."""

    async def ask() -> Answer:
        async with AsyncClient(**_of_client(net, options)) as client:
            return await client.chat(MODEL, user(text), **options)

    return asyncio.run(ask())


def by_astream(net: Devnet, text: str, **options: Any) -> Answer:
    """Ask by an asynchronous stream."""

    async def ask() -> Answer:
        async with AsyncClient(**_of_client(net, options)) as client:
            *texts, answer = [item async for item in client.stream(MODEL, user(text), **options)]
            return _added_up(texts, answer)

    return asyncio.run(ask())


WAYS: dict[str, Callable[..., Answer]] = {
    "chat": by_chat,
    "stream": by_stream,
    "achat": by_achat,
    "astream": by_astream,
}
"""Name of the method -> how to ask once with a fresh client."""


def _added_up(texts: list[Any], answer: str | Answer) -> Answer:
    assert isinstance(answer, Answer)
    assert "".join(texts) == answer.text
    return answer


def _of_client(net: Devnet, options: dict[str, Any]) -> dict[str, Any]:
    """Take out of `options` what belongs to the client; its wallet is that of `net` unless one is given."""
    names = ("private_key", "spend_policy", "enclave_policy", "verification", "max_retries", "signer", "http_client")
    given = {name: options.pop(name) for name in names if name in options}
    wallet = {} if "signer" in given else {"private_key": net.private_key}
    return {"network": options.pop("network", net.network), **wallet, **given}
