"""
A request as it is written into the journal, and how it is recognised when it comes again.

What a client may change while it merely tries again does not count: `stream`, the nonce in
`response_format`, and all that gateways ignore (PROTOCOL §4).
"""

import contextlib
import hashlib
import json
import time

from og_integrations.devnet.gateway.data_settlement import HEADER, mode_of
from og_integrations.devnet.gateway.http import Reply, Request
from og_integrations.devnet.model.model import last_user_text
from og_integrations.devnet.paywall.sessions import payment_key
from og_integrations.devnet.verdict.journal import Answering, Exchange, Journal, Stray
from og_integrations.errors import InvalidRequestError
from og_integrations.protocol.payment.x402 import PAYMENT_SIGNATURE, SESSION, session_ref
from og_integrations.protocol.proof.canonical import RULES, request_hash
from og_integrations.protocol.strict_json import JsonObject

NOT_JSON = object()
"""Stands for a body that is none."""
_NONCE = "og_nonce"


def parsed(request: Request) -> object:
    """Return the body's JSON, None if there is no body, or `NOT_JSON`."""
    if not request.body:
        return None
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError):
        return NOT_JSON


def noted(request: Request, journal: Journal, *, enclave: str, at: float, listed: bool | None = None) -> Exchange:
    """Add `request` to `journal`, as one to `enclave` at unix time `at`; return the entry."""
    content = parsed(request)
    body = hashlib.sha256(request.path.encode() + b"\0" + request.body).hexdigest()[:16]
    hashes = _hashes(request.path, _without_nonce(content))
    exchange = Exchange(
        number=len(journal.exchanges) + 1,
        at=at,
        enclave=enclave,
        connection=request.connection,
        method=request.method,
        path=request.path,
        prompt=_prompt_of(content),
        settlement=mode_of(request),
        settlement_word=request.header(HEADER),
        impostor=request.impostor,
        body=body,
        question=hashes[0] if hashes else body,
        hashes=_hashes(request.path, content),
        began=time.monotonic(),
        peer=request.peer,
        listed=listed,
    )
    journal.exchanges.append(exchange)
    return exchange


def note_strays(request: Request, journal: Journal, *, enclave: str, place: str) -> None:
    """Note in `journal` what `request`, which is to pay for nothing, shows all the same."""
    session, payment = request.header(SESSION), request.header(PAYMENT_SIGNATURE)
    if session:
        journal.strays.append(Stray(ref=session_ref(session), enclave=enclave, place=place))
    if payment:
        journal.strays.append(Stray(ref=payment_key(payment)[:16], enclave=enclave, place=place))


def watched(reply: Reply, entry: Answering) -> Reply:
    """Return `reply`, which will note in `entry` how far it gets."""

    def begin() -> None:
        entry.answered = True

    def end(complete: bool) -> None:
        entry.ended = "complete" if complete else "cut"
        entry.ended_at = time.monotonic()

    reply.on_begin, reply.on_end = begin, end
    return reply


def _hashes(path: str, body: object) -> tuple[str, ...]:
    found: list[str] = []
    if not isinstance(body, dict):
        return ()
    for rule in RULES:
        with contextlib.suppress(InvalidRequestError, RecursionError):
            found.append(request_hash(path, body, rule).hex())
    return tuple(dict.fromkeys(found))


def _without_nonce(body: object) -> object:
    form = body.get("response_format") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(form, dict) or _NONCE not in form:
        return body
    rest: JsonObject = {name: value for name, value in form.items() if name != _NONCE}
    # Plain text is what comes without any format, too.
    return body | {"response_format": None if rest == {"type": "text"} else rest}


def _prompt_of(body: object) -> str | None:
    if not isinstance(body, dict):
        return None
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list):
        return "\n".join(text for text in prompt if isinstance(text, str))
    messages = body.get("messages")
    if not isinstance(messages, list):
        return None
    return last_user_text([message for message in messages if isinstance(message, dict)])
