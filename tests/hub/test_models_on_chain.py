"""What was uploaded runs on chain, by the id that the hub gave it."""

import pytest

from og_integrations.devnet import Devnet
from og_integrations.devnet.chain.models import FOLDER
from og_integrations.hub import ModelHub
from og_integrations.onchain import OnchainClient
from tests.money.conftest import evm, real_evm
from tests.onchain.test_inference import CANDLES, SHARE

__all__ = ["evm", "real_evm"]


def test_uploaded_model_is_run_by_its_id(evm: Devnet, monkeypatch: pytest.MonkeyPatch) -> None:
    evm.open_services()
    for name, value in evm.environment().items():
        monkeypatch.setenv(name, value)
    with ModelHub() as hub:
        made = hub.create_model("on-chain", "x")
        sent = hub.upload(FOLDER / "volatility.onnx", made.model, made.version)
    assert sent.check == "pass"
    with OnchainClient(private_key=evm.new_wallet().private_key) as chain:
        found = chain.infer(str(sent.file_id), CANDLES, model_file=sent.path)
    assert (found.values, found.verified) == ({"Y": [SHARE]}, True)
