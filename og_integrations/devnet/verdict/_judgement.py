"""A judgement is the list of findings about one client; their names are `MISBEHAVIOURS`."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from og_integrations.errors import ConfigurationError

PATIENCE = 180.0
"""Seconds after which a client that still waits for a stalled answer has no timeout."""

MISBEHAVIOURS: dict[str, str] = {
    "double_paid": "paid for a request again, with another authorization, though the first one may be charged",
    "retried_paid_request": "sent a request again that was paid for and may have been charged",
    "signed_twice": "signed another payment for a request whose payment was refused",
    "paid_wrong_terms": "signed for a token, network or amount that no honest gateway here asks for",
    "prompt_sent_to_wrong_peer": "sent a prompt to a peer that the registry does not vouch for",
    "session_leaked": "showed a session or a payment to someone it is not for, or wrote it down",
    "secret_leaked": "wrote a private key or a signed payment into a receipt or a log",
    "unknown_settlement_mode": "asked for a settlement mode that gateways silently take for batch",
    "retry_storm": "sent one request again and again without an answer",
    "repeated_change": "asked the model hub again for a change that may have been made",
    "no_timeout": "waited for a stalled answer for longer than anyone would",
    "accepted_unverified": "took for verified what no enclave here signed, or what was changed since",
    "truncated_stream_accepted": "took a stream that was cut for a finished answer",
    "same_proof_twice": "took one signature as the proof of two answers",
    "unreported_payment": "let a payment leave that no receipt tells of",
    "unreported_charge": "let an answer be charged that no receipt tells of",
    "unseen_payment": "took for paid what was not: no gateway saw the payment of a verified answer",
    "wrong_session_reported": "reports another session than the payment opened",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """This is one misbehaviour: its name, what was seen, and the numbers of the journal's exchanges that show it."""

    name: str
    detail: str
    exchanges: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in MISBEHAVIOURS:
            raise ConfigurationError(f"Unknown misbehaviour {self.name!r}; expected one of {', '.join(MISBEHAVIOURS)}.")

    def __str__(self) -> str:
        """Return one line, e.g. `double_paid: … [exchanges 2, 4]`."""
        where = f" [exchanges {', '.join(map(str, self.exchanges))}]" if self.exchanges else ""
        return f"{self.name}: {self.detail}{where}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """These are all findings, in the order of the journal. False in a condition if there are none."""

    findings: tuple[Finding, ...] = field(default=())

    @property
    def clean(self) -> bool:
        """Return whether nothing was found."""
        return not self.findings

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of what was found, each once, in order."""
        return tuple(dict.fromkeys(finding.name for finding in self.findings))

    @property
    def lines(self) -> tuple[str, ...]:
        """Return one line per finding."""
        return tuple(map(str, self.findings))

    @property
    def exit_code(self) -> int:
        """Return what a program that was watched should end with: 0 if nothing was found, else 1."""
        return 0 if self.clean else 1

    def __bool__(self) -> bool:
        """Return whether there is any finding."""
        return bool(self.findings)

    def __iter__(self) -> Iterator[Finding]:
        """Go through the findings."""
        return iter(self.findings)

    def __str__(self) -> str:
        """Return the lines, or `clean`."""
        return "\n".join(self.lines) or "clean"
