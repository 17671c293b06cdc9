"""A fresh devnet for each test, and a caller without our client."""

from collections.abc import Iterator

import pytest

from og_integrations.devnet import Devnet
from tests.devnet.bare_caller import Raw, raw_caller


@pytest.fixture
def net() -> Iterator[Devnet]:
    with Devnet() as devnet:
        yield devnet


@pytest.fixture
def raw(net: Devnet) -> Iterator[Raw]:
    with raw_caller(net) as caller:
        yield caller
