"""Standard streams that are closed, full, or left by their reader: an exit code, at most one line, no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = f"{sys.executable} -m og_integrations"
BUFFERING = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
"""Python keeps back what it prints into pipes and files, as it does for users, until the program ends."""


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of sh."""
    return subprocess.run(["sh", "-c", line], env=BUFFERING, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", ["--help", "verify --help", "devnet --fault list", "verify no-file"])
def test_reader_that_left_is_no_news(command: str) -> None:
    """`| head -1`; what is flushed at exit counts, too."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "og_integrations", *command.split()],
        env=BUFFERING,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("command", ["--help", "devnet --fault list", "verify no-file"])
def test_full_disk_is_one_line(command: str) -> None:
    done = shell(f"{COMMAND} {command} > /dev/full")
    assert (done.returncode, done.stderr) == (1, "og-integrations: OSError: [Errno 28] No space left on device\n")


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("ask - <&-", 2, "standard input held no text"),
        ("settlement - <&-", 2, "not JSON"),
        ("verify - <&-", 2, ""),
        ("verify no-file >&-", 2, ""),
        ("devnet --port 0 --until-eof <&-", 0, ""),
        ("settlement no-file 2>&-", 2, ""),
    ],
)
def test_closed_stream_is_an_empty_one(line: str, code: int, says: str) -> None:
    """As cron and some supervisors start programs."""
    done = shell(f"{COMMAND} {line}")
    assert done.returncode == code
    assert says in done.stderr
    assert done.stderr.count("\n") == bool(says)
