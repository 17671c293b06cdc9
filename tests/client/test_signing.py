"""Signatures of a `LocalSigner` are those of eth-account, which most calls need not load."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from og_integrations.client import LocalSigner, typed_data_digest
from og_integrations.devnet import Devnet
from og_integrations.protocol.chain import _eip712
from og_integrations.protocol.payment.schemes._upto import Permit2Authorization

ROOT = Path(__file__).parent.parent.parent


def _permit(rng: random.Random) -> Permit2Authorization:
    def address() -> str:
        return "0x" + rng.randbytes(20).hex()

    return Permit2Authorization(
        chain_id=rng.randrange(1, 2**32),
        payer=address(),
        token=address(),
        amount=rng.randrange(2**160),
        spender=address(),
        nonce=rng.randrange(2**256),
        deadline=rng.randrange(2**40),
        pay_to=address(),
        facilitator=address(),
        valid_after=rng.randrange(2**40),
    )


def test_300_keys_sign_as_eth_account_does() -> None:
    """Same address, same digest, and, since nonces are those of RFC 6979, the same signature."""
    rng = random.Random(20)
    for _ in range(300):
        key, data = "0x" + rng.randbytes(32).hex(), _permit(rng).typed_data()
        account, signer = Account.from_key(key), LocalSigner(key)
        assert _eip712.covers(data)
        assert signer.address == account.address
        message = encode_typed_data(full_message=data)
        assert signer.sign_typed_data(data) == "0x" + bytes(account.sign_message(message).signature).hex()


DOMAIN = {"name": "A", "version": "1", "chainId": 1, "verifyingContract": "0x" + "11" * 20}
DOMAIN_TYPE = [
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
]


def _data(kind: str, value: Any, **types: Any) -> dict[str, Any]:
    return {
        "types": {"EIP712Domain": DOMAIN_TYPE, "Mail": [{"name": "x", "type": kind}], **types},
        "primaryType": "Mail",
        "domain": DOMAIN,
        "message": {"x": value},
    }


ITEM = [{"name": "a", "type": "address"}, {"name": "n", "type": "uint8"}]
MESSAGES = [
    (_data("string", "zażółć"), True),
    (_data("uint256", 2**256 - 1), True),
    (_data("bytes32", b"\1" * 32), True),
    (_data("bytes32", "0x" + "ab" * 32), True),
    (_data("address", "0x" + "Ab" * 20), True),
    (_data("uint64[]", [1, 2, 3]), True),
    (_data("Item[]", [{"a": "0x" + "22" * 20, "n": 255}], Item=ITEM), True),
    (_data("Item", {"a": "0x" + "22" * 20, "n": 0}, Item=ITEM), True),
    (_data("int256", -5), False),
    (_data("bool", True), False),
    (_data("bytes", b"\1\2\3"), False),
    (_data("bytes4", b"\1\2\3\4"), False),
    (_data("uint256", "7"), False),
    (_data("uint8[2]", [1, 2]), False),
    (_data("bytes32", b"\1"), False),
]


@pytest.mark.parametrize(
    ("data", "ours"),
    MESSAGES,
    ids=lambda value: value["types"]["Mail"][0]["type"] if isinstance(value, dict) else str(value),
)
def test_typed_data_of_any_kind_is_signed_as_by_eth_account(data: dict[str, Any], ours: bool) -> None:
    """What is none of a payment's, eth-account signs."""
    key = "0x" + "4f" * 32
    assert _eip712.covers(data) is ours
    message = encode_typed_data(full_message=data)
    assert LocalSigner(key).sign_typed_data(data) == "0x" + bytes(Account.sign_message(message, key).signature).hex()


def test_domain_in_another_order_is_not_ours() -> None:
    """Wallets sort its members."""
    data = _data("string", "x")
    data["types"]["EIP712Domain"] = DOMAIN_TYPE[::-1]
    assert not _eip712.covers(data)
    mistakes: list[object] = [{}, None, {"types": {}}, data | {"primaryType": "Other"}, data | {"domain": None}]
    for broken in mistakes:
        assert not _eip712.covers(broken)


def test_digest_is_the_same_by_both_ways() -> None:
    data = _permit(random.Random(1)).typed_data()
    assert typed_data_digest(data) == _eip712.digest(data)


NEVER = (
    "eth_account",
    "eth_abi",
    "eth_keyfile",
    "eth_keys",
    "eth_utils",
    "py_ecc",
    "parsimonious",
    "httpx",
    "langchain",
    "h11",
    "html",
    "cryptography.x509",
    "og_integrations.client._reader",
    "og_integrations.client.chain._settlement",
    "og_integrations.client.channels._sealed",
    "og_integrations.ledger._entry",
    "og_integrations.ledger._ledger",
    "og_integrations.ledger._totals",
    "og_integrations.protocol.chat._failures",
    "og_integrations.protocol.chat._schemas",
    "og_integrations.protocol.sealing._hpke",
)
"""
What a paid, verified call does not need: the first takes most of a second to load, the last ones a millisecond or
more each, in every process that makes a call.
"""


def test_cold_call_imports_nothing_that_it_does_not_use() -> None:
    code = (
        "import sys\n"
        "from og_integrations.client import Client\n"
        "with Client() as client:\n"
        "    answer = client.chat('openai/gpt-5-mini', [{'role': 'user', 'content': 'hi'}])\n"
        "assert answer.receipt['status'] == 'verified'\n"
        f"print(*sorted(sys.modules.keys() & {set(NEVER)!r}))\n"
        "print(sys.getrecursionlimit())\n"
    )
    with Devnet() as net:
        environment = net.environment() | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["", "1000"]
