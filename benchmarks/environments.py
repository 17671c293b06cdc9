"""The contestants' own environments under `benchmarks/.env`: made once, with whatever version resolves today."""

import asyncio
import os
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / ".env"
OWN = {"openai": "langchain-openai", "published": "opengradient"}
"""Contestant -> the requirement that its environment is made from; all others run in ours."""
_VERSIONS = "from importlib.metadata import version; print(*[version(name) for name in {names!r}])"


async def python_of(contestant: str) -> str:
    """Return the interpreter for `contestant`, after making its environment if there is none."""
    if contestant not in OWN:
        return sys.executable
    python = FOLDER / contestant / "bin" / "python"
    ready = FOLDER / contestant / ".installed"
    if not ready.exists():
        await output_of(sys.executable, "-m", "uv", "venv", "--quiet", "--clear", "--python", sys.executable,
                        str(FOLDER / contestant))  # fmt: skip
        await output_of(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python),
                        OWN[contestant])  # fmt: skip
        ready.touch()
    return str(python)


async def versions(contestant: str, *names: str) -> list[str]:
    """Return the installed versions of distributions `names` in the environment of `contestant`."""
    return (await output_of(await python_of(contestant), "-c", _VERSIONS.format(names=names))).split()


async def output_of(*command: str, environment: dict[str, str] | None = None) -> str:
    """Run `command` and return its output. Raises `RuntimeError` with its complaint if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(os.environ) if environment is None else environment,
        cwd=FOLDER.parent.parent,
    )
    output, complaint = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[:4])}: {complaint.decode().strip()[-300:]}")
    return output.decode()
