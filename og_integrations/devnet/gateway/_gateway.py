"""
A TEE gateway has its routes, and makes its checks in the order of the real one (docs/protocol.md §3.6).

`open_gateway` puts one together: keys, paywall, gateway and the server that shows them.
"""

import dataclasses
import functools
import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from og_integrations.devnet._attestation import Authority, Build, body_of
from og_integrations.devnet._clock import Clock
from og_integrations.devnet._enclave import EnclaveKeys, LocalEnclave, random_address
from og_integrations.devnet._fault import FaultInjector, RequestFaults
from og_integrations.devnet._generations import (
    GENERATIONS,
    Generation,
    Moderation,
    any_family,
    cost_block,
    cost_of,
    family_of,
    search_cost,
)
from og_integrations.devnet._http import HttpServer, Reply, Request
from og_integrations.devnet._journal import (
    NOT_JSON,
    Exchange,
    FaultMet,
    Journal,
    mode_of,
    parsed,
    payment_key,
    record_exchange,
    record_stray_credentials,
    tracked,
)
from og_integrations.devnet._sealing import SealedRequest, UnopenedError, unsealed
from og_integrations.devnet.chain._chain import Chain
from og_integrations.devnet.gateway._acceptance import complaint, moderated, refused_attachment
from og_integrations.devnet.gateway._answers import Answerer, Job, compact_reply, json_reply, problem
from og_integrations.devnet.gateway._data_settlement import DataSettler
from og_integrations.devnet.gateway._search import search_complaint
from og_integrations.devnet.model._model import Family, Model
from og_integrations.devnet.model._upstream import Upstream
from og_integrations.devnet.paywall._facilitator import Facilitator
from og_integrations.devnet.paywall._paywall import Paywall, Session, requirement
from og_integrations.errors import InvalidRequestError
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._wire import SEARCH_PATH, Usage
from og_integrations.protocol.payment._x402 import PAYMENT_SIGNATURE, SESSION, session_ref
from og_integrations.protocol.proof._canonical import nonce_in
from og_integrations.protocol.sealing._ohttp import OHTTP_PATH


class Gateway:
    """Answers every HTTP request to one enclave."""

    def __init__(
        self,
        *,
        enclave: LocalEnclave,
        paywall: Paywall,
        answerer: Answerer,
        faults: FaultInjector,
        journal: Journal,
        clock: Clock,
        authority: Authority,
        listed: Callable[[], bool | None] = lambda: None,
        family_of: Callable[[str], Family | None] = family_of,
        generation: Generation = GENERATIONS["april"],
    ) -> None:
        self._listed = listed
        self._family_of = family_of
        self._enclave = enclave
        self._generation = generation
        self._paywall = paywall
        self._answerer = answerer
        self._faults = faults
        self._journal = journal
        self._clock = clock
        self._authority, self._attacker = authority, Authority(clock)
        self._plain_routes: dict[tuple[str, str], Callable[[Request], Reply]] = {
            ("GET", "/health"): lambda _: self._health(),
            ("GET", "/signing-key"): lambda _: self._signing_key(),
            ("GET", "/heartbeat/status"): lambda _: compact_reply({"enabled": False}),
            ("GET", _ATTESTATION_PATH): self._attestation,
            ("POST", "/v1/keys"): lambda _: compact_reply(
                {"error": "Provider keys have already been initialized"}, 409
            ),
        }
        if generation.max_sealed is not None:
            self._plain_routes["GET", "/v1/ohttp/config"] = lambda _: self._key_config()

    async def handle(self, request: Request) -> Reply:
        """Answer `request`."""
        if request.path in self._generation.paid_paths and request.method == "POST":
            reply, _ = await self.carry(request)
            return reply
        peer = "" if request.impostor else self._enclave.tee_id
        record_stray_credentials(request, self._journal, enclave=peer, place=request.path)
        # Where there is GET there is HEAD; the connection leaves the body out.
        method = "GET" if request.method == "HEAD" else request.method
        route = self._plain_routes.get((method, request.path))
        return self._elsewhere(request) if route is None else route(request)

    def _elsewhere(self, request: Request) -> Reply:
        taken = [method for method, path in self._plain_routes if path == request.path]
        if request.path in self._generation.paid_paths:
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

    async def carry(self, request: Request) -> tuple[Reply, RequestFaults]:
        """Answer the paid `request`; return the faults that it met, too, since a relay may have its own."""
        sealed = self._unsealed(request)
        asked = sealed.inner if isinstance(sealed, SealedRequest) else request
        exchange = record_exchange(
            asked, self._journal, enclave=self._enclave.tee_id, at=self._clock.now(), listed=self._listed()
        )
        exchange.sealed, exchange.relayed = sealed is not None, request.relayed
        faults = self._faults.for_request(exchange)
        if request.impostor:
            exchange.faults.append("wrong_certificate")
            exchange.spoiled = True
        most = self._generation.max_body
        too_large = most is not None and len(request.body) > most
        session = (
            json_reply({"error": "request body too large"}, 413)
            if too_large
            else self._paywall.admit(request, exchange, faults)
        )
        if isinstance(session, Session):
            instead = faults.instead(request)
            reply = instead or await self._answered(asked, sealed, session, exchange, faults)
            if instead is None:
                named = self._paywall.stolen(session) if faults.names_stolen_session() else session
                reply.headers.append((SESSION, named.id))
            reply = faults.reply(reply)
            exchange.sessions_named = [session_ref(value) for name, value in reply.headers if name == SESSION]
        else:
            reply = session
        exchange.status = reply.status
        return tracked(reply, exchange), faults

    def _unsealed(self, request: Request) -> SealedRequest | UnopenedError | None:
        """Return what was sealed, or why it cannot be opened; None for a request in clear."""
        if request.path != OHTTP_PATH or self._generation.max_sealed is None:
            return None
        try:
            return unsealed(request, self._enclave.keys.sealing, most=self._generation.max_sealed)
        except UnopenedError as exc:
            return exc

    async def _answered(
        self,
        asked: Request,
        sealed: SealedRequest | UnopenedError | None,
        session: Session,
        exchange: Exchange,
        faults: RequestFaults,
    ) -> Reply:
        if isinstance(sealed, UnopenedError):
            return sealed.reply
        if sealed is None:
            return await self._survived(asked, session, exchange, faults)
        refusal = sealed.refusal()
        if refusal is not None:
            reply = json_reply(refusal[1], refusal[0])
        else:
            reply = await self._survived(asked, session, exchange, faults)
        return sealed.sealed(reply, functools.partial(self._cost_of, exchange))

    def _cost_of(self, exchange: Exchange) -> JsonObject | None:
        charged = [item for item in self._journal.charges if item.exchange == exchange.number and not item.refused]
        return cost_block(charged[0].amount) if charged else None

    async def _survived(self, request: Request, session: Session, exchange: Exchange, faults: RequestFaults) -> Reply:
        try:
            return await self._served(request, session, exchange, faults)
        except (InvalidRequestError, RecursionError):
            # What cannot be hashed, or is nested so deep that Python gives up.
            return problem(500)

    async def _served(self, request: Request, session: Session, exchange: Exchange, faults: RequestFaults) -> Reply:
        body = parsed(request)
        if request.path == SEARCH_PATH:
            return self._searched(request, body, session, exchange, faults)
        model = body.get("model") if isinstance(body, dict) else None
        family = self._family_of(model) if isinstance(model, str) else None
        if isinstance(model, str) and family is None:
            return compact_reply({"error": f"Model '{model}' is not supported"}, 400)
        if not (request.header("authorization") or "").startswith("Bearer "):
            return problem(401, "No authorization token provided")
        if (refusal := _refusal(request, body)) is not None:
            return refusal
        if not self._generation.takes_nonce and isinstance(body, dict) and nonce_in(request.path, body) is not None:
            said = "Additional properties are not allowed ('og_nonce' was unexpected)"
            # Only what the gateway says itself is sealed; what its framework says is not (docs/protocol.md §10.3).
            own = self._generation.errors.describes_itself
            return compact_reply({"error": said}, 400) if own else problem(400, said)
        if not isinstance(body, dict) or family is None:
            return problem(500)

        if (attachment := refused_attachment(body, self._generation)) is not None:
            return json_reply(attachment, 400)

        def charge(usage: Usage, pictures: int) -> int:
            cost = cost_of(str(model), usage, pictures)
            self._paywall.charge(session, cost, exchange)
            return cost

        job = Job(
            path=request.path,
            body=body,
            raw=request.body.decode(errors="replace"),
            family=family,
            mode=mode_of(request),
            exchange=exchange,
            faults=faults,
            charge=charge,
        )
        return await self._handled(job)

    async def _handled(self, job: Job) -> Reply:
        # The gateway's handler breaks on this role, though its schema knows it.
        if any(message.get("role") == "developer" for message in job.body.get("messages", ())):
            return problem(500)
        said = moderated(job.body, self._generation)
        if said.refusal is not None:
            status, headers, refusal = said.refusal
            reply = json_reply(refusal, status)
        else:
            headers = list(said.headers)
            reply = await self._answerer.answer(dataclasses.replace(job, moderation=said.block))
        reply.headers += headers
        return reply

    def _searched(
        self, request: Request, body: object, session: Session, exchange: Exchange, faults: RequestFaults
    ) -> Reply:
        refusal = search_complaint(body)
        if refusal is not None or not isinstance(body, dict):
            status, content = refusal or (415, {})
            return json_reply(content, status)

        def charge(_: Usage, pictures: int) -> int:
            self._paywall.charge(session, search_cost(), exchange)
            return search_cost()

        return self._answerer.search(
            Job(
                path=request.path,
                body=body,
                raw=request.body.decode(errors="replace"),
                family=Family.OPENAI,
                mode=mode_of(request),
                exchange=exchange,
                faults=faults,
                charge=charge,
            )
        )

    def _attestation(self, request: Request) -> Reply:
        """Answer as nitriding does, which stands in front of the gateway in the enclave (docs/protocol.md §9.1)."""
        self._journal.attestations += 1
        asked = _NONCE_QUERY.fullmatch(request.query)
        if asked is None:
            return _plain_text(400, "expected nonce of 40 hex digits in the URL's query")
        claims = self._enclave.claims(bytes.fromhex(asked[1]), self._clock)
        changed, faults = self._faults.attested(claims, self._enclave.tee_id)
        if changed is None:
            reply = _plain_text(503, "attestation is not available")
        else:
            authority = self._attacker if changed.foreign else self._authority
            reply = _plain_text(200, body_of(authority.document(changed)))
        if not faults:
            return reply
        met = FaultMet(fault="+".join(faults), began=time.monotonic(), peer=request.peer)
        self._journal.faults_met.append(met)
        return tracked(reply, met)

    def _signing_key(self) -> Reply:
        document = self._enclave.signing_key_document(self._clock)
        return compact_reply(self._faults.signing_key(document, self._enclave.tee_id))

    def _key_config(self) -> Reply:
        document = self._enclave.keys.key_config_document()
        signed = ("tee_id", "signature", "signature_hash")
        return compact_reply({name: value for name, value in document.items() if name not in signed})

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
        if not self._generation.newer:
            return compact_reply({"price_feed": feed, "status": "OK", "tee_enabled": True, "version": "1.0.0"})
        body: JsonObject = {
            "facilitator_url": "http://127.0.0.1:9/facilitator",
            "price_feed": feed,
            "providers": [family.value for family in Family],
            "status": "OK",
            "tee_enabled": True,
            "uptime_seconds": self._clock.seconds() - self._enclave.started_at,
            "version": "0.0.0+devnet",
        }
        if self._generation.search_endpoint:
            body["web_search_enabled"] = True
            body["moderation_enabled"] = self._generation.moderation is not Moderation.NONE
        return compact_reply(body)


_ATTESTATION_PATH = "/enclave/attestation"
_NONCE_QUERY = re.compile(r"nonce=([0-9a-f]{40})")


def _plain_text(status: int, body: str | bytes) -> Reply:
    text = body.encode() + b"\n" if isinstance(body, str) else body
    return Reply(status=status, headers=[("Content-Type", "text/plain; charset=utf-8")], body=text)


def _refusal(request: Request, body: object) -> Reply | None:
    kind = request.header("content-type")
    if kind is None or kind.partition(";")[0].strip().lower() != "application/json":
        return problem(415, f"Invalid Content-type ({kind}), expected JSON data")
    if body is NOT_JSON:
        return problem(400, "Request body is not valid JSON")
    detail = complaint(request.path, body)
    return None if detail is None else problem(400, detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """
    This is what all gateways of one devnet share.

    `cap` is what they ask to authorize, in base units; the provider's hidden retries before a 500
    take `retry_seconds`; `generation` says how they behave, `authority` signs their attestation documents.
    """

    chain: Chain
    facilitator: Facilitator
    faults: FaultInjector
    journal: Journal
    model: Model
    generation: Generation
    cap: int
    retry_seconds: float
    tls: bool
    authority: Authority
    advertise: str = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningGateway:
    """This is one enclave of the devnet, its gateway and paywall, and its server."""

    enclave: LocalEnclave
    gateway: Gateway
    paywall: Paywall
    server: HttpServer


def open_gateway(sock: socket.socket, options: GatewayOptions, build: Build | None = None) -> RunningGateway:
    """
    Return a new enclave that answers on `sock` once its server is started; the chain lists it.

    With a `build` it is somebody else's, who runs that, and nobody lists it.
    """
    clock, enclave = options.chain.clock, _new_enclave(sock, options, build or options.generation.build)
    keys = enclave.keys
    paywall = _paywall_of(enclave, options)
    answerer = Answerer(
        keys,
        options.model,
        clock,
        DataSettler(options.journal, options.chain.batches),
        retry_seconds=options.retry_seconds,
        generation=options.generation,
    )
    gateway = Gateway(
        enclave=enclave,
        paywall=paywall,
        answerer=answerer,
        faults=options.faults,
        journal=options.journal,
        clock=clock,
        authority=options.authority,
        family_of=any_family if isinstance(options.model, Upstream) else family_of,
        listed=lambda: options.chain.vouches_for(keys.certificate),
        generation=options.generation,
    )
    server = HttpServer(
        gateway.handle,
        sock,
        tls=keys.tls_context() if options.tls else None,
        impostor_tls=lambda: _impostor(enclave, options),
    )
    _list_key(enclave, options)
    if build is None:
        options.chain.register(enclave.entry())
    return RunningGateway(enclave=enclave, gateway=gateway, paywall=paywall, server=server)


def _paywall_of(enclave: LocalEnclave, options: GatewayOptions) -> Paywall:
    return Paywall(
        enclave=enclave.tee_id,
        generation=options.generation,
        requirement=requirement(
            options.chain.network,
            cap=options.cap,
            timeout=options.generation.timeout,
            pay_to=enclave.payment_address,
            facilitator=options.facilitator.address,
        ),
        facilitator=options.facilitator,
        clock=options.chain.clock,
        journal=options.journal,
    )


def _new_enclave(sock: socket.socket, options: GatewayOptions, build: Build) -> LocalEnclave:
    return LocalEnclave(
        keys=EnclaveKeys(),
        endpoint=f"{'https' if options.tls else 'http'}://{options.advertise}:{sock.getsockname()[1]}",
        payment_address=random_address(),
        wallet_address=random_address(),
        started_at=options.chain.clock.seconds(),
        build=build,
        takes_sealed=options.generation.max_sealed is not None,
    )


def _list_key(enclave: LocalEnclave, options: GatewayOptions) -> None:
    chain = options.chain
    # The registry that holds signatures is about as old as the search endpoint.
    if enclave.takes_sealed and options.generation.search_endpoint:
        signatures = {} if chain.key_signatures is None else chain.key_signatures
        signatures[enclave.keys.sealing.listed.public_key] = enclave.keys.key_config_signature
        chain.key_signatures = signatures


def _impostor(enclave: LocalEnclave, options: GatewayOptions) -> ssl.SSLContext | None:
    """Return whose certificate is shown in this handshake, if not the enclave's."""
    fault = options.faults.in_handshake(enclave.tee_id)
    if fault is None:
        return None
    now = time.monotonic()
    options.journal.faults_met.append(FaultMet(fault=fault.name, began=now, ended="complete", ended_at=now))
    return options.faults.impostor.tls_context()


class RedirectTarget:
    """Takes every request and gives nothing for it."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock

    async def handle(self, request: Request) -> Reply:
        """Note `request` as one to an impostor."""
        exchange = record_exchange(request, self._journal, enclave="", at=self._clock.now())
        exchange.impostor = exchange.spoiled = True
        exchange.faults.append("redirect")
        session, payment = request.header(SESSION), request.header(PAYMENT_SIGNATURE)
        if session:
            exchange.paid_by, exchange.session = "session", session_ref(session)
        elif payment:
            exchange.paid_by, exchange.authorization = "payment", payment_key(payment)[:16]
        reply = problem(404)
        exchange.status = reply.status
        return tracked(reply, exchange)
