"""`ask` whose reader, disk or user breaks off: what was paid for is kept, and what it may have cost is said."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from og_integrations.cli import main
from og_integrations.devnet import Devnet

pytestmark = pytest.mark.usefixtures("environment", "interruptible")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A suite that runs in the background of a script ignores Ctrl-C, and so would all that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def stalling(network: Devnet) -> Iterator[Callable[[str], None]]:
    """Let the gateway stop for ever, in one way."""
    yield network.inject
    network.clear_faults()


def interrupted(*flags: str, when: Callable[[], bool]) -> tuple[int, str]:
    """Press Ctrl-C in a running `ask`, and return its exit code and errors."""
    command = [sys.executable, "-m", "og_integrations", "ask", "hi", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 30
        while not when() and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    return process.returncode, err


@pytest.mark.parametrize("flags", [[], ["--stream"]])
def test_interrupted_ask_says_what_it_may_have_cost(
    flags: list[str], network: Devnet, stalling: Callable[[str], None], tmp_path: Path
) -> None:
    """The payment has left and no answer came: the authorization is named, and is the one that is kept."""
    stalling("stall_after_payment")
    before = network.stats().payments
    code, err = interrupted(*flags, "--save", str(tmp_path), when=lambda: network.stats().payments > before)
    assert code == 130
    (file,) = tmp_path.iterdir()
    payment = json.loads(file.read_text())["receipt"]["payment"]["payment_hash"]
    assert f"Interrupted. It may have been charged, at most 0.1 OPG, by the authorization {payment}.\n" in err
    assert "Traceback" not in err


def test_interrupted_ask_that_paid_nothing_says_so(network: Devnet, stalling: Callable[[str], None]) -> None:
    """The price has not come yet."""
    stalling("stall_offer")
    before = network.stats().requests
    assert interrupted(when=lambda: network.stats().requests > before) == (130, "Interrupted. Nothing was paid.\n")


def test_receipt_is_kept_when_nobody_reads_the_answer(tmp_path: Path) -> None:
    """`ask … --save folder | true`: it was paid for, and is verified."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "og_integrations", "ask", "hi", "--save", str(tmp_path)]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
    (file,) = tmp_path.iterdir()
    assert main(["verify", "--registry", str(file)]) == 0


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="root can write everywhere else")
def test_folder_that_takes_no_files_is_said_before_paying(network: Devnet, capsys: pytest.CaptureFixture[str]) -> None:
    """It is there, and nothing can be written into it."""
    before = network.stats().requests
    assert main(["ask", "hi", "--save", "/proc"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search("could not be saved in /proc: .* Nothing was sent", err)
    assert network.stats().requests == before
