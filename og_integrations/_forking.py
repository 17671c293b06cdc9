"""
After a fork (gunicorn's preload, multiprocessing) a child begins without its parent's locks and connections.

A lock that another thread held at that moment is never released in the child. And two processes that
write to one TLS connection use its key with the same counters, which breaks its encryption.
"""

import os
from typing import Protocol
from weakref import WeakSet


class Survivor(Protocol):
    """Something that holds locks or connections."""

    def begin_again(self) -> None:
        """Let go, in a child with one thread, of what the parent goes on using."""


_LIVING: WeakSet[Survivor] = WeakSet()


def survive_forks(thing: Survivor) -> None:
    """Have `thing` begin again in every child process, as long as it lives."""
    _LIVING.add(thing)


def _begin_again() -> None:
    for thing in list(_LIVING):
        thing.begin_again()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork either
    os.register_at_fork(after_in_child=_begin_again)
