"""What a verification said."""

from typing import Any

import pytest

from og_integrations.errors import VerificationError
from og_integrations.protocol.proof._verification import Exchange, verify_exchange


def refused(broken: Exchange, step: str, said: str) -> VerificationError:
    """Check that `broken` fails at `step` with a message for the user, and return the error."""
    with pytest.raises(VerificationError, match=said) as caught:
        verify_exchange(broken)
    assert str(caught.value).startswith(f"The answer is not proven: {step}: ")
    assert "It was discarded; do not use it" in str(caught.value)
    assert caught.value.step == step
    return caught.value


def results(checks: tuple[Any, ...]) -> dict[str, str]:
    return {check.id: check.result for check in checks}
