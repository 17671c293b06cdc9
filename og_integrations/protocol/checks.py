"""
Verdicts: the ids of all checks, and the log that collects them (see `verification`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from og_integrations.errors import AttestationError, VerificationError

STEPS = (
    "proof",
    "shape",
    "enclave",
    "request-hash",
    "output-hash",
    "signature",
    "enclave-trusted",
    "freshness",
    "channel",
)
"""The ids of all checks of an answer, in the order in which they are made."""


@dataclass(frozen=True, slots=True)
class Check:
    """One step's verdict: `result` is pass, fail or skip, `detail` says why in one line."""

    id: str
    result: Literal["pass", "fail", "skip"]
    detail: str

    def to_json(self) -> dict[str, str]:
        """Return the check as it stands in a receipt."""
        return {"id": self.id, "result": self.result, "detail": self.detail}


class StepError(Exception):
    """A step's own verdict, before it becomes a public error with all checks."""


def _unproven(step: str, detail: str) -> VerificationError:
    return VerificationError(
        f"The answer is not proven: {step}: {detail}. It was discarded; do not use it, and report "
        "the receipt if it came from an enclave of the registry.",
        step=step,
    )


class CheckLog:
    """
    Collects the verdicts of `steps`, in their order.

    Its `step` context turns `StepError` into the public error, which `failed` makes of the step and its verdict.
    """

    def __init__(
        self,
        steps: Sequence[str] = STEPS,
        failed: Callable[[str, str], VerificationError | AttestationError] = _unproven,
    ) -> None:
        self.checks: list[Check] = []
        self._steps = steps
        self._failed = failed
        self._step = ""

    def step(self, name: str) -> "CheckLog":
        self._step = name
        return self

    def passed(self, detail: str) -> None:
        self.checks.append(Check(self._step, "pass", detail))

    def skipped(self, detail: str) -> None:
        self.checks.append(Check(self._step, "skip", detail))

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if not isinstance(exc, StepError):
            return
        self.checks.append(Check(self._step, "fail", str(exc)))
        rest = self._steps[self._steps.index(self._step) + 1 :]
        self.checks += [Check(name, "skip", f"not reached: {self._step} failed") for name in rest]
        error = self._failed(self._step, str(exc))
        error.checks = tuple(self.checks)
        raise error from None
