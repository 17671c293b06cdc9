"""
What an enclave's free pages tell of the generation of its gateway, for `doctor`: no call asks them.

Nothing of it is signed, and nothing decides by it whom to trust: which rule proves an answer says more.
"""

import json
from dataclasses import dataclass

from og_integrations._urls import url_below
from og_integrations.client.channels._channel import HttpRequest, destination_of
from og_integrations.client.channels._pool import Pool
from og_integrations.errors import OpenGradientError
from og_integrations.protocol._redact import shown
from og_integrations.protocol._strict_json import JsonObject, decode_json
from og_integrations.protocol.chat._wire import SEARCH_PATH
from og_integrations.protocol.proof._enclave import KNOWN_PCR_HASH, Enclave

_TIMEOUT = 10.0
_MOST_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """
    What was found at one gateway; None is what could not be asked.

    `health` is its page `/health`, `sealed` whether it publishes a key for sealed requests, `searches` whether it asks
    to be paid for a web search, `published` whether it is the one build whose source is public.
    """

    health: JsonObject | None
    sealed: bool | None
    searches: bool | None
    published: bool

    @property
    def facts(self) -> str:
        """Return what was seen, each page in a few words; a gateway's own words are cut short."""
        if self.health is None:
            health = "/health does not answer"
        else:
            version, providers = self.health.get("version"), self.health.get("providers")
            health = (
                f"/health says version {shown(version, 40)}" if isinstance(version, str) else "/health has no version"
            )
            health += f" and {len(providers)} providers" if isinstance(providers, list) else ""
        sealed = {True: "a key for sealed requests", False: "no key for sealed requests", None: "/v1/ohttp/config away"}
        searches = {True: "asks for payment of a web search", False: "no web search", None: f"{SEARCH_PATH} away"}
        return f"{health}, {sealed[self.sealed]}, {searches[self.searches]}"

    @property
    def generation(self) -> str:
        """Return which generation that looks like, in the words of docs/devnet.md."""
        known = self.health or {}
        if self.published:
            return "april (the published build, by its measurement)"
        if self.searches or "web_search_enabled" in known:
            return "search or newer"
        if self.sealed or "providers" in known:
            return "verbatim, reduced or effort"
        return "april, or older" if known else "unknown: its free pages do not answer"

    @property
    def consequences(self) -> str:
        """Return what follows for whoever calls it."""
        if self.generation.startswith("april"):
            return "pictures and files are refused before they are paid for; costs are not reported"
        if not self.health:
            return "what it takes will show with its first answers"
        searches = "web searches work" if self.searches else "there is no web search"
        seals = "channel='ohttp' works" if self.sealed else "channel='ohttp' does not work"
        return f"pictures and files are sent to it, answers say what they cost, {searches}, {seals}"


def probe(enclave: Enclave) -> Found:
    """Ask the free pages of `enclave` over its own channel; nothing is paid, and no prompt is sent."""
    channel = Pool(destination_of(enclave))
    try:
        status, health = _ask(channel, enclave, "/health")
        sealed, _ = _ask(channel, enclave, "/v1/ohttp/config")
        searches, _ = _ask(channel, enclave, SEARCH_PATH, {"query": "ping"})
    finally:
        channel.close()
    return Found(
        health=health if status == 200 else None,
        sealed=None if sealed is None else sealed == 200,
        searches=None if searches is None else searches == 402,
        published=enclave.pcr_hash == KNOWN_PCR_HASH,
    )


def _ask(channel: Pool, enclave: Enclave, path: str, body: JsonObject | None = None) -> tuple[int | None, JsonObject]:
    """Return status and JSON object of one page; (None, {}) if nobody answers, {} for what is no object."""
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "Content-Type": "application/json"}
    request = HttpRequest(
        url=url_below(enclave.endpoint, path),
        whom=enclave.endpoint,
        headers=headers,
        body=None if body is None else json.dumps(body).encode(),
        timeout=_TIMEOUT,
        whole=True,
    )
    read = bytearray()
    try:
        reply = channel.send(request)
        try:
            while len(read) <= _MOST_BYTES and (data := reply.read()) is not None:
                read += data
        finally:
            reply.close()
    except OpenGradientError:
        return None, {}
    try:
        answered = decode_json(bytes(read))
    except ValueError:
        answered = None
    return reply.status, answered if isinstance(answered, dict) else {}
