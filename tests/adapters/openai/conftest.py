"""A devnet with TLS for each test, and the openai package's own clients on top of our transports."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from og_integrations.devnet import Devnet
from og_integrations.openai import openai_client

if TYPE_CHECKING:
    from openai import OpenAI

MODEL = "openai/gpt-4.1"


@pytest.fixture
def net() -> Iterator[Devnet]:
    with Devnet() as devnet:
        yield devnet


@pytest.fixture
def client(net: Devnet) -> "Iterator[OpenAI]":
    with openai_client(private_key=net.private_key, network=net.network) as made:
        yield made
