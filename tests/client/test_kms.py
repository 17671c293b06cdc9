"""What a signer needs whose key signs digests only; the signer itself is in the cookbook."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from og_integrations.client import LocalSigner, Signer, typed_data_digest
from og_integrations.devnet import Devnet
from tests.protocol.test_settlement import PERMIT

COOKBOOK = Path(__file__).parent.parent.parent / "cookbook" / "10_kms_signer.py"
KEY = "0x" + "11" * 32


def test_digest_is_what_the_contract_checks() -> None:
    assert typed_data_digest(PERMIT.typed_data()) == PERMIT.digest()


def test_digest_leaves_the_recursion_limit_alone() -> None:
    code = (
        "import sys; limit = sys.getrecursionlimit()\n"
        "from og_integrations.client import typed_data_digest\n"
        "from tests.protocol.test_settlement import PERMIT\n"
        "typed_data_digest(PERMIT.typed_data()); print(sys.getrecursionlimit() == limit)"
    )
    root = Path(__file__).parent.parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "True", done.stderr


def test_signer_of_the_cookbook_signs_as_a_local_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wallet is the same; s is low and v right, whatever the KMS answers; it is a `Signer`."""
    with Devnet() as net:
        for name, value in net.environment().items():
            monkeypatch.setenv(name, value)
        made = runpy.run_path(str(COOKBOOK))
        assert net.stats().signatures == 1
        assert net.verdict().clean
    signer: Any = made["KmsSigner"](made["Kms"](KEY))
    is_signer = isinstance(signer, Signer)
    assert is_signer
    assert signer.address == LocalSigner(KEY).address
    from eth_account import Account
    from eth_account.messages import encode_typed_data

    message = encode_typed_data(full_message=PERMIT.typed_data())
    for _ in range(16):
        signature = signer.sign_typed_data(PERMIT.typed_data())
        assert Account.recover_message(message, signature=signature) == signer.address
        assert int(signature[66:130], 16) <= made["ORDER"] // 2
        assert int(signature[130:], 16) in (27, 28)
