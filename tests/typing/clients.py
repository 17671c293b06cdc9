"""
A user's program over the clients, checked by mypy --strict and by pyright, never run.

It fails `make check` where a public name loses its type or its place.
"""

from typing import assert_type

from og_integrations import AsyncClient, Client, EnclavePolicy, LocalSigner, SettlementMode, SpendPolicy
from og_integrations.client import Answer, Receipts, collect_receipts
from og_integrations.errors import BudgetExceededError, OpenGradientError, PaymentInDoubtError, VerificationError


def ask(prompt: str) -> str:
    """Ask once and handle the errors that the documents name."""
    policy = SpendPolicy(total="0.5", per_day="2")
    enclaves = EnclavePolicy(allowed_pcr_hashes=("0x" + "ab" * 32,))
    with (
        Client(
            private_key="0x" + "11" * 32,
            spend_policy=policy,
            enclave_policy=enclaves,
            settlement_mode=SettlementMode.PRIVATE,
        ) as client,
        collect_receipts() as receipts,
    ):
        try:
            answer = client.chat("openai/gpt-5-mini", [{"role": "user", "content": prompt}], max_tokens=20)
        except BudgetExceededError as exc:
            return f"over budget: {exc.limit}"
        except PaymentInDoubtError as exc:
            return f"in doubt: {exc.partial_text}"
        except VerificationError as exc:
            return f"not proven: {exc.step}"
        except OpenGradientError as exc:
            return f"retry: {exc.is_retryable}"
    assert_type(answer, Answer)
    assert_type(receipts, Receipts)
    return answer.text


async def stream(prompt: str) -> str:
    """Read a stream: pieces of text, and last the verified answer."""
    text = ""
    async with AsyncClient(signer=LocalSigner("0x" + "11" * 32)) as client:
        pieces = client.stream("openai/gpt-5-mini", [{"role": "user", "content": prompt}])
        async for piece in pieces:
            if isinstance(piece, str):
                text += piece
            else:
                assert_type(piece, Answer)
                assert_type(piece.text, str)
    return text
