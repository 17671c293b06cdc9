"""
Verified, paid answers for programs that are written against the openai package or its Agents SDK.

```python
from og_integrations.openai import openai_client

client = openai_client(spend_policy={"total": "1"})
completion = client.chat.completions.create(
    model="openai/gpt-5.2", messages=[{"role": "user", "content": "hi"}]
)
print(completion.choices[0].message.content, completion.model_extra["opengradient"]["status"])
```

The client is the openai package's own. Below it stands a transport of ours: it reads what the client would have
sent over HTTP, makes the call as `og_integrations.Client` does, and answers with what was verified. Nothing of the
client's own headers or API key leaves this process.

| file | what it holds |
| --- | --- |
| `_translation` | requests, answers, chunks and errors in OpenAI's form and in ours; `serve` speaks it, too |
| `_calls` | one request of a client, asked: whole, or as events |
| `_transport` | the transports below httpx's clients, and the openai clients made with them |
| `_agents` | the model provider for the OpenAI Agents SDK |
| `_tracing` | receipts in the traces of the Agents SDK |
| `_onchain_tools` | models and workflows on chain as tools |
"""

from typing import TYPE_CHECKING

from og_integrations._lazy import lazy_names

if TYPE_CHECKING:
    from og_integrations.openai._agents import OpenGradientProvider
    from og_integrations.openai._onchain_tools import call_onchain_tool, onchain_tool, onchain_tool_schema
    from og_integrations.openai._transport import (
        AsyncOpenGradientTransport,
        OpenGradientTransport,
        async_openai_client,
        openai_client,
    )

__all__ = [
    "AsyncOpenGradientTransport",
    "OpenGradientProvider",
    "OpenGradientTransport",
    "async_openai_client",
    "call_onchain_tool",
    "onchain_tool",
    "onchain_tool_schema",
    "openai_client",
]

_HOMES = {
    "AsyncOpenGradientTransport": "og_integrations.openai._transport",
    "OpenGradientProvider": "og_integrations.openai._agents",
    "OpenGradientTransport": "og_integrations.openai._transport",
    "async_openai_client": "og_integrations.openai._transport",
    "call_onchain_tool": "og_integrations.openai._onchain_tools",
    "onchain_tool": "og_integrations.openai._onchain_tools",
    "onchain_tool_schema": "og_integrations.openai._onchain_tools",
    "openai_client": "og_integrations.openai._transport",
}

if not TYPE_CHECKING:  # which would take any name for one of ours
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
