"""What is said of a saved exchange: a verdict, with its checks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from og_integrations._notebook import grid
from og_integrations.errors import ConfigurationError
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._wire import TeeProof
from og_integrations.protocol.proof._verification import Trust
from og_integrations.receipt import BY_CHAIN, Check, visible

Status = Literal["verified", "failed", "undecided", "malformed"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    A verdict says what a saved exchange proves.

    `status` is "verified", "failed" (it is not what an enclave signed, or nobody vouches for the enclave), "undecided"
    (who was to vouch could not be asked, or a part of the evidence is missing) or "malformed" (no exchange could be
    read). `step` names the first check that failed, of "undecided" the one that could not be made, and is None for
    "verified". `checks` are all of them, in their order. `not_covered` names what could be altered all the same, by
    group: receipt, answer, request. `proof` is what the enclave signed, if the answer is proven: two files with one
    signature are about one call. `trust` is the level at which its enclave was believed, None if it was not.
    """

    status: Status
    step: str | None
    checks: tuple[Check, ...]
    not_covered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    proof: TeeProof | None = field(default=None, repr=False)
    trust: Trust | None = None

    @property
    def verified(self) -> bool:
        """Return whether everything that can be checked was checked, and is right."""
        return self.status == "verified"

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        # Verdicts travel between processes by the thousand, and the default takes ten times as long.
        return type(self), (self.status, self.step, self.checks, self.not_covered, self.proof, self.trust)

    def to_json(self) -> JsonObject:
        """Return the verdict as plain JSON."""
        return {"status": self.status, "step": self.step, "checks": [check.to_json() for check in self.checks]}

    def _repr_html_(self) -> str:
        """Return the checks as a table, for notebooks; everything in it is escaped, since a file may say anything."""
        rows = [(check.id, check.result, visible(check.detail)) for check in self.checks]
        left = "; ".join(f"{group}: {', '.join(names)}" for group, names in self.not_covered.items() if names)
        note = visible(f"Not covered, so anybody could have altered it: {left}") if left else ""
        return grid((self.status, "result", "why"), rows, note)


def only_the_chain() -> Verdict:
    """Return the verdict on a receipt of a model on chain where the chain may not be asked."""
    detail = "a receipt of a model on chain, which only a node of the chain can confirm: say --registry"
    return Verdict("undecided", BY_CHAIN, (Check(BY_CHAIN, "skip", detail),))


def malformed(reason: ConfigurationError) -> Verdict:
    """Return the verdict on what is no exchange."""
    return Verdict("malformed", "input", (Check("input", "fail", str(reason)),))
