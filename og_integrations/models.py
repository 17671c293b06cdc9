"""
The catalogue of models (docs/protocol.md §8), and what is known about them.

The list moves, so any `provider/name` passes: what is not known is None, and the gateway has the last
word (it answers 400 to names it does not list). Context windows are the providers' published figures.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import lru_cache

from og_integrations.errors import ConfigurationError


class TEE_LLM(StrEnum):  # noqa: N801 - the name that users of the published client know
    """Names of models served in enclaves, as `provider/name`."""

    GPT_4_1_2025_04_14 = "openai/gpt-4.1-2025-04-14"
    GPT_4O = "openai/gpt-4o"
    GPT_4_1 = "openai/gpt-4.1"
    GPT_4_1_MINI = "openai/gpt-4.1-mini"
    GPT_4_1_NANO = "openai/gpt-4.1-nano"
    O3 = "openai/o3"
    O4_MINI = "openai/o4-mini"
    GPT_5 = "openai/gpt-5"
    GPT_5_MINI = "openai/gpt-5-mini"
    GPT_5_2 = "openai/gpt-5.2"
    GPT_5_4 = "openai/gpt-5.4"
    GPT_5_4_MINI = "openai/gpt-5.4-mini"
    GPT_5_4_NANO = "openai/gpt-5.4-nano"
    GPT_5_5 = "openai/gpt-5.5"
    GPT_IMAGE_2 = "openai/gpt-image-2"
    CLAUDE_4_0_SONNET = "anthropic/claude-4.0-sonnet"
    CLAUDE_3_7_SONNET = "anthropic/claude-3.7-sonnet"
    CLAUDE_3_5_HAIKU = "anthropic/claude-3.5-haiku"
    CLAUDE_SONNET_4_5 = "anthropic/claude-sonnet-4-5"
    CLAUDE_SONNET_4_6 = "anthropic/claude-sonnet-4-6"
    CLAUDE_HAIKU_4_5 = "anthropic/claude-haiku-4-5"
    CLAUDE_OPUS_4_5 = "anthropic/claude-opus-4-5"
    CLAUDE_OPUS_4_6 = "anthropic/claude-opus-4-6"
    CLAUDE_OPUS_4_7 = "anthropic/claude-opus-4-7"
    CLAUDE_OPUS_4_8 = "anthropic/claude-opus-4-8"
    GEMINI_2_0_FLASH = "google/gemini-2.0-flash"
    GEMINI_2_5_FLASH = "google/gemini-2.5-flash"
    GEMINI_2_5_PRO = "google/gemini-2.5-pro"
    GEMINI_2_5_FLASH_LITE = "google/gemini-2.5-flash-lite"
    GEMINI_3_FLASH_PREVIEW = "google/gemini-3-flash-preview"
    GEMINI_3_1_PRO_PREVIEW = "google/gemini-3.1-pro-preview"
    GEMINI_3_1_FLASH_LITE_PREVIEW = "google/gemini-3.1-flash-lite-preview"
    GEMINI_3_5_FLASH = "google/gemini-3.5-flash"
    GEMINI_2_5_FLASH_IMAGE = "google/gemini-2.5-flash-image"
    GEMINI_3_1_FLASH_IMAGE = "google/gemini-3.1-flash-image"
    GROK_2_1212 = "x-ai/grok-2-1212"
    GROK_2_VISION_LATEST = "x-ai/grok-2-vision-latest"
    GROK_2_IMAGE = "x-ai/grok-2-image"
    GROK_3_BETA = "x-ai/grok-3-beta"
    GROK_3_MINI_BETA = "x-ai/grok-3-mini-beta"
    GROK_4 = "x-ai/grok-4"
    GROK_4_FAST = "x-ai/grok-4-fast"
    GROK_4_1_FAST = "x-ai/grok-4-1-fast"
    GROK_4_1_FAST_DOTTED = "x-ai/grok-4.1-fast"
    GROK_4_1_FAST_NON_REASONING = "x-ai/grok-4-1-fast-non-reasoning"
    GROK_4_20_REASONING = "x-ai/grok-4.20-reasoning"
    GROK_4_20_NON_REASONING = "x-ai/grok-4.20-non-reasoning"
    GROK_CODE_FAST_1 = "x-ai/grok-code-fast-1"
    SEED_1_6 = "bytedance/seed-1.6"
    SEED_1_8 = "bytedance/seed-1.8"
    SEED_2_0_LITE = "bytedance/seed-2.0-lite"
    DEEPSEEK_V4_FLASH = "bytedance/deepseek-v4-flash"
    DEEPSEEK_V4_PRO = "bytedance/deepseek-v4-pro"
    SEEDREAM_4_0 = "bytedance/seedream-4.0"
    SEEDANCE_4_5 = "bytedance/seedance-4.5"
    HERMES_4_405B = "nous/hermes-4-405b"
    HERMES_4_70B = "nous/hermes-4-70b"
    GLM_5_2 = "zai/glm-5.2"
    GLM_IMAGE = "zai/glm-image"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """
    What is known of a model. `context_window` is in tokens, None if not known.

    `tools_with_schema`: whether its family takes `tools` and a json_schema `response_format` in one
    request. The gateway silently drops the tools for Anthropic models; only OpenAI and xAI are known
    to take both. `json_object`: whether `response_format={"type": "json_object"}` is accepted.
    `image_inputs`, `image_outputs`: of the provider's model; the April gateway drops images itself.
    `temperature`: whether the gateway hands it on (docs/protocol.md §2). `tool_streams`: whether several calls can be
    told apart in a stream; of Google's models the gateway merges them under one signature.
    """

    name: str
    provider: str
    context_window: int | None = None
    image_inputs: bool = False
    image_outputs: bool = False
    tools_with_schema: bool = False
    json_object: bool = True
    temperature: bool = True
    tool_streams: bool = True


_WINDOWS = (
    ("gpt-4.1", 1_047_576),
    ("gpt-4o", 128_000),
    ("gpt-5", 400_000),
    ("o3", 200_000),
    ("o4-mini", 200_000),
    ("claude", 200_000),
    ("gemini-2.5-flash-image", 32_768),
    ("gemini", 1_048_576),
    ("grok-4-fast", 2_000_000),
    ("grok-4-1-fast", 2_000_000),
    ("grok-4.1-fast", 2_000_000),
    ("grok-4.20", 2_000_000),
    ("grok-4", 256_000),
    ("grok-code-fast-1", 256_000),
    ("grok-3", 131_072),
    ("grok-2-vision", 32_768),
    ("grok-2", 131_072),
    ("hermes-4", 131_072),
)
_IMAGE_INPUT_PREFIXES = (
    "gpt-4.1",
    "gpt-4o",
    "gpt-5",
    "o3",
    "o4-mini",
    "claude",
    "gemini",
    "grok-4",
    "grok-2-vision",
)
_IMAGE_OUTPUT_MARKS = ("-image", "seedream")
_PROVIDERS = {
    "gpt": "openai",
    "o3": "openai",
    "o4": "openai",
    "claude": "anthropic",
    "gemini": "google",
    "grok": "x-ai",
    "seed": "bytedance",
    "deepseek": "bytedance",
    "hermes": "nous",
    "glm": "zai",
}


def model_name(model: "str | Enum") -> str:
    """Return `provider/name` (or a bare name) as text. Raises `ConfigurationError` if it is none."""
    text = model.value if isinstance(model, Enum) else model
    if not isinstance(text, str) or not text.strip():
        raise ConfigurationError(f"model is {model!r}, expected a name such as 'openai/gpt-5' or a TEE_LLM member.")
    return text


def wire_name(model: "str | Enum") -> str:
    """Return the name the gateway knows: the part after `provider/`."""
    return model_name(model).rpartition("/")[2]


def model_info(model: "str | Enum") -> ModelInfo:
    """Return what is known about `model`; for an unknown name that is little, and no error."""
    return _info_of(model_name(model))


@lru_cache(maxsize=256)
def _info_of(text: str) -> ModelInfo:
    provider, _, name = text.rpartition("/")
    if not provider:
        provider = next((owner for prefix, owner in _PROVIDERS.items() if name.startswith(prefix)), "")
    return ModelInfo(
        name=name,
        provider=provider,
        context_window=next((size for prefix, size in _WINDOWS if name.startswith(prefix)), None),
        image_inputs=name.startswith(_IMAGE_INPUT_PREFIXES),
        image_outputs=any(mark in name for mark in _IMAGE_OUTPUT_MARKS),
        tools_with_schema=provider in ("openai", "x-ai"),
        json_object=provider != "anthropic",
        temperature=not name.startswith(("gpt-5", "o4-mini")),
        tool_streams=provider != "google",
    )
