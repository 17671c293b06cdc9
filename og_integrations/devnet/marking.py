"""A moment of a devnet that serves more than one test: what came before is not judged with what comes after."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from og_integrations.devnet.journal import AuthorizationSeen, Journal
from og_integrations.protocol.chat import JsonObject


@dataclass(frozen=True, slots=True)
class Mark:
    """How long everything was: the journal's lists, and each watched list of receipts."""

    exchanges: int = 0
    encounters: int = 0
    strays: int = 0
    receipts: tuple[int, ...] = ()

    @classmethod
    def of(cls, journal: Journal, watched: Sequence[Sequence[JsonObject]]) -> "Mark":
        """Return now."""
        lengths = len(journal.exchanges), len(journal.encounters), len(journal.strays)
        return cls(*lengths, receipts=tuple(map(len, watched)))

    def new_receipts(self, watched: Sequence[Sequence[JsonObject]]) -> list[Sequence[JsonObject]]:
        """Return what has come since into each of the lists."""
        known = (*self.receipts, *[0] * len(watched))
        return [receipts[length:] for receipts, length in zip(watched, known, strict=False)]

    def new_entries(self, journal: Journal) -> Journal:
        """Return `journal` without what was before; an older authorization is kept if it was shown since."""
        if self == START:
            return journal
        exchanges, strays = journal.exchanges[self.exchanges :], journal.strays[self.strays :]
        shown = {ref for exchange in exchanges for ref in (exchange.authorization, exchange.session)}
        shown |= {stray.ref for stray in strays}

        def is_shown(seen: AuthorizationSeen) -> bool:
            return seen.ref in shown or (seen.session is not None and seen.session in shown)

        return dataclasses.replace(
            journal,
            exchanges=exchanges,
            encounters=journal.encounters[self.encounters :],
            strays=strays,
            authorizations={key: seen for key, seen in journal.authorizations.items() if is_shown(seen)},
            charges=[charge for charge in journal.charges if charge.exchange > self.exchanges],
        )


START = Mark()
