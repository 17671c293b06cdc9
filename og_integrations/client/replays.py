"""Which answers this client has seen already: PSS is randomised, so an honest enclave repeats no signature."""

import threading
from collections import OrderedDict

from og_integrations.forking import survive_forks

REMEMBERED_SIGNATURES = 4096


class Signatures:
    """The last signatures of one client. Safe to share between threads."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, None] = OrderedDict()
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Have a lock that nobody holds; what was seen stays seen."""
        self._lock = threading.Lock()

    def seen(self, signature: str) -> bool:
        """Remember `signature`, and return whether it was there."""
        with self._lock:
            seen = signature in self._seen
            self._seen[signature] = None
            if len(self._seen) > REMEMBERED_SIGNATURES:
                self._seen.popitem(last=False)
        return seen
