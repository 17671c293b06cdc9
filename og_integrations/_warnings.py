"""What a user is warned of once in a process, at the line of theirs that caused it."""

import inspect
import warnings

_PASSED_THROUGH = frozenset(
    {
        "asyncio",
        "concurrent",
        "langchain",
        "langchain_core",
        "langgraph",
        "llama_index",
        "llama_index_instrumentation",
        "og_integrations",
        "pydantic",
        "threading",
        "wrapt",
    }
)
"""Packages in whose frames nobody looks for the cause of a warning."""
_warned: set[str] = set()


def warn_once(about: str, text: str) -> None:
    """Say `text` at the user's line, unless something was said `about` this before."""
    if about in _warned:
        return
    _warned.add(about)
    warnings.warn(text, UserWarning, stacklevel=level_of_user())


def level_of_user() -> int:
    """Return the `stacklevel` at which a warning of this function's caller points at the user's line."""
    # The first frame is this function's own, and stands for the caller: `warnings.warn` counts that one as 1.
    level, frame = 0, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PASSED_THROUGH:
        level, frame = level + 1, frame.f_back
    return level
