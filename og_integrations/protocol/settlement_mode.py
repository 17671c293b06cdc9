"""How the facilitator records a call: the X-SETTLEMENT-TYPE header (PROTOCOL §2)."""

from enum import Enum, StrEnum

from og_integrations.errors import ConfigurationError


class SettlementMode(StrEnum):
    """
    What is published about a call when it is settled.

    `PRIVATE`: nothing. `BATCH_HASHED` (default): hashes, in a Merkle root with many others.
    `INDIVIDUAL_FULL`: an event of its own, **and the request and response in clear** on Walrus; the
    only mode that returns a transaction hash at once.

    The names of older clients are accepted by `parse`. `SETTLE_INDIVIDUAL` was an alias of
    `SETTLE` and means *private*: reading it as individual would publish plaintext.
    """

    PRIVATE = "private"
    BATCH_HASHED = "batch"
    INDIVIDUAL_FULL = "individual"

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
    return SettlementMode.parse(next((mode for mode in given if mode is not None), SettlementMode.BATCH_HASHED))


def _squash(text: str) -> str:
    return text.lower().replace(" ", "").replace("-", "").replace("_", "")
