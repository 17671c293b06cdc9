"""A nonce where it is hashed and goes to no model; and where it would prove nothing."""

import json
from typing import Any

import pytest

from og_integrations.errors import InvalidRequestError
from og_integrations.protocol.chat._wire import CHAT_PATH, COMPLETION_PATH
from og_integrations.protocol.proof._canonical import (
    APRIL,
    REDUCED,
    canonical_request,
    nonce_place,
    request_hash,
    with_nonce,
)
from tests.protocol.documents import FOLDER

CASES: dict[str, dict[str, Any]] = {
    case["id"]: case for case in json.loads((FOLDER / "nonce.json").read_text())["cases"]
}
NONCE = "d0531d6c944dfe104fab73fd21a2e019"
FOUR_STOPS = ["a", "b", "c", "d"]


@pytest.mark.parametrize("case_id", [case_id for case_id in CASES if case_id.startswith("nonce/")])
def test_request_carries_its_nonce(case_id: str) -> None:
    """The vectors' requests, hashed by the rules of two generations."""
    case, expect = CASES[case_id], CASES[case_id]["expect"]
    path, nonce = case["path"], case["nonce"]
    before = json.dumps(case["request"])
    carried = with_nonce(path, case["request"], nonce)
    assert carried == expect["carried"]
    assert json.dumps(case["request"]) == before
    assert nonce_place(path, case["request"], nonce) is None
    assert nonce_place(path, carried, nonce) == expect["place"]
    assert request_hash(path, carried, APRIL).hex() == expect["hash_april"]
    assert request_hash(path, carried, REDUCED).hex() == expect["hash_next"]
    assert canonical_request(path, carried, REDUCED).decode() == expect["canonical_next"]


@pytest.mark.parametrize("case_id", [case_id for case_id in CASES if case_id.startswith("carries/")])
def test_nonce_is_found_only_where_it_proves_something(case_id: str) -> None:
    case, expect = CASES[case_id], CASES[case_id]["expect"]
    assert nonce_place(case["path"], case["request"], case["nonce"]) == expect["place"]
    for hashing, name in ((APRIL, "hash_april"), (REDUCED, "hash_next")):
        if name in expect:
            assert request_hash(case["path"], case["request"], hashing).hex() == expect[name]


def test_text_completions_do_not_hash_a_response_format() -> None:
    request = {"model": "m", "prompt": "hi", "response_format": {"type": "text", "og_nonce": NONCE}}
    assert nonce_place(COMPLETION_PATH, request, NONCE) is None
    assert with_nonce(COMPLETION_PATH, request, NONCE)["stop"] == [f"og-nonce:{NONCE}"]


@pytest.mark.parametrize("stop", [None, [], ""])
def test_no_stop_sequence_leaves_all_the_room(stop: object) -> None:
    carried = with_nonce(COMPLETION_PATH, {"model": "m", "prompt": "hi", "stop": stop}, NONCE)
    assert carried["stop"] == [f"og-nonce:{NONCE}"]


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        (CHAT_PATH, {"response_format": {"type": "json_object"}, "stop": FOUR_STOPS}),
        (CHAT_PATH, {"response_format": {"type": "text", "more": 1}, "stop": FOUR_STOPS}),
        (COMPLETION_PATH, {"stop": FOUR_STOPS}),
        (COMPLETION_PATH, {"stop": 5}),
    ],
)
def test_request_without_a_place(path: str, request_: dict[str, Any]) -> None:
    """Said before anything is sent; nothing of the request is dropped to make room."""
    with pytest.raises(InvalidRequestError, match=r"no place for a nonce: .* at most 3 leave room.*Nothing was sent"):
        with_nonce(path, {"model": "m"} | request_, NONCE)


def test_unknown_path_has_no_place() -> None:
    with pytest.raises(InvalidRequestError, match="'/v1/embeddings' has no place for a nonce"):
        with_nonce("/v1/embeddings", {}, NONCE)
    assert nonce_place("/v1/embeddings", {"stop": [f"og-nonce:{NONCE}"]}, NONCE) is None


@pytest.mark.parametrize("nonce", ["", "ab", NONCE.upper(), NONCE + "\n", "g" * 32])
def test_what_is_no_nonce(nonce: str) -> None:
    """An empty one would be found in a request that carries none."""
    with pytest.raises(InvalidRequestError, match="32 lower-case hex digits"):
        with_nonce(CHAT_PATH, {}, nonce)
    carried = {"response_format": {"type": "text", "og_nonce": nonce}, "stop": [f"og-nonce:{nonce}"]}
    assert nonce_place(CHAT_PATH, carried, nonce) is None
