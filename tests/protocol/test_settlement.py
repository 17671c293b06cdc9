"""What logs and calldata prove about one authorization, without a chain."""

from dataclasses import replace
from typing import Any

import pytest

from og_integrations.errors import DiscoveryError
from og_integrations.networks import BASE, PERMIT2_ADDRESS, UPTO_PROXY_ADDRESS
from og_integrations.protocol.chain._keccak import keccak
from og_integrations.protocol.payment.schemes._upto import (
    Permit2Authorization,
    cancellation_filter,
    encode_nonce_bitmap,
    is_cancellation,
    nonce_is_used,
    settled_amount,
    transfer_filter,
)

PERMIT = Permit2Authorization(
    chain_id=8453,
    payer="0x" + "11" * 20,
    token=BASE.token,
    amount=10**17,
    spender=UPTO_PROXY_ADDRESS,
    nonce=(7 << 8) | 3,
    deadline=2_000,
    pay_to="0x" + "22" * 20,
    facilitator="0x" + "33" * 20,
    valid_after=1_000,
)


def word(value: int | str) -> bytes:
    return value.to_bytes(32, "big") if isinstance(value, int) else bytes.fromhex(value[2:]).rjust(32, b"\0")


def topic(event: str) -> str:
    return "0x" + keccak(event.encode()).hex()


def calldata(amount: int, **changed: Any) -> bytes:
    """`settle`'s words, with one of them changed."""
    words: dict[str, Any] = {
        "token": PERMIT.token,
        "cap": PERMIT.amount,
        "nonce": PERMIT.nonce,
        "deadline": PERMIT.deadline,
        "amount": amount,
        "owner": PERMIT.payer,
        "to": PERMIT.pay_to,
        "facilitator": PERMIT.facilitator,
        "valid_after": PERMIT.valid_after,
    } | changed
    return b"\xff\x11\xe7\xb4" + b"".join(word(item) for item in words.values() if item is not None) + b"signature"


def transfer(amount: int, **changed: Any) -> dict[str, Any]:
    topics = [
        topic("Transfer(address,address,uint256)"),
        "0x" + word(PERMIT.payer).hex(),
        "0x" + word(PERMIT.pay_to).hex(),
    ]
    return {"address": PERMIT.token, "topics": topics, "data": "0x" + word(amount).hex()} | changed


SETTLED = {"address": UPTO_PROXY_ADDRESS.lower(), "topics": [topic("Settled()")], "data": "0x"}


def test_amount_is_read_between_the_signed_words() -> None:
    """And it is the one that was moved."""
    assert settled_amount(PERMIT, calldata(5), [transfer(5), SETTLED]) == 5


def test_node_may_write_its_logs_in_capitals() -> None:
    logs = [transfer(5), SETTLED]
    loud = [log | {"topics": ["0x" + text[2:].upper() for text in log["topics"]]} for log in logs]
    assert settled_amount(PERMIT, calldata(5), loud) == 5


def test_filters_ask_for_nobody_elses_logs() -> None:
    """A node would send every transfer of the token."""
    assert transfer_filter(PERMIT) == {"address": PERMIT.token, "topics": transfer(0)["topics"]}
    assert cancellation_filter(PERMIT) == {
        "address": PERMIT2_ADDRESS,
        "topics": cancellation(PERMIT.payer, 7, 8)["topics"],
    }


def test_router_may_settle_several_at_any_offset() -> None:
    """Each is found by its own words, not by its place."""
    routed = b"\x01\x02\x03" + calldata(6, nonce=99) + b"\x04" + calldata(5)
    assert settled_amount(PERMIT, routed, [transfer(6), transfer(5), SETTLED, SETTLED]) == 5


@pytest.mark.parametrize("name", ["token", "cap", "nonce", "deadline", "owner", "to", "facilitator", "valid_after"])
def test_other_authorization_is_not_taken_for_this_one(name: str) -> None:
    """One word differs."""
    assert settled_amount(PERMIT, calldata(5, **{name: 4}), [transfer(5), SETTLED]) is None


@pytest.mark.parametrize(
    "logs",
    [
        [],
        [SETTLED],
        [transfer(5)],
        [transfer(6), SETTLED],
        [transfer(5, address="0x" + "44" * 20), SETTLED],
        [transfer(5, topics=[topic("Approval(address,address,uint256)")]), SETTLED],
        [transfer(5, topics=[*transfer(5)["topics"][:2], "0x" + word("0x" + "44" * 20).hex()]), SETTLED],
        [transfer(5, topics=[transfer(5)["topics"][0], *["0x" + word(PERMIT.pay_to).hex()] * 2]), SETTLED],
        [transfer(5), SETTLED | {"address": "0x" + "44" * 20}],
        [transfer(5), SETTLED | {"topics": [topic("Paused()")]}],
        [transfer(5), SETTLED | {"topics": []}],
        [transfer(5, topics=None, data=None), SETTLED],
    ],
)
def test_calldata_without_its_logs_proves_nothing(logs: list[dict[str, Any]]) -> None:
    """Anybody can write calldata; only token and proxy write their logs."""
    assert settled_amount(PERMIT, calldata(5), logs) is None


def cancellation(owner: str, number: int, mask: int, address: str = PERMIT2_ADDRESS) -> dict[str, Any]:
    topics = [topic("UnorderedNonceInvalidation(address,uint256,uint256)"), "0x" + word(owner).hex()]
    return {"address": address, "topics": topics, "data": "0x" + (word(number) + word(mask)).hex()}


@pytest.mark.parametrize(
    ("log", "cancelled"),
    [
        (cancellation(PERMIT.payer, 7, 1 << 3), True),
        (cancellation(PERMIT.payer, 7, 2**256 - 1), True),
        (cancellation(PERMIT.payer, 7, 1 << 4), False),
        (cancellation(PERMIT.payer, 8, 1 << 3), False),
        (cancellation(PERMIT.pay_to, 7, 1 << 3), False),
        (cancellation(PERMIT.payer, 7, 1 << 3, address=PERMIT.token), False),
        (cancellation(PERMIT.payer, 7, 1 << 3) | {"data": "0xzz"}, False),
    ],
)
def test_cancellation_is_by_this_owner_of_this_nonce(log: dict[str, Any], cancelled: bool) -> None:
    """Word, bit, owner and contract."""
    assert is_cancellation(log, PERMIT) is cancelled


@pytest.mark.parametrize("bit", [0, 255])
def test_cancellation_of_the_bits_at_both_ends(bit: int) -> None:
    permit = replace(PERMIT, nonce=(7 << 8) | bit)
    assert is_cancellation(cancellation(PERMIT.payer, 7, 1 << bit), permit)
    assert not is_cancellation(cancellation(PERMIT.payer, 7, ~(1 << bit) % 2**256), permit)


def test_bitmap_has_one_bit_per_nonce() -> None:
    """The word is asked for, the bit is read."""
    assert encode_nonce_bitmap(PERMIT).endswith(word(7).hex())
    assert nonce_is_used(word(1 << 3), PERMIT)
    assert not nonce_is_used(word(~(1 << 3) % 2**256), PERMIT)
    with pytest.raises(DiscoveryError, match="no Permit2"):
        nonce_is_used(b"", PERMIT)
