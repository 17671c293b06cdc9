"""`measurements`: what the enclaves run, from their own documents, and the file to pin; nothing is paid."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from og_integrations import EnclavePolicy
from og_integrations.cli import main
from og_integrations.client import Client
from og_integrations.devnet import Devnet
from og_integrations.devnet._attestation import PUBLISHED_BUILD
from tests.client.ways_to_ask import MODEL, user

NAMES = ("PCR0", "PCR1", "PCR2")


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Iterator[Devnet]:
    with Devnet(enclaves=2) as devnet:
        for name, value in devnet.environment().items():
            monkeypatch.setenv(name, value)
        # No wallet is needed to look.
        monkeypatch.delenv("OG_PRIVATE_KEY")
        yield devnet


def test_shows_every_enclave_and_writes_what_a_client_pins(
    net: Devnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, root = tmp_path / "builds.json", net.authority.root_sha256
    assert main(["measurements", "--root-sha256", root, "--write", str(file)]) == 0
    said = capsys.readouterr().out
    for enclave in net.enclaves:
        assert f"{enclave.tee_id}  {enclave.endpoint}  registered 0.0 days ago" in said
    assert said.count(f"  PCR0      {PUBLISHED_BUILD[0]}") == 2
    assert said.count(f"pcr hash  {net.enclaves[0].entry().pcr_hash}") == 2
    assert json.loads(file.read_text()) == [dict(zip(NAMES, PUBLISHED_BUILD, strict=True))]
    policy = EnclavePolicy(measurements=json.loads(file.read_text()), attestation_roots=[root])
    with Client(private_key=net.private_key, network=net.network, enclave_policy=policy) as client:
        assert client.chat(MODEL, user("hi")).receipt["trust"] == "measured"
    assert main(["measurements", "--root-sha256", root, "--write", str(file)]) == 2
    assert "nothing there was changed" in capsys.readouterr().err


def test_reads_a_gateways_own_file(net: Devnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The builds of its repository are compared; only what is known is written to pin."""
    known, file = tmp_path / "measurements.txt", tmp_path / "builds.json"
    known.write_text(json.dumps({"Measurements": dict(zip(NAMES, PUBLISHED_BUILD, strict=True))}))
    flags = ["measurements", "--root-sha256", net.authority.root_sha256, "--known", str(known), "--json"]
    assert main(flags) == 0
    net.inject("other_build", enclave=net.enclaves[0])
    assert main([*flags, "--write", str(file)]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["known"] for line in lines[:2]] == [True, True]
    assert sorted(line["known"] for line in lines[2:]) == [False, True]
    assert len(json.loads(file.read_text())) == 1


@pytest.mark.parametrize("flag", ["measurements --known", "verify receipt.json --measurements"])
def test_unreadable_builds_name_the_flag_that_was_typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    builds = tmp_path / "builds.json"
    builds.write_text("[1]")
    assert main([*flag.split(), str(builds)]) == 2
    assert f"{flag.rsplit(maxsplit=1)[-1]} {builds}: A list of measurements holds" in capsys.readouterr().err


def test_enclave_without_a_document(net: Devnet, capsys: pytest.CaptureFixture[str]) -> None:
    net.inject("no_attestation", enclave=net.enclaves[0])
    assert main(["measurements", "--root-sha256", net.authority.root_sha256]) == 1
    assert "answered HTTP 503" in capsys.readouterr().out
    assert net.stats().requests == 0


def test_documents_of_a_devnet_are_not_aws_s(net: Devnet, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measurements", "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all("none of the 1 pinned roots" in line["problem"] for line in lines)
