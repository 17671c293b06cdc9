"""
This package holds `OpenGradientLLM`, which has attested enclaves answer every model call of a LlamaIndex application.

```python
from llama_index.core import Settings

from og_integrations import collect_receipts
from og_integrations.llama_index import OpenGradientLLM

Settings.llm = OpenGradientLLM(model="anthropic/claude-sonnet-4-6")  # OG_PRIVATE_KEY from the environment
with collect_receipts() as receipts:
    print(Settings.llm.complete("Say hello."))
print(receipts[0]["status"], receipts[0]["payment"]["payment_hash"])
```

The receipt of a call is in `response.raw["opengradient"]` and `response.additional_kwargs["opengradient"]`
(of a stream: of its last chunk). Query engines, chat engines and agents drop both on their way, which
is what `collect_receipts` is for.

| file | what is in it |
| --- | --- |
| `_llm` | `OpenGradientLLM`: its fields, the eight endpoints, and how it is copied and stored |
| `_messages` | messages and tools of LlamaIndex to the wire |
| `_responses` | answers to LlamaIndex's responses, and the tool calls in them |
| `_receipt_spans` | receipts in the metadata of engines' responses, where asked for |
| `_search` | the web search of newer gateways, as a tool |
| `_structured` | pydantic classes as schemas, and answers as their instances |
| `_onchain_tools` | models and workflows on chain as tools |
"""

from typing import TYPE_CHECKING

from og_integrations._lazy import lazy_names

try:
    import llama_index.core.llms  # noqa: F401 - only to say what is missing
except ModuleNotFoundError as _exc:
    raise ModuleNotFoundError(
        f'LlamaIndex is not installed ({_exc.name} is missing). Run: pip install "og-integrations[llama-index]"',
        name=_exc.name,
    ) from _exc

from og_integrations.llama_index._llm import OpenGradientLLM, is_retryable
from og_integrations.llama_index._search import web_search_tool

if TYPE_CHECKING:
    from og_integrations.llama_index._onchain_tools import OnchainToolSpec, onchain_tool
    from og_integrations.llama_index._receipt_spans import receipts_in_responses

__all__ = [
    "OnchainToolSpec",
    "OpenGradientLLM",
    "is_retryable",
    "onchain_tool",
    "receipts_in_responses",
    "web_search_tool",
]

if not TYPE_CHECKING:  # which would take any name for one of ours
    __getattr__, __dir__ = lazy_names(
        __name__,
        dict.fromkeys(("OnchainToolSpec", "onchain_tool"), "og_integrations.llama_index._onchain_tools")
        | {"receipts_in_responses": "og_integrations.llama_index._receipt_spans"},
    )
