"""One look at a node, as a check."""

from collections.abc import Callable
from typing import TypeVar

from og_integrations.client.chain.jsonrpc import Fetching, Reader
from og_integrations.errors import OpenGradientError
from og_integrations.protocol.proof.verification import Check

T = TypeVar("T")


class NotEnoughError(Exception):
    """A number was read and will not do; the message is the check's."""


def attempt(reader: Reader, name: str, flow: Fetching[T], detail: Callable[[T], str]) -> Check:
    """Return a pass with the `detail` of what `flow` read, or a fail with what it raised."""
    try:
        return Check(name, "pass", detail(reader.run(flow)))
    except (OpenGradientError, NotEnoughError) as exc:
        return Check(name, "fail", str(exc))
