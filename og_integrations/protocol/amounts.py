"""Amounts of OPG as people write them, and the base units in which everything is counted."""

from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation, Overflow

from og_integrations.networks import OPG

# Exact or an error, whatever the caller's own decimal context is; 100 digits hold a uint256.
_EXACT = Context(prec=100, traps=[Inexact, InvalidOperation, Overflow])


def parse_opg(value: object) -> int:
    """
    Read an amount of OPG (`Decimal`, `int` or text, never float) as base units.

    Raises `ValueError` (for pydantic) if it is negative, finer than 18 decimals or no number.
    """
    if isinstance(value, bool | float) or not isinstance(value, Decimal | int | str):
        raise ValueError(f"an amount of OPG is a Decimal, int or text, not {type(value).__name__}")
    try:
        base_units = _EXACT.multiply(Decimal(value), Decimal(OPG))
    except (DecimalException, ValueError) as exc:
        raise ValueError(f"{value!r} is not an amount of OPG") from exc
    if not base_units.is_finite() or base_units < 0 or base_units != int(base_units):
        raise ValueError(f"{value!r} OPG is negative, infinite or finer than 18 decimals")
    return int(base_units)


def format_opg(base_units: int) -> str:
    """Return base units (not negative, however many) as OPG, exactly, without trailing zeros: `"0.1"`."""
    whole, rest = divmod(base_units, OPG)
    return f"{whole}.{rest:018}".rstrip("0").rstrip(".")
