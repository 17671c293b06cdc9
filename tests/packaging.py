"""
The wheel as a stranger gets it: built, installed with one extra alone into a clean environment, and used.

`python -m tests.packaging langchain` does so for one extra, `python -m tests.packaging` for all, and prints what each
brings: packages, megabytes, seconds. It needs `uv` and a package index, so `make test` leaves it out. The sizes stand
in `docs/packaging.md`; one above its budget is an error.
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
CORE = """
from og_integrations import Client, collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.verify import Verifier

with Devnet() as net, Client(network=net.network, private_key=net.private_key) as client:
    with collect_receipts(keep_exchanges=True) as receipts:
        assert client.chat("openai/gpt-5.2", [{"role": "user", "content": "Say hello."}]).text == "You said: Say hello."
    (file,) = receipts.save("receipts")
    assert Verifier.registry(net.network).verify(file).verified
"""
_INSIDE = """
import os
from og_integrations.devnet import Devnet

net = Devnet()
net.start()
os.environ |= net.environment()
"""
QUICK_STARTS = {
    "core": CORE,
    "devnet": CORE + "import rich\n",
    "langchain": _INSIDE
    + """
from og_integrations import Receipt
from og_integrations.langchain import ChatOpenGradient

assert Receipt.of(ChatOpenGradient(model="openai/gpt-5.2").invoke("Say hello.")).verified
""",
    "llama-index": _INSIDE
    + """
from og_integrations import Receipt
from og_integrations.llama_index import OpenGradientLLM

assert Receipt.of(OpenGradientLLM(model="openai/gpt-5.2").complete("Say hello.")).verified
""",
    "openai": _INSIDE
    + """
from og_integrations.openai import openai_client

asked = [{"role": "user", "content": "Say hello."}]
said = openai_client().chat.completions.create(model="openai/gpt-5.2", messages=asked)
assert said.model_extra["opengradient"]["status"] == "verified"
""",
    "agents": _INSIDE
    + """
from agents import Agent, RunConfig, Runner
from og_integrations.openai import OpenGradientProvider

agent = Agent(name="hello", model="openai/gpt-5.2")
config = RunConfig(model_provider=OpenGradientProvider(), tracing_disabled=True)
assert "hello" in Runner.run_sync(agent, "Say hello.", run_config=config).final_output
""",
    "serve": CORE + "import starlette, uvicorn\nimport og_integrations.serve\n",
    "sdk": _INSIDE
    + """
import asyncio
import og_integrations.sdk as og


async def ask():
    llm = og.LLM(private_key=os.environ["OG_PRIVATE_KEY"])
    said = await llm.chat(og.TEE_LLM.CLAUDE_SONNET_4_6, [{"role": "user", "content": "Say hello."}])
    await llm.close()
    return said


assert asyncio.run(ask()).receipt["status"] == "verified"
""",
    "onnx": CORE + "import onnxruntime\n",
    "onchain": CORE + "import web3\n",
    "ledger": _INSIDE
    + """
from og_integrations import Client, collect_receipts

with Client() as client, collect_receipts(to="sqlite:///receipts.db") as receipts:
    client.chat("openai/gpt-5.2", [{"role": "user", "content": "Say hello."}])
assert receipts.verified and len(list(receipts.entries())) == 1
""",
    "postgres": CORE + "import psycopg, sqlalchemy\n",
    "object-store": CORE + "import fsspec\n",
    "report": CORE
    + """
from og_integrations.cli import main

assert main(["report", "receipts", "--trust-file-key", "--html", "report.html"]) == 0
""",
    "completion": CORE
    + """
from og_integrations.cli import main

assert main(["completion", "bash"]) == 0
""",
}
"""Extra -> the program that a newcomer runs first with it; `core` is the package without extras."""
BUDGET_MB = {
    "core": 90,
    "devnet": 100,
    "langchain": 150,
    "llama-index": 330,
    "openai": 115,
    "agents": 150,
    "serve": 95,
    "sdk": 170,
    "onnx": 240,
    "onchain": 130,
    "ledger": 115,
    "postgres": 130,
    "object-store": 95,
    "report": 95,
    "completion": 90,
}
"""Extra -> the most megabytes that its environment may have, pip left out."""


UV = (sys.executable, "-m", "uv")
"""The uv of this environment, where `make` puts it, whatever is on the PATH."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What one extra brought."""

    extra: str
    packages: int
    megabytes: int
    seconds: float

    def row(self) -> str:
        """Return it as a row of the table in `docs/packaging.md`."""
        return f"| `{self.extra}` | {self.packages} | {self.megabytes} | {BUDGET_MB[self.extra]} |"


def run(*command: str | Path, folder: Path) -> str:
    """Run a program to its end, and return what it printed; a failure shows that."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def build_wheel(folder: Path) -> Path:
    """Build the wheel into `folder`."""
    run(*UV, "build", "--wheel", "--out-dir", folder, ROOT, folder=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def try_extra(extra: str, wheel: Path, folder: Path, *flags: str, python: str = sys.executable) -> Installed:
    """
    Install `wheel` with one extra into a clean environment in `folder`, run its quick start, and measure it.

    `flags` go to `uv pip install`, such as `--resolution=lowest-direct`.
    """
    environment = folder / "environment"
    run(*UV, "venv", "--quiet", "--python", python, environment, folder=folder)
    binary = environment / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    wanted = str(wheel) if extra == "core" else f"{wheel}[{extra}]"
    began = time.monotonic()
    run(*UV, "pip", "install", "--quiet", "--python", binary, *flags, wanted, folder=folder)
    seconds = time.monotonic() - began
    (folder / "quick_start.py").write_text(QUICK_STARTS[extra], encoding="utf-8")
    # Isolated: neither this folder nor a user's own packages are found.
    run(binary, "-I", "-W", "ignore", "quick_start.py", folder=folder)
    run(binary, "-m", "og_integrations", "cookbook", "examples", folder=folder)
    listed = run(*UV, "pip", "list", "--quiet", "--format=freeze", "--python", binary, folder=folder).splitlines()
    size = sum(file.stat().st_size for file in environment.rglob("*") if file.is_file() and not file.is_symlink())
    return Installed(extra, len(listed), round(size / 1e6), seconds)


def main(extras: list[str]) -> int:
    """Try `extras`, all if none is named; return 1 if one is larger than its budget."""
    too_large = 0
    with tempfile.TemporaryDirectory() as place:
        wheel = build_wheel(Path(place))
        for extra in extras or QUICK_STARTS:
            with tempfile.TemporaryDirectory() as folder:
                found = try_extra(extra, wheel, Path(folder))
            sys.stdout.write(f"{found.row()}  {found.seconds:.0f} s\n")
            sys.stdout.flush()
            too_large += found.megabytes > BUDGET_MB[extra]
    return min(too_large, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
