"""What LangChain wants to know about a model beforehand: its profile, and how long a prompt is."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage

from og_integrations.models import model_info

if TYPE_CHECKING:
    from langchain_core.language_models.model_profile import ModelProfile

CHARACTERS_PER_TOKEN = 4.0


def attachments_taken(model: str, generation: str, role: str = "user") -> tuple[str, ...]:
    """
    Return the types of parts beside text that reach `model` in messages of `role`.

    The captured generation of gateways drops them all. The next one hands images and files on (client
    1.1.4); of audio nothing is known. OpenAI and xAI take none in the results of tools.
    """
    info = model_info(model)
    shown = role == "user" or (role == "tool" and info.provider in ("anthropic", "google"))
    return ("image_url", "file") if generation == "next" and info.image_inputs and shown else ()


def build_profile(model: str, generation: str) -> "ModelProfile":
    """Return what is known of `model`, as reached through gateways of `generation` (not at its provider)."""
    info = model_info(model)
    taken, from_tools = (attachments_taken(model, generation, role) for role in ("user", "tool"))
    profile: ModelProfile = {
        "name": info.name,
        "text_inputs": True,
        "image_inputs": "image_url" in taken,
        "image_url_inputs": "image_url" in taken,
        "pdf_inputs": "file" in taken,
        "audio_inputs": False,
        "video_inputs": False,
        "image_tool_message": "image_url" in from_tools,
        "pdf_tool_message": "file" in from_tools,
        "text_outputs": True,
        "image_outputs": info.image_outputs,
        "audio_outputs": False,
        "video_outputs": False,
        "reasoning_output": False,
        "tool_calling": True,
        "tool_choice": True,
        "structured_output": True,
        "temperature": info.temperature,
    }
    if info.context_window is not None:
        profile["max_input_tokens"] = info.context_window
    return profile


def count_text_tokens(text: str) -> int:
    """Return about how many tokens `text` has; offline, and the same for every model."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def count_message_tokens(messages: Sequence[BaseMessage], tools: Sequence[Any] | None = None) -> int:
    """Return about how many tokens `messages` and the schemas of `tools` have, offline."""
    from langchain_core.messages.utils import count_tokens_approximately
    from langchain_core.utils.function_calling import convert_to_openai_tool

    schemas = [convert_to_openai_tool(tool) for tool in tools or ()]
    return count_tokens_approximately(messages, tools=schemas)  # type: ignore[arg-type]


def overflow_check(
    model: str, messages: Sequence[BaseMessage], tools: Sequence[Any] | None = None
) -> Callable[[], str | None]:
    """Return a function that says why `messages` cannot fit into the window of `model`, else None."""

    def too_long() -> str | None:
        window = model_info(model).context_window
        if window is None or (tokens := count_message_tokens(messages, tools)) <= window:
            return None
        return f"The messages have about {tokens} tokens; the context window of {model} has {window}."

    return too_long
