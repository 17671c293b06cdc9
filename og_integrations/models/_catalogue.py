"""
The catalogue: every model that a known gateway lists or listed, one line each.

Prices, other names, ratios and pictures are those of the gateways' own registry of September 2026; what the first
captured gateway (`april`) knows is marked. Prices are US dollars: `usd_in` and `usd_out` for a million tokens. None
stands for what nobody outside knows, and never for "no".

What a model does here is what it does behind a gateway: `temperature` is whether the gateway hands it on, not
whether the provider would take it.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Literal, NamedTuple

from og_integrations.errors import ConfigurationError

PRICES_AS_OF = "2026-09"
"""When the prices of the catalogue were current."""
ModelKind = Literal["chat", "image endpoint", "image in chat"]


class Retirement(NamedTuple):
    """
    A retirement says when a name stops meaning what it says, and what to write instead.

    `on` is the provider's day, None if it is not known. `what` happens is a clause without a subject of ours, and
    `instead` is the `provider/name` that takes its place.
    """

    on: date | None
    what: str
    instead: str | None = None


class ModelInfo(NamedTuple):
    """
    What is known of a model behind a gateway. None means that it is not known.

    kind                  chat; image endpoint (the prompt is the text of all user turns, the answer is pictures); or
                          image in chat (an ordinary chat whose answer may hold pictures)
    usd_in, usd_out       US dollars for a million tokens in and out
    usd_image_out         the same for tokens of pictures in the answer
    usd_per_image         US dollars for one picture
    context_window        tokens, as the provider publishes it
    image_inputs          whether it takes pictures. None: gateways that take pictures try it
    pdf_inputs            the same of files
    tools                 whether it calls functions
    tools_with_schema     whether it takes `tools` and a json_schema `response_format` in one request. Gateways silently
                          drop the tools for Anthropic models; only OpenAI and xAI are known to take both
    json_object           whether `response_format={"type": "json_object"}` is accepted
    temperature           whether the gateway hands it on (docs/protocol.md §2)
    tool_streams          whether several calls can be told apart in a stream; of Google's models the gateway merges
                          them under one signature
    effort                whether `reasoning_effort` reaches it, where gateways know that option at all
    several_images        whether `n` pictures can be asked for; False: it makes one, whatever is asked
    aspect_ratios         the ratios that newer gateways take for its pictures
    resolutions           the same of `resolution`
    april                 whether the captured gateway of April lists it
    listed                whether it stands in this catalogue; of other names only their family is known
    retirement            when and how the name dies; None if nothing is announced
    """

    name: str
    provider: str
    kind: ModelKind = "chat"
    usd_in: Decimal | None = None
    usd_out: Decimal | None = None
    usd_image_out: Decimal | None = None
    usd_per_image: Decimal | None = None
    context_window: int | None = None
    image_inputs: bool | None = None
    pdf_inputs: bool | None = None
    tools: bool = True
    tools_with_schema: bool = False
    json_object: bool = True
    temperature: bool = True
    tool_streams: bool = True
    effort: bool | None = None
    several_images: bool | None = None
    aspect_ratios: tuple[str, ...] = ()
    resolutions: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    april: bool = False
    listed: bool = False
    retirement: Retirement | None = None

    @property
    def image_outputs(self) -> bool:
        """Return whether its answers hold pictures."""
        return self.kind != "chat"

    def ending(self, today: date) -> str | None:
        """
        Return what to tell whoever uses the name on the day `today`, None if there is nothing to tell.

        A retirement is told of from `TOLD_AHEAD` days before it on.
        """
        retirement = self.retirement
        if retirement is None or (retirement.on is not None and (retirement.on - today).days > TOLD_AHEAD):
            return None
        when = f" on {retirement.on.isoformat()}" if retirement.on else ""
        instead = f"Use {retirement.instead}" if retirement.instead else "Choose another model"
        return f"{self.provider}/{self.name} comes to its end: {retirement.what}{when}. {instead}."


TOLD_AHEAD = 60
"""Days before a name dies on which users begin to be told."""
_OPENAI_RATIOS = ("1:1", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5", "16:9", "9:16", "21:9")
_GEMINI_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_XAI_RATIOS = (
    *("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "2:1", "1:2"),
    *("19.5:9", "9:19.5", "20:9", "9:20", "21:9", "5:2"),
)
_SEED_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "21:9")
_GLM_RATIOS = ("1:1", "3:2", "2:3", "4:3", "3:4", "16:9", "9:16")
_XAI_SERVES_ANOTHER = Retirement(
    date(2026, 5, 15), "xAI retired it, and serves and bills grok-4.3 in its place", "x-ai/grok-4.3"
)


class _Family(NamedTuple):
    prefix: str
    provider: str
    window: int | None = None
    images: bool | None = None


_FAMILIES = (
    _Family("gpt-4.1", "openai", 1_047_576, images=True),
    _Family("gpt-4o", "openai", 128_000, images=True),
    _Family("gpt-5", "openai", 400_000, images=True),
    _Family("gpt-image", "openai"),
    _Family("gpt", "openai"),
    _Family("o3", "openai", 200_000, images=True),
    _Family("o4-mini", "openai", 200_000, images=True),
    _Family("o4", "openai"),
    _Family("claude", "anthropic", 200_000, images=True),
    _Family("gemini-2.5-flash-image", "google", 32_768, images=True),
    _Family("gemini", "google", 1_048_576, images=True),
    _Family("grok-4-fast", "x-ai", 2_000_000, images=True),
    _Family("grok-4-1-fast", "x-ai", 2_000_000, images=True),
    _Family("grok-4.1-fast", "x-ai", 2_000_000, images=True),
    _Family("grok-4.20", "x-ai", 2_000_000, images=True),
    _Family("grok-4", "x-ai", 256_000),
    _Family("grok-code-fast-1", "x-ai", 256_000, images=False),
    _Family("grok-3", "x-ai", 131_072, images=False),
    _Family("grok-2-vision", "x-ai", 32_768, images=True),
    _Family("grok-2", "x-ai", 131_072, images=False),
    _Family("grok", "x-ai"),
    _Family("seed", "bytedance"),
    _Family("dola-seed", "bytedance"),
    _Family("deepseek", "bytedance", images=False),
    _Family("hermes-4", "nous", 131_072, images=False),
    _Family("hermes", "nous"),
    _Family("glm", "zai"),
    _Family("hy", "openrouter"),
)
"""What the beginning of a name tells, the longer one first; for names that the catalogue does not list, too."""
_NO_FAMILY = _Family("", "")
_IMAGE_ENDPOINT_MARKS = ("-image", "imagine", "seedream", "seedance")


def guessed(name: str, provider: str = "") -> ModelInfo:
    """Return what the beginning of `name`, and who is said to make it, tell of a model that is not listed."""
    family = next((known for known in _FAMILIES if name.startswith(known.prefix)), _NO_FAMILY)
    # Gateways route by the bare name; whatever stands in front of it is the caller's word.
    maker = family.provider or provider.lower()
    draws = any(mark in name for mark in _IMAGE_ENDPOINT_MARKS)
    return ModelInfo(
        name=name,
        provider=maker,
        kind="chat" if not draws else "image in chat" if maker == "google" else "image endpoint",
        context_window=family.window,
        image_inputs=family.images,
        pdf_inputs=family.images,
        tools=not draws,
        tools_with_schema=maker in ("openai", "x-ai"),
        json_object=maker != "anthropic",
        temperature=not name.startswith(("gpt-5", "o3", "o4-mini")),
        tool_streams=maker != "google",
    )


def _chat(
    name: str,
    provider: str,
    usd_in: str | None,
    usd_out: str | None,
    *,
    temperature: bool = True,
    effort: bool | None = None,
    images: bool | None = None,
    files: bool | None = None,
    aliases: tuple[str, ...] = (),
    april: bool = False,
    retirement: Retirement | None = None,
) -> ModelInfo:
    family = guessed(name, provider)
    return family._replace(
        usd_in=_dollars(usd_in),
        usd_out=_dollars(usd_out),
        temperature=temperature,
        effort=effort,
        image_inputs=family.image_inputs if images is None else images,
        pdf_inputs=family.pdf_inputs if files is None and images is None else files,
        aliases=aliases,
        april=april,
        listed=True,
        retirement=retirement,
    )


def _drawing_chat(
    name: str, usd_in: str, usd_out: str, usd_image_out: str, *, aspect_ratios: tuple[str, ...]
) -> ModelInfo:
    return guessed(name, "google")._replace(
        usd_in=_dollars(usd_in),
        usd_out=_dollars(usd_out),
        usd_image_out=_dollars(usd_image_out),
        aspect_ratios=aspect_ratios,
        listed=True,
    )


def _painter(
    name: str,
    provider: str,
    usd_per_image: str | None,
    *,
    references: bool | None = None,
    several: bool | None = None,
    aspect_ratios: tuple[str, ...] = (),
    resolutions: tuple[str, ...] = (),
    aliases: tuple[str, ...] = (),
) -> ModelInfo:
    return guessed(name, provider)._replace(
        usd_per_image=_dollars(usd_per_image),
        image_inputs=references,
        pdf_inputs=False,
        temperature=False,
        effort=False,
        several_images=several,
        aspect_ratios=aspect_ratios,
        resolutions=resolutions,
        aliases=aliases,
        listed=True,
    )


def _dollars(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _gone(year: int, month: int, day: int, what: str, instead: str | None = None) -> Retirement:
    return Retirement(date(year, month, day), what, instead)


_UNLISTED = "newer gateways no longer list it"
_SNAPSHOT = "OpenAI retires the snapshot behind it"


_OPENAI = (
    _chat(
        "gpt-4.1",
        "openai",
        "2",
        "8",
        effort=False,
        images=True,
        files=True,
        aliases=("gpt-4.1-2025-04-14",),
        april=True,
    ),
    _chat("gpt-4.1-mini", "openai", "0.4", "1.6", images=True, files=True, aliases=("gpt-4.1-mini-2025-04-14",)),
    _chat(
        "gpt-4.1-nano",
        "openai",
        "0.1",
        "0.4",
        images=True,
        files=True,
        aliases=("gpt-4.1-nano-2025-04-14",),
        retirement=_gone(2026, 10, 23, "OpenAI shut it down", "openai/gpt-5.6-luna"),
    ),
    _chat(
        "o3",
        "openai",
        "10",
        "40",
        temperature=False,
        images=True,
        files=True,
        aliases=("o3-2025-04-16",),
        retirement=_gone(2026, 12, 11, _SNAPSHOT),
    ),
    _chat(
        "o4-mini",
        "openai",
        "1.1",
        "4.4",
        temperature=False,
        effort=True,
        images=True,
        files=True,
        april=True,
        retirement=_gone(2026, 10, 23, "OpenAI shut it down", "openai/gpt-5.6-terra"),
    ),
    _chat(
        "gpt-5",
        "openai",
        "1.25",
        "10",
        temperature=False,
        images=True,
        files=True,
        april=True,
        retirement=_gone(2026, 12, 11, _SNAPSHOT, "openai/gpt-5.4"),
    ),
    _chat(
        "gpt-5-mini",
        "openai",
        "0.25",
        "2",
        temperature=False,
        images=True,
        files=True,
        april=True,
        retirement=_gone(2026, 12, 11, _SNAPSHOT, "openai/gpt-5.4-mini"),
    ),
    _chat("gpt-5.2", "openai", "1.75", "14", temperature=False, images=True, files=True, april=True),
    _chat("gpt-5.4", "openai", "2.5", "15", temperature=False, images=True, files=True),
    _chat("gpt-5.4-mini", "openai", "0.75", "4.5", temperature=False, images=True, files=True),
    _chat("gpt-5.4-nano", "openai", "0.2", "1.25", temperature=False, images=True, files=True),
    _chat("gpt-5.5", "openai", "5", "30", temperature=False, effort=True),
    _chat("gpt-5.6-sol", "openai", "5", "30", temperature=False, aliases=("gpt-5.6",)),
    _chat("gpt-5.6-terra", "openai", "2.5", "15", temperature=False),
    _chat("gpt-5.6-luna", "openai", "1", "6", temperature=False),
    _chat("gpt-6-astra", "openai", "10", "50", temperature=False),
    _painter("gpt-image-2", "openai", "0.05", references=True, several=True, aspect_ratios=_OPENAI_RATIOS),
    _painter("gpt-image-2.5-flare", "openai", None),
    _painter("gpt-image-2.5-sunburst", "openai", None),
)
_ANTHROPIC = (
    _chat("claude-sonnet-4-5", "anthropic", "3", "15", effort=False, images=True, files=True, april=True),
    _chat("claude-sonnet-4-6", "anthropic", "3", "15", effort=True, images=True, files=True, april=True),
    _chat("claude-sonnet-5", "anthropic", "3", "15", temperature=False, effort=True),
    _chat("claude-haiku-4-5", "anthropic", "1", "5", effort=False, images=True, files=True, april=True),
    _chat("claude-opus-4-5", "anthropic", "5", "25", images=True, files=True, april=True),
    _chat("claude-opus-4-6", "anthropic", "5", "25", images=True, files=True, april=True),
    _chat("claude-opus-4-7", "anthropic", "5", "25", temperature=False),
    _chat("claude-opus-4-8", "anthropic", "5", "25", temperature=False, effort=True),
    _chat("claude-opus-5", "anthropic", "5", "25", temperature=False),
    _chat("claude-fable-5", "anthropic", "10", "50", temperature=False, effort=True),
    _chat("claude-fable-5-1", "anthropic", "10", "50", temperature=False, aliases=("claude-fable-5.1",)),
    _chat(
        "claude-sonnet-4-0",
        "anthropic",
        "3",
        "15",
        aliases=("claude-4.0-sonnet",),
        april=True,
        retirement=Retirement(None, _UNLISTED, "anthropic/claude-sonnet-4-6"),
    ),
)
_GOOGLE = (
    _chat("gemini-2.5-flash", "google", "0.3", "2.5", effort=False, images=True, files=True, april=True),
    _chat("gemini-2.5-pro", "google", "1.25", "10", images=True, files=True, april=True),
    _chat("gemini-2.5-flash-lite", "google", "0.1", "0.4", images=True, files=True, april=True),
    _chat("gemini-3-flash-preview", "google", "0.5", "3", images=True, files=True, april=True),
    _chat("gemini-3.1-pro-preview", "google", "2", "12", images=True, files=True),
    _chat("gemini-3.5-flash", "google", "1.5", "9", effort=True),
    _chat("gemini-3.5-flash-lite", "google", "0.3", "2.5"),
    _chat("gemini-3.6-flash", "google", "1.5", "7.5"),
    _chat("gemini-3.7-flash", "google", "0.75", "3.75"),
    _chat("gemini-3.8-flash", "google", "0.75", "3.75"),
    _drawing_chat("gemini-2.5-flash-image", "0.3", "1.5", "30", aspect_ratios=_GEMINI_RATIOS),
    _drawing_chat(
        "gemini-3.1-flash-image", "0.5", "3", "60", aspect_ratios=(*_GEMINI_RATIOS, "1:4", "1:8", "4:1", "8:1")
    ),
    _chat(
        "gemini-3-pro-preview",
        "google",
        "2",
        "12",
        retirement=Retirement(None, _UNLISTED, "google/gemini-3.1-pro-preview"),
    ),
)
_XAI = (
    _chat("grok-4.6", "x-ai", "2", "6"),
    _chat("grok-4.5", "x-ai", "2", "6", aliases=("grok-4.5-latest",)),
    _chat("grok-4.3", "x-ai", "1.25", "2.5"),
    _chat("grok-4.20-reasoning", "x-ai", "2", "6"),
    _chat("grok-4.20-non-reasoning", "x-ai", "2", "6"),
    _chat("grok-4", "x-ai", "3", "15", effort=False, images=False, april=True, retirement=_XAI_SERVES_ANOTHER),
    _chat("grok-4-fast", "x-ai", "0.2", "0.5", images=True, april=True, retirement=_XAI_SERVES_ANOTHER),
    _chat(
        "grok-4-1-fast",
        "x-ai",
        "0.2",
        "0.5",
        images=True,
        aliases=("grok-4.1-fast",),
        april=True,
        retirement=_XAI_SERVES_ANOTHER,
    ),
    _chat("grok-4-1-fast-non-reasoning", "x-ai", "0.2", "0.5", images=True, april=True, retirement=_XAI_SERVES_ANOTHER),
    _chat(
        "grok-3",
        "x-ai",
        "3",
        "15",
        images=False,
        aliases=("grok-3-beta",),
        april=True,
        retirement=_XAI_SERVES_ANOTHER,
    ),
    _chat(
        "grok-3-mini",
        "x-ai",
        "0.3",
        "0.5",
        images=False,
        aliases=("grok-3-mini-beta",),
        april=True,
        retirement=_XAI_SERVES_ANOTHER,
    ),
    _chat(
        "grok-code-fast-1",
        "x-ai",
        "0.2",
        "1.5",
        images=False,
        retirement=_gone(2026, 5, 15, "xAI retired it, and serves grok-build-0.1 in its place", "x-ai/grok-4.3"),
    ),
    _painter(
        "grok-2-image",
        "x-ai",
        "0.02",
        references=False,
        several=True,
        aspect_ratios=_XAI_RATIOS,
        aliases=("grok-2-image-1212", "grok-2-image-latest", "grok-imagine-image", "grok-imagine-image-2026-03-02"),
    ),
    _painter(
        "grok-imagine-image-2.0",
        "x-ai",
        "0.04",
        references=False,
        several=True,
        aspect_ratios=_XAI_RATIOS,
        aliases=("grok-imagine-image-2-0",),
    ),
)
_OTHERS = (
    _chat("seed-1.6", "bytedance", "0.8", "8", effort=False, aliases=("seed-1-6-250615",)),
    _chat("seed-1.8", "bytedance", "0.8", "8", aliases=("seed-1-8-251228",)),
    _chat("seed-2.0-lite", "bytedance", "0.4", "1.6", aliases=("seed-2-0-lite-260228",)),
    _chat("dola-seed-2.0-mini", "bytedance", "0.1", "0.4", aliases=("dola-seed-2-0-mini",)),
    _chat("deepseek-v4-flash", "bytedance", "0.14", "0.28", aliases=("deepseek-v4-flash-260425",)),
    _chat("deepseek-v4-pro", "bytedance", "1.74", "3.48", aliases=("deepseek-v4-pro-260425",)),
    _chat("glm-5.2", "zai", "1.4", "4.4", effort=False),
    _painter(
        "seedream-4.0",
        "bytedance",
        "0.03",
        references=True,
        several=True,
        aspect_ratios=_SEED_RATIOS,
        aliases=("seedream-4-0", "seedream-4-0-250828"),
    ),
    _painter(
        "seedream-5.0-lite",
        "bytedance",
        "0.035",
        references=True,
        several=False,
        aspect_ratios=_SEED_RATIOS,
        aliases=("seedream-5-0-lite",),
    ),
    _painter(
        "seedance-4.5",
        "bytedance",
        "0.05",
        references=True,
        several=False,
        aspect_ratios=_SEED_RATIOS,
        aliases=("seedance-4-5",),
    ),
    _painter(
        "seedance-5.0",
        "bytedance",
        "0.09",
        references=True,
        several=False,
        aspect_ratios=_SEED_RATIOS,
        resolutions=("1.5K", "2K"),
        aliases=("seedance-5-0",),
    ),
    _chat("hermes-4-405b", "nous", "1", "3", aliases=("nousresearch/hermes-4-405b",)),
    _chat(
        "hermes-4-70b",
        "nous",
        "0.13",
        "0.4",
        aliases=("nousresearch/hermes-4-70b",),
        retirement=Retirement(None, _UNLISTED, "nous/hermes-4-405b"),
    ),
    _chat(
        "hy3",
        "openrouter",
        "0.0825",
        "0.33",
        aliases=("tencent/hy3", "tencent/hy3:floor"),
    ),
    _chat("hy4-preview", "openrouter", None, None),
    _painter("glm-image", "zai", "0.015", references=False, several=False, aspect_ratios=_GLM_RATIOS),
)


@lru_cache(maxsize=1)
def catalogue() -> Mapping[str, ModelInfo]:
    """Return all listed models by the name that gateways know, in the order of their makers."""
    return {info.name: info for info in (*_OPENAI, *_ANTHROPIC, *_GOOGLE, *_XAI, *_OTHERS)}


@lru_cache(maxsize=1)
def by_any_name() -> Mapping[str, ModelInfo]:
    """Return the same by every name that a gateway takes, other names included, in lower case."""
    found = {}
    for info in catalogue().values():
        for name in (info.name, *(alias.rpartition("/")[2] for alias in info.aliases)):
            found[name.lower()] = info
    return found


@lru_cache(maxsize=256)
def info_of(model: str) -> ModelInfo:
    """Return what is known about the name `model`, read once for all calls. Raises `ConfigurationError`."""
    if not model.strip():
        raise no_name(model)
    provider, _, name = model.rpartition("/")
    # Gateways look at the name alone, so the maker of a known one decides, whatever stands before it.
    listed = by_any_name().get(name.lower())
    if listed is None:
        return guessed(name, provider)
    return listed._replace(name=name, provider=provider or listed.provider)


@lru_cache(maxsize=256)
def ending_of(model: str, day: int) -> str | None:
    """Return what to tell whoever uses `model` on the day `day`, counted from 1970 on, None if there is nothing."""
    return info_of(model).ending(date(1970, 1, 1) + timedelta(days=day))


def no_name(model: object) -> ConfigurationError:
    """Return the error of what names no model."""
    return ConfigurationError(f"model is {model!r}, expected a name such as 'openai/gpt-5' or a TEE_LLM member.")
