"""
This module finds who made an Ethereum signature, from the signature alone.

Nothing secret takes part, so the arithmetic need not be constant in time. It only proposes a key: `cryptography`
checks the signature against it. Libraries that do this come with private keys, or take 0.8 s to load.
"""

from og_integrations.protocol.chain._keccak import keccak

# These are the prime, the order and the generator of secp256k1 (SEC 2 §2.4.1).
_P = 2**256 - 2**32 - 977
SECP256K1_ORDER = _N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)
_Point = tuple[int, int] | None


def recover_address(digest: bytes, signature: bytes) -> str | None:
    """
    Return the address (0x-hex, lower case) whose key signed the 32 bytes of `digest`; None if no key did.

    `signature` is r ‖ s ‖ v with v 27 or 28. A high `s` is refused, as contracts do: whoever sees one signature could
    make a second one of it.
    """
    # Contracts refuse a v of 0 or 1, which some wallets write:
    # accepting it here would pass what the chain reverts.
    if len(signature) != 65 or signature[64] not in (27, 28):
        return None
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    # With s and n - s both allowed, one authorization would have two signatures (EIP-2).
    if not 0 < r < _N or not 0 < s <= _N // 2:
        return None
    # The prime is 3 modulo 4, so this power is a square root where there is one, which the next line checks.
    y = pow(r**3 + 7, (_P + 1) // 4, _P)
    if (y * y - r**3 - 7) % _P:
        return None
    # v says whether the y of the signer's point is odd; without it two keys would fit the signature.
    point = (r, y if y % 2 == signature[64] - 27 else _P - y)
    # SEC 1 §4.1.6 gives the key as r⁻¹(sR - eG), with the digest as e.
    inverse = pow(r, -1, _N)
    key = _combine(point, s * inverse % _N, _G, -int.from_bytes(digest, "big") * inverse % _N)
    # The key is believed only after a tested library has verified the signature with it.
    if key is None or not _verifies(key, digest, r, s):
        return None
    return address_of_key(b"".join(coordinate.to_bytes(32, "big") for coordinate in key))


def address_of_key(key: bytes) -> str:
    """Return the address (0x-hex, lower case) of a public key, the 64 bytes of its point."""
    return "0x" + keccak(key)[12:].hex()


def _verifies(key: tuple[int, int], digest: bytes, r: int, s: int) -> bool:
    # What `langchain` imports comes by here and needs none of it.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

    public = ec.EllipticCurvePublicNumbers(*key, ec.SECP256K1()).public_key()
    try:
        public.verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    except InvalidSignature:
        return False
    return True


def _combine(one: _Point, times: int, other: _Point, others: int) -> _Point:
    """Return `one` added `times` times and `other` added `others` times, bit by bit from the highest."""
    both, found = _add(one, other), None
    for bit in range(255, -1, -1):
        found = _add(found, found)
        match times >> bit & 1, others >> bit & 1:
            case 1, 1:
                found = _add(found, both)
            case 1, 0:
                found = _add(found, one)
            case 0, 1:
                found = _add(found, other)
    return found


def _add(one: _Point, other: _Point) -> _Point:
    """Return the sum of two points of secp256k1; None is the point at infinity."""
    if one is None or other is None:
        return other if one is None else one
    (x, y), (u, v) = one, other
    if x == u:
        # A point and its mirror image add up to infinity, where the slope would divide by zero.
        if (y + v) % _P == 0:
            return None
        slope = 3 * x * x * pow(2 * y, -1, _P)
    else:
        slope = (v - y) * pow(u - x, -1, _P)
    across = (slope * slope - x - u) % _P
    return across, (slope * (x - across) - y) % _P
