"""A receipt in a published batch: found, proven without the batch, absent, or a batch that is none."""

import json
from dataclasses import replace
from typing import Any

import pytest

from og_integrations.errors import VerificationError
from og_integrations.protocol.proof._inclusion import Inclusion, find_inclusion, leaf_of, verify_inclusion
from tests.protocol.batches import CASES, RECEIPT, find

CASE = CASES["merkle/7-leaf-3"]
ROOT = bytes.fromhex(CASE["root"][2:])
INCLUDED = [case_id for case_id, case in CASES.items() if case["expect"]["status"] == "included"]


@pytest.mark.parametrize("case_id", CASES)
def test_vector(case_id: str) -> None:
    """Trees of OpenZeppelin's own package, whole and damaged."""
    case, expect = CASES[case_id], CASES[case_id]["expect"]
    if expect["status"] == "refused":
        with pytest.raises(VerificationError, match="The batch proves nothing about this receipt: ") as caught:
            find(case)
        assert (caught.value.step, caught.value.blames_enclave) == ("inclusion", False)
        return
    found = find(case)
    assert (found is not None) == (expect["status"] == "included")
    if found is not None:
        assert "0x" + found.leaf.hex() == expect["leaf"]
        assert ["0x" + node.hex() for node in found.proof] == expect["proof"]


def proven(case_id: str) -> tuple[Inclusion, dict[str, Any]]:
    found = find(CASES[case_id])
    assert found is not None
    return found, {"root": bytes.fromhex(CASES[case_id]["root"][2:]), **CASES[case_id]["receipt"]}


@pytest.mark.parametrize("case_id", INCLUDED)
def test_proof_holds_without_the_batch(case_id: str) -> None:
    """The blob expires; what is left is enough."""
    inclusion, statement = proven(case_id)
    verify_inclusion(inclusion, **statement)


def broken(inclusion: Inclusion, said: str, **changes: Any) -> None:
    statement = proven("merkle/7-leaf-3")[1] | changes
    with pytest.raises(VerificationError, match=said) as caught:
        verify_inclusion(inclusion, **statement)
    assert caught.value.step == "inclusion"


def test_proof_of_something_else() -> None:
    """Another receipt, another root, another way: each is named."""
    inclusion, _ = proven("merkle/7-leaf-3")
    broken(inclusion, "this receipt's is 0x", timestamp=RECEIPT["timestamp"] + 1)
    broken(inclusion, "this receipt's is 0x", output_hash=RECEIPT["request_hash"])
    broken(inclusion, "leads to the root 0x.*, expected 0x0000", root=bytes(32))
    broken(replace(inclusion, proof=inclusion.proof[:-1]), "leads to the root")
    broken(replace(inclusion, proof=inclusion.proof[::-1]), "leads to the root")
    broken(replace(inclusion, proof=(*inclusion.proof, b"")), "not made of at most 64 hashes")
    broken(replace(inclusion, proof=(bytes(32),) * 65), "not made of at most 64 hashes")
    broken(replace(inclusion, leaf=inclusion.root, proof=()), "the proof is about the leaf")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"signature": "not base64!"}, "signature is not base64"),
        ({"signature": None}, "signature is not base64"),
        ({"tee_id": "0x12"}, "the receipt holds something else than 32 bytes in hex"),
        ({"request_hash": None}, "the receipt holds something else than 32 bytes in hex"),
        ({"timestamp": -1}, "no unix time"),
        ({"timestamp": 2**256}, "no unix time"),
        ({"timestamp": "1795000000"}, "no unix time"),
    ],
)
def test_receipt_that_has_no_leaf(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(VerificationError, match=said):
        leaf_of(**(RECEIPT | changes))


def altered(**changes: Any) -> bytes:
    return json.dumps(json.loads(CASE["blob"]) | changes).encode()


def one_value(**changes: Any) -> bytes:
    values = json.loads(CASE["blob"])["values"]
    return altered(values=[values[0] | changes, *values[1:]])


@pytest.mark.parametrize(
    ("blob", "said"),
    [
        (altered(tree=[]), "not one leaf for each value"),
        (altered(tree=None), "not one leaf for each value"),
        (altered(tree=[5] * 13), "tree holds something else than 32 bytes in hex"),
        (altered(leafEncoding=["bytes32"]), "no tree of the format standard-v1"),
        (one_value(treeIndex=True), "no place, no signature in hex, or no time"),
        (one_value(treeIndex="6"), "another form than a signed statement"),
        (one_value(value=[]), "another form than a signed statement"),
        (one_value(treeIndex=-1), "a value of the blob does not give its leaf"),
        (b"[]", "The blob is a JSON list, expected an object"),
        (b" " * (8 * 1024 * 1024 + 1), "the blob has 8388609 bytes"),
    ],
)
def test_blob_that_is_no_batch(blob: bytes, said: str) -> None:
    with pytest.raises(VerificationError, match=said):
        find_inclusion(blob, root=ROOT, **RECEIPT)


def test_value_that_stands_twice_hides_no_other() -> None:
    """Each leaf has its own value: a batch that lists one twice leaves another one unexplained."""
    values = json.loads(CASE["blob"])["values"]
    with pytest.raises(VerificationError, match="a value of the blob does not give its leaf"):
        find_inclusion(altered(values=[values[1], *values[1:]]), root=ROOT, **RECEIPT)
