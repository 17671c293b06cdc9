"""Journal and claims in, `Verdict` out."""

import time
from collections.abc import Sequence

from og_integrations.devnet.claims import Claims, contradictions
from og_integrations.devnet.journal import Journal
from og_integrations.devnet.repeating import Calls
from og_integrations.devnet.verdict import Verdict
from og_integrations.devnet.watching import seen_by_server
from og_integrations.networks import Network
from og_integrations.protocol.chat import JsonObject


def gathered(
    watched: Sequence[Sequence[JsonObject]],
    receipts: Sequence[JsonObject] | None,
    answers: Sequence[str],
    logs: Sequence[str],
) -> Claims:
    """
    Return all claims as one; nothing watched and no `receipts` means that payments are not reported.

    Collectors nest, and each gets every receipt: one that stands in two lists is one claim.
    """
    told: list[JsonObject] = []
    for some in (*watched, receipts or ()):
        known = {id(receipt) for receipt in told}
        told += [receipt for receipt in some if id(receipt) not in known]
    reported = bool(watched) or receipts is not None
    return Claims(receipts=told if reported else None, answers=list(answers), logs=list(logs))


def judge(
    claims: Claims, journal: Journal, network: Network, *, cap: int, secrets: set[str], patience: float
) -> Verdict:
    """Return what `journal` and `claims` show; to be called where nothing writes to the journal."""
    calls = Calls(claims.receipts)
    seen = seen_by_server(journal, network, cap=cap, calls=calls, now=time.monotonic(), patience=patience)
    return Verdict((*seen, *contradictions(claims, journal, secrets)))
