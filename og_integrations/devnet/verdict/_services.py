"""What a client did wrong at the model hub and its login, as these saw it."""

from collections import Counter
from collections.abc import Iterator

from og_integrations.devnet._journal import Journal, ServiceCall
from og_integrations.devnet.verdict._judgement import Finding

_REFUSALS = 3
"""A credential that was refused is shown again at most so often: once by each of a few calls that were under way."""
_CROWD = 32


def misused_services(journal: Journal) -> Iterator[Finding]:
    """Yield changes that were asked for again while in doubt, and credentials that were shown after being refused."""
    doubtful: dict[str, ServiceCall] = {}
    for call in journal.services:
        earlier = doubtful.get(call.question)
        if earlier is not None and earlier.over_at is not None and earlier.over_at <= call.began:
            yield Finding("repeated_change", f"{call.what} again, though the first answer was lost")
        if call.changed and call.lost:
            doubtful[call.question] = call
    logins = Counter(call.credential for call in journal.services if call.what == "login" and call.status >= 400)
    for times in logins.values():
        if times > _REFUSALS:
            yield Finding("retry_storm", f"one refused login was tried {times} times")
    shown = Counter(call.credential for call in journal.services if call.what != "login" and call.status == 401)
    for times in shown.values():
        if times > _CROWD:
            yield Finding("retry_storm", f"one refused token was shown {times} times")
