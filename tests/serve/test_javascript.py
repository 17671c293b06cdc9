"""The openai package for JavaScript, from npm, against the server: another language, the same proof."""

import shutil
import subprocess
from os import environ
from pathlib import Path

import pytest

from og_integrations.devnet import Devnet
from tests.serve.conftest import served

PROGRAM = """
import OpenAI from "openai";
const client = new OpenAI();
const asked = { model: "openai/gpt-4.1", messages: [{ role: "user", content: "hi" }] };
const whole = await client.chat.completions.create(asked);
let text = "", status = "";
for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
  text += chunk.choices[0]?.delta?.content ?? "";
  status = chunk.opengradient?.status ?? status;
}
console.log(JSON.stringify([whole.choices[0].message.content === text, whole.opengradient.status, status]));
"""


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed, which has the client for JavaScript")
def test_openai_for_javascript_has_verified_answers(tmp_path: Path) -> None:
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "openai"], cwd=tmp_path, check=True, timeout=240)
    (tmp_path / "ask.mjs").write_text(PROGRAM)
    with Devnet() as net, served(net) as server:
        client = environ | {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": server.key}
        done = subprocess.run(
            ["node", "ask.mjs"], cwd=tmp_path, env=client, capture_output=True, text=True, timeout=60, check=True
        )
    assert done.stdout.strip() == '[true,"verified","verified"]'
