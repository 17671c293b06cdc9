"""The demo against a network that is already there, honest or not (`make demo` itself: test_documents)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from og_integrations.devnet import Devnet
from og_integrations.devnet._generations import GENERATIONS
from tests.money.conftest import real_evm
from tests.sizes import HEAVY_SECONDS

__all__ = ["real_evm"]

DEMO = Path(__file__).parent.parent.parent / "cookbook" / "demo.py"


def run_demo(network: Devnet, folder: Path, **more: str) -> tuple[int, str]:
    # Named "base", the devnet is what a real network would be to the demo.
    environment = os.environ | network.environment() | {"OG_NETWORK": "base"} | more
    done = subprocess.run(
        [sys.executable, str(DEMO)], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


def test_demo_shows_everything_in_80_columns(network: Devnet, tmp_path: Path) -> None:
    """Three calls, a transaction hash for the individual one, and each receipt verified twice."""
    code, out = run_demo(network, tmp_path)
    assert (code, out.splitlines()[-1]) == (0, "VERIFIED: 3 of 3 answers, by their enclave and again from disk.")
    rows = [line.split() for line in out.splitlines() if " yes " in line]
    assert [(row[0], row[3] != "-") for row in rows] == [
        ("claude-sonnet-4-6", False),
        ("claude-sonnet-4-6", True),
        ("gpt-5.2", False),
    ]
    assert "calls get_price(token='OPG') -> 1 OPG = 0.10 dollars" in out
    assert out.count("001.json verified: 9 passed, skipped: attestation, freshness, channel,\nnot-covered\n") == 1
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    "generation",
    [
        pytest.param(name, marks=() if name == "newest" else (pytest.mark.heavy, pytest.mark.timeout(HEAVY_SECONDS)))
        for name in GENERATIONS
    ],
)
def test_demo_runs_on_each_generation_with_the_default_policy_and_10_opg(generation: str, tmp_path: Path) -> None:
    with Devnet(generation=generation) as net:
        wallet = net.new_wallet(opg=10 * 10**18)
        code, out = run_demo(net, tmp_path, OG_PRIVATE_KEY=wallet.private_key)
        assert (code, out.splitlines()[-1]) == (0, "VERIFIED: 3 of 3 answers, by their enclave and again from disk.")
        assert net.verdict().clean, str(net.verdict())


@pytest.mark.parametrize("fault", ["bad_signature", "cut_stream"])
def test_demo_fails_on_a_network_that_lies(fault: str, network: Devnet, tmp_path: Path) -> None:
    """Whatever is not proven ends in a verdict that says so, and an exit code."""
    network.inject(fault, times=1)
    code, out = run_demo(network, tmp_path)
    assert code == 1
    assert "NOT VERIFIED: 0 of 1 answers." in out
    assert "failed" in out


@pytest.mark.heavy
def test_demo_with_a_model_on_chain(real_evm: None, tmp_path: Path) -> None:
    """Its receipt stands in the same table, and is verified again beside the others."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("OG_", "OPENGRADIENT_"))}
    command = [sys.executable, str(DEMO), "--onchain"]
    done = subprocess.run(command, env=bare, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (
        0,
        "VERIFIED: 4 of 4 answers, by their enclave and again from disk.",
    )
    assert "calls get_volatility(token='OPG') -> {\"Y\"" in done.stdout
