"""`devnet` as a process of its own: what it says, what it serves, how it ends."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from og_integrations.cli import main
from og_integrations.cli._devnet import RunningDevnet
from og_integrations.client import Client
from og_integrations.client._settings import resolve_settings
from og_integrations.devnet import CATALOGUE, Devnet
from og_integrations.errors import VerificationError

COMMAND = [sys.executable, "-m", "og_integrations"]


@contextmanager
def running(*flags: str) -> Iterator[subprocess.Popen[str]]:
    """Start a devnet on a free port; kill it if the test did not end it."""
    process = subprocess.Popen(
        [*COMMAND, "devnet", "--port", "0", *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def first_lines(process: subprocess.Popen[str], last: str) -> str:
    """Return what it prints up to the line that starts with `last`."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line.startswith(last):
            return text
    assert process.stderr is not None
    raise AssertionError(f"the devnet ended: {text}{process.stderr.read()}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_banner_works_and_ctrl_c_ends_it(number: signal.Signals, tmp_path: Path) -> None:
    """The lines to copy are all that a program needs; the end is clean and accounts for the money."""
    with running() as process:
        banner = first_lines(process, "Ctrl-C")
        assert re.search(r"node +http://127\.0\.0\.1:\d+\n", banner)
        assert re.search(r"registry +0x[0-9a-fA-F]{40}\n", banner)
        assert re.search(r"gateway +https://127\.0\.0\.1:\d+", banner)
        assert re.search(r"wallet +0x[0-9a-fA-F]{40} +1000 OPG\n", banner)
        exports = dict(re.findall(r"^export (\w+)=(\S+)$", banner.replace("\\\n", ""), re.MULTILINE))
        assert exports["OG_NETWORK"] == "devnet"
        asked = subprocess.run(
            [*COMMAND, "ask", "Say hello."],
            env=os.environ | exports,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (asked.returncode, asked.stderr) == (0, "")
        assert asked.stdout.startswith("You said: Say hello.\n")
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, "")
    assert re.search(r"2 requests, 1 authorizations, 1 charged answers; settled 0\.\d+ OPG in 1 transactions", out)
    # A terminal of 80 columns wraps none of them: a key that is copied in two lines would be none.
    assert all(len(line) <= 80 for line in banner.splitlines())


def test_json_is_one_line_when_ready_and_one_at_the_end() -> None:
    """Programs start it, read a line, use it, close its input, and read the account."""
    with running("--json", "--until-eof", "--enclaves", "2", "--opg", "2.5") as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert set(ready["environment"]) >= {"OG_PRIVATE_KEY", "OG_NETWORK", "OG_RPC_URL", "OG_REGISTRY_ADDRESS"}
        assert (ready["opg"], len(ready["gateways"])) == ("2.5", 2)
        assert ready["environment"]["OG_RPC_URL"] == ready["rpc_url"]
        out, err = process.communicate("", timeout=10)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out) == {
        "requests": 0,
        "authorizations": 0,
        "charges": 0,
        "charged": "0",
        "settled": "0",
        "verdict": [],
        "settlements": [],
    }


def test_taken_port_is_said_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    """Two devnets on one port: the second says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["devnet", "--port", str(taken.getsockname()[1])]) == 2
    assert "--port 0 takes any free one" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--opg", "lots"], ["--opg", "-1"], ["--opg", "1e60"]])
def test_what_is_no_amount_is_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Money is read exactly."""
    with pytest.raises(SystemExit, match="2"):
        main(["devnet", *flags])
    assert "--opg" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--port", "65536"], ["--port", "x"], ["--enclaves", "0"], ["--enclaves", "1000"]])
def test_senseless_number_is_a_usage_error(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As with any command: usage on stderr and exit code 2."""
    with pytest.raises(SystemExit, match="2"):
        main(["devnet", *flags])
    assert "expected" in capsys.readouterr().err


@pytest.mark.parametrize("redirection", ["<&-", "</dev/null", "<<< $'\\xff\\xfe'"])
def test_standard_input_that_is_closed_or_no_text_ends_it(redirection: str) -> None:
    """A service manager starts programs without any; nobody reads a traceback there."""
    command = f"{shlex.join(COMMAND)} devnet --port 0 --json --until-eof {redirection}"
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, check=False)
    assert (ended.returncode, ended.stderr, len(ended.stdout.splitlines())) == (0, "", 2)


def test_fault_acts_as_often_as_said() -> None:
    """The first answer is a lie, the second is good; the client did nothing wrong, so the exit code is 0."""
    with running("--json", "--until-eof", "--fault", "bad_signature:1") as process:
        assert process.stdout is not None
        environment = json.loads(process.stdout.readline())["environment"]
        settings = resolve_settings(environment=environment)
        with Client(signer=settings.signer, network=settings.network) as client:
            with pytest.raises(VerificationError, match="signature"):
                client.chat("openai/gpt-5-mini", [{"role": "user", "content": "hi"}])
            assert client.chat("openai/gpt-5-mini", [{"role": "user", "content": "again"}]).text
        out, err = process.communicate("", timeout=10)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["verdict"] == []


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_misbehaviour_is_named_and_is_the_exit_code(flags: list[str]) -> None:
    """Here a client that asks again and again, as fast as it can; seen without any receipt."""
    with running("--until-eof", *flags) as process:
        gateway = re.search(r"https://127\.0\.0\.1:\d+", first_lines(process, "{" if flags else "Ctrl-C"))
        assert gateway is not None
        with httpx.Client(base_url=gateway[0], verify=False) as http:
            for _ in range(21):
                body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}]}
                assert http.post("/v1/chat/completions", json=body).status_code == 402
        out, err = process.communicate("", timeout=10)
    assert (process.returncode, err) == (1, "")
    said = json.loads(out)["verdict"] if flags else re.findall("^misbehaviour: (.*)$", out, re.MULTILINE)
    assert said == ["retry_storm: 21 requests of one question without an answer [exchanges 1, 21]"]


def test_faults_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devnet", "--fault", "list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == list(CATALOGUE)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--fault", "nope"], "Unknown fault 'nope'"),
        (["--fault", "empty-registry:1"], "Did you mean 'empty_registry'?"),
        (["--fault", "bad_signature:x"], "TIMES is 'x', expected a whole number above 0"),
        (["--generation", "1999"], "1999"),
    ],
)
def test_wrong_flag_is_named(flags: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devnet", "--port", "0", *flags]) == 2
    assert says in capsys.readouterr().err


def test_all_that_a_devnet_opens_is_known_by_the_name_it_advertises() -> None:
    """The relay's address is in the file of variables, too, and nobody in another container reaches 127.0.0.1."""
    with Devnet(generation="newest", advertise="localhost") as net:
        net.inject("swapped_endpoint")
        strangers = net._faults.strangers
        assert strangers is not None
        of_gateways = [net.enclaves[0].endpoint, strangers.enclave.endpoint, strangers.relay.endpoint]
        assert [url.rpartition(":")[0] for url in of_gateways] == ["https://localhost"] * 3
        urls = [net.rpc_url, net.environment()["OG_RELAY_URL"], net.aggregator_url]
        assert [url.rpartition(":")[0] for url in urls] == ["http://localhost"] * 3


def test_variables_are_written_into_a_pipe_that_stays_one(tmp_path: Path) -> None:
    """Replaced, a device such as /dev/null would be gone for the whole machine."""
    os.mkfifo(pipe := tmp_path / "pipe")
    with ThreadPoolExecutor() as pool, Devnet() as net:
        read = pool.submit(pipe.read_text)
        RunningDevnet(net, net.new_wallet(), 0).write_environment(str(pipe))
        assert f"export OG_RPC_URL={net.rpc_url}\n" in read.result(20)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_devnet_is_reached_by_the_name_it_advertises(tmp_path: Path) -> None:
    """As in a container, where it listens everywhere and its address is not 127.0.0.1; users source a file."""
    file = tmp_path / "devnet.env"
    command = [sys.executable, "-m", "og_integrations", "devnet", "--port", "0", "--until-eof"]
    named = ["--host", "127.0.0.1", "--advertise", "localhost", "--env-file", str(file)]
    with subprocess.Popen([*command, *named], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "Ctrl-C ends it" not in process.stdout.readline():
            assert process.poll() is None
        while not file.exists():
            assert process.poll() is None
        lines = dict(line.removeprefix("export ").split("=", 1) for line in file.read_text().splitlines())
        assert lines["OG_RPC_URL"].startswith("http://localhost:")
        asked = [sys.executable, "-m", "og_integrations", "ask", "Say hello."]
        done = subprocess.run(asked, env=os.environ | lines, capture_output=True, text=True, check=False, timeout=50)
        assert done.returncode == 0, done.stderr
        process.communicate()
