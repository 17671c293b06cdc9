"""
The engine is what both clients share: everything about a call except doing the I/O.

A call goes one way. `prepare_…` makes a `Call` of settings and arguments. `whole` and `streamed` are generators of
effects, which a driver of `client._runner` performs: find an enclave, pay, until an answer begins (`open`), then read
its body. Both end in `verify_exchange`, and only what that returns becomes an `Answer`.
"""

import secrets
import time
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Unpack

from og_integrations._accounting import estimated_cost, reported_cost
from og_integrations._forking import survive_forks
from og_integrations._warnings import warn_once
from og_integrations.client import _telemetry
from og_integrations.client._accounts import Account
from og_integrations.client._call import (
    Answer,
    Call,
    CallState,
    Pieces,
    Target,
    check_headers,
    check_size,
    collect_failed,
    collect_verified,
    gateway_error,
    now,
    ready_to_record,
    recorded,
)
from og_integrations.client._collecting import current_tags
from og_integrations.client._directory import Directory
from og_integrations.client._learned import Builds, NonceUse, ReplayCache, build_of, dropped
from og_integrations.client._options import (
    ChatOptions,
    ClientOptions,
    SharedOptions,
    check_choice,
    complete,
    hint,
    seal,
)
from og_integrations.client._settings import (
    Settings,
    check_count,
    check_seconds,
    check_switch,
    no_wallet,
    resolve_relay,
    resolve_settings,
)
from og_integrations.errors import (
    AttestationError,
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    InvalidRequestError,
    OpenGradientError,
    SealedChannelError,
    ToolChoiceNotHonoredError,
    VerificationError,
)
from og_integrations.models import model_name
from og_integrations.models._catalogue import ending_of, info_of
from og_integrations.protocol._strict_json import JsonObject, encode_json, parse_json_object
from og_integrations.protocol.chat._answers import parse_completion
from og_integrations.protocol.chat._translation import AS_ASKED, Plan, cut_at_stop, plan_chat
from og_integrations.protocol.chat._wire import (
    ChatRequest,
    Completion,
    CompletionRequest,
    Request,
    SearchRequest,
    check_chat,
    check_completion,
    check_pictures,
    check_search,
    translated_extra,
)
from og_integrations.protocol.chat._wire import check_size as check_request_size
from og_integrations.protocol.payment._budget import Budget
from og_integrations.protocol.payment._flow import (
    ENTER,
    NOTHING_SENT,
    RECEIVE,
    Effects,
    Gather,
    PaymentContext,
    Send,
    payment_flow,
)
from og_integrations.protocol.payment._policy import SpendPolicy
from og_integrations.protocol.payment._session import SessionCache
from og_integrations.protocol.payment._x402 import ReplyHead, SettlementMode, chosen_mode
from og_integrations.protocol.proof._canonical import APRIL, has_attachments, request_hash
from og_integrations.protocol.proof._enclave import Enclave, EnclavePolicy
from og_integrations.protocol.proof._verification import (
    TRUST_OF_SOURCE,
    Exchange,
    VerifiedExchange,
    verify_exchange,
)
from og_integrations.receipt import rule_name

if TYPE_CHECKING:
    from og_integrations.client.channels._sealed import SealedCall, Sealing


class Engine:
    """
    An engine holds the state of one client: settings, budget, sessions, directory. Threads may share it.

    The options are those of `ClientOptions`. Raises `ConfigurationError` for one that is not valid.
    """

    def __init__(self, **options: Unpack[ClientOptions]) -> None:
        seal(options)
        given = complete(options)
        self.settings: Settings = resolve_settings(
            private_key=given["private_key"],
            signer=given["signer"],
            network=given["network"],
            rpc_url=given["rpc_url"],
            registry_rpc_url=given["registry_rpc_url"],
            registry_address=given["registry_address"],
            gateway_url=given["gateway_url"],
        )
        self.settlement_mode: SettlementMode = chosen_mode(given["settlement_mode"])
        self.buffered: bool = check_choice("verification", given["verification"]) == "buffer"
        self.timeout: float = check_seconds("timeout", given["timeout"])
        self.max_concurrency: int = check_count("max_concurrency", given["max_concurrency"], least=1)
        self.max_retries: int = check_count("max_retries", given["max_retries"])
        self.default_headers: dict[str, str] = check_headers(given["default_headers"])
        self.sealing: Sealing | None = _sealing(given, self.settings)
        generation = check_choice("gateway_generation", given["gateway_generation"])
        self.takes_images: bool = rule_name(generation) != APRIL
        self._asks_builds = generation == "auto"
        policy = SpendPolicy.of(given["spend_policy"]).on(self.settings.network)
        self._builds = Builds()
        self._account = Account(self.settings, policy)
        enclaves = EnclavePolicy.of(given["enclave_policy"])
        check_choice("nonce", given["nonce"])
        self._nonces = NonceUse(given["nonce"])
        self.directory: Directory = Directory(
            self.settings,
            enclaves,
            spread=check_switch("spread", given["spread"]),
            hosts=policy.hosts,
            sealing=self.sealing,
        )
        self._replays = ReplayCache()
        self.begin_again()
        survive_forks(self)

    def begin_again(self) -> None:
        """Pay from the account of this process; after a fork that may be another one."""
        self._context: PaymentContext | None = None

    @property
    def context(self) -> PaymentContext:
        """Return what calls are paid with. Raises `ConfigurationError` after some forks."""
        if self._context is None:
            self._context = self._account.context()
        return self._context

    @property
    def sessions(self) -> SessionCache:
        """Return what this process remembers of its payments. Raises `ConfigurationError` after some forks."""
        return self.context.sessions

    @property
    def budget(self) -> Budget:
        """Return the account that the calls are paid from."""
        return self.context.sessions.budget

    def prepare_chat(
        self,
        model: str | Enum,
        messages: Sequence[JsonObject],
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        stop: str | Sequence[str] | None = None,
        tools: Sequence[JsonObject] | None = None,
        tool_choice: str | JsonObject | None = None,
        response_format: JsonObject | None = None,
        parallel_tool_calls: bool | None = None,
        reasoning_effort: str | None = None,
        stream: bool = False,
        extra: JsonObject | None = None,
        **options: Unpack[SharedOptions],
    ) -> Call:
        """Return a checked chat call. Raises `InvalidRequestError` or `ConfigurationError`."""
        name = model if type(model) is str else model_name(model)
        info = info_of(name)
        if info.effort is False and reasoning_effort is not None:
            warn_once("reasoning_effort", f"reasoning_effort is not sent: {name} does not take it.")
            reasoning_effort = None
        members, most = translated_extra(extra or {}, max_tokens)
        wish = ChatRequest(
            model=info.name,
            # A copy: the caller's list may grow while the call is under way.
            messages=messages.copy() if isinstance(messages, list) else messages,
            temperature=temperature,
            max_tokens=most,
            reasoning_effort=reasoning_effort,
            stop=stop or None,
            tools=tools or None,
            tool_choice=tool_choice,
            response_format=response_format,
            stream=stream,
            extra=members,
        )
        check_chat(wish, images=self.takes_images and info.image_inputs is not False, json_object=info.json_object)
        if members:
            check_pictures(
                members, ratios=info.aspect_ratios, resolutions=info.resolutions, one=info.several_images is False
            )
        request, plan = plan_chat(info, wish, parallel_tool_calls=parallel_tool_calls)
        return self._prepare(name, request, plan, **options)

    def prepare_completion(
        self,
        model: str | Enum,
        prompt: str,
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        stop: str | Sequence[str] | None = None,
        **options: Unpack[SharedOptions],
    ) -> Call:
        """Return a checked completion call. Raises `InvalidRequestError` or `ConfigurationError`."""
        name = model_name(model)
        request = CompletionRequest(
            model=info_of(name).name,
            prompt=prompt,
            temperature=temperature,
            max_tokens=max_tokens,
            stop=stop or None,
        )
        check_completion(request)
        return self._prepare(name, request, AS_ASKED, **options)

    def prepare_search(
        self,
        query: str,
        *,
        num_results: int | None = None,
        recency_days: int | None = None,
        **options: Unpack[SharedOptions],
    ) -> Call:
        """Return a checked web search. Raises `InvalidRequestError` or `ConfigurationError`."""
        request = SearchRequest(query=query, num_results=num_results, recency_days=recency_days)
        check_search(request)
        return self._prepare(None, request, AS_ASKED, **options)

    def _prepare(
        self,
        model: str | None,
        request: Request,
        plan: Plan,
        *,
        settlement_mode: SettlementMode | Enum | str | None = None,
        x402_settlement_mode: SettlementMode | Enum | str | None = None,
        timeout: float | None = None,
        **unknown: object,
    ) -> Call:
        for other in unknown:
            said = f"{other!r} is not an option of a call.{hint(other, ChatOptions.__annotations__)}"
            raise InvalidRequestError(f"{said} Nothing was sent.")
        stop, created = request.stop, now()
        if model is not None and (ending := ending_of(model, created // 86_400)):
            warn_once(model, ending)
        body, nonce = self._nonces.put_in(request.path, request.to_json())
        wire = encode_json(body)
        check_request_size(wire)
        return Call(
            request=request,
            wire=wire,
            nonce=nonce,
            plan=plan,
            model=model,
            settlement_mode=chosen_mode(settlement_mode, x402_settlement_mode, self.settlement_mode),
            stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
            timeout=self.timeout if timeout is None else check_seconds("timeout", timeout),
            created=created,
            extra_headers=self.default_headers,
            tags=current_tags(),
            attachments=has_attachments(body),
        )

    def whole(self, state: CallState) -> Effects[Answer]:
        """Make the call of `state` and return its verified answer."""
        try:
            yield from self.open(state)
            answer = self.conclude_body(state, (yield from _body(state)))
        except BaseException as exc:
            yield from self._on_failure(state, exc)
            raise
        yield from recorded(state)
        return answer

    def streamed(self, state: CallState) -> Pieces:
        """Make the call of `state` and yield, between effects, each `Piece` of its answer."""
        if not state.call.request.stream:
            answer = yield from self.whole(state)
            if answer.text:
                yield answer.text
            yield answer
            return
        try:
            head = yield from self.open(state)
            if head.status != 200 or (state.sealed is not None and not state.sealed.streams):
                self.conclude_body(state, (yield from _body(state)))
            from og_integrations.client._reader import StreamReader

            reader = StreamReader(self.conclude, state, buffered=self.buffered)
            try:
                while (data := (yield RECEIVE)) is not None:
                    yield from reader.feed(data)
                pieces = reader.finish()
            except OpenGradientError as exc:
                raise reader.failed(exc) from exc
        except BaseException as exc:
            yield from self._on_failure(state, exc)
            raise
        yield from recorded(state)
        yield from pieces

    def open(self, state: CallState) -> Effects[ReplyHead]:
        """
        Find an enclave and pay, until an answer begins; return its head, which is then in `state`, too.

        Another enclave is tried only if the last one could not be connected to, by its own doing, or did not show the
        attestation document that the policy asks for: nothing was sent. Raises `ConfigurationError` if there is nothing
        to pay with, or the receipt could not be kept.
        """
        relayed = self.sealing is not None and self.sealing.relay is not None
        if self.settings.signer is None and not relayed:
            raise no_wallet()
        context = None if relayed else self.context
        yield from ready_to_record(state)
        yield ENTER
        tried: list[str] = []
        while True:
            enclave = yield from self.directory.choose(time.monotonic(), tried)
            if self._asks_builds and state.call.attachments and self._builds.drops_attachments(build_of(enclave)):
                # Another build may hand them on; if there is none, nothing has been sent.
                tried.append(enclave.tee_id)
                if not self.directory.has_other(tried):
                    raise dropped(enclave)
                continue
            target = state.target = self.directory.target(enclave, state.call.path)
            state.call = self._nonces.as_taken(state.call, target.build)
            state.attested = state.sealed = state.whole = None
            try:
                state.attested = yield from self.directory.attest(enclave, time.monotonic())
                state.sent_at = now()
                if self.sealing is not None:
                    state.sealed = yield from self._seal(self.sealing, state.call, enclave)
                head = yield from self._reach(context, target, state)
            except (*NOTHING_SENT, AttestationError, SealedChannelError) as exc:
                if isinstance(exc, SealedChannelError) and not exc.nothing_sent:
                    raise
                # Its receipt tells of no payment.
                state.grant = None
                if not exc.blames_enclave:
                    raise
                if isinstance(exc, AttestationError):
                    self.directory.refuse(enclave, exc, time.monotonic())
                elif state.call.was_hurried(exc):
                    self.directory.distrust(enclave, time.monotonic())
                else:
                    self.directory.leave(enclave, time.monotonic())
                tried.append(enclave.tee_id)
                if len(tried) > self.max_retries or not self.directory.has_other(tried):
                    raise
                _telemetry.failed_over(enclave, len(tried))
                continue
            state.head = head
            if state.sealed is not None:
                state.sealed.begin(head, target.whom)
            if (yield from self._without_nonce(state, target.build)):
                state.end_payment()
                continue
            return head

    def _without_nonce(self, state: CallState, build: str) -> Effects[bool]:
        """Return whether the call is to be made again without its nonce, which this gateway refuses."""
        if not self._nonces.is_in_question(state.call, build):
            return False
        if state.sealed is None and state.head is not None and state.head.status != 400:
            return False
        if state.sealed is not None and state.sealed.streams:
            return False
        # Of a sealed answer the status stands inside.
        body = state.whole = yield from _body(state)
        if state.answer_head.status != 400:
            return False
        # Not charged, and answered in the same session: to find out costs nothing.
        if not self._nonces.is_refused(state.call, build, body):
            self.conclude_body(state, body)
        return True

    def _reach(self, context: PaymentContext | None, target: Target, state: CallState) -> Effects[ReplyHead]:
        """Have the request of `state` answered, and paid here unless a relay pays; return the reply's head."""
        if context is not None:
            paid = yield from payment_flow(context, target.route, state.on_payment, state.quotable)
            state.lease = paid.lease
            if (grant := paid.grant) is not None:
                _telemetry.paid_with(grant)
            return paid.head
        try:
            head: ReplyHead = yield Send(target.route, {})
        except ConnectionFailedError as exc:
            # The relay is away, and no enclave is to be left for that.
            exc.blames_enclave = False
            raise
        except ConnectionLostError as exc:
            raise state.on_loss(exc) from exc
        return head

    def _seal(self, sealing: "Sealing", call: Call, enclave: Enclave) -> "Effects[SealedCall]":
        """Return what seals `call` for `enclave`, whose own signature of the key was seen. Raises what that raises."""
        from og_integrations.client.channels._sealed import SealedCall, sealed_body, token_of

        key, signed_at, config = yield from self.directory.sealing_key(enclave)
        return SealedCall(
            key=key,
            signed_at=signed_at,
            signed_config=config,
            tee_id=enclave.tee_id,
            relay=sealing.relay,
            token=(yield from token_of(sealing.relay)),
            body=sealed_body(call.path, call.wire),
            stream=call.request.stream,
        )

    def conclude_body(self, state: CallState, body: bytes) -> Answer:
        """Judge a whole (not streamed) answer: an error of any status, or a verified `Answer`."""
        status = state.answer_head.status
        state.on_data(body)
        if not 200 <= status < 300:
            raise gateway_error(state, status, body)
        state.check_head()
        return self.conclude(state, parse_completion(state.call.path, body))

    def _count_cost(self, receipt: JsonObject) -> int | None:
        """Count what `receipt` says that its call cost; return what the gateway reports of it, in base units."""
        reported = reported_cost(receipt)
        self.budget.note_cost(reported, estimated_cost(receipt))
        return reported

    def conclude(self, state: CallState, completion: Completion) -> Answer:
        """
        Verify a complete answer and show it as asked for.

        Raises `VerificationError`, or `ToolChoiceNotHonoredError` for a verified answer that does
        not do what was asked.
        """
        assert state.target is not None  # noqa: S101 - open() has returned
        build = state.target.build
        state.end_payment()
        try:
            verified = self._verified(state, completion)
        except VerificationError:
            # An enclave that dropped the attachments has signed for all of them; the next call need not pay for that.
            self._learn_from(state, completion)
            raise
        self._nonces.was_taken(state.call, build)
        self._builds.learn(build, verified.request, verified.hash_rule)
        _telemetry.tell_unsigned(verified)
        try:
            shown = cut_at_stop(state.call.plan.show(completion), state.call.stop)
        except ToolChoiceNotHonoredError as exc:
            exc.receipt = collect_verified(state, verified)
            self._count_cost(exc.receipt)
            raise
        state.presentation = shown.presentation
        receipt = collect_verified(state, verified)
        reported = self._count_cost(receipt)
        _telemetry.tell_of_payment(receipt, state.call.settlement_mode, state.grant, reported)
        return Answer(
            text=shown.text,
            tool_calls=shown.tool_calls,
            finish_reason=shown.finish_reason,
            model=completion.model,
            asked_model=state.call.model or "",
            created=state.call.created,
            usage=completion.usage,
            images=completion.images,
            reasoning=completion.reasoning,
            citations=completion.citations,
            searches=completion.searches,
            moderation=completion.moderation,
            # Streams carry no id, and frameworks need one that is never repeated.
            id=completion.id or f"og-{verified.proof.output_hash[:16]}-{secrets.token_hex(8)}",
            receipt=receipt,
            completion=completion,
        )

    def _verified(self, state: CallState, completion: Completion) -> VerifiedExchange:
        assert state.target is not None  # noqa: S101 - open() has returned
        enclave = state.target.enclave
        return verify_exchange(
            Exchange(
                path=state.call.path,
                wire=state.call.wire,
                completion=completion,
                enclave=enclave,
                usual_rule=self._builds.usual_rule(state.target.build),
                nonce=state.call.nonce,
                trust=TRUST_OF_SOURCE[enclave.source] if state.attested is None else state.attested.trust,
                window=(state.sent_at, now()),
                channel=state.target.channel,
                seen=self._replays.seen(completion.proof.signature if completion.proof else ""),
            )
        )

    def _learn_from(self, state: CallState, completion: Completion) -> None:
        """Remember the build of an answer that was signed for attachments which its model has not seen."""
        if state.target is None or completion.proof is None or not state.call.attachments:
            return
        asked = parse_json_object(state.call.wire, "The request", unique=False)
        if request_hash(state.call.path, asked, APRIL).hex() == completion.proof.request_hash:
            self._builds.learn(state.target.build, asked, APRIL)

    def _on_failure(self, state: CallState, exc: BaseException) -> Effects[None]:
        """
        Collect the receipt of a call that `exc` stopped, and see it written; its status is "unverified".

        An enclave that is to blame for it is left for another one; this call is not repeated.
        """
        state.end_payment()
        # Of a tool choice that was not honoured the answer itself was verified, and its receipt collected.
        if not isinstance(exc, ToolChoiceNotHonoredError):
            collect_failed(state, exc)
            if isinstance(exc, OpenGradientError):
                if _came_from_elsewhere(state.head):
                    exc.blames_enclave = True
                if exc.blames_enclave and state.target is not None:
                    self.directory.distrust(state.target.enclave, time.monotonic())
        # What cancels a call, or closes its stream, must not wait for a ledger.
        if isinstance(exc, OpenGradientError):
            yield from recorded(state)


def _body(state: CallState) -> Effects[bytes]:
    if state.whole is not None:
        return state.whole
    body, pace = bytearray(), state.pace()

    def take(data: bytes) -> None:
        body.extend(data)
        check_size(body)
        pace.came(data)

    try:
        yield Gather(take)
    except ConnectionLostError as exc:
        raise state.on_loss(exc) from exc
    return state.unsealed(bytes(body))


def _sealing(given: ClientOptions, settings: Settings) -> "Sealing | None":
    """Return how requests are sealed; None if they are not. Raises `ConfigurationError`."""
    if check_choice("channel", given["channel"]) != "ohttp":
        if given["relay_url"] is not None or given["relay_token"] is not None:
            raise ConfigurationError(
                "relay_url and relay_token are for sealed requests, and channel is 'pinned': prompts would go to the "
                "enclave by themselves. Set channel='ohttp', or leave the relay out."
            )
        return None
    if settings.gateway_url is not None:
        raise ConfigurationError(
            "channel='ohttp' seals requests to a key that the enclave has signed, which nobody attests for "
            "gateway_url. Leave one of the two out."
        )
    from og_integrations.client.channels._sealed import Sealing

    return Sealing(relay=resolve_relay(given["relay_url"], given["relay_token"]))


def _came_from_elsewhere(head: ReplyHead | None) -> bool:
    """Return whether an answer is none that a working gateway gives: a redirect, or a failure in front of it."""
    return head is not None and (300 <= head.status < 400 or (head.status >= 500 and not head.names_session))
