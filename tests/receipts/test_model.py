"""The receipt as a model: typed, frozen, versioned; the same JSON in and out, whatever its age."""

import copy
import json
import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from og_integrations.client import Receipts
from og_integrations.errors import ConfigurationError, VerificationError
from og_integrations.protocol.payment._budget import BudgetTotals
from og_integrations.receipt import (
    RECEIPT_KEY,
    Check,
    Receipt,
    ReceiptPayment,
    leaves,
    members,
    receipt_schema,
    span_attributes,
)
from og_integrations.verify import Verdict, Verifier

ROOT = Path(__file__).parent.parent.parent
SAVED = {path.stem: path for path in sorted((ROOT / "tests/vectors/receipts").glob("*.json"))}
"""Receipts with their exchanges as an earlier version saved them: of both generations, and of a forged answer."""
OLD: dict[str, dict[str, Any]] = {name: json.loads(path.read_text())["receipt"] for name, path in SAVED.items()}
each_old = pytest.mark.parametrize("name", OLD)


@each_old
def test_older_receipts_are_read_and_written_as_they_are(name: str) -> None:
    receipt = Receipt(OLD[name])
    assert receipt.to_json() == OLD[name]
    assert list(receipt.to_json()) == list(OLD[name])
    assert Receipt(receipt.to_json()) == receipt == pickle.loads(pickle.dumps(receipt)) == copy.deepcopy(receipt)


def test_older_names_of_hash_rules_are_read_under_the_new_ones() -> None:
    assert {name: Receipt(old).hash_rule for name, old in OLD.items()} == {
        "2026-04": "april", "next": "reduced", "unverified": None,
    }  # fmt: skip
    assert Receipt(OLD["next"]).to_json()["hashing"] == "next"


@each_old
def test_older_receipts_are_judged_as_they_were(name: str) -> None:
    """They name attachments as unsigned, and nothing else of the request."""
    verdict = Verifier.unsafe_file_key().verify(SAVED[name])
    assert verdict.status == ("failed" if name == "unverified" else "verified")
    assert not verdict.verified or "hash_rule" not in verdict.not_covered["receipt"]


def test_unknown_members_are_kept() -> None:
    """A newer version may have added them."""
    newer = OLD["next"] | {"tomorrow": {"a": [1]}, "payment": OLD["next"]["payment"] | {"tip": "1"}}
    assert Receipt(newer).to_json() == newer
    assert Receipt(newer) != Receipt(OLD["next"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": 5}, "its member model is a JSON int, expected text"),
        ({"tee_timestamp": True}, "its member tee_timestamp is a JSON bool, expected a whole number"),
        ({"status": "perfect"}, "its member status is a JSON str, expected verified or unverified"),
        ({"payment": []}, "its member payment is a JSON list, expected an object"),
        ({"payment": {"max_amount": 1}}, "its member payment.max_amount is a JSON int, expected text"),
        ({"unsigned": [1]}, "its member unsigned is a JSON int, expected text"),
        ({"unsigned": "usage"}, "its member unsigned is a JSON str, expected a list"),
        ({"checks": [{"id": "x"}]}, "its member checks is incomplete"),
        ({"version": None}, "its member version is null, expected a whole number"),
    ],
)
def test_member_of_another_type_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"This is no receipt that can be read: {said}"):
        Receipt(OLD["next"] | changes)


def test_receipt_is_frozen() -> None:
    receipt = Receipt(OLD["next"])
    for frozen, name in ((receipt, "status"), (receipt.payment, "payer"), (receipt.checks[0], "result")):
        with pytest.raises(FrozenInstanceError):
            setattr(frozen, name, "edited")
    receipt.to_json()["payment"]["payer"] = "somebody else"
    assert receipt.payment is not None
    assert receipt.payment.payer == OLD["next"]["payment"]["payer"]


def test_made_receipt_is_the_one_that_is_read() -> None:
    made = Receipt(model="openai/gpt-5", payment=ReceiptPayment(payer="0x1"), checks=(Check("proof", "fail", "no"),))
    assert Receipt(made.to_json()) == made
    # Only receipts of models on chain have the member of that name.
    assert list(made.to_json()) == [path for path in members() if "." not in path and path != "onchain"]


def test_every_member_says_how_far_it_can_be_believed() -> None:
    """And the check that compares it, unless nobody does."""
    for member in members().values():
        standing = member.standing
        assert (standing.by is None) == (standing.word == "claimed"), member.path
        assert member.about.endswith((".", "…")), member.path
    assert {path for path, member in members().items() if member.standing.word == "signed"} == {
        "request_hash", "output_hash", "tee_timestamp", "tee_signature",
    }  # fmt: skip
    assert set(leaves(Receipt(OLD["next"]).to_json())) - {"hashing"} <= set(members())


@dataclass
class Answer:
    """Any framework's."""

    response_metadata: Mapping[str, Any] = field(default_factory=dict)
    additional_kwargs: Mapping[str, Any] = field(default_factory=dict)
    raw: object = None


def test_receipt_is_found_in_answers_of_any_framework() -> None:
    receipt = OLD["next"]
    error = VerificationError("x")
    error.receipt = receipt
    message = Answer(response_metadata={RECEIPT_KEY: receipt, "model_name": "x"})
    places: list[object] = [
        receipt,
        {RECEIPT_KEY: receipt},
        {"receipt": receipt, "exchange": None},
        message,
        SimpleNamespace(message=message, generation_info={}),
        Answer(additional_kwargs={RECEIPT_KEY: receipt}),
        Answer(raw={RECEIPT_KEY: receipt, "usage": None}),
        SimpleNamespace(attributes=span_attributes(receipt)),
        SimpleNamespace(receipt=receipt, text="hi"),
        error,
        Receipt(receipt),
    ]
    assert [Receipt.of(place) for place in places] == [Receipt(receipt)] * len(places)


@pytest.mark.parametrize(
    "answer",
    [None, "text", Answer(), Answer(raw={"usage": None}), VerificationError("x"), {}, [],
     Answer(response_metadata={"status": "completed"}), SimpleNamespace(attributes={f"{RECEIPT_KEY}.receipt": "{"})],
    ids=str,
)  # fmt: skip
def test_answer_without_receipt_says_so(answer: object) -> None:
    with pytest.raises(ConfigurationError, match="There is no receipt in this"):
        Receipt.of(answer)


def test_repr_shows_what_a_person_wants_to_know() -> None:
    receipt = Receipt(OLD["next"])
    assert repr(receipt) == f"<Receipt verified, openai/gpt-5-mini, enclave {receipt.tee_id}, at most 0.1 OPG>"
    assert repr(Receipt(OLD["unverified"])).startswith("<Receipt unverified, openai/gpt-5-mini")
    page = receipt._repr_html_()
    for shown in ("verified", "openai/gpt-5-mini", str(receipt.tee_id), "0.1 OPG at most"):
        assert shown in page


def test_nothing_in_a_receipt_gets_out_of_its_repr() -> None:
    """A stranger's file must neither run a script in a notebook nor rewrite a terminal."""
    evil = "<script>alert(1)</script>\x1b[2J\n\u202everified" + "x" * 10_000
    payment = OLD["next"]["payment"] | {"payer": evil, "asset": evil, "max_amount": evil}
    receipt = Receipt(OLD["next"] | {"model": evil, "tee_id": evil, "unsigned": [evil], "payment": payment})
    for shown in (repr(receipt), receipt._repr_html_(), *(value for _, value in receipt.summary())):
        assert not {"\x1b", "\n", "\u202e"} & set(shown)
        assert len(shown) < 5000
    assert "<script>" not in receipt._repr_html_()


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        ({}, "0.1 OPG"),
        ({"asset": "0x" + "99" * 20}, f"100000000000000000 base units of the unknown token 0x{'99' * 20}"),
        ({"network": "eip155:1"}, "base units of the unknown token"),
        ({"max_amount": "٣"}, "an amount that is no number"),
        ({"max_amount": None}, "an amount that is no number"),
        ({"max_amount": "9" * 5000}, "an amount that is no number"),
    ],
)
def test_only_opg_is_called_that(changes: dict[str, Any], most: str) -> None:
    payment = Receipt(OLD["next"] | {"payment": OLD["next"]["payment"] | changes}).payment
    assert payment is not None
    assert most in payment.most


def test_schema_in_the_documents_is_the_models() -> None:
    """If this fails, the model has changed: `make schema` writes the file again."""
    assert json.loads((ROOT / "docs/receipt.schema.json").read_text()) == receipt_schema()


def fits(schema: dict[str, Any], value: object, path: str = "") -> list[str]:
    """Return where `value` is not of `schema`, of which only the words that ours uses are read."""
    names = {dict: "object", list: "array", str: "string", int: "integer", bool: "boolean", type(None): "null"}
    allowed = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if names[type(value)] not in allowed or ("enum" in schema and value not in schema["enum"]):
        return [path]
    if isinstance(value, list):
        return [wrong for item in value for wrong in fits(schema["items"], item, path + "[]")]
    if isinstance(value, dict):
        inner = schema.get("properties", {})
        missing = [f"{path}.{name}" for name in schema.get("required", []) if name not in value]
        return missing + [
            w for name, v in value.items() if name in inner for w in fits(inner[name], v, f"{path}.{name}")
        ]
    return []


@each_old
def test_receipts_of_any_age_fit_the_schema(name: str) -> None:
    assert fits(receipt_schema(), OLD[name]) == []
    assert fits(receipt_schema(), Receipt(OLD[name]).to_json() | {"model": 5}) == [".model"]


def test_notebooks_show_tables_of_everything() -> None:
    """Receipts, their sums, a budget and a verdict are tables in a notebook, and none of a dump of dicts."""
    receipts = Receipts()
    for name in ("next", "unverified"):
        receipts.add(dict(OLD[name]), None)
    budget = BudgetTotals(authorized=10**17, limits=(("total", 10**18),))
    verdict = Verdict("failed", "signature", (Check("signature", "fail", "it is none"),), {"answer": ("usage", "id")})
    page = receipts._repr_html_()
    assert "2 calls, of them 1 verified." in page
    assert "openai/gpt-5-mini" in page
    assert "of them 1 verified" in receipts.totals()._repr_html_()
    assert "0.1 OPG of 1, 0.9 left" in budget._repr_html_()
    assert all(shown in verdict._repr_html_() for shown in ("failed", "it is none", "answer: usage, id"))


def test_notebooks_run_nothing_of_a_file() -> None:
    """What a stranger wrote into a file is escaped in every table."""
    evil = "<script>alert(1)</script>"
    receipts = Receipts()
    receipts.add(OLD["next"] | {"model": evil}, None)
    verdict = Verdict("failed", "signature", (Check("signature", "fail", evil),), {"answer": (evil,)})
    many = Receipts()
    for _ in range(300):
        many.add(dict(OLD["next"]), None)
    for page in (receipts._repr_html_(), receipts.totals()._repr_html_(), verdict._repr_html_()):
        assert "<script>" not in page
    assert "100 more rows are not shown" in many._repr_html_()
