"""These are digital twins: personas with a scripted answer, for who shows the key."""

import secrets
import time

from og_integrations.devnet._http import Reply, Request
from og_integrations.devnet._journal import Journal, parsed
from og_integrations.devnet.services._calls import ArmedFaults, answered, garbage, record, told

API = "/api/v1"
TWIN = "0x1abd463fd6244be4a1dc0f69e0b70cd5"


class TwinService:
    """`personas` are found by their id; each says its name, and what it was asked."""

    def __init__(self, journal: Journal, faults: ArmedFaults) -> None:
        self.api_key: str = f"twins-{secrets.token_urlsafe(24)}"
        self.personas: dict[str, str] = {TWIN: "Ada"}
        self._journal, self._faults = journal, faults
        journal.secrets.add(self.api_key)

    async def handle(self, request: Request) -> Reply:
        """Answer one chat."""
        shown = request.header("x-api-key") or ""
        call = record(request, self._journal, "chat", shown, request.body)
        met = self._faults.met_by("chat")
        call.faults += sorted(met)
        return answered(call, self._reply(request, shown, met))

    def _reply(self, request: Request, shown: str, met: set[str]) -> Reply:
        parts = request.path.removeprefix(API).strip("/").split("/")
        if request.method != "POST" or len(parts) != 3 or (parts[0], parts[2]) != ("twins", "chat"):
            return told(404, {"detail": "Not Found"})
        if not secrets.compare_digest(shown.encode(), self.api_key.encode()):
            return told(401, {"detail": "Invalid API key"})
        if "twin_down" in met:
            return told(503, {"detail": "Service Unavailable"})
        if "twin_garbage" in met:
            return garbage()
        name, asked = self.personas.get(parts[1]), parsed(request)
        if name is None:
            return told(404, {"detail": "Twin not found"})
        messages = asked.get("messages") if isinstance(asked, dict) else None
        if not isinstance(asked, dict) or not isinstance(messages, list) or not isinstance(asked.get("model"), str):
            return told(422, {"detail": "model and messages are required"})
        said = f"{name}: you said {messages[-1]['content']!r}" if messages else name
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
        counted = {"prompt_tokens": len(messages), "completion_tokens": len(said.split()), "total_tokens": 0}
        counted["total_tokens"] = sum(counted.values())
        return told(
            200,
            {
                "id": f"chatcmpl-{secrets.token_hex(8)}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": asked["model"],
                "choices": [] if "silent_twin" in met else [choice],
                "usage": counted,
            },
        )
