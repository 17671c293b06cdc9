"""Reading the transcripts in `tests/vectors/wire`, and replaying one of their exchanges over a raw socket."""

import base64
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data

from tests.devnet.bare_caller import Raw, encoded, typed_permit

WIRE = Path(__file__).parents[1] / "vectors" / "wire"
_EXCHANGE = re.compile(
    r"\[exchange (\d+)\] tcp connection #\d+\n-+ REQUEST\n(.*?)\n-+ RESPONSE  \(.*?\)\n(.*?)(?:\n={100}\n|\Z)",
    re.DOTALL,
)
_CHUNK = re.compile(r"^\[chunk \+ *[\d.]+ ms, (\d+) B\] (.*)$", re.MULTILINE)
_PAYER, _FACILITATOR = "0x9deEBB5D1b22e4a6e027977CeAd13893A7E4cC1a", "0xfdC9A10526e3535770E5Ad8aa082165A2D49d4E3"
"""Whom the captured payments pay, and who settles them."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A status line, the header lines, the body (in its chunks, or as one) and the decoded offer."""

    status: str
    headers: list[str]
    body: list[str]
    offer: Any


@dataclass(frozen=True, kw_only=True)
class Captured:
    """One exchange of the transcript `name`. `payment` is the decoded PAYMENT-SIGNATURE, if it can be decoded."""

    name: str
    number: int
    line: str
    headers: list[tuple[str, str]]
    body: str
    payment: Any
    reply: Reply
    at: float

    @property
    def id(self) -> str:
        """Its name in a test."""
        return f"{self.name}-{self.number}"


def captured() -> Iterator[Captured]:
    """Yield every exchange of every transcript."""
    for path in sorted(WIRE.glob("*.txt")):
        for number, sent, received in _EXCHANGE.findall(path.read_text("utf-8")):
            request, payment = _decoded(sent, ">>> decoded PAYMENT-SIGNATURE:")
            reply, offer = _decoded(received, "<<< decoded PAYMENT-REQUIRED:")
            (line, *heads), body = _split(request)
            (status, *answered), answer = _split(reply)
            chunks = [_text_of(length, text) for length, text in _CHUNK.findall(answer)]
            yield Captured(
                name=path.stem,
                number=int(number),
                line=line,
                headers=[(name, value) for name, _, value in (head.partition(": ") for head in heads)],
                body=body,
                payment=payment,
                reply=Reply(status=status, headers=answered, body=chunks or [answer], offer=offer),
                at=_time_of(answered),
            )


def _decoded(text: str, title: str) -> tuple[str, Any]:
    text, _, value = text.partition(f"   {title}\n")
    return text, json.loads(value) if value.lstrip().startswith("{") else None


def _split(message: str) -> tuple[list[str], str]:
    head, _, body = message.partition("\n\n")
    return [line for line in head.split("\n") if line], body.rstrip("\n")


def _text_of(length: str, text: str) -> str:
    return f"{length} bytes" if "characters cut" in text else text


def _time_of(headers: list[str]) -> float:
    date = next(line for line in headers if line.startswith("Date: "))
    return parsedate_to_datetime(date.removeprefix("Date: ")).timestamp()


@dataclass
class Replayer:
    """Sends captured requests to a devnet, with payments and sessions that are good (or bad) there."""

    raw: Raw
    spare: dict[str, str]
    """A session for each path, for those that the transcripts opened in exchanges which they do not show."""
    _sessions: dict[str, str] = field(default_factory=dict)
    _payments: dict[str, str] = field(default_factory=dict)

    def answer(self, seen: Captured, session: str | None) -> Reply:
        """Return the devnet's answer to `seen`, which shows `session` if that is given."""
        headers = [f"{name}: {self._value(seen, name, value, session)}" for name, value in seen.headers]
        if seen.body and not any(name.lower() == "content-length" for name, _ in seen.headers):
            headers.append(f"Content-Length: {len(seen.body.encode())}")
        head = "\r\n".join([seen.line, *headers]) + "\r\n\r\n"
        reply = _exchanged(self._port, head.encode("latin-1") + seen.body.encode(), seen.reply)
        for theirs, ours in zip(_values(seen.reply, "X-Upto-Session"), _values(reply, "X-Upto-Session"), strict=False):
            self._sessions[theirs] = ours
        return reply

    @property
    def _port(self) -> int:
        return int(self.raw.net.enclaves[0].endpoint.rpartition(":")[2])

    def _value(self, seen: Captured, name: str, value: str, session: str | None) -> str:
        match name.lower():
            case "host":
                return f"127.0.0.1:{self._port}"
            case "content-length":
                return str(len(seen.body.encode()))
            case "x-upto-session":
                # One that opened nothing here stands for one that opened nothing there.
                return (
                    session
                    or self._sessions.get(value)
                    or (value if " 402 " in seen.reply.status else self._spare(seen))
                )
            case "payment-signature" if seen.payment is not None:
                text = json.dumps(seen.payment, sort_keys=True)
                # The same bytes are the same payment, here as there.
                return self._payments.setdefault(text, self._signed(seen))
        return value

    def _spare(self, seen: Captured) -> str:
        return self.spare[seen.line.split()[1]]

    def _signed(self, seen: Captured) -> str:
        """Return the payment of `seen` as this devnet's wallet makes it now; a bad signature stays bad."""
        way, net = self.raw.offer(), self.raw.net
        text = json.dumps(seen.payment).replace(_PAYER, way["payTo"])
        payment = json.loads(text.replace(_FACILITATOR, way["extra"]["facilitatorAddress"]))
        permit, shift = payment["payload"]["permit2Authorization"], net.clock.seconds() - int(seen.at)
        permit["from"] = net.wallet
        permit["deadline"] = str(int(permit["deadline"]) + shift)
        permit["witness"]["validAfter"] = str(int(permit["witness"]["validAfter"]) + shift)
        if _is_signed(seen.payment["payload"]):
            payment["payload"]["signature"] = self.raw.sign(_message(permit))
        return encoded(payment)


def _is_signed(payload: Any) -> bool:
    permit = payload["permit2Authorization"]
    signable = encode_typed_data(full_message=typed_permit(_message(permit)))
    return bool(Account.recover_message(signable, signature=payload["signature"]) == permit["from"])


def _message(permit: Any) -> dict[str, Any]:
    witness, permitted = permit["witness"], permit["permitted"]
    return {
        "permitted": permitted | {"amount": int(permitted["amount"])},
        "spender": permit["spender"],
        "nonce": int(permit["nonce"]),
        "deadline": int(permit["deadline"]),
        "witness": witness | {"validAfter": int(witness["validAfter"])},
    }


def _values(reply: Reply, name: str) -> list[str]:
    return [line.partition(": ")[2] for line in reply.headers if line.startswith(f"{name}: ")]


def _exchanged(port: int, request: bytes, like: Reply) -> Reply:
    with socket.create_connection(("127.0.0.1", port), 15) as sock, sock.makefile("rb") as stream:
        sock.sendall(request)
        status, *headers = iter(lambda: stream.readline().rstrip(b"\r\n").decode("latin-1"), "")
        lengths = [int(line.partition(": ")[2]) for line in headers if line.lower().startswith("content-length")]
        body = [stream.read(length).decode() for length in lengths] or list(_chunks(stream, like.body))
    offers = [line.partition(": ")[2] for line in headers if line.lower().startswith("payment-required")]
    offer = json.loads(base64.b64decode(offers[0], validate=True)) if offers else None
    return Reply(status=status, headers=headers, body=[text.rstrip("\n") for text in body], offer=offer)


def _chunks(stream: Any, like: list[str]) -> Iterator[str]:
    while size := int(stream.readline(), 16):
        data = stream.read(size)
        stream.readline()
        yield f"{size} bytes" if f"{size} bytes" in like else data.decode().replace("\n", "\\n")
    stream.readline()
