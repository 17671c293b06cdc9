"""
The relay carries sealed requests to gateways, and pays them from a wallet of its own.

Whoever shows its token is served. It reads nothing of a request; the frame by which a gateway tells it the cost of a
stream it takes out, and of an answer's headers it hands on the content type alone.
"""

import contextlib
import dataclasses
import json
import secrets
from collections.abc import AsyncGenerator, Mapping

from eth_account import Account
from eth_account.messages import encode_typed_data

from og_integrations.devnet._enclave import STRANGER
from og_integrations.devnet._fault import RequestFaults
from og_integrations.devnet._http import Reply, Request
from og_integrations.devnet._journal import SETTLEMENT_TYPE
from og_integrations.devnet._sealing import UnopenedError
from og_integrations.devnet.chain._chain import UNLIMITED, Chain, Wallet
from og_integrations.devnet.gateway._gateway import RunningGateway
from og_integrations.networks import OPG
from og_integrations.protocol.chat._wire import RELAY_PATH
from og_integrations.protocol.payment._x402 import (
    PAYMENT_SIGNATURE,
    SESSION,
    encode_payment,
    parse_requirements,
)
from og_integrations.protocol.payment.schemes import authorize
from og_integrations.protocol.sealing._ohttp import (
    BILLING_MAGIC,
    OHTTP_PATH,
    REQUEST_TYPE,
    STREAM_HEADER,
    Exchange,
)

_PURSE = 1_000_000 * OPG
_SAME = ("content-type", STREAM_HEADER.lower())


class Relay:
    """A relay in front of `gateways`, by tee id; `token` is what its users show."""

    def __init__(self, gateways: Mapping[str, RunningGateway], chain: Chain, token: str) -> None:
        self._gateways = gateways
        self._chain = chain
        self._token = token
        self._wallet: Wallet | None = None
        self._sessions: dict[str, str] = {}

    async def handle(self, request: Request) -> Reply:
        """Carry `request` to the enclave that it names."""
        if (request.method, request.path) != ("POST", RELAY_PATH):
            return _refused(404, "not found")
        shown = (request.header("authorization") or "").removeprefix("Bearer ")
        if not secrets.compare_digest(shown.encode(), self._token.encode()):
            return _refused(401, "invalid or expired token")
        tee_id = "0x" + (request.header("x-tee-id") or "").lower().removeprefix("0x")
        gateway = self._gateways.get(tee_id)
        if gateway is None:
            return _refused(404, "unknown enclave")
        if (request.header("content-type") or "") != REQUEST_TYPE:
            return _refused(415, f"expected {REQUEST_TYPE}")
        reply, faults = await self._carried(gateway, request)
        if faults is not None:
            reply = await self._lied(gateway, request, reply, faults)
        return reply

    async def _carried(self, gateway: RunningGateway, request: Request) -> tuple[Reply, RequestFaults | None]:
        """Pay for `request` in the open session, or else in a new one; return the answer, ready for the client."""
        kept = tuple(item for item in request.headers if item[0] in _SAME)
        session = self._sessions.pop(gateway.enclave.tee_id, None)
        reply, faults, carry = None, None, gateway.gateway.carry
        if session is not None:
            reply, faults = await carry(_outgoing(request, kept, (SESSION, session)))
        if reply is None or reply.status == 402:
            reply, faults = await carry(_outgoing(request, kept, (PAYMENT_SIGNATURE, self._payment(gateway))))
        found = [value for name, value in reply.headers if name == SESSION]
        if found:
            self._sessions[gateway.enclave.tee_id] = found[0]
        if reply.status == 402:
            return _refused(502, "the relay could not pay"), faults
        headers = [item for item in reply.headers if item[0] == "Content-Type"]
        keeps = faults is not None and faults.keeps_billing()
        body = reply.body if isinstance(reply.body, bytes) or keeps else _unbilled(reply.body)
        return dataclasses.replace(reply, headers=headers, body=body), faults

    def _payment(self, gateway: RunningGateway) -> str:
        if self._wallet is None:
            self._wallet = Wallet.new()
            self._chain.fund(self._wallet.address, opg=_PURSE, allowance=UNLIMITED, native=10**18)
        requirements = parse_requirements(gateway.paywall.requirement)
        authorization = authorize(
            requirements, payer=self._wallet.address, now=self._chain.clock.seconds(), nonce=secrets.randbits(256)
        )
        signable = encode_typed_data(full_message=authorization.typed_data())
        signature = bytes(Account.sign_message(signable, self._wallet.private_key).signature)
        return encode_payment(requirements, authorization.payload("0x" + signature.hex()))

    async def _lied(self, gateway: RunningGateway, request: Request, reply: Reply, faults: RequestFaults) -> Reply:
        if faults.swaps_enclave():
            try:
                STRANGER.sealing.open(request.body)
            except UnopenedError as exc:
                other = exc.reply
                reply = dataclasses.replace(reply, status=other.status, headers=other.headers, body=other.body)
        if faults.replays_answer():
            streams = (request.header(STREAM_HEADER) or "").lower() == "true"
            sealed = Exchange(gateway.enclave.keys.sealing.config, _others_request(streams)).wire
            asked = dataclasses.replace(request, body=sealed)
            answer, _ = await self._carried(gateway, asked)
            reply = dataclasses.replace(reply, body=answer.body)
        return faults.at_relay(reply)


def _others_request(streams: bool) -> bytes:
    """Return what somebody else asks: never the same, or the judge would take it for one request that is repeated."""
    message = {"role": "user", "content": f"what somebody else asked, {secrets.token_hex(8)}"}
    return json.dumps({"model": "gpt-4.1", "messages": [message], "stream": streams}).encode()


def _outgoing(request: Request, kept: tuple[tuple[str, str], ...], credential: tuple[str, str]) -> Request:
    headers = (*kept, (credential[0].lower(), credential[1]), (SETTLEMENT_TYPE.lower(), "batch"))
    return dataclasses.replace(request, path=OHTTP_PATH, headers=headers, relayed=True)


def _refused(status: int, reason: str) -> Reply:
    content = json.dumps({"error": reason}).encode()
    return Reply(status=status, headers=[("Content-Type", "application/json")], body=content)


async def _unbilled(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            before, magic, rest = piece.partition(BILLING_MAGIC)
            yield before + rest[4 + int.from_bytes(rest[:4], "big") :] if magic else piece
