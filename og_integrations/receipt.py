"""
The receipt of one call: what was asked, which enclave answered, and what was authorized to pay for it.

A receipt travels as one plain-JSON dict under the key "opengradient". It holds only str, bool, None, int below 2^63,
list and dict, because it has to survive every serializer, checkpointer and trace of both frameworks; amounts are
base units as text for that reason. A session id never stands in it. `Receipt` is the same document with names and
types. Members are only added; `version` is raised when one of them changes its meaning.

Each member says how far it can be believed in a receipt that a stranger hands over:

| standing | who vouches for the member |
| --- | --- |
| `signed` | the enclave: the bytes that its signature covers give this value |
| `checked` | the verifier: it recomputes the value, or looks it up |
| `claimed` | nobody: whoever wrote the file may have written anything |

What `verify` compares, what it names as not covered, and `docs/receipt.schema.json` are derived from these words.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import KW_ONLY, InitVar, dataclass, field, is_dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal, Self

from og_integrations._accounting import ReceiptCost, ReceiptEstimate, ReceiptUsage, whole
from og_integrations._members import (
    CLAIMED,
    Document,
    Member,
    Standing,
    getter,
    members_of,
    read,
    read_members,
    schema_of,
    without_none,
)
from og_integrations._notebook import grid, table
from og_integrations.errors import ConfigurationError
from og_integrations.networks import NETWORKS, format_opg

if TYPE_CHECKING:
    from og_integrations.protocol.payment.schemes._settlement import Settlement
    from og_integrations.protocol.payment.schemes._upto import Permit2Authorization

RECEIPT_VERSION = 1
RECEIPT_KEY = "opengradient"
"""The key under which both adapters hand the receipt out."""
SPAN_RECEIPT = f"{RECEIPT_KEY}.receipt"
"""The attribute of a span that holds the whole receipt as JSON text."""
OWN_HASH = "eip712"
"""The `payment_hash_source` of a hash that anybody can recompute from the other members of `payment`."""

_MADE_HERE: Document = {}
"""Stands for no document: the members are given by name. None would be what `get` returns where no receipt is."""
_MOST_SHOWN = 300
"""Characters of a member that are shown to a person; a stranger's file may hold any number."""


BY_EXCHANGE, BY_DIGEST, BY_REGISTRY, BY_CHAIN = "receipt", "payment-hash", "registry", "transaction"
"""Who compares a member: the checks of `verify` that go by these ids, and the registry."""
SIGNED = Standing("signed", by=BY_EXCHANGE)
RECOMPUTED = Standing("checked", by=BY_EXCHANGE)
SINCE_KINDS = Standing("checked", by=BY_EXCHANGE, later=True)
OF_PAYMENT = Standing("checked", by=BY_DIGEST)
OF_REGISTRY = Standing("checked", by=BY_REGISTRY)
MEASURED = Standing("checked", by=BY_REGISTRY, lasting=True)
BUT_PROVIDER = Standing("checked", by=BY_EXCHANGE, apart="the provider in model")
OF_CHAIN = Standing("checked", by=BY_CHAIN)


@dataclass(frozen=True, slots=True)
class Check:
    """This is one step's verdict: `result` is pass, fail or skip, never a pass; `detail` says why in one line."""

    id: Annotated[str, CLAIMED, "The step, such as signature or enclave-trusted."]
    result: Annotated[Literal["pass", "fail", "skip"], CLAIMED, "A skip is never a pass."]
    detail: Annotated[str, CLAIMED, "Why, in one line."]

    def to_json(self) -> dict[str, str]:
        """Return the check as it stands in a receipt."""
        return {"id": self.id, "result": self.result, "detail": self.detail}

    def __reduce__(self) -> tuple[type[Self], tuple[str, str, str]]:
        # Verdicts travel between processes by the thousand, and the default takes ten times as long.
        return type(self), (self.id, self.result, self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptEnclave:
    """The member `enclave` describes the enclave that was asked."""

    endpoint: Annotated[str | None, OF_REGISTRY, "Its URL."] = None
    public_key: Annotated[str | None, RECOMPUTED, "Its RSA key: DER SubjectPublicKeyInfo, hex."] = None
    certificate_sha256: Annotated[str | None, OF_REGISTRY, "SHA-256 of the pinned TLS certificate, hex."] = None
    pcr_hash: Annotated[str | None, MEASURED, "Its code: keccak256(PCR0‖PCR1‖PCR2), 0x-hex."] = None
    payment_address: Annotated[str | None, OF_REGISTRY, "The address that its operator is paid at."] = None
    source: Annotated[str | None, CLAIMED, "Where its key came from: registry or endpoint."] = None

    def to_json(self) -> Document:
        """Return the member as plain JSON."""
        return _shared(self).copy()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptPayment:
    """
    The member `payment` describes the authorization that paid; the calls of a session share it.

    Every signed field stands in it, so that `payment_hash` can be recomputed from the receipt alone.
    """

    payment_hash: Annotated[str | None, OF_PAYMENT, "What names the authorization; no transaction hash."] = None
    payment_hash_source: Annotated[str | None, OF_PAYMENT, "eip712 (our digest), or a gateway's header."] = None
    scheme: Annotated[str | None, OF_PAYMENT, "The x402 scheme."] = None
    network: Annotated[str | None, OF_PAYMENT, "The payment chain, as eip155:<chain id>."] = None
    asset: Annotated[str | None, OF_PAYMENT, "The token's contract."] = None
    payer: Annotated[str | None, CLAIMED, "The wallet that signed; Permit2 takes it from the signature."] = None
    pay_to: Annotated[str | None, OF_PAYMENT, "Who is paid."] = None
    facilitator: Annotated[str | None, OF_PAYMENT, "Who alone may settle; null under the scheme exact."] = None
    spender: Annotated[str | None, OF_PAYMENT, "The contract that takes the token."] = None
    max_amount: Annotated[str | None, OF_PAYMENT, "The most that may be taken, in base units of the token."] = None
    nonce: Annotated[str | None, OF_PAYMENT, "Permit2's nonce, decimal."] = None
    valid_after: Annotated[int | None, OF_PAYMENT, "Unix seconds."] = None
    deadline: Annotated[int | None, OF_PAYMENT, "Unix seconds."] = None
    session_ref: Annotated[str | None, CLAIMED, "The first 16 hex digits of the session id's SHA-256."] = None
    settlement_mode: Annotated[str | None, CLAIMED, "What is published of the call, as X-SETTLEMENT-TYPE."] = None
    transaction_hash: Annotated[str | None, CLAIMED, "The transaction that posted the answer's hashes, if told."] = None
    blob_id: Annotated[str | None, CLAIMED, "The Walrus blob of a published call, if told."] = None
    charged_amount: Annotated[str | None, CLAIMED, "What the gateway says it charged, in base units, if told."] = None

    @property
    def tells_settlement(self) -> bool:
        """Return whether words of the gateway stand in it about what became of the payment; they are not signed."""
        told = self.transaction_hash or self.blob_id or self.charged_amount
        return bool(told or self.payment_hash_source not in (None, OWN_HASH))

    @property
    def most(self) -> str:
        """Return the most that may be taken, for a person; anybody can make a token, so only OPG is called that."""
        amount = whole(self.max_amount)
        if amount is None:
            return "an amount that is no number"
        known = {(network.caip2, network.token.lower()) for network in NETWORKS.values()}
        if (self.network, (self.asset or "").lower()) in known:
            return f"{format_opg(amount)} OPG"
        return f"{self.max_amount} base units of the unknown token {self.asset}"

    def to_json(self) -> Document:
        """Return the member as plain JSON."""
        return _shared(self).copy()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptSealing:
    """The member `sealing` says who carried a sealed request, and to which key it was sealed."""

    relay: Annotated[str | None, CLAIMED, "Host of the relay; null if the client brought it itself."] = None
    key_id: Annotated[int | None, CLAIMED, "The id of the enclave's OHTTP key."] = None
    public_key_sha256: Annotated[str | None, CLAIMED, "SHA-256 of that X25519 key, hex."] = None
    signature_from: Annotated[str | None, CLAIMED, "Where the enclave signed it: registry or enclave."] = None
    signing_key_sha256: Annotated[
        str | None, SINCE_KINDS, "SHA-256 of the enclave's attested RSA key (DER) that signed it, hex."
    ] = None

    def to_json(self) -> Document:
        """Return the member as plain JSON."""
        return _shared(self).copy()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptOnchain:
    """The member `onchain` describes the transaction that ran a model on chain; a node of the chain has it all."""

    mode: Annotated[str | None, OF_CHAIN, "VANILLA, TEE or ZKML."] = None
    chain_id: Annotated[int | None, OF_CHAIN, "The chain."] = None
    hub: Annotated[str | None, OF_CHAIN, "The contract that was called."] = None
    precompile: Annotated[str | None, CLAIMED, "The contract that runs models there."] = None
    sender: Annotated[str | None, OF_CHAIN, "The wallet that paid the gas."] = None
    transaction_hash: Annotated[str | None, OF_CHAIN, "The transaction, 0x-hex; null if none was sent."] = None
    block_number: Annotated[int | None, OF_CHAIN, "Its block."] = None
    block_hash: Annotated[str | None, OF_CHAIN, "The block's hash, 0x-hex."] = None
    gas_used: Annotated[int | None, OF_CHAIN, "In units of gas."] = None
    cost: Annotated[str | None, CLAIMED, "What the gas cost, in wei."] = None
    inference_id: Annotated[str | None, OF_CHAIN, "The network's name of the inference."] = None
    result_source: Annotated[str | None, CLAIMED, "event, or node-api where the result came late."] = None

    def to_json(self) -> Document:
        """Return the member as plain JSON."""
        return _shared(self).copy()


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Receipt:
    """
    A receipt with names and types: `Receipt(dict)` reads one, `Receipt.of(answer)` finds it in an answer first.

    It says what stands in the document, and checks nothing of it: that is what `og_integrations.verify` does. A member
    that an older receipt has not is None, or empty; unknown members stay in `to_json()`. Raises `ConfigurationError`
    for what is no receipt, or holds a member of another type.

    ```python
    Receipt.of(answer).settlement().status
    ```
    """

    given: InitVar[Mapping[str, object]] = _MADE_HERE
    _: KW_ONLY
    version: Annotated[int, RECOMPUTED, "Raised when a member changes its meaning."] = RECEIPT_VERSION
    kind: Annotated[str | None, SINCE_KINDS, "What was called: chat, completion, search, onchain or twin."] = None
    status: Annotated[Literal["verified", "unverified"], RECOMPUTED, "Whether the answer was proven."] = "unverified"
    trust: Annotated[str | None, CLAIMED, "The level: endpoint < registry < attested < measured."] = None
    hash_rule: Annotated[str | None, RECOMPUTED, "How the gateway hashed: april, reduced, verbatim, …"] = None
    nonce: Annotated[str | None, CLAIMED, "What made the request fresh, hex."] = None
    channel: Annotated[str | None, CLAIMED, "How the request reached the enclave: pinned, unpinned, sealed."] = None
    model: Annotated[str | None, BUT_PROVIDER, "What was asked for; gateways are not told the provider."] = None
    created: Annotated[int | None, CLAIMED, "When the call began, unix seconds."] = None
    presentation: Annotated[Document | None, CLAIMED, "How what was shown differs from what was signed."] = None
    request_hash: Annotated[str | None, SIGNED, "keccak256 of the request as the enclave rebuilt it, hex."] = None
    output_hash: Annotated[str | None, SIGNED, "keccak256 of the text, or of the tool calls, hex."] = None
    tee_timestamp: Annotated[int | None, SIGNED, "When the enclave signed, unix seconds by its clock."] = None
    tee_signature: Annotated[str | None, SIGNED, "RSA-PSS over keccak256(request ‖ output ‖ time), base64."] = None
    tee_id: Annotated[str | None, RECOMPUTED, "keccak256 of the enclave's public key, 0x-hex."] = None
    enclave: Annotated[ReceiptEnclave | None, CLAIMED, "Whom was asked; null if it got to nobody."] = None
    sealing: Annotated[ReceiptSealing | None, CLAIMED, "How it was sealed; null on other channels."] = None
    payment: Annotated[ReceiptPayment | None, CLAIMED, "What paid; null if nothing was signed."] = None
    cost: Annotated[ReceiptCost | None, CLAIMED, "What the gateway says the call cost; null if it does not."] = None
    estimate: Annotated[ReceiptEstimate | None, CLAIMED, "What it costs by a price list, where no gateway says."] = None
    usage: Annotated[ReceiptUsage | None, CLAIMED, "The token counts that the gateway reports."] = None
    onchain: Annotated[ReceiptOnchain | None, CLAIMED, "The transaction of a model on chain; of no other kind."] = None
    checks: Annotated[tuple[Check, ...], CLAIMED, "The verdicts of all steps when the answer came."] = ()
    unsigned: Annotated[tuple[str, ...], RECOMPUTED, "The parts of the answer that the signature leaves out."] = ()
    _document: Document | None = field(init=False, default=None)

    def __post_init__(self, given: Mapping[str, object]) -> None:
        if given is _MADE_HERE:
            return
        document: object = given
        if not isinstance(document, dict) or not isinstance(document.get("status"), str):
            raise ConfigurationError(
                'This is no receipt: expected the dict under "opengradient" of an answer, or one of collect_receipts.'
            )
        for name, value in read_members(Receipt, upgraded(document)).items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_document", deepcopy(document))

    @classmethod
    def of(cls, answer: object) -> Self:
        """
        Return the receipt of `answer`.

        That is a LangChain message or generation, a LlamaIndex response, an `Answer`, an error of a call, a span, or
        the receipt itself as a dict. Raises `ConfigurationError` if none is in it: a stream has it on its last chunk.
        """
        found = _receipt_in(answer)
        if isinstance(found, cls):
            return found
        if not isinstance(found, Mapping):
            raise ConfigurationError(
                f"There is no receipt in this {type(answer).__name__}: expected an answer of a model of this package, "
                "of a stream the last chunk or what all chunks add up to."
            )
        return cls(dict(found))

    @staticmethod
    def payment_of(document: Mapping[str, object]) -> ReceiptPayment | None:
        """Return the member `payment` of plain JSON; the others may be anything. Raises `ConfigurationError`."""
        payment: ReceiptPayment | None = read(ReceiptPayment | None, document.get("payment"), "payment")
        return payment

    def to_json(self) -> Document:
        """Return the document as plain JSON: exactly what was read, or all members of one that was made here."""
        return _plain(self) if self._document is None else deepcopy(self._document)

    @property
    def verified(self) -> bool:
        """Return whether the answer was proven when it came."""
        return self.status == "verified"

    @property
    def payment_hash(self) -> str | None:
        """Return what names the authorization that paid; None if nothing was signed."""
        return self.payment.payment_hash if self.payment else None

    @property
    def transaction_hash(self) -> str | None:
        """Return the transaction that posted the answer's hashes, if the gateway told it at once, or ran the model."""
        if self.onchain is not None:
            return self.onchain.transaction_hash
        return self.payment.transaction_hash if self.payment else None

    @property
    def authorization(self) -> "Permit2Authorization":
        """
        Return what the wallet signed, rebuilt.

        Raises `ConfigurationError` if that was no Permit2 payment, or not the one that the receipt names.
        """
        from og_integrations.protocol._receipt import read_authorization

        return read_authorization(self.payment)

    def settlement(self, rpc_url: str | None = None) -> "Settlement":
        """
        Return what became of the payment that the receipt names; only the chain is asked.

        `rpc_url` is a node of the payment chain (default: `OG_RPC_URL`, or a public one of the receipt's network).
        What is pending can still be settled until the permit's deadline; everything else is final, as far as the
        node's newest block is.

        Raises `ConfigurationError` (no Permit2 payment in the receipt, no or a wrong node) or `DiscoveryError`.
        """
        from og_integrations.client.chain._settlement import ask_settlement

        return ask_settlement(self.authorization, rpc_url)

    async def asettlement(self, rpc_url: str | None = None) -> "Settlement":
        """Return what `settlement` returns."""
        from og_integrations.client.chain._settlement import aask_settlement

        return await aask_settlement(self.authorization, rpc_url)

    def summary(self) -> list[tuple[str, str]]:
        """Return what a person wants to know, as (name, value) without what is unknown; safe to print."""
        skipped = ", ".join(check.id for check in self.checks if check.result == "skip")
        payment = self.payment
        lines: list[tuple[str, str | None]] = [
            ("status", self.status + (f" (not judged: {skipped})" if skipped else "")),
            ("model", self.model),
            ("enclave", self.tee_id),
            ("vouched by", self.enclave.source if self.enclave else None),
        ]
        if payment is not None:
            lines += [
                ("authorized", f"{payment.most} at most, by {payment.payer}"),
                ("payment", payment.payment_hash),
                ("settlement", payment.settlement_mode),
                ("transaction", payment.transaction_hash),
            ]
        if self.cost is not None and (units := self.cost.base_units) is not None:
            doubt = f", which contradicts itself: {self.cost.contradiction}" if self.cost.contradiction else ""
            lines.append(("cost", f"{format_opg(units)} OPG as reported by the gateway, not signed{doubt}"))
        elif self.estimate is not None:
            lines.append(("cost", self.estimate.told))
        if self.onchain is not None:
            lines += [("transaction", self.onchain.transaction_hash), ("paid by", self.onchain.sender)]
        lines.append(("not signed", ", ".join(self.unsigned)))
        return [(name, visible(value)) for name, value in lines if value]

    def __repr__(self) -> str:
        shown = dict(self.summary())
        parts = [self.status, shown.get("model"), f"enclave {shown['enclave']}" if "enclave" in shown else None]
        if self.payment is not None:
            parts.append(f"at most {visible(self.payment.most)}")
        return f"<Receipt {', '.join(part for part in parts if part)}>"

    def _repr_html_(self) -> str:
        """Return the summary as a table, for notebooks; everything in it is escaped."""
        return table(self.summary())

    def __eq__(self, other: object) -> bool:
        return self.to_json() == other.to_json() if isinstance(other, Receipt) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.tee_signature)


def receipts_table(receipts: Iterable[Document]) -> str:
    """Return one row of HTML for each receipt, for notebooks; everything in it is escaped."""
    shown = [Receipt(receipt) for receipt in receipts]
    rows = [
        (one.status, one.model or "", one.tee_id or "", one.payment.most if one.payment else "", one.payment_hash or "")
        for one in shown
    ]
    head = ("status", "model", "enclave", "authorized at most", "payment")
    calls = f"{len(rows)} calls, of them {sum(one.verified for one in shown)} verified."
    return grid(head, [[visible(value) for value in row] for row in rows], f"{calls} Calls of one payment share it.")


def flat_fields(receipt: Document) -> Document:
    """Return the few members of `receipt` that users of the published adapter read at top level."""
    payment, onchain = receipt.get("payment") or {}, receipt.get("onchain")
    return {
        "payment_hash": payment.get("payment_hash"),
        "transaction_hash": (onchain if isinstance(onchain, dict) else payment).get("transaction_hash"),
        "tee_signature": receipt.get("tee_signature"),
        "tee_id": receipt.get("tee_id"),
        "tee_timestamp": receipt.get("tee_timestamp"),
    }


def span_attributes(receipt: Document) -> dict[str, str | bool | int]:
    """Return `receipt` as a span's attributes: flat, to search for, and as a whole, to verify."""
    found = {name: receipt.get(name) for name in ("status", "request_hash", "output_hash")} | flat_fields(receipt)
    found |= {"verified": is_verified(receipt)}
    named = {f"{RECEIPT_KEY}.{name}": value for name, value in found.items() if value is not None}
    return named | {SPAN_RECEIPT: json.dumps(receipt)}


def is_verified(receipt: Mapping[str, object]) -> bool:
    """Return whether `receipt`, as plain JSON, says that its answer was proven when it came."""
    return bool(receipt.get("status") == "verified")


def without_presentation(receipt: Mapping[str, object]) -> Document:
    """Return `receipt`, as plain JSON, without the words of how its answer was shown: they may quote it."""
    return {**receipt, "presentation": None}


def signature_of(receipt: Document) -> str | None:
    """Return the enclave's signature in `receipt`, as plain JSON: what no two calls have in common."""
    return receipt.get("tee_signature")


def unsigned_of(receipt: Mapping[str, object]) -> tuple[str, ...]:
    """Return what `receipt`, as plain JSON that may hold anything, names as not signed."""
    named = receipt.get("unsigned")
    return tuple(name for name in named if isinstance(name, str)) if isinstance(named, list) else ()


def kind_of(receipt: Mapping[str, object]) -> object:
    """Return what `receipt`, as plain JSON that may hold anything, says was called: chat, completion, …."""
    return receipt.get("kind")


def names_of_proven() -> tuple[str, ...]:
    """Return the members that say what was asked of whom, and answered: the model's, and all that are signed."""
    return tuple(path for path, member in members().items() if member.standing in (SIGNED, BUT_PROVIDER))


def names_of_chain() -> tuple[str, ...]:
    """Return the members that a node of the chain tells anybody about the transaction of a model on chain."""
    return tuple(path for path, member in members().items() if member.standing.by == BY_CHAIN)


def leaves(document: Mapping[str, object]) -> Document:
    """Return every member of a receipt as plain JSON, known or not, by its full name."""
    nested, found = _nested(), Document()
    for name, value in document.items():
        if name in nested and isinstance(value, dict):
            found |= {f"{name}.{part}": held for part, held in value.items()}
        else:
            # A stranger's member called "payment.payer" is not the payer of the payment.
            found[f"[{name}]" if "." in name else name] = value
    return found


class Held:
    """These are the members that a receipt holds, as plain JSON that may hold anything, by their full names."""

    def __init__(self, document: Mapping[str, object]) -> None:
        parts = {name: part for name in _nested() if isinstance(part := document.get(name), dict)}
        self.parts: Mapping[str, Mapping[str, object]] = {"": document, **parts}

    def get(self, path: str, absent: object = None) -> object:
        """Return the member `path`, or `absent` if the receipt does not hold it."""
        owner, _, name = path.rpartition(".")
        return self.parts.get(owner, {}).get(name, absent)

    @property
    def shape(self) -> tuple[tuple[str, ...], ...]:
        """Return the names of all members as they stand there, which `names_in` reads."""
        return tuple([(name, *part) for name, part in self.parts.items()])


def names_in(shape: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """Return the full names of all members of a receipt of that `shape`, known or not."""
    (_, *names), *parts = shape
    return tuple(leaves(dict.fromkeys(names) | {name: dict.fromkeys(part) for name, *part in parts}))


@lru_cache(maxsize=1)
def members() -> Mapping[str, Member]:
    """Return every member of a receipt by its full name, those of `enclave` and `payment` behind their own."""
    found: dict[str, Member] = {}
    for name, member in members_of(Receipt).items():
        found[name] = member
        if (nested := _nested().get(name)) is not None:
            found |= {inner.path: inner for inner in members_of(nested, f"{name}.").values()}
    return found


@lru_cache(maxsize=1)
def _nested() -> Mapping[str, type]:
    """Return the members that have members of their own, and the class of each."""
    kinds = {name: without_none(member.declared) for name, member in members_of(Receipt).items()}
    return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and is_dataclass(kind)}


EARLIER_RULES = {"2026-04": "april", "next": "reduced"}
"""Names of hash rules in older receipts, and of gateways in settings -> those of today."""
_RENAMED = {"hashing": ("hash_rule", EARLIER_RULES)}
"""Members that older receipts have under another name: old name -> (new name, its old values -> the new ones)."""


def rule_name(rule: str) -> str:
    """Return the name of a hash rule, given also by one of those that older receipts have."""
    return EARLIER_RULES.get(rule, rule)


def is_older(receipt: Mapping[str, object]) -> bool:
    """Return whether `receipt`, as plain JSON, was written before its members had all of their names of today."""
    return any(old in receipt and new not in receipt for old, (new, _) in _RENAMED.items())


def upgraded(receipt: Mapping[str, object]) -> Document:
    """Return plain JSON of any age with the names and values of today; what is not known stays as it is."""
    document = dict(receipt)
    for old, (new, values) in _RENAMED.items():
        if old in document and new not in document:
            value = document.pop(old)
            document[new] = values.get(value, value) if isinstance(value, str) else value
    return document


def receipt_schema() -> Document:
    """Return the JSON Schema of a receipt, which `docs/receipt.schema.json` holds for readers without Python."""
    schema = schema_of(Receipt)
    for old, (new, _) in _RENAMED.items():
        note = f"Older receipts have {new} under this name."
        schema["properties"][old] = schema["properties"][new] | {"deprecated": True, "description": note}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Receipt of an OpenGradient call",
        "description": 'The dict under "opengradient". Members are only added. x-standing says how far a member of a '
        "receipt that a stranger hands over can be believed: signed by the enclave, checked by a verifier (x-by says "
        "by which check), or merely claimed.",
        **schema,
        "required": ["version", "status"],
    }


_OF_A_SESSION = ("enclave", "payment")


def _plain(receipt: Receipt) -> Document:
    names, values = getter(Receipt)
    document = dict(zip(names, values(receipt), strict=True))
    for name in _nested():
        if (member := document[name]) is not None:
            document[name] = _shared(member).copy() if name in _OF_A_SESSION else _members(member)
    if receipt.onchain is None:
        del document["onchain"]
    document["checks"] = list(map(Check.to_json, receipt.checks))
    document["unsigned"] = list(receipt.unsigned)
    return document


@lru_cache(maxsize=256)
def _shared(model: object) -> Document:
    """Return a member that has members of its own as plain JSON; whoever hands it on copies it."""
    # Cached, and copied for each receipt: all calls of a session have the same enclave and payment.
    return _members(model)


def _members(model: object) -> Document:
    kind: type = type(model)
    names, values = getter(kind)
    return dict(zip(names, values(model), strict=True))


def _receipt_in(answer: object) -> object:
    """Return the receipt of an answer of whatever framework, found by names alone; None if there is none."""
    if isinstance(answer, Receipt):
        return answer
    if isinstance(answer, Mapping):
        if isinstance(text := answer.get(SPAN_RECEIPT), str):
            return _parsed(text)
        if isinstance(found := answer.get(RECEIPT_KEY), Mapping):
            return found
        # Other providers' metadata has a status, too.
        if answer.get("status") in ("verified", "unverified"):
            return answer
        return found if isinstance(found := answer.get("receipt"), Mapping) else None
    return next(filter(None, map(_receipt_in, _places_in(answer))), None)


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _places_in(answer: object) -> Iterator[object]:
    """Yield where an answer may keep its receipt: ours and errors, LangChain, LlamaIndex, spans."""
    for name in ("receipt", "response_metadata", "additional_kwargs", "raw", "generation_info", "attributes"):
        place = getattr(answer, name, None)
        if isinstance(place, Mapping | Receipt):
            yield place
    if (message := getattr(answer, "message", None)) is not None:
        yield from _places_in(message)


def visible(text: str) -> str:
    """Return `text` without what could rewrite a screen: a receipt must not print its own verdict."""
    short = text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in short)
