"""Loops that are not asyncio's own: uvloop, which uvicorn runs, and loops inside loops (`nest_asyncio`)."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
import uvloop

from og_integrations.client import AsyncClient
from og_integrations.devnet import Devnet
from og_integrations.errors import CertificateMismatchError
from og_integrations.protocol._strict_json import JsonObject

MODEL = "openai/gpt-5-mini"
NESTED = """
import asyncio, nest_asyncio
nest_asyncio.apply()
from og_integrations import AsyncClient, Client

client, other = Client(), AsyncClient()

def said(text): return [{"role": "user", "content": text}]

async def main():
    inner = asyncio.run(other.chat("openai/gpt-5-mini", said("inner")))
    print(client.chat("openai/gpt-5-mini", said("outer")).text, inner.text, sep=", ")

asyncio.run(main())
"""


def said(text: str) -> list[JsonObject]:
    return [{"role": "user", "content": text}]


@pytest.fixture
def make(net: Devnet) -> Callable[[], AsyncClient]:
    def made() -> AsyncClient:
        return AsyncClient(private_key=net.private_key, network=net.network, max_retries=0)

    return made


def test_calls_and_streams_are_made(net: Devnet, make: Callable[[], AsyncClient]) -> None:
    async def run() -> None:
        async with make() as client:
            answers = await asyncio.gather(*(client.chat(MODEL, said(str(n))) for n in range(8)))
            assert {answer.receipt["channel"] for answer in answers} == {"pinned"}
            *texts, answer = [piece async for piece in client.stream(MODEL, said("streamed"))]
            assert "".join(str(text) for text in texts) == getattr(answer, "text", None)

    for _ in range(2):
        uvloop.run(run())
    assert net.stats().payments == 1
    assert net.verdict().clean


def test_name_of_a_host_is_looked_up(net: Devnet) -> None:
    """Its loop has no `happy_eyeballs_delay`, so that every call ended in a bare `TypeError`."""
    named = {
        name: getattr(net.network, name).replace("127.0.0.1", "localhost") for name in ("rpc_url", "registry_rpc_url")
    }

    async def run() -> None:
        async with AsyncClient(private_key=net.private_key, network=replace(net.network, **named)) as client:
            assert (await client.chat(MODEL, said("hi"))).receipt["status"] == "verified"

    uvloop.run(run())


def test_pin_holds(net: Devnet, make: Callable[[], AsyncClient]) -> None:
    async def run() -> None:
        async with make() as client:
            await client.chat(MODEL, said("SECRET PROMPT"))

    net.inject("wrong_certificate")
    with pytest.raises(CertificateMismatchError):
        uvloop.run(run())


def test_loop_inside_a_loop(net: Devnet) -> None:
    command = [sys.executable, "-W", "ignore", "-c", NESTED]
    done = subprocess.run(
        command, env=os.environ | net.environment(), capture_output=True, text=True, timeout=50, check=False
    )
    assert done.stdout == "You said: outer, You said: inner\n", done.stderr
