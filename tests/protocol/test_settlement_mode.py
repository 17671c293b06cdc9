"""What is published about a call: a mode is never guessed."""

from enum import Enum, StrEnum

import pytest

from og_integrations.errors import ConfigurationError
from og_integrations.protocol.payment._x402 import SettlementMode


class Published(StrEnum):
    """The current names of the published client."""

    PRIVATE = "private"
    BATCH_HASHED = "batch"
    INDIVIDUAL_FULL = "individual"


class Older(Enum):
    """The names of an older one, with its aliases."""

    SETTLE = "settle"
    SETTLE_METADATA = "settle-metadata"
    SETTLE_BATCH = "settle-batch"
    SETTLE_INDIVIDUAL = SETTLE
    SETTLE_INDIVIDUAL_WITH_METADATA = SETTLE_METADATA


class Unrelated(Enum):
    HIDDEN = "hidden"


def test_default_values_are_those_of_the_header() -> None:
    assert [mode.value for mode in SettlementMode] == ["private", "batch", "individual"]


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("private", SettlementMode.PRIVATE),
        ("PRIVATE", SettlementMode.PRIVATE),
        ("batch", SettlementMode.BATCH_HASHED),
        ("batch_hashed", SettlementMode.BATCH_HASHED),
        ("Batch-Hashed", SettlementMode.BATCH_HASHED),
        ("individual", SettlementMode.INDIVIDUAL_FULL),
        (" individual full ", SettlementMode.INDIVIDUAL_FULL),
        ("settle", SettlementMode.PRIVATE),
        ("SETTLE_INDIVIDUAL", SettlementMode.PRIVATE),
        ("settle-individual", SettlementMode.PRIVATE),
        ("SETTLE_BATCH", SettlementMode.BATCH_HASHED),
        ("settle_metadata", SettlementMode.INDIVIDUAL_FULL),
        ("SETTLE_INDIVIDUAL_WITH_METADATA", SettlementMode.INDIVIDUAL_FULL),
    ],
)
def test_each_old_and_new_name_of_a_mode_is_read(text: str, mode: SettlementMode) -> None:
    """All old and new names; `SETTLE_INDIVIDUAL` is private, or it would publish plaintext."""
    assert SettlementMode.parse(text) is mode


@pytest.mark.parametrize(
    ("member", "mode"),
    [
        (SettlementMode.PRIVATE, SettlementMode.PRIVATE),
        (SettlementMode.SETTLE_INDIVIDUAL, SettlementMode.PRIVATE),
        (Published.PRIVATE, SettlementMode.PRIVATE),
        (Published.INDIVIDUAL_FULL, SettlementMode.INDIVIDUAL_FULL),
        (Older.SETTLE, SettlementMode.PRIVATE),
        (Older.SETTLE_INDIVIDUAL, SettlementMode.PRIVATE),
        (Older.SETTLE_BATCH, SettlementMode.BATCH_HASHED),
        (Older.SETTLE_INDIVIDUAL_WITH_METADATA, SettlementMode.INDIVIDUAL_FULL),
    ],
)
def test_member_of_any_client(member: Enum, mode: SettlementMode) -> None:
    assert SettlementMode.parse(member) is mode


@pytest.mark.parametrize(
    "text", ["", "privat", "privaet", "batched", "none", "individual private", "True", "pr\u0131vate"]
)
def test_typo_is_refused(text: str) -> None:
    """The gateway would take it for "batch" and publish hashes."""
    said = f"Unknown settlement mode '{text}'; expected 'private', 'batch' or 'individual'"
    with pytest.raises(ConfigurationError, match=said):
        SettlementMode.parse(text)


def test_member_of_an_unrelated_enum_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Unknown settlement mode 'HIDDEN'"):
        SettlementMode.parse(Unrelated.HIDDEN)
