"""
A stranger's client stays honest: the published opengradient 1.1.4 asks each generation of gateways on the devnet.

It lives in an environment of its own (it pins other libraries than ours), which is made once, from the package index.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from og_integrations.devnet import Devnet
from og_integrations.devnet._generations import GENERATIONS
from tests.sizes import HEAVY_SECONDS

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(HEAVY_SECONDS)]
PUBLISHED = "opengradient==1.1.4"
PROGRAM = """
import asyncio, json, os
import opengradient as og

TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]


async def main():
    llm = og.LLM(
        private_key=os.environ["OG_PRIVATE_KEY"],
        rpc_url=os.environ["OG_REGISTRY_RPC_URL"],
        tee_registry_address=os.environ["OG_REGISTRY_ADDRESS"],
    )
    ask = lambda text, **more: llm.chat(og.TEE_LLM.GPT_5, [{"role": "user", "content": text}], **more)
    said = {"whole": (await ask("hi")).chat_output["content"]}
    called = (await ask('use tool add {"a": 1}', tools=TOOLS)).chat_output
    said["tool"] = called["tool_calls"][0]["function"]["name"]
    pieces, signed = [], False
    async for chunk in await ask("[[tokens=5]]", stream=True):
        pieces += [choice.delta.content or "" for choice in chunk.choices]
        signed = signed or bool(chunk.tee_signature)
    said |= {"streamed": "".join(pieces), "signed": signed}
    said["searched"] = (await ask("hi", web_search=True)).chat_output["content"]
    # Of completions it looks for the text where no gateway has it, but for the signature in the right place.
    said["completed"] = bool((await llm.completion(og.TEE_LLM.GPT_5, "hi", max_tokens=9)).tee_signature)
    await llm.close()
    print(json.dumps(said))


asyncio.run(main())
"""

SEALED = """
import json, os
import opengradient as og

llm = og.ConfidentialLLM(
    os.environ["OG_RELAY_URL"],
    rpc_url=os.environ["OG_REGISTRY_RPC_URL"],
    registry_address=os.environ["OG_REGISTRY_ADDRESS"],
    auth_headers=lambda: {"Authorization": "Bearer " + os.environ["OG_RELAY_TOKEN"]},
)
picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
asked = {"text": "hi", "streamed": "[[tokens=5]]"}
if os.environ["TAKES_PICTURES"]:
    asked["picture"] = [{"type": "text", "text": "What is it?"}, picture]
said = {}
for name, content in asked.items():
    answer = llm.chat("openai/gpt-4.1", [{"role": "user", "content": content}], stream=name == "streamed")
    said[name] = [answer.content, bool(answer.proof.signature)]
print(json.dumps(said))
"""


@pytest.fixture(scope="session")
def their_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the published client."""
    folder = tmp_path_factory.mktemp("published")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")  # `make` puts it there; pip takes minutes for what this pins
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, PUBLISHED], check=True)
    return python


@pytest.mark.parametrize("generation", GENERATIONS)
def test_published_client_is_answered_and_pays_as_it_should(generation: str, their_python: Path) -> None:
    with Devnet(generation=generation) as net:
        done = subprocess.run(
            [their_python, "-c", PROGRAM],
            env=os.environ | net.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        assert said == {
            "whole": "You said: hi",
            "tool": "add",
            "streamed": "tok0 tok1 tok2 tok3 tok4",
            "signed": True,
            "searched": "You said: hi",
            "completed": True,
        }
        assert net.stats().payments == 2  # one session for chats, one for completions
        assert net.verdict().clean, str(net.verdict())


@pytest.mark.parametrize("generation", [name for name, known in GENERATIONS.items() if known.max_sealed is not None])
def test_published_client_verifies_what_comes_through_the_relay(generation: str, their_python: Path) -> None:
    """Its verifier hashes by the rule `reduced`, so pictures are asked about where gateways do."""
    with Devnet(generation=generation) as net:
        pictures = net.generation.attachments and net.generation.hash_rule in ("reduced", "reduced+effort")
        done = subprocess.run(
            [their_python, "-c", SEALED],
            env=os.environ | net.environment() | {"TAKES_PICTURES": "yes" if pictures else ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        assert all(signed for _, signed in said.values())
        assert said["text"][0] == "You said: hi"
        assert said["streamed"][0] == "tok0 tok1 tok2 tok3 tok4"
        assert not pictures or "image_url" in said["picture"][0]
