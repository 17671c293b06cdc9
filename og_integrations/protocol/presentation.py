"""
Where what the user sees differs from what the enclave signed (DESIGN "Shown is not always signed").

The gateway hashes `stop` but never passes it to the model (PROTOCOL §2), so stop sequences are cut
here. Verification always runs on the whole signed text; the receipt's `presentation` tells of the cut.
"""

from collections.abc import Sequence
from dataclasses import replace

from og_integrations.protocol.translation import Shown


class StopCutter:
    """
    Text in, shown text out: nothing from the first stop sequence on.

    Holds back as much as could be the beginning of one, so that no part of it is ever shown.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(sequence for sequence in stop if sequence)
        self._held = ""
        self.cut_at: str | None = None

    def feed(self, text: str) -> str:
        """Return what may be shown now that `text` came."""
        if not self._stop:
            return text
        if self.cut_at is not None:
            return ""
        self._held += text
        found = [(at, sequence) for sequence in self._stop if (at := self._held.find(sequence)) >= 0]
        if found:
            # The one that ends first: so it does not matter in which pieces the text came.
            at, self.cut_at = min(found, key=lambda hit: (hit[0] + len(hit[1]), hit[0]))
            shown, self._held = self._held[:at], ""
            return shown
        keep = max(self._suspicious(sequence) for sequence in self._stop)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def flush(self) -> str:
        """Return what was held back, now that no more text comes."""
        shown, self._held = self._held, ""
        return shown

    def _suspicious(self, sequence: str) -> int:
        """Return how many characters at the end could begin `sequence`."""
        longest = min(len(sequence) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(sequence[:n])), 0)


def cut_at_stop(shown: Shown, stop: Sequence[str]) -> Shown:
    """Return `shown` with its text cut at the first of `stop`; a translated answer is left whole."""
    if shown.presentation is not None:
        return shown
    cutter = StopCutter(stop)
    text = cutter.feed(shown.text) + cutter.flush()
    if cutter.cut_at is None:
        return shown
    return replace(shown, text=text, presentation={"kind": "cut_at_stop", "stop": cutter.cut_at})
