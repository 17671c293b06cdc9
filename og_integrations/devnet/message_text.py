"""The text of messages, wherever it stands: content is text, or a list of parts."""

from og_integrations.protocol.chat import JsonObject


def last_user_text(messages: list[JsonObject]) -> str:
    """Return the text of the last user message, "" if there is none."""
    texts = (text_of(message.get("content")) for message in reversed(messages) if message.get("role") == "user")
    return next(texts, "")


def text_of(content: object) -> str:
    """Return the text of a message's content; other parts have none."""
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "".join(str(part.get("text", "")) for part in parts)
    return content if isinstance(content, str) else ""
