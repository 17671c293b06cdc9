"""Receipts and their exchanges stay together, whoever else collects, sorts, copies or saves at the same time."""

import contextvars
import copy
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest

from og_integrations.client import collect_receipts
from og_integrations.client._call import CallState, collect
from og_integrations.client._collecting import Receipts, wanted_here
from og_integrations.client._engine import Engine
from og_integrations.devnet._enclave import EnclaveKeys
from og_integrations.protocol.payment._x402 import ReplyHead
from og_integrations.protocol.proof._enclave import Enclave

KEYS = EnclaveKeys()
ENCLAVE = Enclave(tee_id=KEYS.tee_id, endpoint="https://10.0.0.1", public_key=KEYS.public_key)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(private_key="0x" + "11" * 32, network="devnet")


def ended(engine: Engine, answer: str) -> CallState:
    """Return a call whose answer was `answer`."""
    call = engine.prepare_chat("openai/gpt-5", [{"role": "user", "content": "x"}])
    state = CallState(call=call, keep_body=wanted_here()[1])
    state.target, state.head = engine.directory.target(ENCLAVE, call.path), ReplyHead(200, [])
    state.on_data(answer.encode())
    return state


def paired(receipts: Receipts) -> list[str]:
    pairs = zip(receipts, receipts.exchanges, strict=True)
    return [
        receipt["id"] for receipt, exchange in pairs if exchange is not None and exchange["response"] == receipt["id"]
    ]


def test_threads_do_not_mix_exchanges(engine: Engine) -> None:
    def work(name: int) -> None:
        for number in range(200):
            collect(ended(engine, f"{name}-{number}"), {"id": f"{name}-{number}"})

    with collect_receipts(keep_exchanges=True) as receipts:
        threads = [threading.Thread(target=contextvars.copy_context().run, args=(work, name)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(paired(receipts)) == 800


def test_exchanges_follow_their_receipts(engine: Engine) -> None:
    """A user sorts or shortens the list; one without exchange has none."""
    with collect_receipts(keep_exchanges=True) as receipts:
        for name in ("b", "c", "a"):
            collect(ended(engine, name), {"id": name})
        receipts.append({"id": "by hand"})
    for copied in (copy.deepcopy(receipts), pickle.loads(pickle.dumps(receipts))):
        assert paired(copied) == ["b", "c", "a"]
    assert receipts.exchanges[-1] is None
    del receipts[1]
    receipts.sort(key=lambda receipt: receipt["id"])
    assert paired(receipts) == ["a", "b"]


def test_saving_never_overwrites(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process takes the name after it was found free."""
    exists: Any = Path.exists
    monkeypatch.setattr(Path, "exists", lambda self, **options: False if self.suffix == ".json" else exists(self))
    (tmp_path / "receipt-001.json").write_text("another's")
    with collect_receipts(keep_exchanges=True) as receipts:
        collect(ended(engine, "x"), {"id": "x"})
    assert [file.name for file in receipts.save(tmp_path)] == ["receipt-002.json"]
    assert (tmp_path / "receipt-001.json").read_text() == "another's"
