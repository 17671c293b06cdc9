"""
This module turns the TEERegistry contract's eth_call data into `Enclave` values and back (docs/protocol.md §1).

The struct's last member (the OHTTP key) has grown over time and may grow again: none, six, seven or
eight fields have been seen. It is not needed to talk to an enclave, so it is read apart from the
others, and what cannot be read is no key; whatever follows it is left alone. Text is decoded for each entry, so
that one operator's broken entry cannot hide all others.

Every client reads the registry when it starts, so this one form is read by hand: eth-abi takes 0.2 s to load.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from og_integrations.errors import DiscoveryError
from og_integrations.protocol.chain._abi import selector
from og_integrations.protocol.proof._enclave import (
    OHTTP_SUITE,
    Enclave,
    OhttpKey,
    SignedConfig,
    key_config_digest,
    tee_id_of,
)
from og_integrations.protocol.proof._verification import StepError, is_signed_by

_SIGNATURES = (
    "getActiveTEEs(uint8)",
    "getEnabledTEEs(uint8)",
    "getTEEsByType(uint8)",
    "getTEE(bytes32)",
    "isTEEActive(bytes32)",
    "isTEEEnabled(bytes32)",
)
SELECTORS = {text.partition("(")[0]: "0x" + selector(text).hex() for text in _SIGNATURES}
"""Function name -> its four-byte selector, 0x-hex."""

MAX_REPLY_BYTES = 8 * 1024 * 1024
MAX_ENTRIES = 1000
"""So many entries are read at most (one is about 4 kB): pointers to one entry could be many."""

# `endpoint` is declared as bytes, which has the same encoding as string: see the module docstring.
_FIELDS = "address,address,bytes,bytes,bytes,bytes32,uint8,bool,uint256,uint256"
_OHTTP = "(uint8,uint16,uint16,uint16,bytes,bytes,uint256)"
_SIGNED_OHTTP = "(uint8,uint16,uint16,uint16,bytes,bytes,bytes,uint256)"
_Entry = tuple[str, str, bytes, bytes, bytes, bytes, int, bool, int, int]
_WORD = 32
_HEAD = 10  # words of an entry without that member
_KEY_BYTES = 32
_MAX_BYTES = 1024  # of a key config (41) or a signature (256 or 512)


def encode_get_active_tees(tee_type: int) -> str:
    """Return the eth_call data of `getActiveTEEs(tee_type)`, 0x-hex."""
    return SELECTORS["getActiveTEEs"] + f"{tee_type:064x}"


def encode_get_tee(tee_id: str) -> str:
    """Return the eth_call data of `getTEE(tee_id)`, 0x-hex."""
    return SELECTORS["getTEE"] + tee_id.removeprefix("0x").rjust(64, "0")


def encode_is_active(tee_id: str) -> str:
    """Return the eth_call data of `isTEEActive(tee_id)`, 0x-hex."""
    return SELECTORS["isTEEActive"] + tee_id.removeprefix("0x").rjust(64, "0")


def decode_enclaves(data: bytes) -> list[Enclave]:
    """
    Decode the answer of `getActiveTEEs` or `getEnabledTEEs`.

    Entries that cannot be used (no endpoint, no certificate, no key, text that is not UTF-8) are
    left out. Raises `DiscoveryError` if the answer as a whole is not of that form.
    """
    # The first word points to the array, whose first word is its length; elsewhere it would not be counted.
    if int.from_bytes(data[:32], "big") != 32:
        raise _other_form(data)
    # The count is read before decoding, because decoding a million pointers to one entry would exhaust memory.
    if int.from_bytes(data[32:64], "big") > MAX_ENTRIES:
        # The first of them serve as well as all: whoever can add entries must not stop everybody.
        data = data[:32] + MAX_ENTRIES.to_bytes(32, "big") + data[64:]
    with _read(data):
        count = _word(data, _WORD, 0)
        starts = [_pointed(data, 2 * _WORD, position, count) for position in range(count)]
        entries = [_entry_at(data, start) for start in starts]
        # Pointers to one place would be copies without end; honest entries share nothing.
        if sum(len(entry[2]) + len(entry[3]) + len(entry[4]) for entry in entries) > len(data):
            raise ValueError("the same bytes are read again and again")
    found = (_enclave(entry, data, start) for entry, start in zip(entries, starts, strict=True))
    return [enclave for enclave in found if enclave is not None]


def decode_enclave(data: bytes) -> Enclave | None:
    """Decode the answer of `getTEE`; None if the entry cannot be used. Raises `DiscoveryError`."""
    with _read(data):
        start = _pointed(data, 0, 0, 1)
        entry = _entry_at(data, start)
    return _enclave(entry, data, start)


def decode_bool(data: bytes) -> bool:
    """Decode the answer of `isTEEActive` or `isTEEEnabled`. Raises `DiscoveryError`."""
    with _read(data):
        return _bounded(_word(data, 0, 0), 1) == 1


def encode_enclaves(enclaves: Sequence[Enclave], signatures: Mapping[bytes, bytes] | None = None) -> bytes:
    """
    Return the answer of `getActiveTEEs` for `enclaves`.

    `signatures` are those of OHTTP keys by public key, which only the eight-field form of that member has; None means
    the seven-field form.
    """
    from eth_abi.abi import encode

    kind = _OHTTP if signatures is None else _SIGNED_OHTTP
    return encode([f"({_FIELDS},{kind})[]"], [[(*_entry(item), ohttp_member(item, signatures)) for item in enclaves]])


def encode_enclave(enclave: Enclave) -> bytes:
    """Return the answer of `getTEE` for `enclave`, with a seven-field OHTTP member."""
    from eth_abi.abi import encode

    return encode([f"({_FIELDS},{_OHTTP})"], [(*_entry(enclave), ohttp_member(enclave))])


def ohttp_member(enclave: Enclave, signatures: Mapping[bytes, bytes] | None = None) -> tuple[object, ...]:
    """Return the OHTTP member of an entry; what is not listed as signed has an empty signature."""
    signature = [] if signatures is None else [b""]
    key = enclave.ohttp
    if key is None:
        return (0, 0, 0, 0, b"", b"", *signature, 0)
    if signatures is not None and key.signed:
        signature = [signatures[key.public_key]]
    return (key.key_id, *OHTTP_SUITE, key.public_key, key.blob, *signature, enclave.registered_at)


@contextmanager
def _read(data: bytes) -> Iterator[None]:
    """Raise `DiscoveryError` for `data` that is too large, or that what is read inside this `with` finds malformed."""
    if len(data) > MAX_REPLY_BYTES:
        raise DiscoveryError(f"The registry answered {len(data)} bytes, expected at most {MAX_REPLY_BYTES}.")
    try:
        yield
    except ValueError as exc:
        raise _other_form(data) from exc


def _entry_at(data: bytes, start: int) -> _Entry:
    """Return the members of the entry at `start` of `data`, but OHTTP. Raises `ValueError` as a strict decoder does."""
    words = [_word(data, start, position) for position in range(_HEAD)]
    owner, payment = (f"0x{_bounded(word, (1 << 160) - 1):040x}" for word in words[:2])
    endpoint, key, certificate = (_padded(data, start, position) for position in (2, 3, 4))
    kind, enabled = _bounded(words[6], 255), _bounded(words[7], 1) == 1
    return owner, payment, endpoint, key, certificate, words[5].to_bytes(32, "big"), kind, enabled, words[8], words[9]


def _bounded(word: int, most: int) -> int:
    # What its type does not hold would be read as another value elsewhere.
    if word > most:
        raise ValueError("a word is no value of its type")
    return word


def _padded(data: bytes, start: int, position: int) -> bytes:
    """Return bytes like `_bytes`, of any length; zeros have to fill their last word."""
    at = _pointed(data, start, position, _HEAD) + _WORD
    found = _bytes(data, start, position, MAX_REPLY_BYTES)
    at += len(found)
    filling = data[at : at + (-len(found) % _WORD)]
    if len(filling) != -len(found) % _WORD or any(filling):
        raise ValueError("the last word is not filled with zeros")
    return found


def _other_form(data: bytes) -> DiscoveryError:
    return DiscoveryError(
        f"The registry's answer ({len(data)} bytes) is not of the form that TEERegistry returns. "
        "Check OG_REGISTRY_ADDRESS and OG_REGISTRY_RPC_URL."
    )


def _enclave(entry: _Entry, data: bytes, start: int) -> Enclave | None:
    """Return the enclave of an entry that begins at `start` of `data`; None if it cannot be used."""
    owner, payment, endpoint, key, certificate, pcr, kind, enabled, registered, heartbeat = entry
    # Without a certificate there is nothing to pin, and without a key no signature can be checked.
    if not (endpoint and key and certificate):
        return None
    try:
        url = endpoint.decode()
    except UnicodeDecodeError:
        return None
    sealing_key, sealing_config = _ohttp_key(data, start, key)
    return Enclave(
        # The registry does not return the id, and an id that is computed cannot disagree with its key.
        tee_id=tee_id_of(key),
        endpoint=url,
        public_key=key,
        certificate=certificate,
        pcr_hash="0x" + pcr.hex(),
        payment_address=payment,
        owner=owner,
        tee_type=kind,
        enabled=enabled,
        registered_at=registered,
        last_heartbeat_at=heartbeat,
        ohttp=sealing_key,
        ohttp_config=sealing_config,
    )


def _ohttp_key(data: bytes, start: int, signing_key: bytes) -> tuple[OhttpKey | None, SignedConfig | None]:
    """Return the OHTTP key of the entry at `start`, None if we can use none, and its config if that is signed."""
    try:
        # The third word points behind the head of the entry, and so says how many words the head has.
        if _word(data, start, 2) <= _HEAD * _WORD:
            return None, None
        member = start + _word(data, start, _HEAD)
        key_id, *suite = (_word(data, member, position) for position in range(4))
        # The first offset points behind the member's head, so it gives
        # the number of fields, which tells the generations apart.
        fields = _word(data, member, 4) // _WORD
        public_key = _bytes(data, member, 4)
        # A request sealed for another suite would not open at the enclave, and an all-zero key was never set.
        if tuple(suite) != OHTTP_SUITE or key_id > 255 or len(public_key) != _KEY_BYTES or not any(public_key):
            return None, None
    except ValueError:
        return None, None
    signed = _signed_config(data, member, key_id, public_key, signing_key) if fields == 8 else None
    return OhttpKey(key_id, public_key, signed is not None), signed


def _signed_config(data: bytes, member: int, key_id: int, public_key: bytes, signing_key: bytes) -> SignedConfig | None:
    """Return the key config that an eight-field member holds a signature of; its seventh field may be a time."""
    try:
        key_config, signature = _bytes(data, member, 5), _bytes(data, member, 6)
        # What is signed twice must be the same twice: readers could take either.
        if not key_config.startswith(bytes([key_id]) + OHTTP_SUITE[0].to_bytes(2, "big") + public_key):
            return None
        digest = key_config_digest(signing_key, (key_id, *OHTTP_SUITE), public_key, key_config)
        return SignedConfig(key_config, signature) if is_signed_by(signing_key, digest, signature) else None
    except (StepError, ValueError):
        return None


def _word(data: bytes, start: int, position: int) -> int:
    """Return the word at a `position` of what begins at `start`. Raises `ValueError` if it is not in `data`."""
    at = start + position * _WORD
    if at + _WORD > len(data):
        raise ValueError("a pointer leads out of the answer")
    return int.from_bytes(data[at : at + _WORD], "big")


def _pointed(data: bytes, start: int, position: int, head: int) -> int:
    """Return where a pointer of a `head` of so many words leads. Raises `ValueError` if that is in the head itself."""
    offset = _word(data, start, position)
    if offset < head * _WORD:
        raise ValueError("a pointer leads to where pointers stand")
    return start + offset


def _bytes(data: bytes, start: int, position: int, most: int = _MAX_BYTES) -> bytes:
    """Return the bytes (at most `most`) to which a word points. Raises `ValueError` if they are not in `data`."""
    at = start + _word(data, start, position)
    size = _word(data, at, 0)
    # The size is a stranger's word: it is bounded before the bytes are copied.
    if size > min(most, len(data) - at - _WORD):
        raise ValueError("bytes are longer than what is left")
    return data[at + _WORD : at + _WORD + size]


def _entry(enclave: Enclave) -> tuple[object, ...]:
    return (
        enclave.owner,
        enclave.payment_address,
        enclave.endpoint.encode(),
        enclave.public_key,
        enclave.certificate,
        bytes.fromhex(enclave.pcr_hash.removeprefix("0x").rjust(64, "0")),
        enclave.tee_type,
        enclave.enabled,
        enclave.registered_at,
        enclave.last_heartbeat_at,
    )
