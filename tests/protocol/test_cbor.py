"""CBOR as far as attestation documents use it; everything else is refused."""

import pytest

from og_integrations.protocol.proof import _cbor as cbor


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("00", 0),
        ("17", 23),
        ("1818", 24),
        ("1bffffffffffffffff", 2**64 - 1),
        ("20", -1),
        ("3903e7", -1000),
        ("40", b""),
        ("4401020304", b"\x01\x02\x03\x04"),
        ("6449455446", "IETF"),
        ("62c3bc", "\N{LATIN SMALL LETTER U WITH DIAERESIS}"),
        ("80", []),
        ("8301820203820405", [1, [2, 3], [4, 5]]),
        ("a0", {}),
        ("a26161016162820203", {"a": 1, "b": [2, 3]}),
        ("a201020304", {1: 2, 3: 4}),
        ("9f0102ff", [1, 2]),
        ("bf6161f6ff", {"a": None}),
        ("1800", 0),
        ("81818180", [[[[]]]]),
    ],
)
def test_known_kinds(data: str, value: object) -> None:
    """Most of these are examples of RFC 8949, appendix A."""
    assert cbor.decode(bytes.fromhex(data)) == value


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "ends too early"),
        ("18", "ends too early"),
        ("4401", "ends too early"),
        ("62c3", "ends too early"),
        ("61ff", "invalid start byte"),
        ("0000", "1 bytes stand behind the end"),
        ("f4", "a tag, simple value or float"),
        ("f7", "a tag, simple value or float"),
        ("f816", "a tag, simple value or float"),
        ("f93c00", "a tag, simple value or float"),
        ("fb3ff199999999999a", "a tag, simple value or float"),
        ("c000", "a tag, simple value or float"),
        ("ff", "a tag, simple value or float"),
        ("1f", "indefinite length"),
        ("5f4100ff", "indefinite length"),
        ("7f6161ff", "indefinite length"),
        ("1c", "reserved head"),
        ("9f01", "ends too early"),
        ("bf01ff", "a tag, simple value or float"),
        ("a1", "longer than what is left"),
        ("9b7fffffffffffffff", "longer than what is left"),
        ("bbffffffffffffffff", "longer than what is left"),
        ("5bffffffffffffffff", "ends too early"),
        ("a201000100", "the same key twice"),
        ("a2616100616101", "the same key twice"),
        ("bf61610061617f", "the same key twice"),
        ("a14000", "a key of type bytes"),
        ("a18000", "a key of type list"),
        ("a1f600", "a key of type NoneType"),
        ("8181818180", "nested more than 4 levels deep"),
        ("9f9f9f9f9f", "nested more than 4 levels deep"),
    ],
)
def test_everything_else(data: str, said: str) -> None:
    """Nothing is allocated, and nothing recursed into, on a stranger's word."""
    with pytest.raises(ValueError, match=said):
        cbor.decode(bytes.fromhex(data))


@pytest.mark.parametrize("size", [0, 23, 24, 255, 256, 65_535, 65_536])
def test_bytes_are_encoded_with_the_shortest_head(size: int) -> None:
    encoded = cbor.encode_bytes(bytes(size))
    assert cbor.decode(encoded) == bytes(size)
    assert len(encoded) - size == (1 if size < 24 else 2 if size < 256 else 3 if size < 65_536 else 5)
