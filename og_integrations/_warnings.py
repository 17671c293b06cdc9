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
    # The level counts from this function: 1 would be the line below.
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PASSED_THROUGH:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, UserWarning, stacklevel=level)
