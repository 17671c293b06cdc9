"""The contestants' own environments under `benchmarks/.env`: made once, with whatever version resolves today."""

import asyncio
import os
import resource
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / ".env"
OWN = {"openai": "langchain-openai", "llama_openai": "llama-index-llms-openai", "published": "opengradient"}
"""Contestant -> the requirement that its environment is made from."""
EXTRAS = {
    "httpx": "",
    "client": "",
    "nothing": "langchain",
    "bare": "langchain",
    "ours": "langchain",
    "llama": "llama-index",
}
"""Contestant of ours -> the extra that it needs: it would pay for all that else is installed for tests."""
_IMPORT = "import time; start = time.process_time(); {statement}; print((time.process_time() - start) * 1e3)"
_VERSIONS = "from importlib.metadata import version; print(*[version(name) for name in {names!r}])"


async def python_of(contestant: str) -> str:
    """Return the interpreter for `contestant`, after making its environment, with what it needs, if there is none."""
    if contestant in OWN:
        name, needed = contestant, [OWN[contestant]]
    else:
        extra = EXTRAS[contestant]
        # What the project needs, without the project: that is imported from this checkout.
        name, needed = f"with-{extra or 'nothing'}", ["-r", "pyproject.toml", *(["--extra", extra] if extra else [])]
    python, ready = FOLDER / name / "bin" / "python", FOLDER / name / ".installed"
    if not ready.exists():
        await output_of(sys.executable, "-m", "uv", "venv", "--quiet", "--clear", "--python", sys.executable,
                        str(FOLDER / name))  # fmt: skip
        await output_of(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python),
                        *needed)  # fmt: skip
        ready.touch()
    return str(python)


async def checkout_of(revision: str) -> tuple[str, Path]:
    """Return interpreter and folder of a checkout of `revision`, made with its own environment if there is none."""
    commit = (await output_of("git", "rev-parse", "--short", "--verify", f"{revision}^{{commit}}")).strip()
    folder = FOLDER / commit
    python, ready = folder / ".venv" / "bin" / "python", folder / ".installed"
    if not ready.exists():
        if not folder.exists():
            await output_of("git", "worktree", "add", "--detach", str(folder), commit)
        await output_of(sys.executable, "-m", "uv", "venv", "--quiet", "--clear", "--python", sys.executable,
                        str(folder / ".venv"))  # fmt: skip
        await output_of(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python),
                        "--editable", f"{folder}[all]")  # fmt: skip
        ready.touch()
    return str(python), folder


async def versions(contestant: str, *names: str) -> list[str]:
    """Return the installed versions of distributions `names` in the environment of `contestant`."""
    return (await output_of(await python_of(contestant), "-c", _VERSIONS.format(names=names))).split()


async def import_cpu(python: str, statement: str, folder: Path | None = None) -> float:
    """Return the milliseconds of CPU that the import `statement` costs a fresh process."""
    return float(await output_of(python, "-c", _IMPORT.format(statement=statement), folder=folder))


async def cold_cpu(python: str, contestant: str, environment: dict[str, str], folder: Path | None = None) -> float:
    """Return the milliseconds of CPU of a fresh process in which `contestant` makes one call."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    await output_of(python, "-m", "benchmarks.worker", contestant, "once", environment=environment, folder=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1e3


async def output_of(*command: str, environment: dict[str, str] | None = None, folder: Path | None = None) -> str:
    """Return the output of `command`, run in `folder` (the project's). Raises `RuntimeError` with its complaint."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(os.environ) if environment is None else environment,
        cwd=folder or FOLDER.parent.parent,
    )
    output, complaint = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[:4])}: {complaint.decode().strip()[-300:]}")
    return output.decode()
