"""`og_integrations.sdk`: programs of the published package, of both generations, on our calls."""

import asyncio
import inspect
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

import og_integrations.sdk as og
from og_integrations import collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.devnet.chain.models import VOLATILITY
from og_integrations.errors import ConfigurationError, OpenGradientError, TransactionRefusedError
from og_integrations.sdk._client import current_client
from tests.frames import secrets_in_frames
from tests.money.conftest import evm, real_evm
from tests.onchain.test_inference import CANDLES

__all__ = ["evm", "real_evm"]
MODEL = og.TEE_LLM.CLAUDE_SONNET_4_6
HI: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "get_price", "parameters": {"type": "object", "properties": {}}}}


def provide(rows: int) -> dict[str, Any]:
    """Return the inputs of a model, as an application would."""
    return {"open_high_low_close": [[100.0, 101.5, 99.25, 100.1]] * rows}


@pytest.fixture(scope="module")
def net() -> Any:
    with Devnet() as devnet:
        yield devnet


@pytest.fixture
def environment(net: Devnet, monkeypatch: pytest.MonkeyPatch) -> Devnet:
    """The variables of a devnet: a documented program names only its key."""
    for name, value in net.environment().items():
        monkeypatch.setenv(name, value)
    return net


@pytest.fixture
def on_chain(evm: Devnet, monkeypatch: pytest.MonkeyPatch) -> str:
    """The variables of a devnet with models on chain, and a key."""
    for name, value in evm.environment().items():
        monkeypatch.setenv(name, value)
    return evm.new_wallet().private_key


def test_chat_of_the_later_generation(environment: Devnet) -> None:
    """The hash of the payment is really set, and the receipt stands beside the old fields."""

    async def program() -> Any:
        llm = og.LLM(private_key=environment.private_key)
        try:
            whole = await llm.chat(
                model=MODEL,
                messages=HI,
                max_tokens=50,
                x402_settlement_mode=og.x402SettlementMode.INDIVIDUAL_FULL,
            )
            text = await llm.completion(model=og.TEE_LLM.GPT_5, prompt="hi")
            called = await llm.chat(MODEL, [{"role": "user", "content": "use tool get_price {}"}], tools=[TOOL])
            return whole, text, called
        finally:
            await llm.close()

    with collect_receipts() as receipts:
        whole, text, called = asyncio.run(program())
    assert (whole.chat_output["role"], "hi" in whole.chat_output["content"]) == ("assistant", True)
    assert whole.payment_hash == whole.receipt["payment"]["payment_hash"] == receipts[0]["payment"]["payment_hash"]
    assert whole.tee_signature == receipts[0]["tee_signature"]
    assert whole.transaction_hash == whole.data_settlement_transaction_hash != "external"
    assert (text.completion_output is not None, text.transaction_hash) == (True, "external")
    assert called.chat_output["tool_calls"][0]["function"]["name"] == "get_price"
    assert called.finish_reason == "tool_calls"
    assert receipts.verified


def test_stream_of_the_later_generation(environment: Devnet) -> None:
    """The documented loop runs over every chunk; the last one has the proof."""

    async def program() -> Any:
        llm = og.LLM(private_key=environment.private_key)
        stream: Any = await llm.chat(model=MODEL, messages=HI, stream=True)
        text, chunks = "", []
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
            chunks.append(chunk)
        await llm.close()
        with pytest.raises(TypeError, match="use `async for`"):
            list(stream)
        return text, chunks

    text, chunks = asyncio.run(program())
    assert "hi" in text
    assert [chunk.is_final for chunk in chunks[-2:]] == [False, True]
    assert chunks[-1].receipt["status"] == "verified"
    assert (chunks[-1].usage.total_tokens > 0, chunks[-1].choices[0].finish_reason) == (True, "stop")


def test_programs_of_the_first_generation(environment: Devnet) -> None:
    """`init` and the global client, chat that is not awaited, streams, and the names of that time."""
    client = og.init(private_key=environment.private_key, email=None, password=None)
    assert og.global_client is client is current_client()
    with pytest.warns(DeprecationWarning, match="SETTLE_BATCH is the name before 0.8 of BATCH_HASHED: hashes are"):
        whole = client.llm.chat(MODEL, HI, x402_settlement_mode=og.x402SettlementMode.SETTLE_BATCH)
    assert isinstance(whole, og.TextGenerationOutput)
    assert whole.payment_hash is not None
    assert client.llm.completion(MODEL, "hi").completion_output is not None
    stream: Any = client.llm.chat(MODEL, HI, stream=True)
    chunks = list(stream)
    assert isinstance(chunks[0], og.StreamChunk)
    assert chunks[-1].is_final
    client.close()
    client.close()


def test_settle_individual_stays_private(environment: Devnet) -> None:
    """It was an alias of SETTLE: as `individual` it would publish prompts."""
    with (
        og.Client(private_key=environment.private_key) as client,
        pytest.warns(DeprecationWarning, match="of PRIVATE: nothing of a call is published"),
    ):
        found = client.llm.chat(MODEL, HI, x402_settlement_mode=og.x402SettlementMode.SETTLE_INDIVIDUAL)
    assert isinstance(found, og.TextGenerationOutput)
    assert found.receipt["payment"]["settlement_mode"] == "private"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda key: og.LLM(private_key=""), "private_key is empty"),
        (lambda key: og.Client("someone@example.org", key), "no private key"),
        (lambda key: og.Client(key, wallet_address="0x12"), "not that of the key"),
        (lambda key: og.Client(key).model_hub.create_model("m", ""), r"OG_MODEL_HUB_PASSWORD.* are not given"),
        (lambda key: og.Client(key, email="a@b.c", password="x"), r"api_key \(OG_MODEL_HUB_API_KEY"),
        (lambda key: og.Client(key).twins.chat("0x", "m", []), "set OG_TWINS_API_KEY"),
        (lambda key: og.Twins(), "set OG_TWINS_API_KEY"),
        (lambda key: og.Client(key).llm.ensure_opg_approval(), "takes min_allowance"),
        (lambda key: og.ResponseFormat("xml"), "expected text, json_object"),
        (lambda key: og.ResponseFormat("json_schema"), "needs a json_schema"),
        (lambda key: og.Alpha(key).infer("m", 0, {}, max_retries=0), "max_retries is 0"),
        (
            lambda key: og.alphasense.create_run_model_tool("other", "m", "t", provide, inference=og.Alpha(key)),
            "tooltype",
        ),
        (og.agents.langchain_adapter, "No model is named"),
    ],
)
def test_wrong_arguments_are_value_errors_and_errors_of_ours(environment: Devnet, make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        make(environment.private_key)
    assert isinstance(caught.value, ConfigurationError)


OLD_MODES = {
    "SETTLE": "PRIVATE",
    "SETTLE_BATCH": "BATCH_HASHED",
    "SETTLE_METADATA": "INDIVIDUAL_FULL",
    "SETTLE_INDIVIDUAL": "PRIVATE",
    "SETTLE_INDIVIDUAL_WITH_METADATA": "INDIVIDUAL_FULL",
}


@pytest.mark.parametrize(("old", "new"), OLD_MODES.items())
def test_old_modes_are_found_in_every_way_with_a_warning(old: str, new: str) -> None:
    """As attribute, by name, and by the value of that time; the new names warn of nothing."""
    modes: Any = og.x402SettlementMode
    ways: list[Any] = [lambda: getattr(modes, old), lambda: modes[old], lambda: modes(old.lower().replace("_", "-"))]
    for way in ways:
        with pytest.warns(DeprecationWarning, match=f"{old} is the name before 0.8 of {new}"):
            assert way() is modes[new]
    assert old in dir(modes)
    assert list(modes) == [modes.PRIVATE, modes.BATCH_HASHED, modes.INDIVIDUAL_FULL]


MEMBERS_OF_1_1_4 = {
    "GPT_4_1_2025_04_14": "openai/gpt-4.1-2025-04-14",
    "GPT_4_1_MINI": "openai/gpt-4.1-mini",
    "GPT_4_1_NANO": "openai/gpt-4.1-nano",
    "O3": "openai/o3",
    "O4_MINI": "openai/o4-mini",
    "GPT_5": "openai/gpt-5",
    "GPT_5_MINI": "openai/gpt-5-mini",
    "GPT_5_2": "openai/gpt-5.2",
    "GPT_5_4": "openai/gpt-5.4",
    "GPT_5_4_MINI": "openai/gpt-5.4-mini",
    "GPT_5_4_NANO": "openai/gpt-5.4-nano",
    "GPT_5_5": "openai/gpt-5.5",
    "GPT_IMAGE_2": "openai/gpt-image-2",
    "CLAUDE_SONNET_4_5": "anthropic/claude-sonnet-4-5",
    "CLAUDE_SONNET_4_6": "anthropic/claude-sonnet-4-6",
    "CLAUDE_HAIKU_4_5": "anthropic/claude-haiku-4-5",
    "CLAUDE_OPUS_4_5": "anthropic/claude-opus-4-5",
    "CLAUDE_OPUS_4_6": "anthropic/claude-opus-4-6",
    "CLAUDE_OPUS_4_7": "anthropic/claude-opus-4-7",
    "CLAUDE_OPUS_4_8": "anthropic/claude-opus-4-8",
    "GEMINI_2_5_FLASH": "google/gemini-2.5-flash",
    "GEMINI_2_5_PRO": "google/gemini-2.5-pro",
    "GEMINI_2_5_FLASH_LITE": "google/gemini-2.5-flash-lite",
    "GEMINI_3_FLASH": "google/gemini-3-flash-preview",
    "GEMINI_3_1_PRO_PREVIEW": "google/gemini-3.1-pro-preview",
    "GEMINI_3_1_FLASH_LITE_PREVIEW": "google/gemini-3.1-flash-lite-preview",
    "GEMINI_3_5_FLASH": "google/gemini-3.5-flash",
    "GEMINI_2_5_FLASH_IMAGE": "google/gemini-2.5-flash-image",
    "GEMINI_3_1_FLASH_IMAGE": "google/gemini-3.1-flash-image",
    "GROK_4": "x-ai/grok-4",
    "GROK_4_FAST": "x-ai/grok-4-fast",
    "GROK_4_1_FAST": "x-ai/grok-4-1-fast",
    "GROK_4_1_FAST_NON_REASONING": "x-ai/grok-4-1-fast-non-reasoning",
    "GROK_4_20_REASONING": "x-ai/grok-4.20-reasoning",
    "GROK_4_20_NON_REASONING": "x-ai/grok-4.20-non-reasoning",
    "GROK_CODE_FAST_1": "x-ai/grok-code-fast-1",
    "GROK_2_IMAGE": "x-ai/grok-2-image",
    "SEED_1_6": "bytedance/seed-1.6",
    "SEED_1_8": "bytedance/seed-1.8",
    "SEED_2_0_LITE": "bytedance/seed-2.0-lite",
    "DEEPSEEK_V4_FLASH": "bytedance/deepseek-v4-flash",
    "DEEPSEEK_V4_PRO": "bytedance/deepseek-v4-pro",
    "SEEDREAM_4_0": "bytedance/seedream-4.0",
    "SEEDANCE_4_5": "bytedance/seedance-4.5",
    "HERMES_4_405B": "nous/hermes-4-405b",
    "HERMES_4_70B": "nous/hermes-4-70b",
    "GLM_5_2": "zai/glm-5.2",
    "GLM_IMAGE": "zai/glm-image",
}
MEMBERS_OF_0_7_4 = {
    "GPT_4_1_2025_04_14": "openai/gpt-4.1-2025-04-14",
    "GPT_4O": "openai/gpt-4o",
    "O4_MINI": "openai/o4-mini",
    "CLAUDE_3_7_SONNET": "anthropic/claude-3.7-sonnet",
    "CLAUDE_3_5_HAIKU": "anthropic/claude-3.5-haiku",
    "CLAUDE_4_0_SONNET": "anthropic/claude-4.0-sonnet",
    "GEMINI_2_5_FLASH": "google/gemini-2.5-flash",
    "GEMINI_2_5_PRO": "google/gemini-2.5-pro",
    "GEMINI_2_0_FLASH": "google/gemini-2.0-flash",
    "GEMINI_2_5_FLASH_LITE": "google/gemini-2.5-flash-lite",
    "GROK_3_MINI_BETA": "x-ai/grok-3-mini-beta",
    "GROK_3_BETA": "x-ai/grok-3-beta",
    "GROK_2_1212": "x-ai/grok-2-1212",
    "GROK_2_VISION_LATEST": "x-ai/grok-2-vision-latest",
    "GROK_4_1_FAST_NON_REASONING": "x-ai/grok-4-1-fast-non-reasoning",
}


@pytest.mark.parametrize(("name", "value"), (MEMBERS_OF_0_7_4 | MEMBERS_OF_1_1_4).items())
def test_models_have_the_names_of_all_versions(name: str, value: str) -> None:
    assert og.TEE_LLM[name].value == value


def test_name_that_was_given_to_another_model_means_what_it_meant(environment: Devnet) -> None:
    """Until 0.7.5 `GROK_4_1_FAST` had another value; a program of that time asks for that one, and is told."""
    with (
        og.Client(environment.private_key) as client,
        pytest.warns(DeprecationWarning, match=r"GROK_4_1_FAST was x-ai/grok-4\.1-fast until 0\.7\.5"),
    ):
        found: Any = client.llm.chat(og.TEE_LLM.GROK_4_1_FAST, HI)
    assert found.receipt["model"] == "x-ai/grok-4.1-fast"

    async def later() -> Any:
        llm = og.LLM(environment.private_key)
        try:
            return await llm.chat(og.TEE_LLM.GROK_4_1_FAST, HI)
        finally:
            await llm.close()

    assert asyncio.run(later()).receipt["model"] == "x-ai/grok-4-1-fast"


def test_alpha_asks_the_node_api_that_it_is_given(on_chain: str, evm: Devnet) -> None:
    """It was ignored: results that come late were asked for elsewhere."""
    with pytest.raises(ValueError, match="node_api_url is no address"):
        og.Alpha(on_chain, api_url="nowhere")
    alpha = og.Alpha(on_chain, api_url="http://127.0.0.1:9")
    assert alpha.onchain.setup.settings.network.node_api_url == "http://127.0.0.1:9"
    assert alpha.onchain.setup.url == evm.network.registry_rpc_url
    alpha.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda key, word: og.Client(key, email="a@b.c", password=word, twins_api_key=word),
        lambda key, word: og.init(key, key, email="a@b.c", password=word, twins_api_key=word),
        lambda key, word: og.ModelHub("a@b.c", word),
        lambda key, word: og.Twins(word, url="nowhere"),
        lambda key, word: og.LLM(key, rpc_url="nowhere"),
        lambda key, word: og.Alpha(key, rpc_url="nowhere"),
        lambda key, word: og.agents.langchain_adapter(key),
    ],
    ids=["Client", "init", "ModelHub", "Twins", "LLM", "Alpha", "langchain_adapter"],
)
def test_no_frame_of_a_failure_holds_a_secret(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What error reporters print of these constructors is no key and no password."""
    for name in ("OG_MODEL_HUB_API_KEY", "FIREBASE_API_KEY", "OG_NETWORK"):
        monkeypatch.delenv(name, raising=False)
    key, word = "0x" + "4fa7" * 16, "canary-of-the-sdk"
    with pytest.raises(ConfigurationError) as caught:
        make(key, word)
    assert secrets_in_frames(caught.value, [key, word]) == []


def test_old_server_is_the_registry_with_a_warning(environment: Devnet) -> None:
    with pytest.warns(DeprecationWarning, match="enclaves come from the registry"):
        og.Client(environment.private_key, og_llm_server_url="https://llm.example.org").close()


def test_failed_call_is_a_runtime_error_and_an_error_of_ours(environment: Devnet) -> None:
    """With the receipt of the failed call, awaited or not."""
    environment.inject("bad_signature")
    try:
        with og.Client(environment.private_key) as client, pytest.raises(RuntimeError) as caught:
            client.llm.chat(MODEL, HI)
        assert isinstance(caught.value, OpenGradientError)
        assert caught.value.receipt is not None

        async def ask() -> None:
            llm = og.LLM(environment.private_key)
            try:
                await llm.chat(MODEL, HI)
            finally:
                await llm.close()

        with pytest.raises(RuntimeError, match=str(caught.value)[:20]):
            asyncio.run(ask())
    finally:
        environment.clear_faults()


def test_approval_in_both_forms(environment: Devnet) -> None:
    """At least so much is allowed afterwards; here it is already."""
    with og.Client(environment.private_key) as client:
        found = client.llm.ensure_opg_approval(opg_amount=1)
    assert found.tx_hash is None
    assert found.allowance_after == found.allowance_before >= 10**18
    assert og.LLM(environment.private_key).ensure_opg_approval(min_allowance=0.5, approve_amount=1.0).tx_hash is None


def test_chunks_of_events_are_read() -> None:
    """Also those at which the published client failed: `usage: null`, and no choices."""
    chunk = og.StreamChunk.from_sse_data({"choices": [{"message": {"content": "a"}}], "usage": None})
    assert (chunk.choices[0].delta.content, chunk.is_final, chunk.model) == ("a", False, "unknown")
    assert og.StreamChunk.from_sse_data({"usage": {"total_tokens": 3}}).usage == og.StreamUsage(0, 0, 3)
    lines = ["", "event: x", 'data: {"choices": []}', "data: {", "data: [DONE]", 'data: {"choices": []}']
    assert [chunk.choices for chunk in og.TextGenerationStream(iter(lines))] == [[]]


def test_models_on_chain(on_chain: str) -> None:
    """Arrays of float32 as before; the exact values beside them; errors that are RuntimeErrors."""
    alpha = og.Alpha(private_key=on_chain)
    found = alpha.infer(
        VOLATILITY, og.InferenceMode.VANILLA, {"open_high_low_close": np.array(CANDLES["open_high_low_close"])}
    )
    assert found.model_output["Y"].dtype == np.float32
    assert float(found.model_output["Y"][0]) == pytest.approx(0.0225)
    assert not found.transaction_hash.startswith("0x")
    assert found.receipt["onchain"]["transaction_hash"] == "0x" + found.transaction_hash
    with pytest.raises(RuntimeError, match="Model not found") as caught:
        alpha.infer("QmNothing", og.InferenceMode.VANILLA, CANDLES)
    assert isinstance(caught.value, TransactionRefusedError)
    alpha.close()


def test_workflows_and_tools(on_chain: str) -> None:
    client = og.init(on_chain)
    kinds = [og.CandleType.OPEN, og.CandleType.HIGH, og.CandleType.LOW, og.CandleType.CLOSE]
    query = og.HistoricalInputQuery("ETH", "USD", 10, 30, og.CandleOrder.ASCENDING, kinds)
    schedule = og.SchedulerParams(frequency=3600, duration_hours=2)
    address = client.alpha.new_workflow(VOLATILITY, query, "open_high_low_close", schedule)
    ran = client.alpha.run_workflow(address)
    read = client.alpha.read_workflow_result(address)
    assert ran.numbers["Y"] == read.numbers["Y"]
    assert len(client.alpha.read_workflow_history(address, 5)) == 1

    class Asked(BaseModel):
        rows: int

    tool: Any = og.alphasense.create_run_model_tool(
        og.alphasense.ToolType.LANGCHAIN,
        VOLATILITY,
        "volatility",
        provide,
        lambda result: format(float(result.model_output["Y"][0]), ".2%"),
        tool_input_schema=Asked,
    )
    assert tool.invoke({"rows": 10}) == "2.25%"
    message = tool.invoke({"name": "volatility", "args": {"rows": 10}, "id": "1", "type": "tool_call"})
    assert message.artifact["opengradient"]["kind"] == "onchain"
    swarm: Any = og.alphasense.create_run_model_tool("swarm", VOLATILITY, "volatility", provide)
    assert (swarm.__name__, list(inspect.signature(swarm).parameters)) == ("volatility", ["rows"])
    assert swarm(rows=10) == "{'Y': [0.02250000275671482]}"
    with pytest.raises(ValueError, match="rows: Input should be a valid integer"):
        swarm(rows="x")
    reader: Any = og.alphasense.create_read_workflow_tool("swarm", address, "read_it", "Reads it.")
    assert reader().startswith("{'Y': [0.0")
    client.close()


def test_published_workflows_say_how_old_they_are(on_chain: str) -> None:
    """Where there is none, that is an error of both kinds."""
    with pytest.raises(RuntimeError, match="There is no workflow") as caught:
        og.workflow_models.read_btc_1_hour_price_forecast(og.Alpha(on_chain))
    assert isinstance(caught.value, OpenGradientError)


def test_agents_adapters(environment: Devnet) -> None:
    """Those of this package, under their old names."""
    model = og.agents.langchain_adapter(environment.private_key, MODEL, max_tokens=50)
    answer = model.invoke("hi")
    assert answer.response_metadata["opengradient"]["status"] == "verified"
    model.close()
    with og.agents.openai_adapter(environment.private_key) as client:
        found = client.chat.completions.create(model=str(MODEL.value), messages=[{"role": "user", "content": "hi"}])
    assert "hi" in str(found.choices[0].message.content)


def test_nothing_heavy_is_loaded() -> None:
    heavy = {"numpy", "onnxruntime", "web3", "eth_account", "httpx", "langchain_core", "llama_index", "openai"}
    code = f"import sys; import og_integrations.sdk as og; og.LLM; print(*({heavy} & sys.modules.keys()))"
    root = Path(__file__).parents[2]
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert (ran.stdout.split(), ran.returncode) == ([], 0), ran.stderr


def test_names_are_real() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [name for name in og.__all__ if not hasattr(og, name)] == []
