"""The check `not-covered`: what a file says that no check compared with anything. Whoever wrote it could say else."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from og_integrations.cli.trust import Vouch
from og_integrations.protocol.proof.canonical import not_hashed
from og_integrations.protocol.proof.enclave import Enclave
from og_integrations.protocol.proof.verification import Check, VerifiedExchange
from og_integrations.protocol.receipt import unsigned_fields
from og_integrations.protocol.strict_json import JsonObject

_BY_RECEIPT = (
    "version",
    "status",
    "request_hash",
    "output_hash",
    "tee_timestamp",
    "tee_signature",
    "tee_id",
    "enclave.public_key",
    "unsigned",
    "hashing",
)
"""What the check `receipt` compares, besides the model's name without its provider."""
_BY_PAYMENT_HASH = (
    "payment.payment_hash",
    "payment.payment_hash_source",
    "payment.scheme",
    "payment.network",
    "payment.asset",
    "payment.pay_to",
    "payment.facilitator",
    "payment.spender",
    "payment.max_amount",
    "payment.nonce",
    "payment.valid_after",
    "payment.deadline",
)
"""What the check `payment-hash` recomputes."""
_BY_REGISTRY: Mapping[str, Callable[[Enclave], object]] = {
    "enclave.endpoint": lambda enclave: enclave.endpoint,
    "enclave.certificate_sha256": lambda enclave: hashlib.sha256(enclave.certificate).hexdigest(),
    "enclave.pcr_hash": lambda enclave: enclave.pcr_hash,
    "enclave.payment_address": lambda enclave: enclave.payment_address,
}
"""What the registry knows about an enclave; all but the measurement may have changed since."""
_BY_NOBODY = (
    "created",
    "presentation",
    "checks",
    "payment",
    "payment.payer",
    "payment.session_ref",
    "payment.settlement_mode",
    "payment.transaction_hash",
    "payment.blob_id",
    "enclave.source",
)


def coverage_check(
    verified: VerifiedExchange, receipt: JsonObject | None, vouch: Vouch, checks: Sequence[Check]
) -> Check:
    """Return the skip that names it, given the `checks` made before: of the receipt, the answer, the request."""
    passed = {check.id for check in checks if check.result == "pass"}
    payment = receipt.get("payment") if receipt is not None else None
    groups = {
        "receipt": list(_of_receipt(receipt, vouch, passed)) if receipt is not None else [],
        "answer": unsigned_fields(verified, payment if isinstance(payment, dict) else None),
        "request": not_hashed(verified.exchange.path, verified.request, verified.hashing),
    }
    named = "; ".join(f"{group}: {', '.join(names)}" for group, names in groups.items() if names)
    return Check("not-covered", "skip", named)


def _of_receipt(receipt: JsonObject, vouch: Vouch, passed: set[str]) -> Iterator[str]:
    leaves = dict(_leaves(receipt))
    if "model" in leaves:
        yield "the provider in model"
    suspects: list[str] = [*_BY_NOBODY]
    suspects += [name for name in _BY_RECEIPT if "receipt" not in passed]
    suspects += [name for name in _BY_PAYMENT_HASH if "payment-hash" not in passed]
    known = vouch.enclave
    suspects += [name for name, read in _BY_REGISTRY.items() if known is None or leaves.get(name) != read(known)]
    yield from (name for name in suspects if name in leaves)
    # Of the file's own making; their names could push the others out of a line.
    others = leaves.keys() - {"model", *_BY_NOBODY, *_BY_RECEIPT, *_BY_PAYMENT_HASH, *_BY_REGISTRY}
    if others:
        yield f"{len(others)} members that no receipt has"


def _leaves(receipt: JsonObject) -> Iterator[tuple[str, object]]:
    for name, value in receipt.items():
        if name in ("enclave", "payment") and isinstance(value, dict):
            yield from ((f"{name}.{inner}", part) for inner, part in value.items())
        else:
            yield name, value
