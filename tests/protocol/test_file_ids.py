"""Ids of files against what other software makes of the same bytes (js-ipfs's importer, go-ipfs)."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from og_integrations.protocol._file_ids import CHUNK, FileHash
from tests.sizes import examples

MADE_BY_OTHERS = {
    0: (
        "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH",
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
    ),
    12: (
        "QmW3WW1U9rSUrnfrc154WjoM4vpcVbTJvx3NWzVGnbN9Gy",
        "bafkreiecix7llwed2du5v7ezu2g6nmxshljje6xkgi2del45h7g26eab4y",
    ),
    CHUNK: (
        "QmQrVyp1a4SsUrTQ7Mt6xxCArMcbMEHMt5oKPLfA4CuREz",
        "bafkreibdffnmnzlbq264m4kqmxcslchnncczdb567t7xahpgbhdyigvtr4",
    ),
    CHUNK + 1: (
        "QmYqRWLJRcKBePAeZWU2V9NQzKBFTzL9sEgnDg9W2wyyVY",
        "bafybeielov4zxeb3kwwrtgpluv2mh72hsf7vjypbok654v7i2ox5ylnlje",
    ),
    600_000: (
        "QmYEWyer8uMgbuAHKyQoWrWtQoh3BqEQXbUYRbMUSWFZr8",
        "bafybeidtfx2drdcs3chkd22slopllb5xdcrzumm23v7mkkl7mkmcsmkhr4",
    ),
    175 * CHUNK + 9: (  # more leaves than one node holds
        "QmcR18nKmnbKGoyAx8s8Z5hq18pCDj9kbJLyrYBy87ikNp",
        "bafybeicaaauxxyr3hj7iwvzyleof6g7irr6yrrwl65i6264bdp3c4xxhvu",
    ),
}


def bytes_of(size: int) -> bytes:
    """Return the bytes (i * 7 + (i >> 8)) & 255."""
    period = bytes((i * 7 + (i >> 8)) & 255 for i in range(65536))
    return (period * (size // 65536 + 1))[:size]


def hashed(data: bytes, step: int = 100_000) -> FileHash:
    made = FileHash()
    for at in range(0, len(data), step):
        made.update(data[at : at + step])
    return made


@pytest.mark.parametrize(
    "size",
    [pytest.param(size, marks=[pytest.mark.heavy] if size > 10**7 else []) for size in MADE_BY_OTHERS],
)
def test_cids_are_those_that_ipfs_makes(size: int) -> None:
    """Of both versions, whatever the number of leaves."""
    of_file = hashed(bytes_of(size))
    old, new = MADE_BY_OTHERS[size]
    assert of_file.cid == old
    assert [of_file.check(file_id).result for file_id in (old, new)] == ["pass", "pass"]
    of_file.update(b"x")
    assert [of_file.check(file_id).result for file_id in (old, new)] == ["fail", "fail"]


def test_known_text_has_its_known_cid() -> None:
    assert hashed(b"hello world\n").cid == "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"


def test_id_of_43_characters_proves_or_says_nothing() -> None:
    """It may be the hash of the file, or the id of a blob: that one is no proof, and no contradiction."""
    data = b"weights"
    own = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    assert hashed(data).check(own).result == "pass"
    assert hashed(data).check("hJD2Ja3akZFt1A2LT-D_1oxOCz_OtuGYw4V9eE1m39M").result == "skip"


@pytest.mark.parametrize(
    "file_id", [None, "", "owner/name", "Qm" + "0" * 44, "Qm" + "z" * 44, "b" + "1" * 58, "b" * 59]
)
def test_other_ids_are_never_a_proof(file_id: str | None) -> None:
    assert hashed(b"weights").check(file_id).result == "skip"


@examples(60)
@given(data=st.binary(max_size=2000), step=st.integers(1, 500), text=st.text(max_size=70))
def test_pieces_do_not_matter_and_strangers_ids_do_not_break_it(data: bytes, step: int, text: str) -> None:
    assert hashed(data, step).cid == hashed(data).cid
    assert hashed(data).check(text).result == "skip"
