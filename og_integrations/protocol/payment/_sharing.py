"""
How processes that share a store share their sessions (docs/design.md "Payment", docs/fleet.md).

For each route there is one note in the store (`SessionNotes`). It says either that somebody is about to sign, until
a unix time, or, sealed, what was signed and what the gateway called its session:

```text
no note ──> "turn:…"    whose turn it is to claim, ask and sign; nobody's once its time is over
"turn:…" ──> sealed     signed: all send the same authorization, which the gateway joins into one session
sealed  ──> sealed      the gateway has named the session
sealed  ──> "turn:…"    a call found the session over, or its time has come
```

A note is replaced only by who has read it, in one step, so that of many processes one has the turn. Nothing is locked
meanwhile: who dies leaves a turn that ends by itself. Whatever goes wrong here costs one authorization more, which the
budget counts; a note that cannot be opened is none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from og_integrations.errors import MalformedOfferError
from og_integrations.protocol._redact import Secret
from og_integrations.protocol._strict_json import JsonObject, decode_json, encode_json
from og_integrations.protocol.payment._budget import SessionNotes
from og_integrations.protocol.payment._x402 import PaymentRequirements, Route, parse_requirements
from og_integrations.protocol.payment.schemes import decode_authorization
from og_integrations.protocol.payment.schemes._upto import Permit2Authorization

TURN = 20
"""Seconds for which a process may claim and sign, where no person is asked."""
LONG_TURN = 120
"""The same where the owner or the signer may be a person."""
ON_ITS_WAY = 60
"""Seconds for which an authorization that was signed may still be on its way to the gateway for the first time."""
SHARING_POLL = 0.05
"""Seconds after which a call looks again whether another process has signed."""
_TURN = "turn:"
_TRIES = 5

Name = Callable[[Route], str]
"""Returns the name of a route's note: the same for all who may share its session."""
Seal = Callable[[Secret, str], str]
"""Returns a secret sealed, as text that opens only for the same name."""
Open = Callable[[str, str], Secret | None]
"""Returns what was sealed for a name, None for anything else."""


class SharedSession(NamedTuple):
    """
    A shared session is what one process signed, for the others: all that they need to send it, and to count it.

    `entry_id` is its entry in the budget, `signed_at` and `retire_at` are unix seconds. `session_id` is None until the
    gateway has named it. The texts in `Secret` are bearer credentials.
    """

    requirements: PaymentRequirements
    authorization: Permit2Authorization
    entry_id: str
    signed_at: int
    retire_at: int
    signature: Secret
    session_id: Secret | None = None

    def to_secret(self) -> Secret:
        """Return it as a text."""
        return Secret(
            encode_json(
                {
                    "requirements": self.requirements.raw,
                    "authorization": self.authorization.to_json(),
                    "entry_id": self.entry_id,
                    "signed_at": self.signed_at,
                    "retire_at": self.retire_at,
                    "signature": self.signature.reveal(),
                    "session_id": None if self.session_id is None else self.session_id.reveal(),
                }
            ).decode()
        )

    @classmethod
    def from_secret(cls, opened: Secret) -> "SharedSession | None":
        """Read what `to_secret` wrote; None if it is something else, as from another version of this package."""
        try:
            stored: JsonObject = decode_json(opened.reveal())
            session_id = stored["session_id"]
            return cls(
                requirements=parse_requirements(stored["requirements"]),
                authorization=decode_authorization(stored["authorization"]),
                entry_id=str(stored["entry_id"]),
                signed_at=int(stored["signed_at"]),
                retire_at=int(stored["retire_at"]),
                signature=Secret(str(stored["signature"])),
                session_id=None if session_id is None else Secret(str(session_id)),
            )
        except (KeyError, TypeError, ValueError, MalformedOfferError):
            # A note of another version, say. It costs one authorization more, where an error would stop every call.
            return None


@dataclass(frozen=True, slots=True)
class SessionBoard:
    """
    The board is where the processes that share a store find each other's sessions.

    `name` names the note of a route, `seal` and `unseal` keep what is in it from everybody without the wallet's key.
    `turn` is how long (seconds) a process may take to sign. All but `tell` may wait for the store.
    """

    notes: SessionNotes
    name: Name
    seal: Seal
    unseal: Open
    turn: int = TURN

    def look(self, route: Route, now: int, over: int | None = None) -> SharedSession | None:
        """Return the session of `route` that a call may use at unix time `now`, but not the one of the nonce `over`."""
        name = self.name(route)
        return self._usable(self.notes.note(name), name, now, over)

    def take(self, route: Route, me: str, now: int, over: int | None = None) -> "SharedSession | bool":
        """
        Return the session to use instead of one's own; True if it is the turn of `me` to sign one, False to wait.

        `me` is a text that nobody else has. The session of the nonce `over` was found over, and is replaced.
        """
        name = self.name(route)
        mine = f"{_TURN}{me}:{now + self.turn}"
        # The note may change between the look and the swap; then the new one decides, since acting on the old one
        # could have two processes sign.
        for _ in range(_TRIES):
            found = self.notes.note(name)
            shared = self._usable(found, name, now, over)
            if shared is not None:
                return shared
            # Asked again while the turn lasts, as after a pause: a call that waited here would wait for itself.
            if found is not None and found.startswith(f"{_TURN}{me}:"):
                return True
            # Another process is at it. A turn whose time is over is not waited for: who had it may have died with it.
            if found is not None and _lasts(found, now):
                return False
            # Compared and replaced in one step: with a read and then a write, two processes would both take the turn.
            if self.notes.swap(name, found, mine, now + self.turn):
                return True
        return False

    def publish(self, route: Route, shared: SharedSession) -> None:
        """Say what was signed; one that was signed later, by who took over a turn that was lost, stays."""
        name = self.name(route)
        self._replace(name, shared, lambda found: found is None or found.startswith(_TURN))

    def tell_named(self, route: Route, shared: SharedSession) -> None:
        """Say what the gateway called the session, without waiting for the store."""
        name = self.name(route)
        self.notes.later(lambda: self._replace(name, shared, lambda found: self._is(found, name, shared.authorization)))

    def tell_over(self, route: Route, authorization: Permit2Authorization) -> None:
        """Say that the session of `authorization` is over, without waiting for the store."""
        name = self.name(route)

        def work() -> None:
            found = self.notes.note(name)
            # Only this very session's note goes: without its successor's, all would have to sign once more.
            if self._is(found, name, authorization):
                self.notes.swap(name, found, None, 0)

        self.notes.later(work)

    def tell_left(self, route: Route, me: str) -> None:
        """Give back the turn of `me`, if it has it, without waiting for the store."""
        name = self.name(route)

        def work() -> None:
            found = self.notes.note(name)
            if found is not None and found.startswith(f"{_TURN}{me}:"):
                self.notes.swap(name, found, None, 0)

        self.notes.later(work)

    def _usable(self, found: str | None, name: str, now: int, over: int | None) -> SharedSession | None:
        shared = self._opened(found, name)
        # The session `over` was just answered with a 402; taken from the note again, it would be tried for ever.
        if shared is None or now >= shared.retire_at or shared.authorization.nonce == over:
            return None
        return shared

    def _opened(self, found: str | None, name: str) -> SharedSession | None:
        opened = None if found is None or found.startswith(_TURN) else self.unseal(found, name)
        return None if opened is None else SharedSession.from_secret(opened)

    def _is(self, found: str | None, name: str, authorization: Permit2Authorization) -> bool:
        shared = self._opened(found, name)
        return shared is not None and shared.authorization.nonce == authorization.nonce

    def _replace(self, name: str, shared: SharedSession, may: Callable[[str | None], bool]) -> None:
        # Sealed for the name, so that a note that is copied to another route's name opens as nothing there.
        sealed = self.seal(shared.to_secret(), name)
        for _ in range(_TRIES):
            found = self.notes.note(name)
            if not may(found) or self.notes.swap(name, found, sealed, shared.retire_at):
                return


def _lasts(found: str, now: int) -> bool:
    """Return whether the turn of a note is not over; a clock that is far behind must not make it last for long."""
    until = found.rpartition(":")[2]
    return found.startswith(_TURN) and until.isdigit() and now < int(until) <= now + 2 * LONG_TURN
