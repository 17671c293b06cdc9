"""The published packages, unmodified, at the model hub and with twins of the devnet (`make test-all`)."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from og_integrations.devnet import Devnet
from og_integrations.devnet.services._twins import TWIN
from tests.onchain.test_published import python_with
from tests.sizes import HEAVY_SECONDS

PROGRAM = """
import json, os, sys
import opengradient as og

email, password, key, twins_key, twin, file = sys.argv[1:]
messages = [{"role": "user", "content": "hi"}]
if hasattr(og, "ModelHub"):
    hub, twins = og.ModelHub(email=email, password=password), og.Twins(api_key=twins_key)
else:
    client = og.Client(key, email=email, password=password, twins_api_key=twins_key)
    hub, twins = client.model_hub, client.twins
found = {}
made = hub.create_model("theirs", "made by the published package")
found["made"] = [made.name, made.initialVersion]
found["next"] = hub.create_version("theirs", "notes", is_major=True)["versionString"]
sent = hub.upload(file, made.name, made.initialVersion)
found["sent"] = [sent.modelCid, sent.size]
found["listed"] = [[item["name"], item["size"]] for item in hub.list_files(made.name, made.initialVersion)]
try:
    hub.list_files("absent", "1.00")
except Exception as exc:
    found["absent"] = str(exc)
said = twins.chat(twin, og.TEE_LLM.GEMINI_2_5_FLASH, messages, max_tokens=20)
found["said"] = [said.chat_output["content"], said.finish_reason]
try:
    twins.chat("0x00", og.TEE_LLM.GEMINI_2_5_FLASH, messages)
except Exception as exc:
    found["no_twin"] = type(exc).__name__
print(json.dumps(found))
"""

REFRESH = """
import sys
import opengradient as og

hub = og.ModelHub(email=sys.argv[1], password=sys.argv[2])
for _ in range(2):
    print(len(hub.list_files("theirs", "1.00")))
"""


@pytest.mark.heavy
@pytest.mark.timeout(HEAVY_SECONDS)
@pytest.mark.parametrize("version", ["1.1.4", "0.7.4"])
def test_published_package_keeps_models_and_chats_with_twins(tmp_path: Path, version: str) -> None:
    """Through the proxy, since its hosts are fixed; 1.1.4 renews its login as well."""
    python = python_with(version, tmp_path)
    file = tmp_path / "model.onnx"
    file.write_bytes(bytes(range(256)) * 3000)
    with Devnet() as net:
        services = net.open_services()
        environment = os.environ | services.proxy_environment(tmp_path)
        login = [services.identity.email, services.identity.password]

        def ran(program: str, *arguments: str) -> str:
            command = [python, "-c", program, *login, *arguments]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
            assert done.returncode == 0, done.stderr[-3000:]
            return done.stdout

        said = ran(PROGRAM, net.private_key, services.twins.api_key, TWIN, str(file))
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        assert (found["made"], found["next"]) == (["theirs", "1.00"], "2.00")
        assert found["sent"][1] == 768_000
        assert found["listed"] == [["model.onnx", 768_000]]
        assert "404" in found["absent"]
        assert found["said"] == ["Ada: you said 'hi'", "stop"]
        assert found["no_twin"] in ("RuntimeError", "OpenGradientError")
        assert services.hub.folder.joinpath("theirs", "1.00", "model.onnx").read_bytes() == file.read_bytes()
        if version == "1.1.4":
            services.identity.token_seconds = 30  # it renews what has less than a minute left
            before = len(net.journal.services)
            assert ran(REFRESH).split() == ["1", "1"]
            calls = [call.what for call in net.journal.services[before:]]
            assert calls == ["login", "refresh", "list", "refresh", "list"]
        assert set(services.fixed.refused) <= {"pypi.org"}
        assert net.verdict().clean, str(net.verdict())
