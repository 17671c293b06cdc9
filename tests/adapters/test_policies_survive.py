"""Policies come back from dumps, dicts, pickles and copies as themselves, or as something that refuses everything."""

import copy
import json
import pickle
import threading
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from langchain_core.load import dumps, load

from og_integrations import EnclavePolicy, SpendPolicy
from og_integrations.chat._policies import plain_spend_policy
from og_integrations.errors import EnclaveRejectedError
from og_integrations.langchain import ChatOpenGradient, OpenGradientCompletion
from og_integrations.llama_index import OpenGradientLLM
from og_integrations.protocol.payment._memory import MemoryStore
from og_integrations.protocol.proof._enclave import Enclave

pytestmark = pytest.mark.filterwarnings("ignore:.*is in beta")
MODEL = "openai/gpt-5-mini"


class StrictSpending(SpendPolicy):
    """Checks more than its fields say."""

    def check(self, *args: Any, **kwargs: Any) -> None:
        """Refuse."""
        raise AssertionError("asked")


class StrictEnclaves(EnclavePolicy):
    """Accepts nobody."""

    def check(self, enclave: Enclave) -> None:
        """Refuse."""
        raise EnclaveRejectedError("asked")


def loaded(model: Any) -> Any:
    allowed: Any = [ChatOpenGradient, OpenGradientCompletion]
    return load(json.loads(dumps(model)), allowed_objects=allowed, valid_namespaces=["og_integrations"])


LANGCHAIN: dict[str, Callable[[Any], Any]] = {
    "dumps": loaded,
    "model_dump": lambda model: type(model)(model=MODEL, **policies_of(model.model_dump())),
}
LLAMA_INDEX: dict[str, Callable[[Any], Any]] = {
    "to_dict": lambda llm: OpenGradientLLM.from_dict(llm.to_dict()),
    "to_json": lambda llm: OpenGradientLLM.from_json(llm.to_json()),
}
BOTH: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda model: model.model_copy(),
    "model_copy deep": lambda model: model.model_copy(deep=True),
}
TO_LANGCHAIN = (ChatOpenGradient, OpenGradientCompletion)
WAYS = [
    *(
        (made_by, name, way)
        for made_by in (ChatOpenGradient, OpenGradientCompletion)
        for name, way in LANGCHAIN.items()
    ),
    *((OpenGradientLLM, name, way) for name, way in LLAMA_INDEX.items()),
    *((made_by, name, way) for made_by in (ChatOpenGradient, OpenGradientLLM) for name, way in BOTH.items()),
]
each_way = pytest.mark.parametrize(
    ("made_by", "way"), [pytest.param(made_by, way, id=f"{made_by.__name__} {name}") for made_by, name, way in WAYS]
)


def policies_of(dumped: dict[str, Any]) -> dict[str, Any]:
    return {name: json.loads(json.dumps(dumped[name])) for name in ("spend_policy", "enclave_policy")}


def refuses_all(policy: SpendPolicy) -> bool:
    return policy.cap_units == 0 and policy.store is None


STRICT: dict[str, Any] = {
    "account": "tasks",
    "max_per_authorization": Decimal("0.05"),
    "total": Decimal(1),
    "per_hour": Decimal("0.5"),
    "per_day": Decimal("0.75"),
    "schemes": frozenset({"upto"}),
    "networks": frozenset({"eip155:8453"}),
    "assets": frozenset({"0xab"}),
    "pay_to": frozenset({"0xcd"}),
    "facilitators": frozenset({"0xef"}),
    "hosts": frozenset({"gateway.example"}),
    "max_validity_seconds": 60,
    "on_payment": lambda payment: False,
    "on_limit_near": lambda near: None,
    "payments_per_hour": 3,
    "share": Decimal("0.25"),
    "share_sessions": False,
    "stop_after_unanswered": 2,
    "store": MemoryStore(threading.RLock()),
    "valid_until": datetime(2026, 12, 31, 23, 59, tzinfo=UTC),
}


@each_way
@pytest.mark.parametrize("member", SpendPolicy.model_fields)
def test_member_of_a_spend_policy(made_by: Any, way: Callable[[Any], Any], member: str) -> None:
    """Each one: who adds a member to the policy says here what a strict value of it is."""
    policy = SpendPolicy.of({member: STRICT[member]} | ({"account": "tasks"} if member == "share" else {}))
    back = way(made_by(model=MODEL, spend_policy=policy)).spend_policy
    assert getattr(back, member) == STRICT[member] or refuses_all(back)


HASH = "0x" + "ab" * 32
STRICT_ENCLAVES: dict[str, list[dict[str, Any]]] = {
    "allowed_pcr_hashes": [{"allowed_pcr_hashes": [HASH]}, {"allowed_pcr_hashes": []}],
    "allowed_tee_ids": [{"allowed_tee_ids": [HASH]}, {"allowed_tee_ids": []}],
    "attestation": [{"attestation": "require"}],
    "measurements": [{"measurements": [("ab" * 48, "cd" * 48, "ef" * 48)]}, {"measurements": []}],
    "attestation_roots": [
        {"attestation": "require", "attestation_roots": ["ab" * 32]},
        {"attestation": "require", "attestation_roots": []},
    ],
}


def rules_of(policy: EnclavePolicy) -> tuple[object, ...]:
    """Return what the policy goes by, however its members are spelled."""
    documents = policy.documents
    asked = None if documents is None else (documents.builds, documents.roots)
    return policy._pcr_hashes, policy._tee_ids, policy.attestation, asked


@each_way
@pytest.mark.parametrize("member", [item.name for item in fields(EnclavePolicy) if item.init])
def test_member_of_an_enclave_policy(made_by: Any, way: Callable[[Any], Any], member: str) -> None:
    """Each one: who adds a member to the policy says here what strict values of it are."""
    for given in STRICT_ENCLAVES[member]:
        policy = EnclavePolicy.of(given)
        back = way(made_by(model=MODEL, enclave_policy=policy)).enclave_policy
        assert rules_of(back) == rules_of(policy) or list(back.allowed_tee_ids) == []
        assert getattr(policy, member) is not None


@each_way
def test_stricter_classes(made_by: Any, way: Callable[[Any], Any]) -> None:
    """LangChain's copy was the lax default, without a word."""
    model = made_by(model=MODEL, spend_policy=StrictSpending(), enclave_policy=StrictEnclaves())
    back = way(model)
    assert type(back.spend_policy) is StrictSpending or refuses_all(back.spend_policy)
    assert type(back.enclave_policy) is StrictEnclaves or list(back.enclave_policy.allowed_tee_ids) == []


@each_way
def test_classes_that_nobody_else_knows(made_by: Any, way: Callable[[Any], Any]) -> None:
    class Ours(SpendPolicy):
        """Not importable."""

    class Mine(EnclavePolicy):
        """Not importable either."""

    back = way(made_by(model=MODEL, spend_policy=Ours(total="3"), enclave_policy=Mine()))
    assert type(back.spend_policy) is Ours or refuses_all(back.spend_policy)
    assert type(back.enclave_policy) is Mine or list(back.enclave_policy.allowed_tee_ids) == []


def test_amounts_stay_what_they_are_and_addresses_with_passwords_are_not_written() -> None:
    policy = SpendPolicy.of({"total": "1.5", "per_hour": "0.25", "hosts": ["A"], "store": "budget.db"})
    assert SpendPolicy.of(json.loads(json.dumps(plain_spend_policy(policy)))) == policy
    written = plain_spend_policy(SpendPolicy.of({"store": "postgresql://me:secret@host/db"}))
    assert "secret" not in str(written)
    assert SpendPolicy.of(written).store == "postgresql://me@host/db"


@each_way
def test_url_of_a_database_goes_along_without_its_password(made_by: Any, way: Callable[[Any], Any]) -> None:
    """Workers need the store; its password is theirs to have (PGPASSWORD, PGPASSFILE), and in no file or message."""
    policy = SpendPolicy(store="postgresql://me:sec@ret@db.example/og?password=sec@ret&sslmode=require", total="1")
    back = way(made_by(model=MODEL, spend_policy=policy)).spend_policy
    assert back.total == 1
    assert str(back.store).replace(":sec@ret", "").replace("password=sec@ret", "") == (
        "postgresql://me@db.example/og?&sslmode=require"
    )
    assert "sec@ret" not in str(back.store) or way in COPIES


COPIES = [BOTH[name] for name in ("copy", "deepcopy", "model_copy", "model_copy deep")]
