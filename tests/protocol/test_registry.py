"""TEERegistry calls and answers, of every generation of the contract."""

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.abi import function_signature_to_4byte_selector
from hypothesis import example, given
from hypothesis import strategies as st

from og_integrations.errors import DiscoveryError
from og_integrations.protocol.chain._abi import decode_values
from og_integrations.protocol.proof import _registry as registry
from og_integrations.protocol.proof._enclave import KNOWN_PCR_HASH, Enclave, OhttpKey, tee_id_of
from og_integrations.protocol.proof._registry import (
    SELECTORS,
    decode_bool,
    decode_enclave,
    decode_enclaves,
    encode_enclave,
    encode_enclaves,
    encode_get_active_tees,
    encode_get_tee,
    encode_is_active,
)
from tests.protocol.captures import VECTORS
from tests.sizes import examples

FIELDS = "address,address,string,bytes,bytes,bytes32,uint8,bool,uint256,uint256"
OWNER, PAYMENT = "0x" + "0a" * 20, "0x" + "0b" * 20
FIRST = Enclave(
    tee_id=tee_id_of(b"key 1"),
    endpoint="https://1.2.3.4:443",
    public_key=b"key 1",
    certificate=b"certificate 1",
    pcr_hash=KNOWN_PCR_HASH,
    payment_address=PAYMENT,
    owner=OWNER,
    registered_at=1_700_000_000,
    last_heartbeat_at=2**40,
)
SECOND = replace(
    FIRST, tee_id=tee_id_of(b"key 2"), public_key=b"key 2", endpoint="https://zażółć.example", enabled=False
)
OHTTP = (1, 32, 1, 2, b"hpke", b"config", 1_700_000_000)
LISTINGS: dict[str, dict[str, Any]] = {
    case["id"]: case for case in json.loads((VECTORS / "attestation" / "registry_ohttp.json").read_text())["cases"]
}
OHTTP_TYPES = ["uint8", "uint16", "uint16", "uint16", "bytes", "bytes", "uint256"]


def entry(enclave: Enclave, *further: object, endpoint: object = None) -> tuple[object, ...]:
    return (
        enclave.owner,
        enclave.payment_address,
        enclave.endpoint if endpoint is None else endpoint,
        enclave.public_key,
        enclave.certificate,
        bytes.fromhex(enclave.pcr_hash[2:]),
        enclave.tee_type,
        enclave.enabled,
        enclave.registered_at,
        enclave.last_heartbeat_at,
        *further,
    )


@pytest.mark.parametrize(
    "signature",
    [
        "getActiveTEEs(uint8)",
        "getEnabledTEEs(uint8)",
        "getTEEsByType(uint8)",
        "getTEE(bytes32)",
        "isTEEActive(bytes32)",
        "isTEEEnabled(bytes32)",
    ],
)
def test_selector_of_each_view(signature: str) -> None:
    assert SELECTORS[signature.partition("(")[0]] == "0x" + function_signature_to_4byte_selector(signature).hex()


def test_call_for_all_enclaves() -> None:
    assert encode_get_active_tees(1) == SELECTORS["getActiveTEEs"] + "0" * 63 + "1"


@pytest.mark.parametrize(("call", "name"), [(encode_get_tee, "getTEE"), (encode_is_active, "isTEEActive")])
def test_calls_about_one_enclave(call: Any, name: str) -> None:
    assert call("0x" + "ab" * 32) == call("ab" * 32) == SELECTORS[name] + "ab" * 32


def test_encoded_enclaves_are_read_back() -> None:
    assert decode_enclaves(encode_enclaves([FIRST, SECOND])) == [FIRST, SECOND]
    assert decode_enclaves(encode_enclaves([])) == []
    assert decode_enclave(encode_enclave(SECOND)) == SECOND


@pytest.mark.parametrize(
    ("types", "values"),
    [
        pytest.param("", (), id="no-ohttp"),
        pytest.param(f",({','.join(OHTTP_TYPES[:6])})", (OHTTP[:6],), id="six-fields"),
        pytest.param(f",({','.join(OHTTP_TYPES)})", (OHTTP,), id="seven-fields"),
        pytest.param(f",({','.join(OHTTP_TYPES)},bytes)", ((*OHTTP, b"signature"),), id="eight-fields"),
        pytest.param(f",({','.join(OHTTP_TYPES)}),uint256,string", (OHTTP, 7, "new"), id="unknown-further-fields"),
        pytest.param(",uint256,bool", (7, True), id="only-static-further-fields"),
    ],
)
def test_every_generation_of_the_struct(types: str, values: tuple[object, ...]) -> None:
    """Encoded by eth-abi from the published ABI; what follows the known members is left alone."""
    entries = [entry(FIRST, *values), entry(SECOND, *values)]
    assert decode_enclaves(encode([f"({FIELDS}{types})[]"], [entries])) == [FIRST, SECOND]
    assert decode_enclave(encode([f"({FIELDS}{types})"], [entries[0]])) == FIRST


@pytest.mark.parametrize(
    "unusable",
    [{"endpoint": ""}, {"certificate": b""}, {"public_key": b"", "tee_id": tee_id_of(b"")}],
    ids=["endpoint", "certificate", "key"],
)
def test_entry_without_what_is_needed_is_left_out(unusable: dict[str, Any]) -> None:
    broken = replace(FIRST, **unusable)
    assert decode_enclaves(encode_enclaves([broken, SECOND])) == [SECOND]
    assert decode_enclave(encode_enclave(broken)) is None


def test_text_that_is_not_utf8_hides_only_its_own_entry() -> None:
    """One operator cannot take all others out of the list."""
    types = f"({FIELDS.replace('string', 'bytes')})[]"
    entries = [entry(FIRST, endpoint=b"https://\xff\xfe"), entry(SECOND, endpoint=SECOND.endpoint.encode())]
    assert decode_enclaves(encode([types], [entries])) == [SECOND]


def test_type_and_state_are_kept() -> None:
    """Filtering is the policy's; nothing is lost on the way to it."""
    validator = replace(FIRST, tee_type=1, enabled=False)
    assert decode_enclaves(encode_enclaves([validator])) == [validator]


@pytest.mark.parametrize(("data", "expected"), [(bytes(31) + b"\x01", True), (bytes(32), False)])
def test_word_is_read_as_a_bool(data: bytes, expected: bool) -> None:
    assert decode_bool(data) is expected


@pytest.mark.parametrize("decode", [decode_enclaves, decode_enclave, decode_bool])
@pytest.mark.parametrize(
    "data", [b"", b"\x01", b"\xff" * 32, b"\xff" * 32 + bytes(480), b"<html>", bytes(31) + b"\x20"]
)
def test_answer_of_another_form(decode: Any, data: bytes) -> None:
    """As of an address without a contract, or of a server that is no node."""
    with pytest.raises(DiscoveryError, match=rf"\({len(data)} bytes\) is not of the form .* Check OG_REGISTRY_ADDRESS"):
        decode(data)


def test_answer_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MAX_REPLY_BYTES", 100)
    with pytest.raises(DiscoveryError, match="answered 101 bytes, expected at most 100"):
        decode_enclaves(bytes(31) + b"\x20" + bytes(69))


def test_list_that_claims_to_be_endless() -> None:
    """A length of 2^255 entries costs no more than one of a thousand, and is refused: they are not there."""
    with pytest.raises(DiscoveryError, match=r"\(128 bytes\) is not of the form"):
        decode_enclaves(bytes(31) + b"\x20" + b"\x80" + bytes(31) + bytes(64))


@given(st.binary(max_size=400), st.sampled_from([decode_enclaves, decode_enclave, decode_bool]))
@examples(60)
def test_garbage_is_a_discovery_error(data: bytes, decode: Any) -> None:
    try:
        decode(data)
    except DiscoveryError:
        return


@given(
    position=st.integers(0, 10**6), value=st.integers(0, 255), end=st.integers(0, 10**6), cut=st.booleans()
)  # fmt: skip
@examples(120)
def test_damaged_answer_is_a_discovery_error_or_other_enclaves(position: int, value: int, end: int, cut: bool) -> None:
    """One byte changed, perhaps cut short: an error of ours or a list of well-formed entries."""
    data = bytearray(encode_enclaves([FIRST, SECOND]))
    data[position % len(data)] = value
    if cut:
        del data[end % len(data) :]
    try:
        found = decode_enclaves(bytes(data))
    except DiscoveryError:
        return
    assert all(enclave.tee_id == tee_id_of(enclave.public_key) and enclave.certificate for enclave in found)


def test_list_elsewhere_is_not_read() -> None:
    """Behind another word its length would not be counted, and its pointers could all lead to one entry."""
    word = encode(["uint256"], [64])
    with pytest.raises(DiscoveryError, match="is not of the form"):
        decode_enclaves(word + bytes(32) + encode_enclaves([FIRST])[32:])


@pytest.mark.parametrize("name", LISTINGS)
def test_ohttp_key_of_every_generation(name: str) -> None:
    """A key counts as signed only by the entry's own enclave, wherever it stands and whoever repeats it."""
    expect = LISTINGS[name]["expect"]
    found = decode_enclaves(bytes.fromhex(LISTINGS[name]["reply"][2:]))
    assert len(found) == expect["entries"]
    for enclave, key, signed in zip(found, expect["ohttp"], expect["signed"], strict=True):
        listed = key and OhttpKey(key["key_id"], bytes.fromhex(key["public_key"]), signed == "yes")
        assert enclave.ohttp == listed


KEY = b"k" * 32
BLOB = b"\x01\x00\x20" + KEY + bytes.fromhex("000400010003")
SEALING = (1, 32, 1, 3, KEY, BLOB, 1_700_000_000)


def listed(member: tuple[object, ...], types: str = ",".join(OHTTP_TYPES)) -> Enclave:
    """Return an entry whose last member is `member`, alone and in a list decoded alike."""
    row = entry(FIRST, member)
    (found,) = decode_enclaves(encode([f"({FIELDS},({types}))[]"], [[row]]))
    assert found == decode_enclave(encode([f"({FIELDS},({types}))"], [row]))
    assert replace(found, ohttp=None) == FIRST
    return found


def test_ohttp_key_without_a_signature() -> None:
    assert listed(SEALING).ohttp == (1, KEY, False)


@pytest.mark.parametrize(
    "member",
    [
        pytest.param((1, 33, *SEALING[2:]), id="other-kem"),
        pytest.param((1, 32, 1, 2, *SEALING[4:]), id="other-cipher"),
        pytest.param((*SEALING[:4], KEY[:31], *SEALING[5:]), id="short-key"),
        pytest.param((*SEALING[:4], bytes(32), *SEALING[5:]), id="zero-key"),
        pytest.param((*SEALING[:4], b"k" * 2000, *SEALING[5:]), id="endless-key"),
    ],
)
def test_ohttp_key_that_cannot_be_used(member: tuple[object, ...]) -> None:
    """The enclave stays listed: pinned TLS needs no such key."""
    assert listed(member).ohttp is None


def test_times_instead_of_a_signature() -> None:
    """Another contract of eight fields ends with two times, where the newest has a signature."""
    types = ",".join([*OHTTP_TYPES, "uint256"])
    assert listed((*SEALING, 1_700_000_001), types).ohttp == (1, KEY, False)


@pytest.mark.parametrize("word", [10, 11 + 4])
def test_pointer_out_of_the_answer_hides_the_ohttp_key_only(word: int) -> None:
    data = encode([f"({FIELDS},({','.join(OHTTP_TYPES)}))"], [entry(FIRST, SEALING)])
    assert decode_enclave(data) != FIRST
    at = 32 + (word * 32 if word == 10 else int.from_bytes(data[32 + 320 : 32 + 352], "big") + 4 * 32)
    broken = data[:at] + b"\xff" * 32 + data[at + 32 :]
    assert decode_enclave(broken) == FIRST


@examples(100)
@example([(6, 64)])  # a pointer into the words of its own entry
@example([(2, 32)])  # a pointer to another pointer
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2**256 - 1) | st.integers(0, 2048)), max_size=2))
def test_entries_are_read_as_by_eth_abi(changes: list[tuple[int, int]]) -> None:
    """Word by word: what one takes the other takes, with the same values; it takes too long to load on each start."""
    data = bytearray(encode([f"({FIELDS})[]"], [[entry(FIRST), entry(SECOND)]]))
    for position, word in changes:
        data[32 * position : 32 * position + 32] = word.to_bytes(32, "big")
    found = theirs = None
    with suppress(DiscoveryError):
        found = decode_enclaves(bytes(data))
    with suppress(ValueError):
        ((theirs,),) = [decode_values([f"({registry._FIELDS})[]"], bytes(data))]
    if data[:32] == (32).to_bytes(32, "big") and int.from_bytes(data[32:64], "big") <= registry.MAX_ENTRIES:
        assert (found is None) == (theirs is None)
    assert (
        found is None
        or theirs is None
        or [one.certificate for one in found]
        == [item[4] for item in theirs if item[2] and item[3] and item[4] and _is_text(item[2])]
    )


def _is_text(endpoint: bytes) -> bool:
    try:
        return bool(endpoint.decode())
    except UnicodeDecodeError:
        return False
