"""
LangChain models whose answers are attested, paid and provable.

```python
from og_integrations.langchain import ChatOpenGradient, get_receipt_callback

model = ChatOpenGradient(model="anthropic/claude-sonnet-4-6")  # OG_PRIVATE_KEY from the environment
with get_receipt_callback() as receipts:
    answer = model.invoke("Say hello.")
print(answer.text, answer.response_metadata["opengradient"]["status"], receipts.totals().authorizations)
```

Needs `pip install "og-integrations[langchain]"`.

| file | what is in it |
| --- | --- |
| `_chat_model`, `_completion_model` | the two models; what they have in common stands with the first |
| `_runs` | one call, as LangChain traces it and as its errors leave |
| `_messages` | messages and tools of LangChain to the wire |
| `_outputs` | answers to LangChain's messages and content blocks |
| `_structured` | `with_structured_output`: the schema that is asked for, and the reading of what comes |
| `_search` | the web search of newer gateways, as a tool |
| `errors` | the double of each error that is a `ModelError`, and what may be repeated |
| `_callbacks` | receipts, collected through chains and agents |
| `_onchain_tools` | models and workflows on chain as tools |
"""

from typing import TYPE_CHECKING

from og_integrations._lazy import lazy_names

try:
    from og_integrations.langchain._chat_model import ChatOpenGradient, register_with_langchain
except ModuleNotFoundError as _exc:
    if (_exc.name or "").partition(".")[0] != "langchain_core":
        raise
    raise ModuleNotFoundError(
        f'LangChain is not installed ({_exc.name} is missing). Run: pip install "og-integrations[langchain]"',
        name=_exc.name,
    ) from _exc

if TYPE_CHECKING:
    from og_integrations.langchain._callbacks import ReceiptCallbackHandler, get_receipt_callback
    from og_integrations.langchain._completion_model import OpenGradientCompletion
    from og_integrations.langchain._onchain_tools import OnchainToolkit, onchain_tool
    from og_integrations.langchain._search import OpenGradientWebSearch

__all__ = [
    "ChatOpenGradient",
    "OnchainToolkit",
    "OpenGradientCompletion",
    "OpenGradientWebSearch",
    "ReceiptCallbackHandler",
    "get_receipt_callback",
    "onchain_tool",
    "register_with_langchain",
]

if not TYPE_CHECKING:  # which would take any name for one of ours
    # A program that only chats waits for none of these; the text model would bring YAML along.
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "OnchainToolkit": "og_integrations.langchain._onchain_tools",
            "OpenGradientCompletion": "og_integrations.langchain._completion_model",
            "OpenGradientWebSearch": "og_integrations.langchain._search",
            "ReceiptCallbackHandler": "og_integrations.langchain._callbacks",
            "get_receipt_callback": "og_integrations.langchain._callbacks",
            "onchain_tool": "og_integrations.langchain._onchain_tools",
        },
    )
