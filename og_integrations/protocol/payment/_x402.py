"""
This module speaks x402 v2 as a gateway does: headers, offers, sessions and settlement (docs/protocol.md §2, §3).

x402 has two words for an offer. A 402 answer carries one `PaymentRequired`; each way to pay in its `accepts` is
one `PaymentRequirements`. Both are read strictly: one header, canonical base64, plain decimal amounts, real
addresses. An offer that cannot be read exactly as it will be signed is refused.

`SettlementMode` says how the facilitator records a call, `Route` what a session is bound to.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import NamedTuple

from og_integrations.errors import ConfigurationError, MalformedOfferError, MalformedReplyError
from og_integrations.protocol._redact import Secret
from og_integrations.protocol._strict_json import JsonObject, decode_json
from og_integrations.protocol.chain._keccak import keccak


class SettlementMode(StrEnum):
    """
    A mode says what is published about a call when it is settled.

    `PRIVATE`: nothing. `BATCH_HASHED` (default): hashes, in a Merkle root with many others.
    `INDIVIDUAL_FULL`: an event of its own, **and the request and response in clear** on Walrus; the
    only mode that returns a transaction hash at once.

    The names of older clients are accepted by `parse`. `SETTLE_INDIVIDUAL` was an alias of
    `SETTLE` and means *private*: reading it as individual would publish plaintext.
    """

    PRIVATE = "private"
    BATCH_HASHED = "batch"
    INDIVIDUAL_FULL = "individual"

    # These are the names of clients before 0.8.0; docs/protocol.md §2.1 lists what each of them meant.
    SETTLE = PRIVATE
    SETTLE_INDIVIDUAL = PRIVATE
    SETTLE_BATCH = BATCH_HASHED
    SETTLE_METADATA = INDIVIDUAL_FULL
    SETTLE_INDIVIDUAL_WITH_METADATA = INDIVIDUAL_FULL

    @classmethod
    def parse(cls, value: "str | Enum") -> "SettlementMode":
        """
        Read a mode from one of our members, a member of another client's enum, its name or value.

        Case, spaces, `-` and `_` are ignored. Raises `ConfigurationError` for anything else: the
        gateway takes an unknown value for "batch", so a typo in "private" would publish hashes.
        """
        if isinstance(value, cls):
            return value
        # The name decides for a member of another client's enum: the values have changed between its versions.
        text = value.name if isinstance(value, Enum) else str(value)
        wanted = _squash(text)
        for name, member in cls.__members__.items():
            if wanted in (_squash(name), _squash(member.value)):
                return member
        raise ConfigurationError(
            f"Unknown settlement mode {text!r}; expected 'private', 'batch' or 'individual' (or a name of "
            f"SettlementMode: {', '.join(cls.__members__)})."
        )


def chosen_mode(*given: "str | Enum | None") -> SettlementMode:
    """
    Return the first of `given` that is not None, read by `SettlementMode.parse`.

    An empty text is a mistake, not an absence. Raises `ConfigurationError`.
    """
    for mode in given:
        if mode is not None:
            return SettlementMode.parse(mode)
    return SettlementMode.BATCH_HASHED


def _squash(text: str) -> str:
    return text.lower().replace(" ", "").replace("-", "").replace("_", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """
    A route is what a session is bound to: one payer (0x-hex), payment network (CAIP-2), enclave and path. `host` is the
    gateway's host name, which the policy may restrict.

    `payees` are the addresses (lower case) that may be paid here; empty if nobody has said.
    """

    payer: str
    network: str
    tee_id: str
    path: str
    host: str
    # The registry may change it while a session lasts, which is no reason to pay again.
    payees: frozenset[str] = field(default=frozenset(), compare=False, repr=False)


PAYMENT_REQUIRED = "PAYMENT-REQUIRED"
PAYMENT_SIGNATURE = "PAYMENT-SIGNATURE"
PAYMENT_RESPONSE = "PAYMENT-RESPONSE"
PROCESSING_HASH = "x-processing-hash"
SETTLEMENT_HASH = "X-Settlement-Tx-Hash"
SETTLEMENT_BLOB = "X-Settlement-Walrus-Blob-ID"
SESSION = "X-Upto-Session"
MAX_HEADER_CHARS = 64 * 1024
"""The real offer has about 2 kB, with all its extensions."""

MAX_AMOUNT = 2**160 - 1
"""Permit2 and the facilitators hold amounts as uint160."""

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
# The patterns allow one spelling only, so that what is shown, signed and echoed is the same text.
_UINT = re.compile(r"0|[1-9][0-9]{0,77}")
_NETWORK = re.compile(r"eip155:([1-9][0-9]{0,17})")
_HASH = re.compile(r"0x[0-9a-fA-F]{64}")
_BLOB_ID = re.compile(r"[A-Za-z0-9_-]{43}")
_SESSION_ID = re.compile(r"[A-Za-z0-9._~-]{1,256}")


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """A head is status and headers of an answer, before its body; names in any case, duplicates kept."""

    status: int
    headers: Sequence[tuple[str, str]] = field(repr=False)
    _last: Mapping[str, str] = field(init=False, compare=False, repr=False)
    """Name in lower case -> its last value: most of what a head is asked for is not in it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_last", {name.lower(): value for name, value in self.headers})

    def values(self, name: str) -> list[str]:
        """Return all values of `name`, as they came."""
        wanted = name.lower()
        return [value for key, value in self.headers if key.lower() == wanted] if wanted in self._last else []

    def header(self, name: str) -> str | None:
        """Return the value of `name`. Raises `MalformedReplyError` if it is there more than once."""
        values = self.values(name)
        if (count := len(values)) > 1:
            values.clear()  # they may be sessions, and errors are reported with the variables of their frames
            raise MalformedReplyError(f"The answer has {count} {name} headers, expected at most one.")
        return values[0] if values else None

    @property
    def content_type(self) -> str:
        """Return the type of the body, in lower case and without parameters; the last one if several are named."""
        return self._last.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def names_session(self) -> bool:
        """Return whether it names a session, as a gateway does after a payment, errors too (docs/protocol.md §3.6)."""
        return SESSION.lower() in self._last

    @property
    def tells_settlement(self) -> bool:
        """Return whether it says anything of a settlement."""
        return not _OF_SETTLEMENT.isdisjoint(self._last)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRequirements:
    """
    Requirements are one way to pay, as offered (docs/protocol.md §3.1).

    It takes at most `amount` base units of `asset` on `network` (`eip155:…`).

    Addresses are EIP-55. `max_timeout_seconds` is how long the authorization may be settled, counted from when it
    is made. `facilitator` may settle it; None where the offer names nobody. `raw` is echoed verbatim in the payment.
    """

    scheme: str
    network: str
    asset: str
    amount: int
    pay_to: str
    max_timeout_seconds: int
    facilitator: str | None
    raw: JsonObject = field(repr=False)

    @property
    def chain_id(self) -> int:
        """Return the id of the chain named by `network`."""
        return parse_chain_id(self.network)


class PaymentRequired(NamedTuple):
    """An offer is what a 402 holds: the gateway's `error` word, and its ways to pay as they came."""

    error: str
    accepts: tuple[JsonObject, ...]


def parse_chain_id(network: object) -> int:
    """Read `eip155:<chain id>` (CAIP-2), without leading zeros. Raises `MalformedOfferError`."""
    found = _NETWORK.fullmatch(network) if isinstance(network, str) else None
    if found is None:
        raise MalformedOfferError(f"The network is {network!r:.60}, expected eip155:<chain id>.")
    return int(found[1])


def checksum_address(address: str) -> str:
    """Return `address` with the capitals of EIP-55. Raises `MalformedOfferError` if it is no address."""
    if not _ADDRESS.fullmatch(address):
        raise MalformedOfferError(f"{address[:80]!r} is no address; expected 0x and 40 hex digits.")
    digits = address[2:].lower()
    # EIP-55 hashes the lower-case digits without 0x; a digit is a capital where its mark is 8 or more.
    marks = keccak(digits.encode()).hex()
    return "0x" + "".join(c.upper() if int(mark, 16) > 7 else c for c, mark in zip(digits, marks, strict=False))


def parse_uint(text: object) -> int:
    """Read a uint256 from plain decimal text: no sign, exponent, blank or leading zero."""
    # `int` takes signs, underscores and digits of other scripts,
    # which another reader would take for another amount.
    if not isinstance(text, str) or not _UINT.fullmatch(text) or int(text) >= 2**256:
        raise MalformedOfferError(f"{str(text)[:80]!r} is no uint256; expected plain decimal digits as text.")
    return int(text)


def encode_header(value: JsonObject) -> str:
    """Return `value` as the base64 JSON of an x402 header."""
    return base64.b64encode(json.dumps(value).encode()).decode()


def decode_header(text: str) -> JsonObject:
    """Read the base64 JSON object of an x402 header, strictly. Raises `MalformedOfferError`."""
    # The size is compared before decoding, because a header comes from anybody who answers for the host.
    if len(text) > MAX_HEADER_CHARS:
        raise MalformedOfferError(f"A payment header has {len(text)} characters, expected at most {MAX_HEADER_CHARS}.")
    try:
        value = decode_json(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as exc:
        raise MalformedOfferError("A payment header is not base64 of JSON.") from exc
    if not isinstance(value, dict):
        raise MalformedOfferError(f"A payment header holds a JSON {type(value).__name__}, expected an object.")
    return value


def parse_payment_required(head: ReplyHead) -> PaymentRequired | None:
    """
    Read the offer of a 402 answer; None if it carries none ("Session expired or exhausted").

    Raises `MalformedOfferError`.
    """
    # A 402 without this header means that the session is over (docs/protocol.md §3.4), which is no error.
    values = head.values(PAYMENT_REQUIRED)
    if not values:
        return None
    if len(values) > 1:
        raise MalformedOfferError(f"The 402 answer has {len(values)} {PAYMENT_REQUIRED} headers, expected one.")
    content = decode_header(values[0])
    accepts = content.get("accepts")
    # Version 1 has other member names, and an offer that is half understood would be signed wrongly.
    if content.get("x402Version") != 2 or not isinstance(accepts, list) or not 0 < len(accepts) <= 32:
        raise MalformedOfferError(
            f"The offer has x402Version {content.get('x402Version')!r:.20} and "
            f"{len(accepts) if isinstance(accepts, list) else 'no'} ways to pay; "
            "expected version 2 and 1 to 32."
        )
    if not all(isinstance(item, dict) for item in accepts):
        raise MalformedOfferError("The offer's `accepts` holds something else than objects.")
    error = content.get("error")
    return PaymentRequired(error=error if isinstance(error, str) else "", accepts=tuple(accepts))


def parse_requirements(raw: JsonObject) -> PaymentRequirements:
    """Read one way to pay. Raises `MalformedOfferError`."""
    scheme, network, extra = raw.get("scheme"), raw.get("network"), raw.get("extra") or {}
    timeout = raw.get("maxTimeoutSeconds")
    if not isinstance(scheme, str) or not isinstance(network, str):
        raise MalformedOfferError(f"The offer has scheme {scheme!r:.40} on network {network!r:.60}, expected texts.")
    parse_chain_id(network)
    # The timeout becomes the permit's deadline; a very large one would leave the wallet bound for years.
    if type(timeout) is not int or not 0 < timeout < 2**40 or not isinstance(extra, dict):
        raise MalformedOfferError(f"The offer's maxTimeoutSeconds is {timeout!r:.40}, expected seconds as a number.")
    amount = parse_uint(raw.get("amount"))
    # An amount of zero would be signed in vain, and a larger one does not fit into the uint160 of the contracts.
    if not 0 < amount <= MAX_AMOUNT:
        raise MalformedOfferError(f"The offer's amount is {amount}, expected 1 to 2^160-1 base units.")
    facilitator = extra.get("facilitatorAddress")
    return PaymentRequirements(
        scheme=scheme,
        network=network,
        asset=_offered_address(raw.get("asset"), "asset"),
        amount=amount,
        pay_to=_offered_address(raw.get("payTo"), "payTo"),
        max_timeout_seconds=timeout,
        facilitator=None if facilitator is None else _offered_address(facilitator, "facilitatorAddress"),
        raw=raw,
    )


def encode_payment(requirements: PaymentRequirements, payload: JsonObject) -> str:
    """
    Return the PAYMENT-SIGNATURE header for the signed `payload` of a scheme.

    The gateway joins identical texts into one session, so the caller builds it once per authorization and shares
    it. `resource` and `extensions` are left out: they may be, and the real ones have 2 kB.
    """
    # The gateway compares scheme, network, amount, asset and payTo as
    # text, so `accepted` is the offer as it came (docs/protocol.md §3.3).
    return encode_header({"x402Version": 2, "payload": payload, "accepted": requirements.raw})


def token_domain(extra: Mapping[str, object]) -> tuple[str, str]:
    """Return an offer's name and version of its token, which EIP-3009 signs. Raises `MalformedOfferError`."""
    name, version = extra.get("name"), extra.get("version")
    if not isinstance(name, str) or not isinstance(version, str):
        raise MalformedOfferError("The offer names no token name and version, which EIP-3009 signs.")
    # A lone surrogate has no UTF-8 form, and the hash of the token's domain would fail in the middle of signing.
    if any("\ud800" <= character <= "\udfff" for character in name + version):
        raise MalformedOfferError("The offer's token name or version holds a lone surrogate.")
    return name, version


def parse_session(head: ReplyHead) -> Secret | None:
    """Return the session id of an answer, None if it has none. Raises `MalformedReplyError`."""
    if (named := head.header(SESSION)) is None:
        return None
    session = Secret(named)
    del named
    # The id is sent back as a header, where a line feed could add a header of the gateway's choice.
    if not _SESSION_ID.fullmatch(session.reveal()):
        raise MalformedReplyError(f"The answer's {SESSION} header is malformed.")
    return session


def session_ref(session_id: str) -> str:
    """Return what may be shown of a session id, which itself is a bearer credential."""
    # A hash names the session in logs, and nobody can spend with it.
    return hashlib.sha256(session_id.encode()).hexdigest()[:16]


class ToldSettlement(NamedTuple):
    """A told settlement is what an answer's headers tell. Nothing of it is signed; None is what they do not tell."""

    payment_hash: str | None = None
    payment_hash_source: str | None = None
    transaction_hash: str | None = None
    blob_id: str | None = None
    charged: str | None = None


_NOTHING_TOLD = ToldSettlement()
_OF_SETTLEMENT = frozenset(
    name.lower() for name in (PROCESSING_HASH, PAYMENT_RESPONSE, SETTLEMENT_HASH, SETTLEMENT_BLOB)
)


def parse_settlement(head: ReplyHead) -> ToldSettlement:
    """Return what the headers tell about settlement, as far as it has the right form. Raises `MalformedReplyError`."""
    if not head.tells_settlement:
        return _NOTHING_TOLD
    # Older gateways send the processing hash, and per-request mode a PAYMENT-RESPONSE, which is the better word.
    payment_hash, source = transaction_hash(head.header(PROCESSING_HASH)), PROCESSING_HASH
    charged: str | None = None
    if response := head.header(PAYMENT_RESPONSE):
        try:
            told = decode_header(response)
            transaction = transaction_hash(told.get("transaction"))
        except MalformedOfferError as exc:
            raise MalformedReplyError(f"The answer's {PAYMENT_RESPONSE} header is not base64 of JSON.") from exc
        extra = told.get("extra")
        amount = extra.get("chargedAmount") if isinstance(extra, dict) else None
        charged = amount if isinstance(amount, str) and _UINT.fullmatch(amount) else None
        if transaction:
            payment_hash, source = transaction, PAYMENT_RESPONSE
    return ToldSettlement(
        payment_hash=payment_hash,
        payment_hash_source=source if payment_hash else None,
        transaction_hash=transaction_hash(head.header(SETTLEMENT_HASH)),
        blob_id=blob_id(head.header(SETTLEMENT_BLOB)),
        charged=charged,
    )


def refusal_reason(head: ReplyHead) -> str:
    """Return the reason that a PAYMENT-RESPONSE gives for a payment which was not taken, "" if there is none."""
    try:
        response = head.header(PAYMENT_RESPONSE)
        told = decode_header(response).get("errorReason") if response else None
    except (MalformedOfferError, MalformedReplyError):
        return ""
    return told if isinstance(told, str) else ""


def transaction_hash(value: object) -> str | None:
    """Return `value` if it is a hash, 0x and 64 hex digits. Anything else could be a secret that is sent back."""
    return value if isinstance(value, str) and _HASH.fullmatch(value) else None


def blob_id(value: object) -> str | None:
    """Return `value` if it is the id of a Walrus blob, 32 bytes in URL-safe base64."""
    return value if isinstance(value, str) and _BLOB_ID.fullmatch(value) else None


def _offered_address(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise MalformedOfferError(f"The offer's {name} is a {type(value).__name__}, expected an address.")
    return checksum_address(value)
