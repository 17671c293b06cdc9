"""
The catalogue of models (docs/protocol.md §8), and what is known about them.

The list moves, so any `provider/name` passes: what is not known is None, and the gateway has the last
word (it answers 400 to names it does not list). `MODELS` holds all that are listed, by the gateway's name.

| file | what it holds |
| --- | --- |
| `_catalogue` | every listed model as data, one line each |
"""

from collections.abc import Mapping
from enum import Enum, StrEnum

from og_integrations.models._catalogue import ModelInfo, ModelKind, Retirement, catalogue, info_of, no_name

__all__ = ["MODELS", "ModelInfo", "ModelKind", "Retirement", "TEE_LLM", "model_info", "model_name", "wire_name"]


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
    GPT_5_6_SOL = "openai/gpt-5.6-sol"
    GPT_5_6_TERRA = "openai/gpt-5.6-terra"
    GPT_5_6_LUNA = "openai/gpt-5.6-luna"
    GPT_6_ASTRA = "openai/gpt-6-astra"
    GPT_IMAGE_2 = "openai/gpt-image-2"
    GPT_IMAGE_2_5_FLARE = "openai/gpt-image-2.5-flare"
    GPT_IMAGE_2_5_SUNBURST = "openai/gpt-image-2.5-sunburst"
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
    CLAUDE_SONNET_4_0 = "anthropic/claude-sonnet-4-0"
    CLAUDE_SONNET_5 = "anthropic/claude-sonnet-5"
    CLAUDE_OPUS_5 = "anthropic/claude-opus-5"
    CLAUDE_FABLE_5 = "anthropic/claude-fable-5"
    CLAUDE_FABLE_5_1 = "anthropic/claude-fable-5-1"
    GEMINI_2_0_FLASH = "google/gemini-2.0-flash"
    GEMINI_2_5_FLASH = "google/gemini-2.5-flash"
    GEMINI_2_5_PRO = "google/gemini-2.5-pro"
    GEMINI_2_5_FLASH_LITE = "google/gemini-2.5-flash-lite"
    GEMINI_3_FLASH_PREVIEW = "google/gemini-3-flash-preview"
    GEMINI_3_FLASH = GEMINI_3_FLASH_PREVIEW
    GEMINI_3_1_PRO_PREVIEW = "google/gemini-3.1-pro-preview"
    GEMINI_3_1_FLASH_LITE_PREVIEW = "google/gemini-3.1-flash-lite-preview"
    GEMINI_3_5_FLASH = "google/gemini-3.5-flash"
    GEMINI_3_5_FLASH_LITE = "google/gemini-3.5-flash-lite"
    GEMINI_3_6_FLASH = "google/gemini-3.6-flash"
    GEMINI_3_7_FLASH = "google/gemini-3.7-flash"
    GEMINI_3_8_FLASH = "google/gemini-3.8-flash"
    GEMINI_3_PRO_PREVIEW = "google/gemini-3-pro-preview"
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
    GROK_4_3 = "x-ai/grok-4.3"
    GROK_4_5 = "x-ai/grok-4.5"
    GROK_4_6 = "x-ai/grok-4.6"
    GROK_3 = "x-ai/grok-3"
    GROK_3_MINI = "x-ai/grok-3-mini"
    GROK_IMAGINE_IMAGE_2_0 = "x-ai/grok-imagine-image-2.0"
    GROK_CODE_FAST_1 = "x-ai/grok-code-fast-1"
    SEED_1_6 = "bytedance/seed-1.6"
    SEED_1_8 = "bytedance/seed-1.8"
    SEED_2_0_LITE = "bytedance/seed-2.0-lite"
    DOLA_SEED_2_0_MINI = "bytedance/dola-seed-2.0-mini"
    DEEPSEEK_V4_FLASH = "bytedance/deepseek-v4-flash"
    DEEPSEEK_V4_PRO = "bytedance/deepseek-v4-pro"
    SEEDREAM_4_0 = "bytedance/seedream-4.0"
    SEEDANCE_4_5 = "bytedance/seedance-4.5"
    SEEDANCE_5_0 = "bytedance/seedance-5.0"
    SEEDREAM_5_0_LITE = "bytedance/seedream-5.0-lite"
    HERMES_4_405B = "nous/hermes-4-405b"
    HERMES_4_70B = "nous/hermes-4-70b"
    HY3 = "openrouter/hy3"
    HY4_PREVIEW = "openrouter/hy4-preview"
    GLM_5_2 = "zai/glm-5.2"
    GLM_IMAGE = "zai/glm-image"


MODELS: Mapping[str, ModelInfo] = catalogue()
"""Every listed model, by the name that gateways know."""


def model_name(model: "str | Enum") -> str:
    """Return `provider/name` (or a bare name) as text. Raises `ConfigurationError` if it is none."""
    text = model.value if isinstance(model, Enum) else model
    if not isinstance(text, str) or not text.strip():
        raise no_name(model)
    return text


def wire_name(model: "str | Enum") -> str:
    """Return the name the gateway knows: the part after `provider/`."""
    return model_name(model).rpartition("/")[2]


def model_info(model: "str | Enum") -> ModelInfo:
    """Return what is known about `model`; for an unknown name that is little, and no error."""
    return info_of(model_name(model))
