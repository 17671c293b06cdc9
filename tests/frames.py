"""What an error reporter sees of an error: the variables of every frame that it and its causes passed."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import SecretStr

_TESTS = str(Path(__file__).parent)
"""Our tests hold the secrets that they look for."""


def secrets_in_frames(error: BaseException, secrets: Iterable[str]) -> list[str]:
    """Return where any of `secrets` stands in clear: the function and variable of each place, without the value."""
    searched = [spelling for secret in secrets for spelling in _spellings(secret)]
    found = []
    for frame in _frames_of(error):
        code = frame.f_code
        if code.co_filename.startswith(_TESTS):
            continue
        for name, value in frame.f_locals.items():
            if any(spelling in text for text in _shown(value) for spelling in searched):
                found.append(f"{Path(code.co_filename).name}:{frame.f_lineno} {code.co_qualname}: {name}")
    return sorted(set(found))


def _spellings(secret: str) -> Iterator[str]:
    """Yield how `secret` may stand there: as text, in hex of either case, as a repr of its bytes, as a number."""
    bare = secret.removeprefix("0x")
    yield bare
    if len(bare) == 64 and all(digit in "0123456789abcdefABCDEF" for digit in bare):
        yield bare.upper()
        yield repr(bytes.fromhex(bare))[2:-1]
        yield str(int(bare, 16))


def _frames_of(error: BaseException) -> Iterator[FrameType]:
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__, *(one.exceptions if isinstance(one, BaseExceptionGroup) else ())]
        traceback = one.__traceback__
        while traceback is not None:
            yield traceback.tb_frame
            traceback = traceback.tb_next


def _shown(value: Any) -> Iterator[str]:
    """Yield what reporters show of a variable: its repr, and what a mapping or a plain object holds."""
    yield _repr(value)
    if isinstance(value, Mapping):
        yield from (_repr(item) for pair in value.items() for item in pair)
    elif isinstance(value, list | tuple | set | frozenset):
        yield from map(_repr, value)
    elif not isinstance(value, type | SecretStr):
        yield _repr(getattr(value, "__dict__", None))


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as exc:  # noqa: BLE001 - as reporters do; a repr that fails is a fault of its own
        return f"repr failed: {exc!r}"
