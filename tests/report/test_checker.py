"""The report's checker is a second implementation: it says of every vector what the first one says."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from og_integrations.devnet import Devnet
from og_integrations.verify import Verifier
from tests.report.conftest import Document
from tests.report.node import answers, needs_node
from tests.sizes import sized
from tests.verify.test_coverage import LIES, leaves

pytestmark = needs_node
VECTORS = Path(__file__).parent.parent / "vectors"
GATEWAY = json.loads((VECTORS / "gateway.json").read_text())
GENERATIONS = json.loads((VECTORS / "generations.json").read_text())
BY_FILE_KEY = Verifier.unsafe_file_key()


def question(number: int, text: str) -> dict[str, Any]:
    return {"id": str(number), "kind": "verify", "file": text, "trust": {"file_key": True}}


def disagreements(texts: list[str]) -> list[tuple[int, object, object]]:
    """Return of which documents the two verifiers say different things, with status and step of each."""
    found = answers(question(number, text) for number, text in enumerate(texts))
    assert len(found) == len(texts)
    wrong: list[tuple[int, object, object]] = []
    for number, text in enumerate(texts):
        verdict, other = BY_FILE_KEY.verify(text.encode("utf-8", "surrogatepass")), found[str(number)]
        ours, theirs = (verdict.status, verdict.step), (other["status"], other["step"])
        if ours != theirs:
            wrong.append((number, ours, theirs))
    return wrong


def test_captures_of_the_gateway() -> None:
    """43 are verified, of 8 the step is the same at which they fail."""
    key = {name: GATEWAY[name] for name in ("tee_id", "public_key_pem")}
    members = ("path", "request", "content_type", "response")
    texts = [json.dumps({name: vector[name] for name in members} | key) for vector in GATEWAY["vectors"]]
    assert disagreements(texts) == []
    verified = [
        answer for answer in answers(map(question, range(len(texts)), texts)).values() if answer["code"] is None
    ]
    assert (len(texts), len(verified)) == (51, 43)


def test_hashes_of_all_generations() -> None:
    """By all five rules, among them Python's text of a list and its spelling of numbers."""
    expected = {
        f"{request['name']} {rule}": (request, rule, value["keccak256"] if isinstance(value, dict) else value)
        for request in GENERATIONS["requests"]
        for rule, value in request["hashes"].items()
    }
    found = answers(
        {"id": name, "kind": "hash", "path": request["path"], "request": request["wire"], "rule": rule}
        for name, (request, rule, _) in expected.items()
    )
    assert len(expected) == 241
    assert {name: answer["found"]["hash"] for name, answer in found.items()} == {
        name: value for name, (_, _, value) in expected.items()
    }


def test_receipts_of_earlier_versions() -> None:
    assert disagreements([file.read_text() for file in sorted((VECTORS / "receipts").glob("*.json"))]) == []


@sized("lies", small=3, full=len(LIES))
def test_whatever_is_altered_in_a_receipt(lies: int, documents: list[Document]) -> None:
    """Every member of receipt and exchange, with every lie."""
    texts = []
    for part in ("receipt", "exchange"):
        for _, _, name in list(leaves(documents[1][part])):
            for lie in LIES[-lies:]:
                copy = deepcopy(documents[1])
                owner, member = next((o, m) for o, m, n in leaves(copy[part]) if n == name)
                owner[member] = lie
                texts.append(json.dumps(copy))
    assert len(texts) > 100
    assert disagreements(texts) == []


EDITS = (
    ('"content": ', '"content":"FORGED","content": '),
    ("}", ' ,"n":2}'),
    ('"stop"', "NaN"),
    ("1", "01"),
    ("1", "1.0"),
    ("0", "1e5"),
    ('"', '"\\ud800'),
    ('"', '"\\ud83d\\ude00'),
    ('"', '"\\u0000'),
    ("{", "[" * 300 + "{"),
    ("{", "\ufeff{"),
    ("e", "é"),
    ("true", "false"),
    (":", ": "),
    (",", ","),
    ('"finish_reason"', '"finish"'),
    ('"tee_', '"tea_'),
    ('"usage"', '"usage":{"prompt_tokens":-1},"u"'),
    ('"choices"', '"choices":[],"c"'),
)


@pytest.mark.parametrize("stream", [False, True])
def test_whatever_is_altered_in_an_exchange(stream: bool, network: Devnet, documents: list[Document]) -> None:
    """Each edit at the first, middle and last place where it fits: of JSON that Python reads in a way of its own."""
    document = streamed(network) if stream else documents[1]
    texts = []
    for body in ("request", "response"):
        text = document["exchange"][body]
        for old, new in EDITS:
            places = [at for at in range(len(text)) if text.startswith(old, at)]
            for at in {places[0], places[len(places) // 2], places[-1]} if places else ():
                copy = deepcopy(document)
                copy["exchange"][body] = text[:at] + new + text[at + len(old) :]
                texts.append(json.dumps(copy))
    assert len(texts) > 50
    assert disagreements(texts) == []


def streamed(network: Devnet) -> Document:
    from og_integrations.client import Client, collect_receipts

    settings: dict[str, Any] = {"private_key": network.private_key, "network": network.network}
    with collect_receipts(keep_exchanges=True) as receipts, Client(**settings) as client:
        for _ in client.stream("openai/gpt-5-mini", [{"role": "user", "content": "hi"}]):
            pass
    return {"receipt": receipts[0], "exchange": receipts.exchanges[0]}
