"""
The other side, as fast as asyncio allows: a 402 with a real offer, then ready answers, plain or in TLS.

Run as a process of its own; the first line on its stdout says where it listens. It looks at no payment:
what is measured is the client. `POST /prepare` signs answers, `GET /authorizations` counts payments, `POST /delay`
says how many seconds an answer takes.
"""

import asyncio
import gc
import hashlib
import json
import sys
from dataclasses import replace

from benchmarks.answers import Answers
from benchmarks.question import FREE
from og_integrations.devnet._clock import Clock
from og_integrations.devnet._enclave import EnclaveKeys, LocalEnclave, random_address
from og_integrations.devnet._http import HttpServer, Request, listen
from og_integrations.devnet._journal import Journal
from og_integrations.devnet.chain._chain import UNLIMITED, Chain
from og_integrations.devnet.chain._node import Node
from og_integrations.devnet.paywall._facilitator import FACILITATOR_ADDRESS
from og_integrations.devnet.paywall._paywall import offer, requirement
from og_integrations.networks import DEVNET, OPG
from og_integrations.protocol.chat._wire import CHAT_PATH
from og_integrations.protocol.payment._x402 import encode_header

KEY = "0x" + "5eed" * 16
"""The wallet of everybody here; worth nothing anywhere."""


class Replay:
    """What all connections share."""

    def __init__(self, keys: EnclaveKeys, enclave: LocalEnclave) -> None:
        self.answers = Answers(keys)
        self.authorizations: set[bytes] = set()
        self.delay = 0.0
        """Seconds that an answer takes, as those of models do."""
        self._signing_key = json.dumps(enclave.signing_key_document(Clock(None))).encode()
        self._offer = _offer_head(enclave)

    def reply(self, method: bytes, path: str, headers: dict[bytes, bytes], body: bytes) -> bytes:
        """Return the whole answer to one request."""
        if path == CHAT_PATH:
            session = headers.get(b"x-upto-session")
            if session is None and (payment := headers.get(b"payment-signature")) is not None:
                self.authorizations.add(payment)
                session = hashlib.sha256(payment).hexdigest().encode()
            return self._offer if session is None else self._answer(body, session.decode())
        if path == FREE + CHAT_PATH:
            return self._answer(body, "free")
        match method, path:
            case b"GET", "/signing-key":
                return _json(self._signing_key)
            case b"GET", "/authorizations":
                return _json(str(len(self.authorizations)).encode())
            case b"POST", "/prepare":
                gc.unfreeze()
                self.answers.prepare(**json.loads(body))
                gc.freeze()
                return _json(b"{}")
            case b"POST", "/delay":
                self.delay = float(body)
                return _json(b"{}")
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

    def _answer(self, body: bytes, session: str) -> bytes:
        streamed, answer = self.answers.answer(body, session)
        if not streamed:
            return _json(answer, session)
        return (
            "HTTP/1.1 200 OK\r\nServer: replay\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
            f"Cache-Control: no-cache\r\nX-Upto-Session: {session}\r\nTransfer-Encoding: chunked\r\n\r\n"
        ).encode() + answer


class Connection(asyncio.Protocol):
    """One keep-alive connection; requests come one after the other."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._waiting = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = transport if isinstance(transport, asyncio.Transport) else None

    def data_received(self, data: bytes) -> None:
        """Answer a request once it is whole."""
        self._waiting += data
        head, found, rest = self._waiting.partition(b"\r\n\r\n")
        if not found:
            return
        start, *lines = head.split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        length = int(headers.get(b"content-length", b"0"))
        if len(rest) < length or self._transport is None:
            return
        self._waiting = rest[length:]
        method, path, _ = start.split(b" ")
        reply = self._replay.reply(method, path.decode(), headers, rest[:length])
        if self._replay.delay and b"HTTP/1.1 200" in reply[:12] and path.decode() == CHAT_PATH:
            asyncio.get_running_loop().call_later(self._replay.delay, self._transport.write, reply)
        else:
            self._transport.write(reply)


def _json(body: bytes, session: str = "none") -> bytes:
    head = (
        "HTTP/1.1 200 OK\r\nServer: replay\r\nContent-Type: application/json\r\n"
        f"X-Upto-Session: {session}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _offer_head(enclave: LocalEnclave) -> bytes:
    asked = requirement(DEVNET, cap=OPG // 10, pay_to=enclave.payment_address, facilitator=FACILITATOR_ADDRESS)
    # Longer than the real 300 s, so that no session is renewed in the middle of a measurement.
    asked["maxTimeoutSeconds"] = 3600
    content = offer(Request(method="POST", path=CHAT_PATH, headers=(("host", "replay"),)), "", asked)
    return (
        "HTTP/1.1 402 Payment Required\r\nContent-Type: application/json\r\n"
        f"PAYMENT-REQUIRED: {encode_header(content)}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
    ).encode()


async def serve() -> None:
    """Serve until stdin is closed."""
    loop = asyncio.get_running_loop()
    keys = EnclaveKeys()
    plain, secure, rpc = listen(0, 0, 0)
    ports = {name: sock.getsockname()[1] for name, sock in (("plain", plain), ("secure", secure), ("rpc", rpc))}
    clock = Clock(None)
    enclave = LocalEnclave(
        keys=keys,
        endpoint=f"https://127.0.0.1:{ports['secure']}",
        payment_address=random_address(),
        wallet_address=random_address(),
        started_at=clock.seconds(),
    )
    chain = Chain(replace(DEVNET, rpc_url=f"http://127.0.0.1:{ports['rpc']}"), clock, enclaves=[enclave.entry()])
    chain.fund(_address(), opg=10**6 * OPG, allowance=UNLIMITED, native=OPG)
    replay = Replay(keys, enclave)
    node = HttpServer(Node(chain, Journal(), lambda: None).handle, rpc)
    await node.start()
    await loop.create_server(lambda: Connection(replay), sock=plain)
    await loop.create_server(lambda: Connection(replay), sock=secure, ssl=keys.tls_context())
    where = {
        "plain": f"http://127.0.0.1:{ports['plain']}",
        "secure": enclave.endpoint,
        "rpc": chain.network.rpc_url,
        "registry": DEVNET.registry_address,
        "private_key": KEY,
    }
    sys.stdout.write(json.dumps(where) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await node.close()


def _address() -> str:
    from eth_account import Account

    return str(Account.from_key(KEY).address)


if __name__ == "__main__":
    asyncio.run(serve())
