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
| `_messages` | messages and tools of LangChain to the wire |
| `_outputs` | answers to LangChain's messages and content blocks |
| `_structured` | `with_structured_output`: the schema that is asked for, and the reading of what comes |
| `errors` | the double of each error that is a `ModelError`, and what may be repeated |
| `_callbacks` | receipts, collected through chains and agents |
"""

try:
    from og_integrations.langchain._callbacks import ReceiptCallbackHandler, get_receipt_callback
    from og_integrations.langchain._chat_model import ChatOpenGradient, register_with_langchain
    from og_integrations.langchain._completion_model import OpenGradientCompletion
except ModuleNotFoundError as _exc:
    if (_exc.name or "").partition(".")[0] != "langchain_core":
        raise
    raise ModuleNotFoundError(
        f'LangChain is not installed ({_exc.name} is missing). Run: pip install "og-integrations[langchain]"',
        name=_exc.name,
    ) from _exc

__all__ = [
    "ChatOpenGradient",
    "OpenGradientCompletion",
    "ReceiptCallbackHandler",
    "get_receipt_callback",
    "register_with_langchain",
]
