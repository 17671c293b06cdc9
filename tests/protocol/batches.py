"""The published batches of `tests/vectors/attestation`, and how to look a receipt up in them."""

import json
from typing import Any

from og_integrations.protocol.proof._inclusion import Inclusion, find_inclusion, verify_inclusion
from tests.protocol.documents import FOLDER

CASES: dict[str, dict[str, Any]] = {
    case["id"]: case for case in json.loads((FOLDER / "merkle.json").read_text())["cases"]
}
RECEIPT: dict[str, Any] = CASES["merkle/7-leaf-3"]["receipt"]
_ROOT = bytes.fromhex(CASES["merkle/7-leaf-3"]["root"][2:])


def find(case: dict[str, Any]) -> Inclusion | None:
    """Look the receipt of a case up in its blob."""
    return find_inclusion(case["blob"].encode(), root=bytes.fromhex(case["root"][2:]), **case["receipt"])


def find_damaged(blob: bytes) -> None:
    """Look a receipt up in a damaged blob; what is found has to be true all the same."""
    found = find_inclusion(blob, root=_ROOT, **RECEIPT)
    if found is not None:
        verify_inclusion(found, root=_ROOT, **RECEIPT)
