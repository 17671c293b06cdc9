"""
A user's program over LangChain's models, checked by mypy --strict and by pyright, never run.

It fails `make check` where a public name loses its type or its place.
"""

from typing import assert_type

from langchain_core.messages import AIMessage

from og_integrations import SpendPolicy
from og_integrations.langchain import ChatOpenGradient, OpenGradientCompletion, get_receipt_callback
from og_integrations.langchain.errors import (
    RETRYABLE,
    BudgetExceededError,
    PaymentError,
    PaymentInDoubtError,
    RateLimitError,
    VerificationError,
)


def get_price(token: str) -> str:
    """Return the price of a token."""
    return token


def ask(prompt: str) -> str:
    """Ask with tools, and handle the errors that the documents name, under the path that they name."""
    model = ChatOpenGradient(
        model="openai/gpt-5-mini",
        api_key="0x" + "11" * 32,
        spend_policy=SpendPolicy(total="0.5"),
        enclave_policy={"allowed_tee_ids": []},
        settlement_mode="private",
        temperature=0.5,
        max_completion_tokens=20,
        max_retries=None,
        verification="buffer",
    )
    assert_type(model.temperature, float | None)
    assert_type(model.spend_policy, SpendPolicy | None)
    try:
        with get_receipt_callback() as receipts:
            answer = model.bind_tools([get_price], tool_choice="any", parallel_tool_calls=False).invoke(prompt)
    except BudgetExceededError as exc:
        return f"over budget: {exc.limit}"
    except VerificationError as exc:
        return f"not proven: {exc.step} {exc.is_retryable}"
    except PaymentInDoubtError as exc:
        return f"in doubt: {exc.partial_text}"
    except PaymentError as exc:
        return f"not paid: {exc.receipt}"
    except RateLimitError as exc:
        return f"later: {exc.status}"
    assert_type(answer, AIMessage)
    assert_type(receipts.totals().authorized, int)
    model.with_retry(retry_if_exception_type=RETRYABLE)
    return answer.text


def complete(prompt: str) -> str:
    """Continue a text."""
    model = OpenGradientCompletion(model="openai/gpt-5", max_tokens=9)
    model.stop_spending("enough")
    return model.invoke(prompt)
