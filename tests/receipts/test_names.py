"""The names of a receipt's members stand in its model, and nowhere else in the package."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from og_integrations.receipt import members

ROOT = Path(__file__).parent.parent.parent / "og_integrations"
MODEL = {ROOT / "receipt.py", ROOT / "_accounting.py"}
PACKAGE = sorted(path for path in ROOT.rglob("*.py") if path not in MODEL)
NAMES = {path.rpartition(".")[2] for path in members()} | {"hashing"}
OTHER_FORMATS = {
    "x402": {"asset", "network", "nonce", "scheme", "spender", "deadline", "facilitator"},
    "options of a call or an enclave": {"settlement_mode", "model", "endpoint", "channel"},
    "requests, answers and errors": {
        "model",
        "created",
        "status",
        "tee_id",
        "tee_signature",
        "tee_timestamp",
        "version",
    },
    "saved exchanges, registries and documents": {
        "public_key",
        "trust",
        "kind",
        "source",
        "cost",
        "enclave",
        "payment",
    },
    "results of the chain": {"sender", "status", "transaction_hash", "payer", "block_number", "chain_id"},
    "options of models on chain": {"mode", "hub", "precompile", "onchain"},
    "verdicts": {"checks", "status"},
    "key configs": {"key_id"},
    "costs and usage in answers": {
        "cost_opg",
        "cost_usd",
        "opg_price_usd",
        "usage",
        "prompt_tokens",
        "completion_tokens",
    },
}
"""Names that other documents have, too: as words they may stand anywhere, but not to read a receipt with."""
ONLY_OF_RECEIPTS = NAMES - set().union(*OTHER_FORMATS.values())
OF_A_RECEIPT = re.compile(r"receipt|payment\b|\bpaid\b|\bseen\b")


def literals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, name) of the string literals that are a member's name, docstrings aside."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in NAMES:
            yield node.lineno, node.value


def readings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, name) of `x["name"]` and `x.get("name")`, where `x` is called like a receipt or a part of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript):
            read_from, key = node.value, node.slice
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and node.args
        ):
            read_from, key = node.func.value, node.args[0]
        else:
            continue
        if isinstance(key, ast.Constant) and key.value in NAMES and OF_A_RECEIPT.search(ast.unparse(read_from)):
            yield node.lineno, str(key.value)


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_member_of_a_receipt_is_a_literal(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert [(line, name) for line, name in literals(tree) if name in ONLY_OF_RECEIPTS] == []
    if "chain" not in path.relative_to(ROOT).parts:  # what a chain calls a receipt is a transaction's
        assert list(readings(tree)) == []


def test_names_that_are_held_are_most() -> None:
    """The exceptions are words of other formats; what only a receipt has is no word anywhere else."""
    assert {"payment_hash", "session_ref", "request_hash", "unsigned", "presentation", "hash_rule"} <= ONLY_OF_RECEIPTS
    assert set().union(*OTHER_FORMATS.values()) <= NAMES
