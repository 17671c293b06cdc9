"""The gateway's answers in their four wrappings: JSON, compact JSON, problem+json, and event streams."""

import json
from collections.abc import AsyncGenerator

from og_integrations.devnet.fault import Events
from og_integrations.devnet.http import Reply
from og_integrations.protocol.chat import JsonObject

_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    415: "Unsupported Media Type",
    500: "Internal Server Error",
}
_DETAILS = {
    404: (
        "The requested URL was not found on the server. If you entered the URL manually please check your "
        "spelling and try again."
    ),
    405: "The method is not allowed for the requested URL.",
    500: (
        "The server encountered an internal error and was unable to complete your request. Either the server "
        "is overloaded or there is an error in the application."
    ),
}


def json_reply(body: JsonObject, status: int = 200) -> Reply:
    """Return `body` as the API handlers write it: sorted, indented, with a newline at the end."""
    text = json.dumps(body, sort_keys=True, indent=2) + "\n"
    return Reply(status=status, headers=[("Content-Type", "application/json")], body=text.encode())


def compact_reply(body: JsonObject, status: int = 200) -> Reply:
    """Return `body` as the payment layer and the plain routes write it: without blanks."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":")) + "\n"
    return Reply(status=status, headers=[("Content-Type", "application/json")], body=text.encode())


def problem(status: int, detail: str | None = None) -> Reply:
    """Return an application/problem+json answer."""
    body = {
        "detail": _DETAILS[status] if detail is None else detail,
        "status": status,
        "title": _TITLES[status],
        "type": "about:blank",
    }
    reply = json_reply(body, status)
    reply.headers = [("Content-Type", "application/problem+json")]
    return reply


def failed(message: str = "Request processing failed") -> Reply:
    """Return the 500 that stands for anything that went wrong at the provider."""
    return json_reply({"error": message}, 500)


def stream_reply(events: Events) -> Reply:
    """Return an event stream, one HTTP chunk per event."""
    headers = [("Cache-Control", "no-cache"), ("Content-Type", "text/event-stream; charset=utf-8")]
    return Reply(status=200, headers=headers, body=_encoded(events))


async def _encoded(events: Events) -> AsyncGenerator[bytes, None]:
    try:
        async for event in events:
            yield event.encode()
    finally:
        await events.aclose()
