"""This module records the calls of a service of the devnet, and lets it meet its faults."""

import hashlib
import json
import time
from dataclasses import dataclass, field

from og_integrations.devnet._http import Channel, Pieces, Reply, Request
from og_integrations.devnet._journal import Journal, ServiceCall, tracked
from og_integrations.devnet.services._faults import ServiceFault
from og_integrations.protocol._strict_json import JsonObject


@dataclass(slots=True)
class ArmedFaults:
    """This holds the armed faults, each with how often it will still happen (None: always)."""

    armed: list[tuple[ServiceFault, int | None]] = field(default_factory=list)

    def arm(self, fault: ServiceFault, times: int | None) -> None:
        """Let `fault` happen `times` times."""
        self.armed.append((fault, times))

    def met_by(self, what: str) -> set[str]:
        """Return the names of the faults that happen to a call of that kind now."""
        met, left = set(), []
        for fault, times in self.armed:
            if what in fault.at and times != 0:
                met.add(fault.name)
            used = fault.name in met and times is not None
            left.append((fault, times - 1 if used and times else times))
        self.armed = left
        return met


def record(request: Request, journal: Journal, what: str, credential: str, question: bytes) -> ServiceCall:
    """Note a call that begins."""
    call = ServiceCall(
        what=what,
        question=_digest(request.method.encode() + request.path.encode() + b"\0" + question),
        credential=_digest(credential.encode()),
        began=time.monotonic(),
        peer=request.peer,
    )
    journal.services.append(call)
    return call


def answered(call: ServiceCall, reply: Reply) -> Reply:
    """Return `reply`, whose end is noted in `call`; one that a fault keeps back is cut before its first byte."""
    call.status = reply.status
    if call.lost:
        reply.wire = cut
    return tracked(reply, call)


async def cut(pieces: Pieces, channel: Channel) -> Pieces:
    """Close the connection instead of answering."""
    channel.hang_up()
    async for piece in pieces:  # never reached: what makes it a generator
        yield piece


async def cut_in_the_middle(pieces: Pieces, channel: Channel) -> Pieces:
    """Send half of each piece of a body, and close."""
    async for piece in pieces:
        if piece.kind.value != "body":
            yield piece
            continue
        yield piece._replace(data=piece.data[: len(piece.data) // 2])
        channel.hang_up()


def told(status: int, content: JsonObject | list[JsonObject]) -> Reply:
    """Return an answer whose body is `content` in JSON."""
    headers = [("Content-Type", "application/json")]
    return Reply(status=status, headers=headers, body=json.dumps(content).encode())


def garbage() -> Reply:
    """Return an answer that is no JSON."""
    return Reply(status=200, headers=[("Content-Type", "text/html")], body=b"<html>It works!</html>")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
