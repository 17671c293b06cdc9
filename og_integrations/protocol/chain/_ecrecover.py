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
_Affine = tuple[int, int]
_Point = tuple[int, int, int] | None
"""
A point of secp256k1 as (x, y, z), which stands for (x/z², y/z³); None is the point at infinity.

In these coordinates one division is enough, at the end: with one for each of 450 sums a signature took 7 ms to check.
"""


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


def _verifies(key: _Affine, digest: bytes, r: int, s: int) -> bool:
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


def _combine(one: _Affine, times: int, other: _Affine, others: int) -> _Affine | None:
    """Return `one` added `times` times and `other` added `others` times, bit by bit from the highest."""
    first, second = (*one, 1), (*other, 1)
    both, found = _add(first, second), None
    for bit in range(255, -1, -1):
        found = _doubled(found)
        match times >> bit & 1, others >> bit & 1:
            case 1, 1:
                found = _add(found, both)
            case 1, 0:
                found = _add(found, first)
            case 0, 1:
                found = _add(found, second)
    if found is None:
        return None
    x, y, z = found
    inverse = pow(z, -1, _P)
    return x * inverse**2 % _P, y * inverse**3 % _P


def _doubled(point: _Point) -> _Point:
    if point is None:
        return None
    x, y, z = point
    square = y * y % _P
    middle, slope = 4 * x * square, 3 * x * x
    across = (slope * slope - 2 * middle) % _P
    return across, (slope * (middle - across) - 8 * square * square) % _P, 2 * y * z % _P


def _add(one: _Point, other: _Point) -> _Point:
    """Return the sum of two points."""
    if one is None or other is None:
        return other if one is None else one
    (x, y, z), (u, v, w) = one, other
    zz, ww = z * z % _P, w * w % _P
    x, u, y, v = x * ww % _P, u * zz % _P, y * ww * w % _P, v * zz * z % _P
    if x == u:
        # A point and its mirror image add up to infinity, where the slope would divide by zero.
        return _doubled(one) if y == v else None
    step, rise = u - x, v - y
    square = step * step % _P
    cube, middle = square * step % _P, x * square
    across = (rise * rise - cube - 2 * middle) % _P
    return across, (rise * (middle - across) - y * cube) % _P, step * z * w % _P
