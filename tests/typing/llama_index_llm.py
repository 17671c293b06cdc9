"""
A user's program over LlamaIndex's LLM, checked by mypy --strict and by pyright, never run.

It fails `make check` where a public name loses its type or its place.
"""

from typing import assert_type

from og_integrations import EnclavePolicy, SpendPolicy
from og_integrations.errors import OpenGradientError
from og_integrations.llama_index import OpenGradientLLM, is_retryable


def ask(prompt: str) -> str:
    """Ask once and handle errors."""
    with OpenGradientLLM(
        "openai/gpt-5-mini",
        private_key="0x" + "11" * 32,
        spend_policy={"total": "0.5"},
        enclave_policy=EnclavePolicy(allowed_tee_ids=["0x" + "ab" * 32]),
        context_window=10_000,
        stop=["END"],
        gateway_generation="next",
    ) as llm:
        assert_type(llm.max_tokens, int | None)
        assert_type(llm.spend_policy, SpendPolicy | None)
        assert_type(llm.metadata.context_window, int)
        try:
            return str(llm.complete(prompt))
        except OpenGradientError as exc:
            return f"again: {is_retryable(exc)}"
