"""A job on a Ray cluster of this machine: two workers, one wallet, one budget and one ledger in PostgreSQL."""

import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from og_integrations.devnet import Devnet
from og_integrations.ledger import open_ledger
from og_integrations.networks import OPG
from tests.postgres_server import PostgresServer

PROGRAM = Path(__file__).with_name("ray_job.py")
PATIENCE = 400.0
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # of a cluster that nobody else reaches
    # What Ray starts imports much; it is given up after 30 and 60 s, and a job that waits for it seems to hang.
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_register_timeout_seconds": "300",
}
PORTS = ("port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "runtime-env-agent-port",
         "metrics-export-port", "object-manager-port", "node-manager-port")  # fmt: skip


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def tell_port(folder: Path, node: str, port: int) -> None:
    """
    Note the port of the node's agent, as that will do itself.

    Ray 2.60 gives it 15 s to start, also where the port was given, and ends with "timed out during startup"; a machine
    that does much else takes longer.
    """
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        for session in folder.glob("session_2*"):
            (session / f"dashboard_agent_listen_port_{node}").write_text(str(port))
            return
        time.sleep(0.01)


@pytest.fixture
def net() -> Iterator[Devnet]:
    """A network whose cap no job here exceeds: an April gateway answers beyond it, and charges nothing for that."""
    with Devnet(cap=5 * OPG) as devnet:
        yield devnet


@pytest.fixture
def cluster(net: Devnet) -> Iterator[tuple[str, Path]]:
    """The address of a cluster of one's own, and the folder of its logs. Its nodes know the wallet: no key travels."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is missing: uv pip install --group ray")
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    folder, node = Path(tempfile.mkdtemp(prefix="og-ray-")), secrets.token_hex(28)
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=2"]
    command += ["--node-ip-address=127.0.0.1", "--include-dashboard=false", f"--temp-dir={folder}"]
    command += ["--object-store-memory=104857600", *(f"--{name}={port}" for name, port in ports.items())]
    environment = dict(os.environ) | SETTINGS | net.environment() | {"RAY_OVERRIDE_NODE_ID_FOR_TESTING": node}
    told = threading.Thread(target=tell_port, args=(folder, node, ports["dashboard-agent-listen-port"]), daemon=True)
    told.start()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        try:
            said = iter(process.stdout.readline, "")
            assert any("Ray runtime started" in line for line in said)
            yield f"127.0.0.1:{ports['port']}", folder
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=120)
            shutil.rmtree(folder, ignore_errors=True)


def lines_of(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.heavy
@pytest.mark.timeout(3_000)
@pytest.mark.parametrize("prompts", [200, 10_000])
def test_job_that_is_killed_goes_on(
    net: Devnet, cluster: tuple[str, Path], postgres: PostgresServer, tmp_path: Path, prompts: int
) -> None:
    """The program dies in the middle, and its actors with it; said again, each prompt is answered once."""
    ledger, store, out = postgres.new_database(), postgres.new_database(), tmp_path / "answers.jsonl"
    environment = dict(os.environ) | SETTINGS | {"RAY_ADDRESS": cluster[0], "LEDGER": ledger, "STORE": store}
    command = [sys.executable, str(PROGRAM), str(prompts), str(out)]
    with subprocess.Popen(command, env=environment) as first:
        until = time.monotonic() + PATIENCE
        while first.poll() is None and net.stats().charges < prompts // 3:
            assert time.monotonic() < until
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
    assert first.returncode == -signal.SIGKILL
    killed = net.stats().charges
    subprocess.run(command, env=environment, check=True, timeout=PATIENCE + prompts)
    stats = net.stats()
    answers = lines_of(out)
    assert sorted(int(str(line["number"])) for line in answers) == list(range(prompts))
    assert {(line["error"], line["maybe_paid"]) for line in answers} == {("", False)}
    assert [line["number"] for line in answers if f"question {line['number']}" not in str(line["answer"])] == []
    kept = list(open_ledger(ledger).entries(status="verified"))
    # What was on its way when they died was charged, maybe, and asked again: two workers with a batch each, at most.
    assert len({entry.receipt["tee_signature"] for entry in kept}) == len(kept)
    assert prompts <= len(kept) <= stats.charges <= prompts + 64
    assert prompts // 3 <= killed < prompts
    assert stats.payments <= 2
    held = [out.read_bytes(), *(file.read_bytes() for file in cluster[1].rglob("*") if file.is_file())]
    held += [row.encode() for url in (ledger, store) for row in rows_of(postgres, url)]
    assert len(held) > prompts
    assert [secret[:6] for secret in net.secrets() if any(secret.encode() in data for data in held)] == []


def rows_of(postgres: PostgresServer, url: str) -> list[str]:
    """Return every row of every table of a database as text."""
    tables = postgres.sql(url, "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    return [str(row[0]) for (name,) in tables for row in postgres.sql(url, f'SELECT t::text FROM "{name}" t')]
