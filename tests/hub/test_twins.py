"""Twins: what they say comes, with a receipt that claims no proof."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from og_integrations import Receipt, collect_receipts
from og_integrations.devnet import SERVICE_FAULTS, Devnet, Services
from og_integrations.errors import ConfigurationError, InvalidRequestError, TwinsError
from og_integrations.hub import AsyncTwins, Twins
from og_integrations.models import TEE_LLM
from tests.frames import secrets_in_frames

TWIN = "0x1abd463fd6244be4a1dc0f69e0b70cd5"
HI = [{"role": "user", "content": "hi"}]


def _chat(*arguments: Any, **options: Any) -> Any:
    key = options.pop("api_key", None)
    with Twins(key) as twins:
        return twins.chat(*arguments, **options)


def _achat(*arguments: Any, **options: Any) -> Any:
    async def run() -> Any:
        async with AsyncTwins(options.pop("api_key", None)) as twins:
            return await twins.chat(*arguments, **options)

    return asyncio.run(run())


ways = pytest.mark.parametrize("chat", [_chat, _achat], ids=["sync", "async"])


@ways
def test_answer_has_an_honest_receipt(net: Devnet, chat: Callable[..., Any]) -> None:
    with collect_receipts() as receipts:
        found = chat(TWIN, TEE_LLM.GPT_5, HI, temperature=0.5, max_tokens=50)
    assert (found.text, found.finish_reason) == ("Ada: you said 'hi'", "stop")
    assert found.message == {"role": "assistant", "content": found.text}
    assert receipts == [found.receipt]
    receipt = Receipt.of(found)
    assert (receipt.kind, receipt.status, receipt.model) == ("twin", "unverified", "openai/gpt-5")
    assert (receipt.payment, receipt.tee_signature, receipt.enclave) == (None, None, None)
    assert [(check.id, check.result) for check in receipt.checks] == [("signature", "skip")]
    assert "nobody vouches" in receipt.checks[0].detail
    assert not receipts.verified


@ways
@pytest.mark.parametrize(
    ("fault", "said", "retryable"),
    [
        ("silent_twin", "without a choice", False),
        ("twin_down", "HTTP 503.*Nothing is paid", True),
        ("twin_garbage", "not JSON", False),
    ],
)
def test_fault_is_an_error_with_a_receipt(
    net: Devnet, services: Services, chat: Callable[..., Any], fault: str, said: str, retryable: bool
) -> None:
    net.inject(fault)
    with collect_receipts() as receipts, pytest.raises(TwinsError, match=said) as caught:
        chat(TWIN, "m", HI)
    assert caught.value.is_retryable == retryable
    assert receipts == [caught.value.receipt]
    assert receipts[0]["checks"][0]["result"] == "fail"
    assert secrets_in_frames(caught.value, [services.twins.api_key]) == []


@ways
def test_wrong_key_and_twin_are_said(net: Devnet, chat: Callable[..., Any]) -> None:
    with pytest.raises(TwinsError, match=r"HTTP 401.*check api_key \(OG_TWINS_API_KEY\)") as caught:
        chat(TWIN, "m", HI, api_key="canary-of-twins")
    assert secrets_in_frames(caught.value, ["canary-of-twins"]) == []
    with pytest.raises(TwinsError, match=r"HTTP 404.*Check its id"):
        chat("0x12", "m", HI)


@ways
def test_what_cannot_be_asked_is_refused_unsent(
    net: Devnet, chat: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(net.journal.services)
    with pytest.raises(InvalidRequestError, match="The twin is 'a/b'"):
        chat("a/b", "m", HI)
    with pytest.raises(InvalidRequestError, match="no JSON"):
        chat(TWIN, "m", [{"role": "user", "content": float("nan")}])
    monkeypatch.delenv("OG_TWINS_API_KEY")
    with pytest.raises(ConfigurationError, match="Twins want a key: set OG_TWINS_API_KEY"):
        chat(TWIN, "m", HI)
    assert len(net.journal.services) == before


def test_every_fault_of_twins_is_met_in_this_file() -> None:
    met = {"silent_twin", "twin_down", "twin_garbage"}
    assert {name for name, fault in SERVICE_FAULTS.items() if "chat" in fault.at} == met
