"""Whom a redirect leads to: a server that is no gateway, and notes what it was shown."""

from og_integrations.devnet.chain.chain import Clock
from og_integrations.devnet.gateway.answers import problem
from og_integrations.devnet.gateway.http import Reply, Request
from og_integrations.devnet.paywall.sessions import payment_key
from og_integrations.devnet.verdict.entries import noted, watched
from og_integrations.devnet.verdict.journal import Journal
from og_integrations.protocol.payment.x402 import PAYMENT_SIGNATURE, SESSION, session_ref


class Stranger:
    """Takes every request and gives nothing for it."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock

    async def handle(self, request: Request) -> Reply:
        """Note `request` as one to an impostor."""
        exchange = noted(request, self._journal, enclave="", at=self._clock.now())
        exchange.impostor = exchange.spoiled = True
        exchange.faults.append("redirect")
        session, payment = request.header(SESSION), request.header(PAYMENT_SIGNATURE)
        if session:
            exchange.paid_by, exchange.session = "session", session_ref(session)
        elif payment:
            exchange.paid_by, exchange.authorization = "payment", payment_key(payment)[:16]
        reply = problem(404)
        exchange.status = reply.status
        return watched(reply, exchange)
