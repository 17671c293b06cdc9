"""A payment session is one signed authorization, many answers, one settlement (PROTOCOL §3.4, §3.6, §3.7)."""

import uuid
from dataclasses import dataclass, field

from og_integrations.devnet.clock import Clock
from og_integrations.protocol.payment.schemes.upto import Permit2Authorization
from og_integrations.protocol.payment.x402 import session_ref
from og_integrations.protocol.strict_json import JsonObject

IDLE_SECONDS = 100
"""A session is settled this long after its last charged use."""


@dataclass(slots=True)
class Session:
    """
    An open session, paid for on the terms `requirement`. Amounts are base units, times unix seconds;
    `charged_at` is None until the first charge, and a session never charged is never reaped.
    """

    id: str = field(repr=False)
    authorization: Permit2Authorization
    route: tuple[str, str]
    requirement: JsonObject
    spent: int = 0
    charged_at: float | None = None
    closed: bool = False

    @property
    def ref(self) -> str:
        """What may be shown of its id."""
        return session_ref(self.id)

    @property
    def cap(self) -> int:
        """The most it may spend."""
        return self.authorization.amount

    def charge(self, amount: int, now: float) -> bool:
        """Add `amount`, unless it goes over the cap: then nothing is charged, not even the time."""
        if self.closed or self.spent + amount > self.cap:
            return False
        self.spent += amount
        self.charged_at = now
        return True


class Sessions:
    """The sessions of one gateway, by id and by the payment that opened them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_id: dict[str, Session] = {}
        self._by_payment: dict[str, Session] = {}

    def open(
        self, key: str, authorization: Permit2Authorization, route: tuple[str, str], requirement: JsonObject
    ) -> Session:
        """Open a session for the payment `key`, made on the terms `requirement`."""
        session = Session(str(uuid.uuid4()), authorization, route, requirement)
        self._by_id[session.id] = self._by_payment[key] = session
        return session

    def opened_by(self, key: str) -> Session | None:
        """The session that the payment `key` opened, open or not."""
        return self._by_payment.get(key)

    def find(self, session_id: str) -> Session | None:
        """The session with that id, open or not."""
        return self._by_id.get(session_id)

    def usable(self, session: Session | None, route: tuple[str, str]) -> bool:
        """Whether `session` may serve one more request to `route` (method, path)."""
        return (
            session is not None
            and not session.closed
            and session.spent < session.cap
            and session.route == route
            and not self._is_idle(session)
        )

    def due(self) -> list[Session]:
        """The open sessions to settle: exhausted, or idle since their last charge."""
        return [session for session in self.open_sessions() if session.spent >= session.cap or self._is_idle(session)]

    def open_sessions(self) -> list[Session]:
        """All that are not settled."""
        return [session for session in self._by_id.values() if not session.closed]

    def _is_idle(self, session: Session) -> bool:
        return session.charged_at is not None and self._clock.now() - session.charged_at >= IDLE_SECONDS
