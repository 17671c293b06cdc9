"""
This module builds EIP-712 typed data as wallets take it, and the 32 bytes of it that are signed.

It knows the types and the forms of values that payments have, and `covers` says whether a message has no others.

Types are written as in Solidity, one text a member: `("address to", "uint256 value")`.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from og_integrations.errors import MalformedOfferError
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain._abi import address_word, uint_word
from og_integrations.protocol.chain._keccak import keccak

_DOMAIN_TYPES = {"name": "string", "version": "string", "chainId": "uint256", "verifyingContract": "address"}
_ADDRESS, _WORD = re.compile("0x[0-9a-fA-F]{40}"), re.compile("0x[0-9a-fA-F]{64}")
_STRUCT = re.compile("[A-Z][A-Za-z0-9_]*")
"""A capital tells the name of a struct from that of a type of Solidity."""
_UINT = re.compile("uint(8|16|32|48|64|96|128|160|192|224|256)")
_type_hash = lru_cache(maxsize=64)(keccak)


def typed_data(types: Mapping[str, tuple[str, ...]], domain: JsonObject, message: JsonObject) -> JsonObject:
    """
    Return the whole EIP-712 message, as wallets and `eth_account` take it; the first of `types` is the signed one.

    In `domain` and `message` numbers are ints, and bytes are bytes or 0x-hex.
    """
    fields = {name: [_field(member) for member in members] for name, members in types.items()}
    # EIP-712 lets a domain leave members out. Permit2's has
    # no version, and an invented one would change the digest.
    domain_type = [{"name": name, "type": _DOMAIN_TYPES[name]} for name in domain]
    return {
        "types": {"EIP712Domain": domain_type, **fields},
        "primaryType": next(iter(types)),
        "domain": domain,
        "message": message,
    }


def digest(data: JsonObject) -> bytes:
    """Return the 32 bytes that are signed. Raises `MalformedOfferError` for a number that its type does not hold."""
    types = data["types"]
    domain = _hash_struct("EIP712Domain", data["domain"], types)
    # No transaction begins with these two bytes, so the signature
    # can never be used as one of a transaction (EIP-191).
    return keccak(b"\x19\x01" + domain + _hash_struct(data["primaryType"], data["message"], types))


def covers(data: object) -> bool:
    """Return whether `data` is typed data that `digest` reads as every wallet does; of any other it knows nothing."""
    if not isinstance(data, dict) or not isinstance(data.get("types"), dict):
        return False
    types: JsonObject = data["types"]
    if not all(_STRUCT.fullmatch(str(name)) and isinstance(fields, list) for name, fields in types.items()):
        return False
    if not all(_is_field(field) for fields in types.values() for field in fields):
        return False
    domain = data.get("domain")
    if not {"EIP712Domain", data.get("primaryType")} <= types.keys() or not isinstance(domain, Mapping):
        return False
    # Wallets put the members of a domain into this order, whatever order they were given in.
    named = [(field["name"], field["type"]) for field in types["EIP712Domain"]]
    if named != [(name, kind) for name, kind in _DOMAIN_TYPES.items() if name in domain]:
        return False
    return _holds("EIP712Domain", domain, types) and _holds(data["primaryType"], data.get("message"), types)


def _is_field(field: object) -> bool:
    return isinstance(field, dict) and field.keys() == {"name", "type"} and all(type(v) is str for v in field.values())


def _holds(kind: str, value: object, types: Mapping[str, list[dict[str, str]]]) -> bool:
    """Return whether `value` is one of `kind`, in the form in which `_word` takes it."""
    if kind.endswith("[]"):
        # Arrays of arrays are in no payment.
        one = kind[:-2]
        return isinstance(value, list) and one[-1:] != "]" and all(_holds(one, item, types) for item in value)
    if kind in types:
        # A type that holds itself is not told from one that never ends, so the depth is that of the value.
        members = [field["name"] for field in types[kind]]
        return (
            isinstance(value, Mapping)
            and sorted(value) == sorted(members)
            and all(_holds(field["type"], value[field["name"]], types) for field in types[kind])
        )
    if kind == "address":
        return isinstance(value, str) and _ADDRESS.fullmatch(value) is not None
    if kind == "string":
        return isinstance(value, str)
    if kind == "bytes32":
        return _is_bytes32(value)
    bits = _UINT.fullmatch(kind)
    return bits is not None and type(value) is int and 0 <= value < 1 << int(bits[1])


def _is_bytes32(value: object) -> bool:
    return len(value) == 32 if isinstance(value, bytes) else isinstance(value, str) and bool(_WORD.fullmatch(value))


def _field(member: str) -> dict[str, str]:
    kind, name = member.split()
    return {"name": name, "type": kind}


def _hash_struct(name: str, value: JsonObject, types: Mapping[str, list[dict[str, str]]]) -> bytes:
    words = [_word(field["type"], value[field["name"]], types) for field in types[name]]
    return keccak(_type_hash(_type_text(name, types)) + b"".join(words))


def _word(kind: str, value: Any, types: Mapping[str, list[dict[str, str]]]) -> bytes:
    # An array is hashed over its encoded items, and not written with its length as in the ABI.
    if kind.endswith("[]"):
        return keccak(b"".join(_word(kind[:-2], item, types) for item in value))
    if kind in types:
        return _hash_struct(kind, value, types)
    if kind == "address":
        return address_word(value)
    # Members of any length stand in a struct as their hash, so that each member is one word.
    if kind == "string":
        return keccak(value.encode())
    if kind == "bytes32":
        return bytes.fromhex(value.removeprefix("0x")) if isinstance(value, str) else value
    # A number that is too large would be cut by the contract, and the user would have signed another amount.
    if type(value) is not int or not 0 <= value < 1 << int(kind.removeprefix("uint")):
        raise MalformedOfferError(f"{str(value)[:80]!r} is no {kind}; nothing was signed.")
    return uint_word(value)


def _type_text(name: str, types: Mapping[str, list[dict[str, str]]]) -> bytes:
    """Return the type of `name` and, sorted behind it, of the structs that it holds."""
    # EIP-712 sorts the referenced structs by name and leaves the
    # signed one first; another order gives another type hash.
    found: list[str] = [name]
    for holder in found:
        kinds = [field["type"].removesuffix("[]") for field in types[holder]]
        found += [kind for kind in kinds if kind in types and kind not in found]
    described = [f"{one}({','.join(f['type'] + ' ' + f['name'] for f in types[one])})" for one in found]
    return "".join(described[:1] + sorted(described[1:])).encode()
