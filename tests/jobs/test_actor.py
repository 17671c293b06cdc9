"""The class for Ray Data: batches in, answers out, each request paid once; on a real local cluster where Ray is."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from og_integrations.devnet import Devnet
from og_integrations.errors import BudgetExceededError, InvalidRequestError
from og_integrations.jobs import BatchActor
from og_integrations.ledger import open_ledger

MODEL = "openai/gpt-5-mini"


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Iterator[Devnet]:
    with Devnet() as devnet:
        for name, value in devnet.environment().items():
            monkeypatch.setenv(name, value)
        yield devnet


def actor(folder: Path, **options: Any) -> BatchActor:
    return BatchActor(model=MODEL, ledger=f"sqlite:///{folder / 'r.db'}", job="tonight", **options)


def test_batch_is_answered_and_resumed(net: Devnet, tmp_path: Path) -> None:
    """Ray runs a batch again when its worker dies; equal requests are one call."""
    batch: dict[str, list[Any]] = {"prompt": ["one", "two", "one"], "number": [1, 2, 3]}
    first = actor(tmp_path)(batch)
    second = actor(tmp_path)(batch)
    assert first == second
    assert first["answer"][0] == first["answer"][2]
    assert (first["number"], first["error"], first["maybe_paid"]) == ([1, 2, 3], [""] * 3, [False] * 3)
    assert net.stats().charges == 2
    assert len(list(open_ledger(f"sqlite:///{tmp_path / 'r.db'}").entries(tag="job:tonight"))) == 2


def test_nonces_do_not_hide_what_was_paid(net: Devnet, tmp_path: Path) -> None:
    batch: dict[str, list[Any]] = {"prompt": ["one", "two"]}
    answers = [actor(tmp_path, nonce=nonce)(batch) for nonce in ("require", "require", "off")]
    assert answers[0] == answers[1] == answers[2]
    assert net.stats().charges == 2


def test_failure_stands_in_its_row(net: Devnet, tmp_path: Path) -> None:
    net.inject("bad_signature", times=1)
    found = actor(tmp_path)({"prompt": ["one"]})
    assert found["answer"] == [""]
    assert found["error"][0].startswith("VerificationError: ")
    assert found["maybe_paid"] == [True]


def test_empty_budget_ends_the_job(net: Devnet, tmp_path: Path) -> None:
    with pytest.raises(BudgetExceededError):
        actor(tmp_path, spend_policy={"total": "0.01"})({"prompt": ["one"]})


def test_actor_is_not_pickled(net: Devnet, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="hand Ray the class"):
        pickle.dumps(actor(tmp_path))
