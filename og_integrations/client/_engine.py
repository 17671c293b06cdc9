"""
What both clients share: everything about a call except doing the I/O.

A call goes one way: `prepare_…` (settings and arguments -> `Call`), then what `answering` puts together:
`open` (find an enclave, pay, until an answer begins), `conclude_body` for a whole answer, a `StreamReader`
for a stream; both end in `verify_exchange`, and only what it returns becomes an `Answer`.
"""

import secrets
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, Unpack

from og_integrations.client._accounts import OwnBook
from og_integrations.client._call import Answer, Call, Progress, check_headers, gateway_error
from og_integrations.client._directory import Directory, host_of
from og_integrations.client._options import ClientOptions, check_choice, complete, seal
from og_integrations.client._receipts import ReplayCache, collect_verified, wants_exchange
from og_integrations.client._settings import check_count, check_seconds, resolve_settings
from og_integrations.client.chain.settlement import OverdueAsker
from og_integrations.errors import ToolChoiceNotHonoredError
from og_integrations.models import model_info, model_name, wire_name
from og_integrations.protocol.chat.answers import parse_completion
from og_integrations.protocol.chat.translation import Plan, cut_at_stop, plan_tools
from og_integrations.protocol.chat.wire import (
    ChatRequest,
    Completion,
    CompletionRequest,
    check_chat,
    check_completion,
)
from og_integrations.protocol.payment.budget import Budget
from og_integrations.protocol.payment.flow import NOTHING_SENT, Wallet, payment_flow
from og_integrations.protocol.payment.policy import SpendPolicy
from og_integrations.protocol.payment.session import SessionBook
from og_integrations.protocol.payment.x402 import ReplyHead, Route, SettlementMode, chosen_mode
from og_integrations.protocol.proof.canonical import APRIL
from og_integrations.protocol.proof.enclave import Enclave, EnclavePolicy
from og_integrations.protocol.proof.verification import TRUST_OF_SOURCE, Exchange, verify_exchange
from og_integrations.protocol.strict_json import JsonObject, encode_json


class Engine:
    """
    The state of one client: settings, budget, sessions, directory. Safe to share between threads.

    The options are those of `ClientOptions`. Raises `ConfigurationError` for one that is not valid.
    """

    def __init__(self, **options: Unpack[ClientOptions]) -> None:
        seal(options)
        given = complete(options)
        self.settings = resolve_settings(
            private_key=given["private_key"],
            signer=given["signer"],
            network=given["network"],
            rpc_url=given["rpc_url"],
            registry_rpc_url=given["registry_rpc_url"],
            registry_address=given["registry_address"],
            gateway_url=given["gateway_url"],
        )
        self.settlement_mode = chosen_mode(given["settlement_mode"])
        self.buffered = check_choice("verification", given["verification"]) == "buffer"
        self.timeout = check_seconds("timeout", given["timeout"])
        self.max_retries = check_count("max_retries", given["max_retries"])
        self.default_headers = check_headers(given["default_headers"])
        self.takes_images = check_choice("gateway_generation", given["gateway_generation"]) != APRIL
        policy = SpendPolicy.of(given["spend_policy"]).on(self.settings.network)
        self._own = OwnBook(self.settings, policy)
        self.directory = Directory(
            self.settings,
            EnclavePolicy.of(given["enclave_policy"]),
            spread=given["spread"],
            hosts=policy.hosts,
        )
        self._signatures = ReplayCache()

    @property
    def book(self) -> SessionBook:
        """What this process remembers of its payments. Raises `ConfigurationError` after some forks."""
        return self._own.book()

    @property
    def budget(self) -> Budget:
        """The account that the calls are paid from."""
        return self.book.budget

    def prepare_chat(
        self,
        model: "str | Enum",
        messages: Sequence[JsonObject],
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        stop: "str | Sequence[str] | None" = None,
        tools: Sequence[JsonObject] | None = None,
        tool_choice: "str | JsonObject | None" = None,
        response_format: JsonObject | None = None,
        parallel_tool_calls: bool | None = None,
        stream: bool = False,
        extra: JsonObject | None = None,
        **options: Any,
    ) -> Call:
        """Return a checked chat call. Raises `InvalidRequestError` or `ConfigurationError`."""
        info = model_info(model)
        wish = ChatRequest(
            model=wire_name(model),
            messages=messages,
            temperature=temperature,
            max_tokens=max_tokens,
            stop=stop or None,
            tools=tools or None,
            tool_choice=tool_choice,
            response_format=response_format,
            stream=stream,
            extra=extra or {},
        )
        check_chat(wish, images=self.takes_images and info.image_inputs, json_object=info.json_object)
        plan = plan_tools(info, messages, tools=tools, tool_choice=tool_choice, response_format=response_format)
        request = replace(
            wish, tools=plan.tools or None, tool_choice=plan.tool_choice, response_format=plan.response_format
        )
        if parallel_tool_calls is False:
            plan = replace(plan, one_call=True)
        return self._prepare(model, request, plan, **options)

    def prepare_completion(
        self,
        model: "str | Enum",
        prompt: str,
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        stop: "str | Sequence[str] | None" = None,
        **options: Any,
    ) -> Call:
        """Return a checked completion call. Raises `InvalidRequestError` or `ConfigurationError`."""
        request = CompletionRequest(
            model=wire_name(model),
            prompt=prompt,
            temperature=temperature,
            max_tokens=max_tokens,
            stop=stop or None,
        )
        check_completion(request)
        return self._prepare(model, request, Plan(), **options)

    def _prepare(
        self,
        model: "str | Enum",
        request: ChatRequest | CompletionRequest,
        plan: Plan,
        *,
        settlement_mode: "SettlementMode | Enum | str | None" = None,
        x402_settlement_mode: "SettlementMode | Enum | str | None" = None,
        timeout: float | None = None,
    ) -> Call:
        stop = request.stop
        return Call(
            request=request,
            wire=encode_json(request.to_json()),
            plan=plan,
            model=model_name(model),
            settlement_mode=chosen_mode(settlement_mode, x402_settlement_mode, self.settlement_mode),
            stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
            timeout=self.timeout if timeout is None else check_seconds("timeout", timeout),
            created=now(),
            extra_headers=self.default_headers,
        )

    def start(self, call: Call) -> Progress:
        """Return the empty progress of `call`."""
        return Progress(call=call, keep_body=wants_exchange())

    def open(self, progress: Progress) -> Generator[Any, Any, ReplyHead]:
        """
        Find an enclave and pay, until an answer begins; return its head, which is then in `progress`, too.

        Another enclave is tried only if the last one could not be connected to, by its own doing: nothing was sent.
        Raises `ConfigurationError` if there is nothing to pay with.
        """
        self.settings.require_signer()
        ask_chain = OverdueAsker(self.budget.store, self.settings.network, now)
        wallet = Wallet(book=self.book, clock=now, nonce=_nonce, ask_chain=ask_chain)
        tried: list[str] = []
        while True:
            enclave: Enclave = yield from self.directory.choose(time.time(), tried)
            progress.enclave = enclave
            route = self.route(enclave, progress.call.path)
            progress.sent_at = now()
            try:
                paid = yield from payment_flow(wallet, route, progress.paid_with, progress.quotable)
            except NOTHING_SENT as exc:
                # Its receipt tells of no payment.
                progress.grant = None
                if not exc.blames_enclave:
                    raise
                self.directory.leave(enclave, time.time())
                tried.append(enclave.tee_id)
                if len(tried) > self.max_retries or not self.directory.has_other(tried):
                    raise
                continue
            progress.head = paid.head
            return paid.head

    def route(self, enclave: Enclave, path: str) -> Route:
        """Return what a session with `enclave` is bound to."""
        return Route(
            payer=self.settings.signer.address if self.settings.signer else "",
            network=self.settings.network.caip2,
            tee_id=enclave.tee_id,
            path=path,
            host=host_of(enclave.endpoint),
            payees=self.directory.payees(enclave),
        )

    def conclude_body(self, progress: Progress, body: bytes) -> Answer:
        """Judge a whole (not streamed) answer: an error of any status, or a verified `Answer`."""
        assert progress.head is not None  # noqa: S101 - open() has returned
        progress.took(body)
        if not 200 <= progress.head.status < 300:
            raise gateway_error(progress, progress.head.status, body)
        progress.check_head()
        return self.conclude(progress, parse_completion(progress.call.path, body))

    def conclude(self, progress: Progress, completion: Completion) -> Answer:
        """
        Verify a complete answer and show it as asked for.

        Raises `VerificationError`, or `ToolChoiceNotHonoredError` for a verified answer that does
        not do what was asked.
        """
        assert progress.enclave is not None  # noqa: S101 - open() has returned
        verified = verify_exchange(
            Exchange(
                path=progress.call.path,
                wire=progress.call.wire,
                completion=completion,
                enclave=progress.enclave,
                trust=TRUST_OF_SOURCE[progress.enclave.source],
                window=(progress.sent_at, now()),
                channel="pinned" if progress.enclave.pinned else "unpinned",
                seen=self._signatures.seen(completion.proof.signature if completion.proof else ""),
            )
        )
        try:
            shown = cut_at_stop(progress.call.plan.show(completion), progress.call.stop)
        except ToolChoiceNotHonoredError as exc:
            exc.receipt = collect_verified(progress, verified)
            raise
        progress.presentation = shown.presentation
        receipt = collect_verified(progress, verified)
        return Answer(
            text=shown.text,
            tool_calls=shown.tool_calls,
            finish_reason=shown.finish_reason,
            model=completion.model,
            asked_model=progress.call.model,
            created=progress.call.created,
            usage=completion.usage,
            images=completion.images,
            reasoning=completion.reasoning,
            # Streams carry no id, and frameworks need one that is never repeated.
            id=completion.id or f"og-{verified.proof.output_hash[:16]}-{secrets.token_hex(8)}",
            receipt=receipt,
            completion=completion,
        )


def now() -> int:
    """Return the unix time in whole seconds."""
    return int(time.time())


def _nonce() -> int:
    return secrets.randbits(256)
