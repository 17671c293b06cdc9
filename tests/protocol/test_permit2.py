"""What the wallet signs, against authorizations made by the published clients."""

import json
from typing import Any

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from og_integrations.errors import MalformedOfferError
from og_integrations.networks import PERMIT2_ADDRESS, UPTO_PROXY_ADDRESS
from og_integrations.protocol.payment import schemes
from og_integrations.protocol.payment._x402 import (
    checksum_address,
    decode_header,
    encode_payment,
    parse_requirements,
    parse_uint,
)
from og_integrations.protocol.payment.schemes import Authorization
from og_integrations.protocol.payment.schemes._upto import Permit2Authorization
from tests.protocol.captures import PAYMENTS
from tests.sizes import examples

NONCE = int.from_bytes(bytes(range(32)), "big")
each_payment = pytest.mark.parametrize("vector", PAYMENTS, ids=lambda vector: vector["name"])
PAYER = PAYMENTS[0]["payer"]


def authorize(vector: dict[str, Any]) -> Authorization:
    requirement = parse_requirements(vector["requirements"])
    return schemes.authorize(requirement, payer=vector["payer"], now=vector["now"], nonce=NONCE)


def test_there_are_five() -> None:
    """Of scheme `upto`, the only one that gateways offer and that is paid."""
    assert [vector["requirements"]["scheme"] for vector in PAYMENTS] == ["upto"] * 5


@each_payment
def test_digest_of_vector(vector: dict[str, Any]) -> None:
    assert "0x" + authorize(vector).digest().hex() == vector["digest"]


@each_payment
def test_signature_and_payload_of_vector(vector: dict[str, Any]) -> None:
    """Signed by eth-account from our typed data: the published client's payload, byte for byte."""
    authorization = authorize(vector)
    signed = Account.sign_typed_data(vector["private_key"], full_message=authorization.typed_data())
    payload = authorization.payload("0x" + signed.signature.hex())
    assert json.dumps(payload) == json.dumps(vector["payload"])
    assert signed.message_hash == authorization.digest()


@each_payment
def test_typed_data_says_everything(vector: dict[str, Any]) -> None:
    """Wallets and key services, unlike eth-account, derive nothing that is left out."""
    data = authorize(vector).typed_data()
    for kind, members in (("EIP712Domain", data["domain"]), (data["primaryType"], data["message"])):
        assert [field["name"] for field in data["types"][kind]] == list(members)


@each_payment
def test_payment_header_of_vector(vector: dict[str, Any]) -> None:
    """`accepted` is the offer verbatim, also where its addresses are in lower case."""
    requirement = parse_requirements(vector["requirements"])
    header = encode_payment(requirement, authorize(vector).payload(vector["payload"]["signature"]))
    content = decode_header(header)
    assert content == {"x402Version": 2, "payload": vector["payload"], "accepted": vector["requirements"]}
    assert json.dumps(content["accepted"]) == json.dumps(vector["requirements"])


@pytest.mark.parametrize("vector", [v for v in PAYMENTS if "permit2Authorization" in v["payload"]])
def test_payload_is_read_back(vector: dict[str, Any]) -> None:
    authorization = authorize(vector)
    assert Permit2Authorization.from_payload(vector["payload"], authorization.chain_id) == authorization


def broken_payload(*path: str, value: Any) -> dict[str, Any]:
    """Return a good payload in which the member at `path` is `value`."""
    payload: dict[str, Any] = json.loads(json.dumps(PAYMENTS[0]["payload"]))
    place = payload
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return payload


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({}, "not a permit2Authorization"),
        ({"permit2Authorization": None}, "not a permit2Authorization"),
        ({"permit2Authorization": []}, "not a permit2Authorization"),
        (broken_payload("permit2Authorization", "witness", value="x"), "not a permit2Authorization"),
        (broken_payload("permit2Authorization", "from", value=7), "not a permit2Authorization"),
        (broken_payload("permit2Authorization", "spender", value="0x12"), "'0x12' is no address; expected 0x"),
        (broken_payload("permit2Authorization", "nonce", value=7), "'7' is no uint256; expected plain decimal digits"),
        (broken_payload("permit2Authorization", "permitted", "amount", value="1e18"), "'1e18' is no uint256"),
    ],
)  # fmt: skip
def test_payload_that_is_none(payload: dict[str, Any], said: str) -> None:
    with pytest.raises(MalformedOfferError, match=said):
        Permit2Authorization.from_payload(payload, 8453)


def test_typed_data_of_upto() -> None:
    """The words that a wallet shows: Permit2's domain without version, the witness with facilitator."""
    data = authorize(PAYMENTS[0]).typed_data()
    assert data["domain"] == {"name": "Permit2", "chainId": 8453, "verifyingContract": PERMIT2_ADDRESS}
    assert data["primaryType"] == "PermitWitnessTransferFrom"
    assert data["message"]["spender"] == UPTO_PROXY_ADDRESS
    assert data["message"]["deadline"] == PAYMENTS[0]["now"] + 300
    assert data["message"]["witness"]["validAfter"] == PAYMENTS[0]["now"] - 600
    assert [field["name"] for field in data["types"]["Witness"]] == ["to", "facilitator", "validAfter"]


uints = st.integers(0, 2**256 - 1)
addresses = st.binary(min_size=20, max_size=20).map(lambda data: checksum_address("0x" + data.hex()))


@given(
    authorization=st.builds(
        Permit2Authorization,
        chain_id=st.integers(1, 2**53),
        payer=addresses,
        token=addresses,
        amount=st.integers(1, 2**160 - 1),
        spender=addresses,
        nonce=uints,
        deadline=st.integers(0, 2**40),
        pay_to=addresses,
        facilitator=addresses,
        valid_after=st.integers(0, 2**40),
    )
)
@examples(25)
def test_any_digest_is_the_one_that_wallets_sign(authorization: Authorization) -> None:
    """Our digest, written by hand, agrees with eth-account's encoding of the typed data."""
    signed = Account.sign_typed_data(PAYMENTS[0]["private_key"], full_message=authorization.typed_data())
    assert signed.message_hash == authorization.digest()


@pytest.mark.parametrize(
    "address",
    [
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        PAYER,
    ],
)
def test_checksum_of_eip_55(address: str) -> None:
    assert checksum_address(address.lower()) == address
    assert checksum_address("0x" + address[2:].upper()) == address


@pytest.mark.parametrize(
    "text", ["", "0x", "0X" + "00" * 20, "0x" + "0" * 39, "0x" + "0" * 41, "0x" + "g" * 40, PAYER + "\n"]
)
def test_text_that_is_no_address(text: str) -> None:
    with pytest.raises(MalformedOfferError, match="is no address; expected 0x and 40 hex digits"):
        checksum_address(text)


@pytest.mark.parametrize("value", [0, 1, 10**17, 2**160 - 1, 2**256 - 1])
def test_plain_decimal_digits_are_a_uint256(value: int) -> None:
    assert parse_uint(str(value)) == value


@pytest.mark.parametrize(
    "text", [None, 1, "", "-1", "+1", " 1", "1 ", "1\n", "01", "00", "1_000", "1.0", "1e18", "0x1", "٣", str(2**256)]
)
def test_text_that_is_no_uint(text: object) -> None:
    """Only what everybody reads alike: no sign, exponent, blank, leading zero or other digits."""
    with pytest.raises(MalformedOfferError, match="is no uint256; expected plain decimal digits as text"):
        parse_uint(text)
