"""
The programs that the published package's documentation shows, of both generations; only the import is another one.

They are written again after that documentation, with its names, arguments and loops, and run as programs of their own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from og_integrations.devnet import Devnet
from og_integrations.devnet.services._twins import TWIN

FIRST = """
import json, os
import opengradient as og

client = og.init(
    private_key=os.environ["OG_PRIVATE_KEY"],
    email=os.environ["OG_MODEL_HUB_EMAIL"],
    password=os.environ["OG_MODEL_HUB_PASSWORD"],
    twins_api_key=os.environ["OG_TWINS_API_KEY"],
)
said = {}
approval = client.llm.ensure_opg_approval(opg_amount=5)
said["approved"] = approval.allowance_after >= 5 * 10**18

result = client.llm.chat(
    model=og.TEE_LLM.CLAUDE_3_5_HAIKU,
    messages=[{"role": "user", "content": "What is the capital of France?"}],
    max_tokens=100,
    x402_settlement_mode=og.x402SettlementMode.SETTLE_BATCH,
)
said["chat"] = [result.chat_output["content"], result.transaction_hash, bool(result.payment_hash)]

text = ""
for chunk in client.llm.chat(
    model=og.TEE_LLM.GPT_4O, messages=[{"role": "user", "content": "stream"}], max_tokens=200, stream=True
):
    if chunk.choices[0].delta.content:
        text += chunk.choices[0].delta.content
    if chunk.is_final:
        said["finish"] = chunk.choices[0].finish_reason
said["streamed"] = text

tools = [{
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}]
result = client.llm.chat(
    model=og.TEE_LLM.GEMINI_2_0_FLASH,
    messages=[{"role": "user", "content": 'use tool get_weather {"city": "Oslo"}'}],
    tools=tools,
    tool_choice="auto",
)
said["tool"] = [result.finish_reason, result.chat_output["tool_calls"][0]["function"]["name"]]

said["completion"] = client.llm.completion(
    model=og.TEE_LLM.GROK_3_MINI_BETA, prompt="Say it", max_tokens=50, temperature=0.7
).completion_output

repo = client.model_hub.create_model(model_name="first-generation", model_desc="A model")
with open("model.onnx", "wb") as file:
    file.write(b"weights")
upload = client.model_hub.upload(model_path="model.onnx", model_name=repo.name, version=repo.initialVersion)
version = client.model_hub.create_version(model_name=repo.name, notes="next")
files = client.model_hub.list_files(model_name=repo.name, version=repo.initialVersion)
said["hub"] = [repo.initialVersion, upload.size, upload.modelCid[:2], version["versionString"], files[0]["name"]]

twin = client.twins.chat(
    twin_id=os.environ["TWIN"],
    model=og.TEE_LLM.GROK_4_1_FAST_NON_REASONING,
    messages=[{"role": "user", "content": "hi"}],
    max_tokens=100,
)
said["twin"] = [twin.chat_output["content"], twin.transaction_hash, twin.receipt["status"]]
said["global"] = og.global_client is client
client.close()
print(json.dumps(said))
"""

LATER = """
import asyncio, json, os
import opengradient as og

said = {}


async def main():
    llm = og.LLM(private_key=os.environ["OG_PRIVATE_KEY"])
    approval = llm.ensure_opg_approval(min_allowance=0.5)
    said["approved"] = approval.tx_hash is None

    result = await llm.chat(
        model=og.TEE_LLM.GEMINI_2_5_FLASH,
        messages=[{"role": "user", "content": "What is the capital of France?"}],
        max_tokens=300,
        x402_settlement_mode=og.x402SettlementMode.PRIVATE,
    )
    said["chat"] = [result.chat_output["content"], bool(result.payment_hash), bool(result.tee_signature)]

    stream = await llm.chat(
        model=og.TEE_LLM.CLAUDE_SONNET_4_6, messages=[{"role": "user", "content": "stream"}], stream=True
    )
    text = ""
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            text += chunk.choices[0].delta.content
        if chunk.is_final:
            said["signed"] = bool(chunk.tee_signature)
    said["streamed"] = text

    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    result = await llm.chat(
        model=og.TEE_LLM.GPT_5,
        messages=[{"role": "user", "content": "[[json]]"}],
        response_format=og.ResponseFormat(type="json_schema", json_schema={"name": "city", "schema": schema}),
    )
    said["form"] = bool(result.chat_output["content"])

    result = await llm.completion(model=og.TEE_LLM.GPT_4_1_MINI, prompt="Say it", max_tokens=50)
    said["completion"] = result.completion_output
    await llm.close()


asyncio.run(main())
hub = og.ModelHub(email=os.environ["OG_MODEL_HUB_EMAIL"], password=os.environ["OG_MODEL_HUB_PASSWORD"])
repo = hub.create_model("later-generation", "A model")
with open("model.onnx", "wb") as file:
    file.write(b"weights")
sent = hub.upload("model.onnx", repo.name, repo.initialVersion)
said["hub"] = [sent.size, len(hub.list_files(repo.name, repo.initialVersion))]
twins = og.Twins(api_key=os.environ["OG_TWINS_API_KEY"])
said["twin"] = twins.chat(os.environ["TWIN"], og.TEE_LLM.GPT_5, [{"role": "user", "content": "hi"}]).finish_reason
try:
    hub.upload("absent.onnx", repo.name, repo.initialVersion)
except FileNotFoundError as exc:
    said["absent"] = str(exc)
for wrong in (lambda: og.ModelHub("a@b.c", "wrong"), lambda: og.LLM(private_key="")):
    try:
        wrong()
    except (ValueError, RuntimeError) as exc:
        said.setdefault("wrong", []).append(type(exc).__name__)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def net() -> Iterator[Devnet]:
    with Devnet() as devnet:  # of April, which knows the old names
        devnet.open_services()
        yield devnet


def ran(net: Devnet, program: str, folder: Path) -> tuple[dict[str, Any], str]:
    """Run a program with the import changed, and return what it printed, and what it was warned of."""
    ours = program.replace("import opengradient as og", "import og_integrations.sdk as og")
    assert ours != program
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", ours],
        cwd=folder,
        env=os.environ | net.environment() | {"TWIN": TWIN, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_programs_of_the_first_generation(net: Devnet, tmp_path: Path) -> None:
    said, warned = ran(net, FIRST, tmp_path)
    assert said == {
        "approved": True,
        "chat": ["You said: What is the capital of France?", "external", True],
        "finish": "stop",
        "streamed": "You said: stream",
        "tool": ["tool_calls", "get_weather"],
        "completion": said["completion"],
        "hub": ["1.00", 7, "Qm", "1.01", "model.onnx"],
        "twin": ["Ada: you said 'hi'", "", "unverified"],
        "global": True,
    }
    assert said["completion"]
    assert "x402SettlementMode.SETTLE_BATCH is the name before 0.8 of BATCH_HASHED" in warned
    assert net.verdict().clean, str(net.verdict())


def test_programs_of_the_later_generation(net: Devnet, tmp_path: Path) -> None:
    said, _ = ran(net, LATER, tmp_path)
    assert said == {
        "approved": True,
        "chat": ["You said: What is the capital of France?", True, True],
        "signed": True,
        "streamed": "You said: stream",
        "form": True,
        "completion": said["completion"],
        "hub": [7, 1],
        "twin": "stop",
        "absent": "Model file not found: absent.onnx. Nothing was sent.",
        "wrong": ["LoginRefusedError", "WrongArgumentError"],
    }
    assert said["completion"]
    assert net.verdict().clean, str(net.verdict())
