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
| `chat_model`, `completion_model` | the two models |
| `params`, `options`, `wallet` | their fields, the same for type checkers, and what the wallet's owner can ask |
| `engines` | wallet, budget and connections, which all copies of a model share |
| `arguments`, `calls` | names of arguments, ours and others'; what one call asks for |
| `messages`, `tools` | LangChain -> the wire |
| `outputs`, `blocks` | answers -> LangChain: messages, and their standard content blocks |
| `structured`, `parsing` | `with_structured_output`, and reading what comes |
| `errors` | each error also as a `ModelError`, with what may be retried |
| `callbacks`, `spans` | receipts for people; receipts for traces |
| `profile`, `plain`, `registration` | what a model can do; settings as plain JSON; `init_chat_model` |
"""

try:
    from og_integrations.langchain.callbacks import ReceiptCallbackHandler, get_receipt_callback
    from og_integrations.langchain.chat_model import ChatOpenGradient
    from og_integrations.langchain.completion_model import OpenGradientCompletion
    from og_integrations.langchain.registration import register_with_langchain
except ModuleNotFoundError as exc:
    if (exc.name or "").partition(".")[0] != "langchain_core":
        raise
    raise ModuleNotFoundError(
        f'LangChain is not installed ({exc.name} is missing). Run: pip install "og-integrations[langchain]"',
        name=exc.name,
    ) from exc

__all__ = [
    "ChatOpenGradient",
    "OpenGradientCompletion",
    "ReceiptCallbackHandler",
    "get_receipt_callback",
    "register_with_langchain",
]
