"""Payment channels as bytes, against payments made by the published client (x402 2.25.0)."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from og_integrations.errors import MalformedOfferError, OpenGradientError, PaymentRefusedError, SchemeRefusedError
from og_integrations.protocol.chain import _eip712 as eip712
from og_integrations.protocol.chain._ecrecover import recover_address
from og_integrations.protocol.payment._x402 import parse_requirements
from og_integrations.protocol.payment.schemes import authorize
from og_integrations.protocol.payment.schemes._batch_settlement import (
    SCHEME,
    Correction,
    Deposit,
    Voucher,
    channel_id,
    channel_salt,
    deposit_digest,
    payment_payload,
    read_correction,
    read_terms,
    voucher_digest,
)
from tests.protocol.captures import BATCH
from tests.sizes import examples

KEYS = {BATCH["addresses"][name].lower(): key for name, key in BATCH["keys"].items()}
CONFIG = BATCH["cases"][0]["channelConfig"]
CHANNEL = BATCH["cases"][0]["channelId"]
CHAIN = 8453


def _payments() -> Iterator[Any]:
    """Every payment of the vectors, with a name for it."""
    for case in BATCH["cases"]:
        if "payload" in case:
            yield pytest.param(case, id=case["name"])
    for run in BATCH["sequences"] + BATCH["recoveries"]:
        for number, step in enumerate(run["steps"]):
            if "payload" in step:
                yield pytest.param(step, id=f"{run['name']}-{number}")
    for refund in BATCH["refunds"]:
        yield pytest.param(refund, id=f"refund-{refund['name']}")


PAYMENTS = list(_payments())


def chain_of(payment: dict[str, Any]) -> int:
    return int(payment["signed"][0]["domain"]["chainId"])


def deposit_of(payment: dict[str, Any], chain_id: int) -> Deposit:
    sent = payment["payload"]["deposit"]
    common: dict[str, Any] = {"config": payment["channelConfig"], "amount": int(sent["amount"]), "chain_id": chain_id}
    if permit := sent["authorization"].get("permit2Authorization"):
        return Deposit(**common, method="permit2", nonce=int(permit["nonce"]), deadline=int(permit["deadline"]))
    given, domain = sent["authorization"]["erc3009Authorization"], payment["signed"][0]["domain"]
    return Deposit(
        **common,
        method="eip3009",
        nonce=bytes.fromhex(given["salt"][2:]),
        deadline=int(given["validBefore"]),
        token_name=domain["name"],
        token_version=domain["version"],
    )


def signed_by(entry: dict[str, Any], data: dict[str, Any]) -> str:
    """Return eth-account's signature of `data`, by the key that signed `entry`."""
    return f"0x{Account.sign_typed_data(KEYS[entry['signer'].lower()], full_message=data).signature.hex()}"


@pytest.mark.parametrize("payment", PAYMENTS)
def test_payment_of_vector(payment: dict[str, Any]) -> None:
    """Channel id, digests, signatures and payload: from the parts as given, all of it again."""
    payload, chain_id = payment["payload"], chain_of(payment)
    channel = channel_id(payload["channelConfig"], chain_id=chain_id)
    voucher = Voucher(channel=channel, max_claimable=int(payload["voucher"]["maxClaimableAmount"]), chain_id=chain_id)
    *deposits, last = payment["signed"]
    signature = signed_by(last, voucher.typed_data())
    assert "0x" + channel.hex() == payload["voucher"]["channelId"]
    assert ("0x" + voucher.digest().hex(), signature) == (last["digest"], last["signature"])
    assert recover_address(voucher.digest(), bytes.fromhex(signature[2:])) == last["signer"].lower()
    paid_in = None
    for entry in deposits:
        deposit = deposit_of(payment, chain_id)
        paid_in = deposit.payload(signed_by(entry, deposit.typed_data()))
        assert "0x" + deposit.digest().hex() == entry["digest"]
    amount = payload.get("amount")
    built = payment_payload(
        payload["type"],
        payload["channelConfig"],
        voucher.payload(signature),
        paid_in,
        amount=None if amount is None else int(amount),
    )
    assert built == payload


@pytest.mark.parametrize("payment", PAYMENTS)
def test_digests_by_the_plain_functions(payment: dict[str, Any]) -> None:
    payload, chain_id = payment["payload"], chain_of(payment)
    channel = bytes.fromhex(payload["voucher"]["channelId"][2:])
    ceiling = int(payload["voucher"]["maxClaimableAmount"])
    digests = [voucher_digest(channel, ceiling, chain_id=chain_id)]
    if payload["type"] == "deposit":
        made = deposit_of(payment, chain_id)
        digests.insert(
            0,
            deposit_digest(
                payload["channelConfig"],
                made.amount,
                chain_id=chain_id,
                method=made.method,
                nonce=made.nonce,
                deadline=made.deadline,
                token_name=made.token_name,
                token_version=made.token_version,
            ),
        )
    assert ["0x" + digest.hex() for digest in digests] == [entry["digest"] for entry in payment["signed"]]


@pytest.mark.parametrize("case", BATCH["serverSide"], ids=lambda case: case["name"])
def test_what_the_receiver_signs(case: dict[str, Any]) -> None:
    """Claims and refunds are not ours to sign; they show that lists of structs are encoded as the contracts do."""
    (entry,) = case["signed"]
    types = {
        name: tuple(f"{field['type']} {field['name']}" for field in fields)
        for name, fields in BATCH["types"][entry["primaryType"]].items()
    }
    message = json.loads(json.dumps(entry["message"]), parse_int=int)
    for claim in message.get("claims", [message]):
        claim |= {name: int(value) for name, value in claim.items() if value.isdecimal()}
    domain = entry["domain"] | {"chainId": int(entry["domain"]["chainId"])}
    data = eip712.typed_data(types, domain, message)
    assert "0x" + eip712.digest(data).hex() == entry["digest"]
    assert signed_by(entry, data) == entry["signature"]


@pytest.mark.parametrize("case", [case for case in BATCH["cases"] if "payload" in case], ids=lambda case: case["name"])
def test_channel_of_offer(case: dict[str, Any]) -> None:
    requirement = parse_requirements(case["offer"])
    terms = read_terms(requirement)
    signer = BATCH["addresses"]["voucherSigner" if case["voucherSigner"] else "payer"]
    config = terms.config(
        payer=BATCH["addresses"]["payer"], voucher_signer=signer, salt=bytes.fromhex(case["salt"][2:])
    )
    assert config == case["channelConfig"]
    assert "0x" + channel_id(config, chain_id=requirement.chain_id).hex() == case["channelId"]
    wished = case["offer"]["extra"].get("minDeposit")
    assert terms.min_deposit == (None if wished is None else int(wished))


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"assetTransferMethod": "permit3"}, "assetTransferMethod is 'permit3', expected permit2 or eip3009"),
        ({"receiverAuthorizer": None}, "names no receiverAuthorizer"),
        ({"receiverAuthorizer": "0x" + "00" * 20}, "names no receiverAuthorizer"),
        ({"receiverAuthorizer": "0x12"}, "'0x12' is no address"),
        ({"withdrawDelay": None}, "withdrawDelay is None, expected 900 to 2592000 s"),
        ({"withdrawDelay": "900"}, "withdrawDelay is '900'"),
        ({"withdrawDelay": True}, "withdrawDelay is True"),
        ({"withdrawDelay": 899}, "withdrawDelay is 899"),
        ({"withdrawDelay": 2592001}, "withdrawDelay is 2592001"),
        ({"assetTransferMethod": "eip3009", "name": None}, "names no token name and version"),
        ({"minDeposit": 5}, "'5' is no uint256"),
        ({"minDeposit": str(2**128)}, "which is no uint128"),
    ],
)
def test_offer_that_cannot_be_read_exactly_is_refused(extra: dict[str, Any], says: str) -> None:
    offer = BATCH["cases"][0]["offer"]
    with pytest.raises(MalformedOfferError, match=says):
        read_terms(parse_requirements(offer | {"extra": offer["extra"] | extra}))


def test_offers_that_the_published_client_refuses() -> None:
    for case in [case for case in BATCH["cases"] if "refusal" in case]:
        with pytest.raises(MalformedOfferError):
            read_terms(parse_requirements(case["offer"]))


def corrections() -> list[dict[str, Any]]:
    return [run for run in BATCH["recoveries"] if run["kind"] == "corrective-402"]


def read(run: dict[str, Any], **changes: Any) -> Correction:
    """Read the corrective 402 of `run`, after the voucher of its first step was refused."""
    step = run["steps"][0]
    extra, chain = step["corrective"]["offer"]["extra"], step["corrective"]["chain"]
    known: dict[str, Any] = {
        "config": step["channelConfig"],
        "chain_id": CHAIN,
        "signer": step["channelConfig"]["payerAuthorizer"],
        "highest_signed": int(step["payload"]["voucher"]["maxClaimableAmount"]),
        "claimed_on_chain": None if chain is None else int(chain[step["channelId"]][1]),
    }
    return read_correction(changes.pop("extra", extra), **(known | changes))


PROVEN = {"server-ahead-with-proof": 75 * 10**15, "server-behind-with-proof": 125 * 10**14}
UNPROVEN = {
    "proof-signed-by-another-key": "its voucher for 125000000000000000 is not signed by our key",
    "proof-for-another-amount": "its voucher for 125000000000000001 is not signed by our key",
    "charged-above-proof": "it charged 125000000000000001, and we signed for 125000000000000000",
    "charged-below-claimed-on-chain": "it charged 25000000000000000, and the chain, where claims are counted, says",
    "no-proof-falls-back-to-chain": "it shows no count and no voucher",
    "below-claimed-falls-back-to-chain": "it shows no count and no voucher",
    "no-rpc-no-recovery": "and the chain, where claims are counted, was not read",
    "channel-busy-is-no-corrective": "it shows no count and no voucher",
    "drained-on-chain-then-deposit": "it shows no count and no voucher",
}


@pytest.mark.parametrize("run", corrections(), ids=lambda run: run["name"])
def test_correction_of_vector(run: dict[str, Any]) -> None:
    """
    A count that our own signature proves is taken over, any other is not.

    Published clients then fall back to what the chain says; that is for whoever reads the chain to decide.
    """
    if run["name"] in PROVEN:
        correction = read(run)
        assert (correction.charged, correction.signed_max) == (PROVEN[run["name"]], 125 * 10**15)
        return
    with pytest.raises(PaymentRefusedError) as caught:
        read(run)
    assert UNPROVEN[run["name"]] in str(caught.value)


def test_refused_correction_says_what_is_at_stake() -> None:
    with pytest.raises(PaymentRefusedError) as caught:
        read(corrections()[0], extra={})
    assert str(caught.value) == (
        "The gateway refused the voucher and says that it counts otherwise, but it shows no count and no voucher. Its "
        "count is not taken over, and no other voucher is signed for it. It can claim no more than was signed before; "
        "to get the rest of the deposit back, ask for a refund or withdraw it."
    )
    assert not caught.value.is_retryable


AHEAD = corrections()[0]


def test_correction_above_what_we_remember_is_refused() -> None:
    """A voucher that we signed and do not know of: another copy of us pays from the same channel."""
    assert read(AHEAD, highest_signed=None).signed_max == 125 * 10**15
    with pytest.raises(PaymentRefusedError, match="we signed for 124999999999999999 at most"):
        read(AHEAD, highest_signed=125 * 10**15 - 1)


def test_correction_holds_for_its_channel_only() -> None:
    """Neither another salt nor another chain, whatever channel id the gateway names."""
    for changes in ({"config": CONFIG | {"salt": "0x" + "01" * 32}}, {"chain_id": 84532}, {"signer": "0x" + "11" * 20}):
        with pytest.raises(PaymentRefusedError, match="is not signed by our key"):
            read(AHEAD, **changes)
    extra = json.loads(json.dumps(AHEAD["steps"][0]["corrective"]["offer"]["extra"]))
    extra["channelState"]["channelId"] = "0x" + "ee" * 32
    assert read(AHEAD, extra=extra).charged == 75 * 10**15


@pytest.mark.parametrize(
    ("place", "member", "value"),
    [
        ("channelState", "chargedCumulativeAmount", None),
        ("channelState", "chargedCumulativeAmount", 75 * 10**15),
        ("channelState", "chargedCumulativeAmount", "-1"),
        ("channelState", "chargedCumulativeAmount", "0x10"),
        ("channelState", "chargedCumulativeAmount", str(2**128)),
        ("voucherState", "signedMaxClaimable", "1e18"),
        ("voucherState", "signedMaxClaimable", True),
        ("voucherState", "signature", None),
        ("voucherState", "signature", "0x"),
        ("voucherState", "signature", "0x" + "00" * 65),
        ("voucherState", "signature", "0x" + "ff" * 65),
    ],
)
def test_correction_of_another_form_proves_nothing(place: str, member: str, value: Any) -> None:
    extra = json.loads(json.dumps(AHEAD["steps"][0]["corrective"]["offer"]["extra"]))
    extra[place][member] = value
    with pytest.raises(PaymentRefusedError):
        read(AHEAD, extra=extra)


def test_every_flipped_bit_of_a_proof_is_refused() -> None:
    extra = json.loads(json.dumps(AHEAD["steps"][0]["corrective"]["offer"]["extra"]))
    good = bytes.fromhex(extra["voucherState"]["signature"][2:])
    for bit in range(0, 8 * len(good), 7):
        broken = bytearray(good)
        broken[bit // 8] ^= 1 << bit % 8
        extra["voucherState"]["signature"] = "0x" + broken.hex()
        with pytest.raises(PaymentRefusedError, match="is not signed by our key"):
            read(AHEAD, extra=extra)


# Who signed

secrets = st.integers(1, 2**256 - 2**129).map(lambda number: number.to_bytes(32, "big"))


@examples(15)
@given(secret=secrets, digest=st.binary(min_size=32, max_size=32))
def test_signer_is_found(secret: bytes, digest: bytes) -> None:
    signature = Account.unsafe_sign_hash(digest, secret).signature
    assert recover_address(digest, signature) == Account.from_key(secret).address.lower()
    other = bytes([digest[0] ^ 1]) + digest[1:]
    assert recover_address(other, signature) != Account.from_key(secret).address.lower()


def test_a_second_signature_made_of_the_first_is_refused() -> None:
    """`n - s` with the other `v` is by the same key, and only who has seen the first can make it."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    good = Account.unsafe_sign_hash(bytes(32), b"\1" * 32).signature
    high = (order - int.from_bytes(good[32:64], "big")).to_bytes(32, "big")
    assert recover_address(bytes(32), good) is not None
    assert recover_address(bytes(32), good[:32] + high + bytes([55 - good[64]])) is None


@pytest.mark.parametrize(
    "signature",
    [b"", bytes(65), bytes(64) + b"\x1b", b"\xff" * 64 + b"\x1b", (5).to_bytes(32, "big") * 2 + b"\x1b", bytes(66)],
    ids=["empty", "zeros", "zero r and s", "beyond the order", "no point has that x", "too long"],
)
def test_what_is_no_signature_has_no_signer(signature: bytes) -> None:
    assert recover_address(bytes(32), signature) is None


# What binds what


@pytest.mark.parametrize("name", [*CONFIG])
def test_every_member_of_the_config_makes_another_channel(name: str) -> None:
    other = 901 if name == "withdrawDelay" else "0x" + "99" * (32 if name == "salt" else 20)
    assert channel_id(CONFIG | {name: other}, chain_id=CHAIN) != channel_id(CONFIG, chain_id=CHAIN)


def test_case_of_addresses_does_not_matter() -> None:
    lower = {name: value.lower() if isinstance(value, str) else value for name, value in CONFIG.items()}
    assert "0x" + channel_id(lower, chain_id=CHAIN).hex() == CHANNEL


@pytest.mark.parametrize("method", ["permit2", "eip3009"])
def test_deposit_is_bound_to_its_channel(method: Any) -> None:
    """The same money, the same random part: another channel, another chain, another digest."""

    def digest(config: dict[str, Any], chain_id: int) -> bytes:
        return deposit_digest(config, 5, chain_id=chain_id, method=method, nonce=b"\7" * 32, deadline=9)

    other = CONFIG | {"salt": "0x" + "01" * 32}
    assert len({digest(CONFIG, CHAIN), digest(other, CHAIN), digest(CONFIG, 84532)}) == 3


def test_salt_differs_by_host_and_slot() -> None:
    """Two gateways that pay one receiver must not share a channel, and no channel is the published clients' own."""
    salts = {channel_salt("a.example"), channel_salt("b.example"), channel_salt("a.example", 1)}
    assert len(salts) == 3
    assert bytes(32) not in salts
    assert channel_salt("A.Example") in salts


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"payer": "0x12"}, "'0x12' is no address"),
        ({"token": None}, "channel's token is a NoneType, expected an address"),
        ({"withdrawDelay": "900"}, "withdrawDelay is '900', expected seconds as a number"),
        ({"withdrawDelay": True}, "withdrawDelay is True"),
        ({"withdrawDelay": 2**40}, "withdrawDelay is 1099511627776"),
        ({"salt": "0x00"}, "salt is not 32 bytes"),
    ],
)
def test_config_of_another_form_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(MalformedOfferError, match=says):
        channel_id(CONFIG | changes, chain_id=CHAIN)


@pytest.mark.parametrize("amount", [-1, 2**128, True])
def test_amount_that_no_contract_holds_is_refused(amount: Any) -> None:
    with pytest.raises(MalformedOfferError):
        voucher_digest(bytes(32), amount, chain_id=CHAIN)
    with pytest.raises(MalformedOfferError):
        deposit_digest(CONFIG, amount, chain_id=CHAIN, method="permit2", nonce=1, deadline=9)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"method": "permit3"}, "transfer method is 'permit3', expected permit2 or eip3009"),
        ({"nonce": -1}, "nonce is no uint256"),
        ({"nonce": 2**256}, "nonce is no uint256"),
        ({"nonce": b"\1" * 33}, "nonce is no uint256"),
        ({"deadline": -1}, "'-1' is no uint256"),
    ],
)
def test_deposit_of_another_form_is_refused(changes: dict[str, Any], says: str) -> None:
    whole: dict[str, Any] = {"chain_id": CHAIN, "method": "permit2", "nonce": 1, "deadline": 9} | changes
    with pytest.raises(MalformedOfferError, match=says):
        deposit_digest(CONFIG, 5, **whole)


@pytest.mark.parametrize(
    ("kind", "deposit", "amount"),
    [("voucher", {}, None), ("deposit", None, None), ("refund", {}, None), ("claim", None, None), ("voucher", None, 1)],
)
def test_payload_of_parts_that_do_not_fit_is_refused(kind: Any, deposit: Any, amount: Any) -> None:
    with pytest.raises(OpenGradientError, match="nothing was sent"):
        payment_payload(kind, CONFIG, {}, deposit, amount=amount)


def test_nothing_is_paid_by_this_scheme_yet() -> None:
    """These are bytes without a wallet: the offer is refused before anything is signed."""
    requirement = parse_requirements(BATCH["cases"][0]["offer"])
    assert requirement.scheme == SCHEME
    with pytest.raises(SchemeRefusedError, match="asks for scheme 'batch-settlement', expected one of"):
        authorize(requirement, payer=CONFIG["payer"], now=BATCH["now"], nonce=1)
