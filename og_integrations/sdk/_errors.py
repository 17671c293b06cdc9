"""
This module has errors that were documented as a `ValueError` or `RuntimeError`: they are that, and of this package.

Only here: LlamaIndex takes a `ValueError` for an empty answer, so that no adapter may raise one.
"""

from types import TracebackType
from typing import Self

from pydantic import SecretStr

from og_integrations.errors import ConfigurationError, InvalidRequestError, OpenGradientError

_WRONG = (ConfigurationError, InvalidRequestError)


class WrongArgumentError(ConfigurationError, ValueError):
    """An argument is missing or wrong; nothing was sent."""


class MissingFileError(WrongArgumentError, FileNotFoundError):
    """A file to upload is not there; nothing was sent."""


class CallFailedError(OpenGradientError, RuntimeError):
    """A call failed; the message says whether money left."""


def hidden(text: str | SecretStr | None) -> SecretStr | None:
    """Return a key or password as error reporters, which print the variables of frames, do not show it."""
    return text if text is None or isinstance(text, SecretStr) else SecretStr(text)


class OldErrors:
    """This turns errors of this package, within its `with`, into the ones that were documented."""

    def __enter__(self) -> Self:
        """Begin to turn errors."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raise the double of `error`, if it is one of ours."""
        if isinstance(error, OpenGradientError) and not isinstance(error, ValueError | RuntimeError):
            raise as_old_error(error) from error


def as_old_error(error: OpenGradientError) -> OpenGradientError:
    """Return `error` as a `ValueError` (wrong arguments) or `RuntimeError` as well, with everything it carries."""
    double = _double(type(error)).__new__(_double(type(error)), *error.args)
    double.args = error.args
    double.__dict__.update(error.__dict__)
    return double


_DOUBLES: dict[type[OpenGradientError], type[OpenGradientError]] = {}


def _double(kind: type[OpenGradientError]) -> type[OpenGradientError]:
    if (known := _DOUBLES.get(kind)) is not None:
        return known
    documented = ValueError if issubclass(kind, _WRONG) else RuntimeError
    about = {"__doc__": kind.__doc__, "__module__": __name__, "__qualname__": kind.__name__}
    made = _DOUBLES[kind] = type(kind.__name__, (kind, documented), about)
    return made
