"""A wallet in a keystore file: opened with the right password, explained otherwise, never shown."""

import json
from pathlib import Path

import pytest

from og_integrations.client import LocalSigner
from og_integrations.client._settings import resolve_settings
from og_integrations.errors import ConfigurationError

KEY = "0x" + "11" * 32
PASSWORD = "correct horse battery"


@pytest.fixture
def keystore(tmp_path: Path) -> Path:
    LocalSigner(KEY)  # imports eth_account in the way that keeps the recursion limit
    from eth_account import Account
    from hexbytes import HexBytes

    path = tmp_path / "wallet.json"
    path.write_text(json.dumps(Account.encrypt(HexBytes(KEY), PASSWORD, kdf="pbkdf2", iterations=2)))
    return path


def test_keystore_is_the_same_wallet(keystore: Path) -> None:
    signer = LocalSigner.from_keystore(keystore, PASSWORD)
    assert signer.address == LocalSigner(KEY).address
    environment = {"OG_KEYSTORE": str(keystore), "OG_KEYSTORE_PASSWORD": PASSWORD}
    assert resolve_settings(environment=environment).require_signer().address == signer.address


def test_argument_wins_over_keystore(keystore: Path) -> None:
    """The file is not even opened: its password would be missing."""
    environment = {"OG_KEYSTORE": str(keystore)}
    assert resolve_settings(private_key=KEY, environment=environment).signer is not None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "the password is wrong"),
        ("", "it is no keystore file"),
        ("[]", "it is no keystore file of a kind"),
        ('{"version": 3}', "it is no keystore file of a kind"),
        ('{"version": 9}', "it is no keystore file of a kind"),
        ("[" * 100_000, "it is no keystore file"),
    ],
)
def test_what_cannot_be_opened_is_explained(keystore: Path, content: str | None, says: str) -> None:
    if content is not None:
        keystore.write_text(content)
    with pytest.raises(ConfigurationError, match=rf"wallet.json cannot be opened: {says}") as caught:
        LocalSigner.from_keystore(keystore, "my wrong secret")
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_missing_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none.json cannot be read \(FileNotFoundError\)"):
        LocalSigner.from_keystore(tmp_path / "none.json", PASSWORD)


def test_two_wallets_in_the_environment_are_refused(keystore: Path) -> None:
    with pytest.raises(ConfigurationError, match="Both OG_KEYSTORE and a private key"):
        resolve_settings(environment={"OG_PRIVATE_KEY": KEY, "OG_KEYSTORE": str(keystore)})
