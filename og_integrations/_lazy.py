"""Names of a package that are loaded on first use (PEP 562), so that importing it costs next to nothing."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_names(
    package: str, homes: Mapping[str, str], elsewhere: Mapping[str, str] | None = None
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """
    Return the `__getattr__` and `__dir__` of `package`, whose names live in the modules that `homes` gives.

    The first raises `AttributeError` for a name that has no home, and says of those in `elsewhere` where they are.
    """
    own = vars(sys.modules[package])

    def load(name: str) -> object:
        if name not in homes:
            found = (elsewhere or {}).get(name)
            raise AttributeError(f"module {package!r} has no attribute {name!r}" + (f": {found}" if found else ""))
        value: object = getattr(import_module(homes[name]), name)
        own[name] = value  # the next lookup does not come here
        return value

    return load, lambda: sorted({*own, *homes})
