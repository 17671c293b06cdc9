"""
Signed answers, made before they are needed: signing takes longer than all that is measured here.

A client that remembers signatures refuses a repeated one, so each paying session walks through a pool
of its own position. PSS is randomised: the pool holds many signatures of the same statement.
"""

import json
import time
from collections import defaultdict
from itertools import count

from benchmarks.question import CHUNKS
from og_integrations.devnet._enclave import END_OF_STREAM, EnclaveKeys, Proof, StreamEvent
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._wire import CHAT_PATH
from og_integrations.protocol.proof._canonical import output_hash, request_hash

SENTENCE = (
    "ETH rose because staking withdrawals slowed while exchange balances fell to a low of the year, and a "
    "large fund said that it would hold it. The move faded on Friday when a stronger labour report lifted yields."
)
USAGE = {"completion_tokens": 48, "prompt_tokens": 27, "total_tokens": 75}
Pool = list[bytes]
Asked = tuple[bytes, bool]
"""A request's hash, and whether the answer shall be streamed."""


class Answers:
    """The ready answers of one enclave, by what was asked."""

    def __init__(self, keys: EnclaveKeys) -> None:
        self._keys = keys
        self._asked: dict[bytes, Asked] = {}
        self._pools: dict[Asked, tuple[bytes, Pool]] = {}
        self._positions: defaultdict[tuple[Asked, str], count[int]] = defaultdict(count)

    def prepare(self, request: JsonObject, *, streamed: bool, size: int) -> None:
        """Sign `size` answers to `request` anew; their time is now, so they are fresh for 300 s."""
        start, pool = _stream(request, self._keys, size) if streamed else (b"", _whole(request, self._keys, size))
        self._pools[request_hash(CHAT_PATH, request), streamed] = start, pool

    def answer(self, body: bytes, session: str) -> tuple[bool, bytes]:
        """Return whether the answer to `body` is a stream, and its bytes (a stream's with chunk sizes)."""
        asked = self._asked.get(body)
        if asked is None:
            asked = self._asked[body] = self._read(body)
        start, pool = self._pools[asked]
        return asked[1], start + pool[next(self._positions[asked, session]) % len(pool)]

    def _read(self, body: bytes) -> Asked:
        request = json.loads(body)
        asked = request_hash(CHAT_PATH, request), bool(request.get("stream"))
        if asked not in self._pools:
            # Somebody who checks nothing, or a single call: one signature does.
            self.prepare(request, streamed=asked[1], size=1)
        return asked


def _whole(request: JsonObject, keys: EnclaveKeys, size: int) -> Pool:
    choice = {"message": {"role": "assistant", "content": SENTENCE}, "index": 0, "finish_reason": "stop"}
    reply = {
        "id": "chatcmpl-7c1f6f0e-2f4b-4f2c-9b6a-1f8d0c1e2a3b",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request["model"],
        "choices": [choice],
        "usage": USAGE,
    }
    proofs = _proofs(request, SENTENCE, keys, size)
    return [json.dumps(reply | proof.fields(), sort_keys=True, indent=2).encode() + b"\n" for proof in proofs]


def _stream(request: JsonObject, keys: EnclaveKeys, size: int) -> tuple[bytes, Pool]:
    words = [f" {word}" for word in SENTENCE.split()]
    wanted = request.get("max_tokens") or request.get("max_completion_tokens") or CHUNKS
    pieces = [words[number % len(words)] for number in range(wanted)]
    start = b"".join(_event(request, {"content": piece, "role": "assistant"}, None, {}) for piece in pieces)
    ends = [
        _event(request, {}, "stop", {**proof.fields(), "usage": USAGE}) + _chunk(END_OF_STREAM.encode()) + b"0\r\n\r\n"
        for proof in _proofs(request, "".join(pieces), keys, size)
    ]
    return start, ends


def _event(request: JsonObject, delta: JsonObject, finish_reason: str | None, more: JsonObject) -> bytes:
    choice = {"delta": delta, "index": 0, "finish_reason": finish_reason}
    return _chunk(StreamEvent({"choices": [choice], "model": request["model"], **more}).encode())


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _proofs(request: JsonObject, text: str, keys: EnclaveKeys, size: int) -> list[Proof]:
    asked, said, now = request_hash(CHAT_PATH, request), output_hash(text, (), "stop"), int(time.time())
    return [keys.sign(asked, said, now) for _ in range(size)]
