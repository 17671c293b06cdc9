"""One TEE gateway: routes, and the order of checks that the real one has (PROTOCOL §3.6)."""

from collections.abc import Callable

from og_integrations.devnet.chain.chain import Clock
from og_integrations.devnet.faults.fault import FaultBoard, Trouble
from og_integrations.devnet.gateway.answers import Answerer, Job, compact_reply, problem
from og_integrations.devnet.gateway.data_settlement import mode_of
from og_integrations.devnet.gateway.enclave import LocalEnclave
from og_integrations.devnet.gateway.http import Reply, Request
from og_integrations.devnet.gateway.request_schema import complaint
from og_integrations.devnet.model.model import Family
from og_integrations.devnet.paywall.paywall import Paywall
from og_integrations.devnet.paywall.pricing import cost_of, family_of
from og_integrations.devnet.paywall.sessions import Session
from og_integrations.devnet.verdict.entries import NOT_JSON, note_strays, noted, parsed, watched
from og_integrations.devnet.verdict.journal import Exchange, Journal
from og_integrations.errors import InvalidRequestError
from og_integrations.protocol.chat.wire import CHAT_PATH, COMPLETION_PATH, Usage
from og_integrations.protocol.payment.x402 import SESSION, session_ref

_PAID_PATHS = frozenset({CHAT_PATH, COMPLETION_PATH})


class Gateway:
    """Answers every HTTP request to one enclave."""

    def __init__(
        self,
        *,
        enclave: LocalEnclave,
        paywall: Paywall,
        answerer: Answerer,
        faults: FaultBoard,
        journal: Journal,
        clock: Clock,
        listed: Callable[[], bool | None] = lambda: None,
        family_of: Callable[[str], Family | None] = family_of,
    ) -> None:
        self._listed = listed
        self._family_of = family_of
        self._enclave = enclave
        self._paywall = paywall
        self._answerer = answerer
        self._faults = faults
        self._journal = journal
        self._clock = clock
        self._plain_routes: dict[tuple[str, str], Callable[[], Reply]] = {
            ("GET", "/health"): self._health,
            ("GET", "/signing-key"): lambda: compact_reply(enclave.signing_key_document(clock)),
            ("GET", "/heartbeat/status"): lambda: compact_reply({"enabled": False}),
            ("POST", "/v1/keys"): lambda: compact_reply({"error": "Provider keys have already been initialized"}, 409),
        }

    async def handle(self, request: Request) -> Reply:
        """Answer `request`."""
        if request.path in _PAID_PATHS and request.method == "POST":
            return await self._guarded(request)
        peer = "" if request.impostor else self._enclave.tee_id
        note_strays(request, self._journal, enclave=peer, place=request.path)
        # Where there is GET there is HEAD; the connection leaves the body out.
        method = "GET" if request.method == "HEAD" else request.method
        route = self._plain_routes.get((method, request.path))
        return self._elsewhere(request) if route is None else route()

    def _elsewhere(self, request: Request) -> Reply:
        taken = [method for method, path in self._plain_routes if path == request.path]
        if request.path in _PAID_PATHS:
            taken = ["POST"]
        if not taken:
            return problem(404)
        allowed = ", ".join(["GET, HEAD" if method == "GET" else method for method in taken] + ["OPTIONS"])
        if request.method == "OPTIONS":
            # Not captured; what the Allow header of a captured 405 promises, as Flask keeps it.
            return Reply(status=200, headers=[("Content-Type", "text/html; charset=utf-8"), ("Allow", allowed)])
        reply = problem(405)
        reply.headers.append(("Allow", allowed))
        return reply

    async def _guarded(self, request: Request) -> Reply:
        exchange = noted(
            request, self._journal, enclave=self._enclave.tee_id, at=self._clock.now(), listed=self._listed()
        )
        trouble = self._faults.trouble(exchange)
        if request.impostor:
            exchange.faults.append("wrong_certificate")
            exchange.spoiled = True
        session = self._paywall.admit(request, exchange, trouble)
        if isinstance(session, Session):
            instead = trouble.instead(request)
            reply = instead or await self._survived(request, session, exchange, trouble)
            if instead is None:
                told = self._paywall.stolen(session) if trouble.tells_stolen_session() else session
                reply.headers.append((SESSION, told.id))
            reply = trouble.reply(reply)
            exchange.told_sessions = [session_ref(value) for name, value in reply.headers if name == SESSION]
        else:
            reply = session
        exchange.status = reply.status
        return watched(reply, exchange)

    async def _survived(self, request: Request, session: Session, exchange: Exchange, trouble: Trouble) -> Reply:
        try:
            return await self._served(request, session, exchange, trouble)
        except (InvalidRequestError, RecursionError):
            # What cannot be hashed, or is nested so deep that Python gives up.
            return problem(500)

    async def _served(self, request: Request, session: Session, exchange: Exchange, trouble: Trouble) -> Reply:
        body = parsed(request)
        model = body.get("model") if isinstance(body, dict) else None
        family = self._family_of(model) if isinstance(model, str) else None
        if isinstance(model, str) and family is None:
            return compact_reply({"error": f"Model '{model}' is not supported"}, 400)
        if not (request.header("authorization") or "").startswith("Bearer "):
            return problem(401, "No authorization token provided")
        if (refusal := _refusal(request, body)) is not None:
            return refusal
        if not isinstance(body, dict) or family is None:
            return problem(500)

        def charge(usage: Usage) -> None:
            self._paywall.charge(session, cost_of(family, usage), exchange)

        job = Job(
            path=request.path,
            body=body,
            raw=request.body.decode(errors="replace"),
            family=family,
            mode=mode_of(request),
            exchange=exchange,
            trouble=trouble,
            charge=charge,
        )
        return await self._handled(job)

    async def _handled(self, job: Job) -> Reply:
        # The gateway's handler breaks on this role, though its schema knows it.
        if any(message.get("role") == "developer" for message in job.body.get("messages", ())):
            return problem(500)
        return await self._answerer.answer(job)

    def _health(self) -> Reply:
        feed = {
            "consecutive_failures": 0,
            "last_error": None,
            "last_success": self._clock.now(),
            "price_usd": 0.1,
            "refresh_interval": 300,
            "total_errors": 0,
            "total_fetches": 1,
        }
        return compact_reply({"price_feed": feed, "status": "OK", "tee_enabled": True, "version": "1.0.0"})


def _refusal(request: Request, body: object) -> Reply | None:
    kind = request.header("content-type")
    if kind is None or kind.partition(";")[0].strip().lower() != "application/json":
        return problem(415, f"Invalid Content-type ({kind}), expected JSON data")
    if body is NOT_JSON:
        return problem(400, "Request body is not valid JSON")
    detail = complaint(request.path, body)
    return None if detail is None else problem(400, detail)
