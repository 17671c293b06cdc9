"""
A `Generation` says how the gateways of one time behave: offers, sessions, hashes, errors, what they add to answers.

Nobody outside knows which one is deployed. `april` was run; the others were read in public sources, or follow the
documentation (`newest`), and what could not be read is left as it was in the generation before. `search` plays two
neighbouring builds in one: the loop that answers the chat flag `web_search`, and the endpoint that replaced it.

Which models are listed and what a token costs stands here, too.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from enum import Enum
from types import MappingProxyType

from og_integrations.devnet._attestation import PUBLISHED_BUILD, Build, build_called
from og_integrations.devnet.model._model import Family
from og_integrations.errors import ConfigurationError
from og_integrations.models import TEE_LLM, model_info, wire_name
from og_integrations.networks import OPG
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._wire import CHAT_PATH, COMPLETION_PATH, SEARCH_PATH, Usage
from og_integrations.protocol.proof._canonical import APRIL, DIGEST, EFFORT, REDUCED, VERBATIM
from og_integrations.protocol.proof._measurements import pcr_hash_of
from og_integrations.protocol.sealing._ohttp import OHTTP_PATH
from og_integrations.receipt import EARLIER_RULES


class ErrorStyle(Enum):
    """What a gateway says of an answer that failed at the provider; each style says more than the one before."""

    PLAIN = "E0"
    NAMED = "E1"
    SPOKEN = "E2"
    ALL_502 = "E3"
    MAPPED = "E4"

    @property
    def describes_itself(self) -> bool:
        """Return whether it says where the error came from and whether to try again."""
        return self in {ErrorStyle.ALL_502, ErrorStyle.MAPPED}


class WebSearch(Enum):
    """What the chat flag `web_search` does."""

    IGNORED = "ignored"
    PROVIDER = "the provider searches"
    LOOP = "the gateway searches, and says so in status events"


class Moderation(Enum):
    """
    Which requests are moderated before they are answered.

    `NEWEST_TURN` and `PICTURES` refuse with 451 and put a block into each answer they have checked (of the latter,
    requests for or with pictures only); `EVERYTHING` is the rival design, which refuses with 403 and says nothing else.
    """

    NONE = "none"
    NEWEST_TURN = "newest turn"
    PICTURES = "pictures"
    EVERYTHING = "everything"


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """
    This is one generation of gateways. Amounts are base units of OPG, times seconds.

    name                  as `Devnet(generation=…)` takes it
    hash_rule             how requests are hashed, one of `protocol.proof._canonical.RULES`
    cap                   what an offer asks to authorize
    timeout               the offer's maxTimeoutSeconds
    idle                  how long after its last charged call a session ends
    margin                how long before its deadline a session is no longer served
    settle_margin         how long before its deadline a session is settled; 0: never for that reason
    saturates             whether a charge above the rest takes the rest, instead of being refused
    errors                what is said of failures of the provider
    newer                 whether the gateway knows costs, pictures in answers and the longer `/health`
    attachments           whether pictures and files reach the model
    effort                whether `reasoning_effort` reaches the model
    web_search            what the chat flag does
    search_endpoint       whether `POST /v1/web_search` is there
    moderation            what is moderated
    takes_nonce           whether a body may hold a nonce (docs/protocol.md §4.6)
    max_body              the size above which a body is refused before payment, in bytes
    max_sealed            the size above which a sealed request is refused, in bytes; None: no sealed channel
    """

    name: str
    hash_rule: str
    cap: int = OPG // 10
    timeout: int = 300
    idle: int = 100
    margin: int = 0
    settle_margin: int = 0
    saturates: bool = False
    errors: ErrorStyle = ErrorStyle.PLAIN
    newer: bool = True
    attachments: bool = True
    effort: bool = False
    web_search: WebSearch = WebSearch.PROVIDER
    search_endpoint: bool = False
    moderation: Moderation = Moderation.NONE
    takes_nonce: bool = True
    max_body: int | None = None
    max_sealed: int | None = 512 * 2**10

    @property
    def build(self) -> Build:
        """Return what its enclaves run: April's build as it was published, and made up for the others."""
        return PUBLISHED_BUILD if self.name == "april" else build_called(self.name)

    @property
    def pcr_hash(self) -> str:
        """Return the measurement of its enclaves as the registry lists it, 0x-hex."""
        return pcr_hash_of(self.build)

    @property
    def paid_paths(self) -> frozenset[str]:
        """Return the paths that ask for a payment."""
        search = [SEARCH_PATH] if self.search_endpoint else []
        sealed = [] if self.max_sealed is None else [OHTTP_PATH]
        return frozenset({CHAT_PATH, COMPLETION_PATH, *search, *sealed})


_REDUCED = Generation(name="reduced", hash_rule=REDUCED, errors=ErrorStyle.NAMED)
_SEARCH = Generation(
    name="search",
    hash_rule=REDUCED,
    cap=5 * OPG,
    timeout=600,
    idle=60,
    margin=120,
    settle_margin=120,
    errors=ErrorStyle.SPOKEN,
    web_search=WebSearch.LOOP,
    search_endpoint=True,
    moderation=Moderation.NEWEST_TURN,
)
GENERATIONS: Mapping[str, Generation] = MappingProxyType(
    {
        known.name: known
        for known in (
            Generation(
                name="april",
                hash_rule=APRIL,
                newer=False,
                attachments=False,
                web_search=WebSearch.IGNORED,
                max_sealed=None,
            ),
            Generation(name="verbatim", hash_rule=VERBATIM, errors=ErrorStyle.NAMED, attachments=False),
            _REDUCED,
            dataclasses.replace(_REDUCED, name="effort", hash_rule=EFFORT, effort=True),
            _SEARCH,
            dataclasses.replace(
                _SEARCH,
                name="newest",
                timeout=3600,
                idle=100,
                margin=420,
                saturates=True,
                errors=ErrorStyle.MAPPED,
                web_search=WebSearch.IGNORED,
                moderation=Moderation.PICTURES,
                max_body=20 * 2**20,
                max_sealed=20 * 2**20,
            ),
        )
    }
)
"""All that can be played, oldest first."""
_HASH_RULES = {DIGEST: dataclasses.replace(_REDUCED, name=DIGEST, hash_rule=DIGEST)} | {
    known.hash_rule: known for known in reversed(list(GENERATIONS.values()))
}
"""The oldest generation with each hash rule; `digest` was on a side branch and is not listed."""


def find_generation(name: str | Generation) -> Generation:
    """
    Return the generation called `name`, or the oldest with the hash rule `name`. Raises `ConfigurationError`.

    The two names of earlier releases, `2026-04` and `next`, go on meaning april and reduced.
    """
    if isinstance(name, Generation):
        return name
    name = EARLIER_RULES.get(name, name)
    found = GENERATIONS.get(name) or _HASH_RULES.get(name)
    if found is None:
        raise ConfigurationError(f"Unknown generation {name!r}; expected one of {', '.join(GENERATIONS)}.")
    return found


OPG_PRICE_USD = Decimal("0.10")
"""What one OPG is worth to the gateways, as in the captures."""
SEARCH_USD = Decimal("0.015")
"""What one web search costs."""
_FAMILIES = {member.value: member for member in Family}
_LISTED = {wire_name(member): _FAMILIES.get(member.value.partition("/")[0], Family.OPENAI) for member in TEE_LLM}
_UNLISTED_USD = (Decimal("0.25"), Decimal(2))
"""US dollars for a million tokens in and out of a model whose prices nobody knows, such as one of a local server."""


def family_of(model: str) -> Family | None:
    """Return who makes `model` (a bare name), None if the gateway does not list it."""
    return _LISTED.get(model)


def any_family(model: str) -> Family:
    """Return who makes `model`, or OpenAI for any name the gateway does not list: local servers have their own."""
    return _LISTED.get(model, Family.OPENAI)


def cost_of(model: str, usage: Usage, pictures: int = 0) -> int:
    """Return the price of one answer of `model` in base units of OPG, by the catalogue, rounded up as gateways do."""
    info = model_info(model)
    if info.usd_per_image is not None:
        usd = pictures * info.usd_per_image
    else:
        price_in, price_out = _UNLISTED_USD
        if info.usd_in is not None and info.usd_out is not None:
            price_in, price_out = info.usd_in, info.usd_out
        usd = (usage.prompt_tokens * price_in + usage.completion_tokens * price_out) / 1_000_000
    return int((usd / OPG_PRICE_USD * OPG).to_integral_value(rounding=ROUND_CEILING))


def search_cost() -> int:
    """Return the price of one web search in base units."""
    return int(SEARCH_USD / OPG_PRICE_USD * OPG)


def cost_block(cost: int) -> JsonObject:
    """Return the member `opengradient` of an answer that cost `cost` base units; its dollars follow from that."""
    usd = Decimal(cost) / OPG * OPG_PRICE_USD
    return {"cost_opg": str(cost), "cost_usd": format(usd, "f"), "opg_price_usd": str(OPG_PRICE_USD)}
