"""
Running a generator of effects, synchronously or not.

What the effects are, only `perform` knows: `drivers` has one for calls, `fetching` for reading, `approval` for
its transaction.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar

from og_integrations.errors import ConfigurationError

T = TypeVar("T")


def drive(flow: Generator[Any, Any, T], perform: Callable[[Any], Any]) -> T:
    """
    Run `flow` to its end and return its result: `perform` each effect, hand every outcome back.

    Failures go in by `throw`, so that the flow can clean up; what it raises passes.
    """
    result: T = drive_to(flow, perform, ())
    return result


async def adrive(flow: Generator[Any, Any, T], perform: Callable[[Any], Awaitable[Any]]) -> T:
    """Run `flow` like `drive`, awaiting each effect; cancellation is handed to the flow, too."""
    result: T = await adrive_to(flow, perform, ())
    return result


def drive_to(flow: Generator[Any, Any, Any], perform: Callable[[Any], Any], kinds: tuple[type, ...]) -> Any:
    """Run `flow` like `drive`, but only to the next thing of `kinds` that it yields, and return that."""
    try:
        effect = next(flow)
        while not isinstance(effect, kinds):
            try:
                outcome = perform(effect)
            except BaseException as exc:  # noqa: BLE001 - the flow cleans up and passes it on
                effect = flow.throw(exc)
            else:
                effect = flow.send(outcome)
    except StopIteration as stop:
        return stop.value
    return effect


async def adrive_to(
    flow: Generator[Any, Any, Any], perform: Callable[[Any], Awaitable[Any]], kinds: tuple[type, ...]
) -> Any:
    """Run `flow` like `drive_to`, awaiting each effect."""
    try:
        effect = next(flow)
        while not isinstance(effect, kinds):
            try:
                outcome = await perform(effect)
            except BaseException as exc:  # noqa: BLE001 - the flow cleans up and passes it on
                effect = flow.throw(exc)
            else:
                effect = flow.send(outcome)
    except StopIteration as stop:
        return stop.value
    return effect


def not_awaitable(returned: object, whose: str) -> object:
    """Return what a callback or signer returned. Raises `ConfigurationError` if it has to be awaited."""
    if isinstance(returned, Awaitable):
        if isinstance(returned, Coroutine):
            returned.close()  # or Python warns that it was never awaited
        raise ConfigurationError(
            f"{whose} is asynchronous; use the asynchronous methods and client, or a synchronous one."
        )
    return returned


async def awaited(answer: object) -> object:
    """Return what a callback or signer answered, awaited as often as it takes."""
    # What nobody awaited is true, and would allow a payment.
    while isinstance(answer, Awaitable):
        answer = await answer
    return answer
