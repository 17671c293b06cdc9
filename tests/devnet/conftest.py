"""A fresh devnet for each test, and a caller without our client."""

import functools
import itertools
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from og_integrations.devnet import Devnet
from tests.devnet.raw import Raw, raw_caller


@functools.cache
def spare_keys() -> Iterator[rsa.RSAPrivateKey]:
    """Go round in a few RSA keys, more than any test here has at once."""
    return itertools.cycle([rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(8)])


@pytest.fixture(autouse=True, scope="module")
def enclaves_start_fast() -> Iterator[None]:
    """Making a key takes longer than most tests."""
    keys = spare_keys()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("og_integrations.devnet.gateway.enclave.rsa.generate_private_key", lambda **_: next(keys))
        yield


@pytest.fixture
def net() -> Iterator[Devnet]:
    with Devnet() as devnet:
        yield devnet


@pytest.fixture
def raw(net: Devnet) -> Iterator[Raw]:
    with raw_caller(net) as caller:
        yield caller
