"""What `Devnet(evm="anvil")` says where something it needs is missing."""

from pathlib import Path

import pytest

from og_integrations.devnet import Devnet
from og_integrations.devnet.chain import _evm as evm
from og_integrations.errors import ConfigurationError


def test_missing_npm_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, with the fix."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for fetch in (evm.fetch_anvil, evm.fetch_permit2):
        with pytest.raises(ConfigurationError, match="npm, which is not installed"):
            fetch(tmp_path / "cache")


def test_failing_npm_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first word on the matter; nothing half-made is left behind."""
    program = tmp_path / "npm"
    program.write_text("#!/bin/sh\necho 'npm error network is down' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"npm pack .* failed \(npm error network is down\)"):
        evm.fetch_permit2(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_other_bytecode_is_not_taken_for_permit2(tmp_path: Path) -> None:
    """What a package brings is compared with what is on every chain."""
    (tmp_path / "DeployPermit2.sol").write_text('hex"' + "60" * 1000 + '"')
    with pytest.raises(ConfigurationError, match="does not hold the expected bytecode"):
        evm.fetch_permit2(tmp_path)


def test_missing_compiler_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"og-integrations\[evm\]"):
        evm.runtime_codes(tmp_path)


def test_devnet_that_cannot_have_an_evm_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ports are free again."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("og_integrations.devnet.chain._evm.default_folder", lambda: tmp_path)
    with pytest.raises(ConfigurationError, match="npm, which is not installed"):
        Devnet(evm="anvil")
    with pytest.raises(ConfigurationError, match="clock of its own"):
        Devnet(evm="anvil", clock=lambda: 0.0)
