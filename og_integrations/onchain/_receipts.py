"""
Receipts of kind `onchain`, beside those of LLM calls in the same collectors.

`request_hash` is the keccak of the precompile's call, `output_hash` that of the output in the contract's ABI.
"""

from dataclasses import dataclass, field

from og_integrations.client._collecting import current_tags, hand_out
from og_integrations.errors import OpenGradientError
from og_integrations.onchain._setup import Notes, Setup
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chain._inference import InferenceMode, ModelOutput, Request, encode_output
from og_integrations.protocol.chain._keccak import keccak
from og_integrations.receipt import Check, Receipt, ReceiptOnchain

STEPS = (
    "transaction",
    "mined",
    "result_event",
    "inference_event",
    "not_simulated",
    "tee_attestation",
    "zk_proof",
    "recomputed",
)
"""The checks of an on-chain receipt, in their order."""


@dataclass
class Record:
    """
    What is known of one inference so far; `receipt` makes the plain JSON of it.

    `chain` is the node's receipt of the transaction, `cost` what its gas cost, in wei.
    """

    setup: Setup
    request: Request
    created: int
    sender: str = ""
    transaction_hash: str | None = None
    chain: JsonObject = field(default_factory=dict)
    cost: int | None = None
    inference_id: str | None = None
    result_source: str | None = None
    output: ModelOutput | None = None
    checks: dict[str, Check] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)

    def passed(self, step: str, detail: str) -> None:
        """Note that a check passed."""
        self.checks[step] = Check(step, "pass", detail)

    def skipped(self, step: str, detail: str) -> None:
        """Note why a check was not made."""
        self.checks[step] = Check(step, "skip", detail)

    def failed(self, step: str, exc: BaseException) -> None:
        """Note what a check found."""
        detail = f"{type(exc).__name__}: {exc}" if isinstance(exc, OpenGradientError) else type(exc).__name__
        self.checks[step] = Check(step, "fail", detail)

    def next_step(self) -> str:
        """Return the first check that was not made yet: what goes wrong now is its failure."""
        return next(step for step in STEPS if step not in self.checks)

    def receipt(self, *, verified: bool, final: bool) -> JsonObject:
        """
        Return the receipt and hand it to every open collector.

        `final` says that no later look at the transaction could find anything else.
        """
        for step, what in (("tee_attestation", "an attestation"), ("zk_proof", "a proof")):
            self.checks.setdefault(step, Check(step, "skip", _unproven(self.request.mode, step, what)))
        made = [self.checks.get(step) or Check(step, "skip", "not reached") for step in STEPS]
        receipt = Receipt(
            kind="onchain",
            status="verified" if verified else "unverified",
            model=self.request.model_cid,
            created=self.created,
            request_hash=self.request.digest()[2:],
            output_hash=None if self.output is None else keccak(encode_output(self.output)).hex(),
            onchain=self._facts(),
            checks=tuple(made),
        ).to_json()
        hand_out(receipt, self._exchange(), current_tags())
        if final and not verified and self.transaction_hash is not None:
            # A verified receipt says it by itself. After the receipt: a crash in between loses neither.
            self.notes.end(self.transaction_hash, "its receipt is final")
        return receipt

    def _facts(self) -> ReceiptOnchain:
        chain, block = self.chain, self.chain.get("blockHash")
        return ReceiptOnchain(
            mode=InferenceMode(self.request.mode).name,
            chain_id=self.setup.place.chain_id,
            hub=self.setup.hub,
            precompile=self.setup.precompile,
            sender=self.sender,
            transaction_hash=self.transaction_hash,
            block_number=_number(chain.get("blockNumber")),
            block_hash=block if isinstance(block, str) else None,
            gas_used=_number(chain.get("gasUsed")),
            cost=None if self.cost is None else str(self.cost),
            inference_id=self.inference_id,
            result_source=self.result_source,
        )

    def _exchange(self) -> JsonObject | None:
        return {"transaction_hash": self.transaction_hash, "logs": self.chain["logs"]} if "logs" in self.chain else None


def _unproven(mode: int, step: str, what: str) -> str:
    asked = {"tee_attestation": InferenceMode.TEE, "zk_proof": InferenceMode.ZKML}[step]
    if mode != asked:
        return f"not asked for: the mode is {InferenceMode(mode).name}"
    return f"the network says that it checks {what} before it answers; none reaches the client, and we checked none"


def _number(value: object) -> int | None:
    try:
        return int(value, 16) if isinstance(value, str) else None
    except ValueError:
        return None
