"""A fresh devnet for each test, and clients that talk to it over TLS."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from og_integrations.client import AsyncClient, Client
from og_integrations.devnet import Devnet

MODEL = "openai/gpt-5-mini"


@pytest.fixture
def net() -> Iterator[Devnet]:
    with Devnet() as devnet:
        yield devnet


@pytest.fixture
def make_client(net: Devnet) -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def make(**options: Any) -> Client:
        defaults: dict[str, Any] = {"private_key": net.private_key, "network": net.network}
        client = Client(**defaults | options)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(make_client: Callable[..., Client]) -> Client:
    return make_client()


@pytest.fixture
def make_async_client(net: Devnet) -> Callable[..., AsyncClient]:
    """Closed by the end of the loops they run on."""

    def make(**options: Any) -> AsyncClient:
        defaults: dict[str, Any] = {"private_key": net.private_key, "network": net.network}
        return AsyncClient(**defaults | options)

    return make


@pytest.fixture
def async_client(make_async_client: Callable[..., AsyncClient]) -> AsyncClient:
    return make_async_client()
