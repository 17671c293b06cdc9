"""
This module compares what a saved receipt claims with its exchange, and names what nothing vouches for.

Which member is compared with what is not listed here: each says it where it is declared (`og_integrations.receipt`).
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import sha256
from operator import attrgetter
from typing import NamedTuple

from og_integrations._members import Member
from og_integrations.errors import ConfigurationError, MalformedOfferError
from og_integrations.models import wire_name
from og_integrations.protocol._receipt import KINDS, described, rebuild_authorization
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._wire import Completion, TeeProof
from og_integrations.protocol.payment._x402 import PAYMENT_RESPONSE, PROCESSING_HASH
from og_integrations.protocol.proof._canonical import (
    may_be_another_content,
    not_hashed,
    spells_tool_calls,
    unsigned_members,
)
from og_integrations.protocol.proof._verification import TrustDecision, VerifiedExchange
from og_integrations.receipt import (
    BY_DIGEST,
    BY_EXCHANGE,
    BY_REGISTRY,
    OWN_HASH,
    RECEIPT_VERSION,
    Check,
    Held,
    Receipt,
    ReceiptEnclave,
    ReceiptPayment,
    ReceiptSealing,
    is_older,
    is_verified,
    leaves,
    members,
    names_in,
    unsigned_of,
    upgraded,
)
from og_integrations.verify._bundle import SavedExchange

HASH_SOURCES = (OWN_HASH, PROCESSING_HASH, PAYMENT_RESPONSE)
"""Where a `payment_hash` comes from: our own digest, or one of the gateway's headers."""

_LONGEST_NAME, _MOST_NAMES = 60, 20
"""Characters of a member's name that are shown, and how many names of one request."""
_NAMED_LATER = frozenset({"citations", "moderation", "opengradient", "searches"})
ANSWER_KIND = "whether it is a tool call or a text that spells one"
CONTENT_KIND = "whether messages[].content is a list or its text"
"""What two things that share one hash leave open, where neither was refused (`protocol.proof._verification`)."""


_OF_THIS_EXCHANGE = Check(BY_EXCHANGE, "pass", "its hashes, signature, time, key and model are those of the exchange")
_ABSENT, _NO_PART = object(), dict[str, object]()
_KNOWN_OF_MESSAGES = frozenset(
    {"role", "content", "tool_calls", "images", "reasoning_content", "citations", "web_search"}
)
_NAMED_OF_MESSAGES = frozenset({"annotations", "audio", "function_call", "reasoning", "refusal"})


class Claims:
    """These are the claims of a receipt that a stranger may have written; any member of it may be of any form."""

    def __init__(self, receipt: JsonObject) -> None:
        document = upgraded(receipt)
        self.verified = is_verified(document)
        self.older = is_older(receipt)
        self.held = Held(document)
        self.payment: ReceiptPayment | None = None
        try:
            self.payment, self.of_payment = _payment_in(document)
        except ConfigurationError as exc:
            self.of_payment = Check(BY_DIGEST, "fail", str(exc))

    @property
    def unsigned(self) -> tuple[str, ...]:
        """Return what it names as not signed."""
        return unsigned_of(self.held.parts[""])

    @property
    def tells_settlement(self) -> bool:
        """Return whether the gateway's word about the settlement stands in it."""
        return self.payment is not None and self.payment.tells_settlement


def receipt_check(
    claims: Claims,
    saved: SavedExchange,
    completion: Completion | None,
    verified: VerifiedExchange | None,
    decision: TrustDecision,
    unsigned: tuple[str, ...],
) -> Check:
    """
    Return whether the receipt speaks about this very exchange, and about the enclave that the registry knows.

    `unsigned` names what the signature leaves out of it.
    """
    if completion is None or completion.proof is None:
        return Check(BY_EXCHANGE, "skip", "the exchange holds no proof to compare with")
    if not claims.verified:
        return Check(BY_EXCHANGE, "fail", "the receipt itself says that this answer was not verified when it came")
    if verified is not None and claims.older:
        # Receipts of that time named attachments, and nothing else of the request.
        later = {*unsigned_members(saved.path, verified.request, verified.hash_rule)} - {"attachments"}
        unsigned = tuple(name for name in unsigned if name not in later)
    # Receipts of a while ago do not name these parts; one that leaves them out hides nothing that it shows as signed.
    if not _NAMED_LATER.isdisjoint(unsigned):
        listed = claims.unsigned
        unsigned = tuple(name for name in unsigned if name not in _NAMED_LATER or name in listed)
    rule = verified.hash_rule if verified is not None else None
    expected = _expected(saved, completion, completion.proof, decision, rule, unsigned)
    wrong = _differing(claims.held, expected)
    if wrong:
        detail = f"the receipt is about another exchange, or altered: {', '.join(wrong)} differ"
        return Check(BY_EXCHANGE, "fail", detail)
    return _OF_THIS_EXCHANGE


def payment_check(claims: Claims) -> Check:
    """
    Return whether the payment hash of a receipt is the EIP-712 digest of the fields beside it.

    A pass says which authorization is meant, not who signed it, or that it was settled: the chain knows that.
    """
    return claims.of_payment


def not_covered(
    claims: Claims | None,
    verified: VerifiedExchange,
    decision: TrustDecision,
    passed: frozenset[str],
    unsigned: tuple[str, ...],
) -> dict[str, tuple[str, ...]]:
    """
    Return what could be altered all the same, given the checks that `passed`: of the receipt, the answer, the request.

    Whoever wrote the file could say something else there. `unsigned` names what the signature leaves out.
    """
    request = _in_a_line(not_hashed(verified.exchange.path, verified.request, verified.hash_rule))
    if may_be_another_content(verified.request, verified.hash_rule):
        request = (CONTENT_KIND, *request)
    answer = unsigned
    completion = verified.exchange.completion
    if completion.tool_calls or spells_tool_calls(completion.text):
        answer = (ANSWER_KIND, *answer)
    groups = {
        "receipt": () if claims is None else _of_receipt(claims.held, decision, passed),
        "answer": answer,
        "request": request,
    }
    return {group: names for group, names in groups.items() if names}


def _in_a_line(names: Sequence[str]) -> tuple[str, ...]:
    """Return `names` of members of a request as far as a line of text holds them, and how many more there are."""
    # A stranger's file may hold any number of members with names of any length, which would fill a log.
    shown = [name for name in names if len(name) <= _LONGEST_NAME][:_MOST_NAMES]
    more = len(names) - len(shown)
    return (*shown, f"{more} more members") if more else tuple(shown)


def further_members(bodies: Iterable[object]) -> tuple[str, ...]:
    """
    Return what the decoded `bodies` say beside all that answers of gateways are known to say; no signature covers it.

    A `refusal` would be read as the answer, and a `function_call` be run, by programs that know the older form.
    """
    found: set[str] = set()
    for body in bodies:
        choices = body.get("choices") if isinstance(body, dict) else None
        for choice in choices if isinstance(choices, list) else ():
            for part in ("message", "delta"):
                members = choice.get(part) if isinstance(choice, dict) else None
                if isinstance(members, dict):
                    others = members.keys() - _KNOWN_OF_MESSAGES
                    found |= {name for name in others if members[name] not in (None, "", [], {})}
    count = len(found - _NAMED_OF_MESSAGES)
    named = tuple(sorted(found & _NAMED_OF_MESSAGES))
    # Names of the file's own making could push the others out of a line.
    return (*named, f"{count} members that no answer has") if count else named


def _expected(
    saved: SavedExchange,
    completion: Completion,
    proof: TeeProof,
    decision: TrustDecision,
    rule: str | None,
    unsigned: tuple[str, ...],
) -> "_Expected":
    """Return what a receipt of this exchange says; None and empty stand for what is not known."""
    enclave, sealing = _of_key(saved.public_key, decision.enclave.pcr_hash if decision.enclave else None)
    return _Expected(
        kind=KINDS.get(saved.path),
        status="verified",
        hash_rule=rule,
        model=completion.model or None,
        request_hash=proof.request_hash,
        output_hash=proof.output_hash,
        tee_timestamp=proof.timestamp,
        tee_signature=proof.signature,
        tee_id=proof.tee_id,
        enclave=enclave,
        sealing=sealing,
        unsigned=unsigned,
    )


@lru_cache(maxsize=64)
def _of_key(public_key: bytes, pcr_hash: str | None) -> tuple[ReceiptEnclave, ReceiptSealing]:
    # Cached: ten thousand files of one enclave hold one key.
    fingerprint = sha256(public_key).hexdigest()
    return (
        ReceiptEnclave(public_key=public_key.hex(), pcr_hash=pcr_hash),
        ReceiptSealing(signing_key_sha256=fingerprint),
    )


class _Expected(NamedTuple):
    """These are the members of a receipt that are compared with an exchange; making a whole receipt takes longer."""

    kind: str | None
    status: str
    hash_rule: str | None
    model: str | None
    request_hash: str
    output_hash: str
    tee_timestamp: int
    tee_signature: str
    tee_id: str
    enclave: ReceiptEnclave
    sealing: ReceiptSealing
    unsigned: tuple[str, ...]
    version: int = RECEIPT_VERSION


def _differing(held: Held, expected: _Expected) -> list[str]:
    """Return the members that are another thing in a receipt than in what it says of this exchange."""
    wrong, parts, (compared, values) = [], held.parts, _compared()
    for (member, owner, name), value in zip(compared, values(expected), strict=True):
        claimed = parts.get(owner, _NO_PART).get(name)
        # Most are simply the same.
        if claimed == value and type(claimed) is type(value) and not member.standing.apart:
            continue
        # What is not known of the exchange cannot be compared: a part of the answer is unsigned in any case.
        if value is not None and value != () and not _agrees(member, claimed, value):
            wrong.append(member.path)
    return wrong


@lru_cache(maxsize=1)
def _compared() -> tuple[list[tuple[Member, str, str]], "attrgetter[tuple[object, ...]]"]:
    """Return the members that are compared, each with its owner and name there, and what reads them off a receipt."""
    every = members().values()
    found = [member for member in every if member.standing.by == BY_EXCHANGE or member.standing.lasting]
    places = [(member, owner, name) for member in found for owner, _, name in [member.path.rpartition(".")]]
    return places, attrgetter(*[member.path for member in found])


def _agrees(member: Member, claimed: object, found: object) -> bool:
    if claimed is None and member.standing.later:
        return True
    if member.standing.apart and isinstance(claimed, str) and claimed.strip():
        claimed = wire_name(claimed)
    if isinstance(found, tuple):
        found = list(found)
    return type(claimed) is type(found) and claimed == found


def _payment_in(document: JsonObject) -> tuple[ReceiptPayment | None, Check]:
    """Return the payment that a receipt names, with the verdict on its hash. Raises `ConfigurationError`."""
    held = document.get("payment")
    if isinstance(held, dict):
        try:
            return _read_payment(tuple(held), *held.values())
        except TypeError:
            # It holds lists or objects.
            pass
    return _judged_payment(document)


# With their types: 1, 1.0 and true are equal, and only one of them is an amount.
@lru_cache(maxsize=4096, typed=True)
def _read_payment(names: tuple[str, ...], *values: object) -> tuple[ReceiptPayment | None, Check]:
    # Cached: it takes 15 hashes, and the calls of a session have one payment.
    return _judged_payment({"payment": dict(zip(names, values, strict=True))})


def _judged_payment(document: JsonObject) -> tuple[ReceiptPayment | None, Check]:
    payment = Receipt.payment_of(document)
    if payment is None:
        return None, Check(BY_DIGEST, "skip", "the receipt names no payment")
    return payment, _recomputed(payment)


def _recomputed(payment: ReceiptPayment) -> Check:
    if payment.payment_hash_source not in HASH_SOURCES:
        return Check(BY_DIGEST, "fail", f"payment_hash_source is none of {', '.join(HASH_SOURCES)}")
    if payment.payment_hash_source != OWN_HASH:
        return Check(BY_DIGEST, "skip", "the gateway's own hash, which nobody can recompute")
    try:
        signed = rebuild_authorization(payment)
    except MalformedOfferError as exc:
        return Check(BY_DIGEST, "fail", f"the payment is no Permit2 authorization: {exc}")
    if payment.scheme != "upto":
        return Check(BY_DIGEST, "fail", "the payment's scheme is not `upto`, which its fields are those of")
    digest = "0x" + signed.digest().hex()
    if payment.payment_hash != digest:
        return Check(BY_DIGEST, "fail", f"the payment's fields hash to {digest}, not to its payment_hash")
    return Check(BY_DIGEST, "pass", "EIP-712 digest of the payment's fields, among which the payer is not")


def _of_receipt(held: Held, decision: TrustDecision, passed: frozenset[str]) -> tuple[str, ...]:
    confirmed: frozenset[str] = frozenset()
    if decision.enclave is not None:
        listed = leaves({"enclave": described(decision.enclave).to_json()})
        by_registry = (path for path, member in members().items() if member.standing.by == BY_REGISTRY)
        confirmed = frozenset(path for path in by_registry if held.get(path, _ABSENT) == listed.get(path))
    nothing = frozenset([path for path in _added_later() if held.get(path, _ABSENT) is None])
    return _open_members(held.shape, nothing, passed, confirmed)


@lru_cache(maxsize=1)
def _added_later() -> tuple[str, ...]:
    """Return the members whose absence from a receipt is no lie."""
    return tuple(path for path, member in members().items() if member.standing.later)


@lru_cache(maxsize=256)
def _open_members(
    shape: tuple[tuple[str, ...], ...], nothing: frozenset[str], passed: frozenset[str], confirmed: frozenset[str]
) -> tuple[str, ...]:
    """Return which members of a receipt could be altered, given those of later that are null, and what was checked."""
    # Cached: receipts of one program hold the same members.
    held, known = names_in(shape), members()
    present = set(held)
    found = [known[path].standing.apart or "" for path in held if path in known and known[path].standing.apart]
    for path, standing in ((path, member.standing) for path, member in known.items() if path in present):
        open_to_change = standing.word == "claimed" or standing.by not in passed
        if (open_to_change and path not in confirmed) or (standing.later and path in nothing):
            found.append(path)
    # Members of the file's own making: their names could push the others out of a line.
    if others := present - known.keys():
        found.append(f"{len(others)} members that no receipt has")
    return tuple(found)
