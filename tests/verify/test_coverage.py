"""`verify` names what no check covers: whatever else is altered in a saved receipt is found."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from og_integrations.client import Client, collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.verify import Verdict, Verifier
from tests.fuzz.targets import LONGEST_LIST

Saved = dict[str, Any]
PIXEL = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
OF_REGISTRY = {
    f"enclave.{name}" for name in ("endpoint", "certificate_sha256", "pcr_hash", "payment_address")
}  # fmt: skip


BY_FILE_KEY = Verifier.unsafe_file_key()


def judged(saved: Saved, verifier: Verifier = BY_FILE_KEY) -> Verdict:
    return verifier.verify(json.dumps(saved).encode())


def not_covered(verdict: Verdict) -> dict[str, list[str]]:
    """Read the check as a person would, group -> names; the verdict's member says the same."""
    (detail,) = [check.detail for check in verdict.checks if check.id == "not-covered"]
    named = {group: names.split(", ") for group, _, names in (part.partition(": ") for part in detail.split("; "))}
    assert {group: list(names) for group, names in verdict.not_covered.items()} == named
    return named


def save(net: Devnet, content: object = "hi", **options: Any) -> Saved:
    settings: dict[str, Any] = {"private_key": net.private_key, "network": net.network, "gateway_generation": "next"}
    with collect_receipts(keep_exchanges=True) as receipts, Client(**settings) as client:
        client.chat("openai/gpt-5-mini", [{"role": "user", "content": content}], **options)
    return {"receipt": receipts[0], "exchange": receipts.exchanges[0]}


def leaves(receipt: Saved) -> Iterator[tuple[Saved, str, str]]:
    """Yield (the object, its member, the member's full name) of a receipt that may be altered."""
    for name, value in receipt.items():
        if isinstance(value, dict):
            yield from ((value, inner, f"{name}.{inner}") for inner in value)
        else:
            yield receipt, name, name


LIES: tuple[object, ...] = (
    "edited",
    "0x" + "ab" * 20,
    "0x" + "ab" * 32,
    7,
    [],
    "1",
    None,
    "exact",
    "x-processing-hash",
    "PAYMENT-RESPONSE",
)


def edited_and_verified(saved: Saved, verifier: Verifier) -> set[str]:
    """Alter each leaf in many ways; return those with which the file is verified, though it does not name them."""
    free = set()
    for _, _, name in list(leaves(saved["receipt"])):
        for lie in LIES:
            altered = copy.deepcopy(saved)
            owner, member = next((o, m) for o, m, n in leaves(altered["receipt"]) if n == name)
            if owner[member] == lie:
                continue
            owner[member] = lie
            verdict = judged(altered, verifier)
            if verdict.status == "verified" and name not in not_covered(verdict)["receipt"]:
                free.add(name)
    return free


def test_whatever_is_altered_is_found_or_named(saved: Saved) -> None:
    assert edited_and_verified(saved, BY_FILE_KEY) == set()
    named = set(not_covered(judged(saved))["receipt"])
    assert named >= {"created", "checks", "payment.payer", "payment.session_ref", "enclave.source"} | OF_REGISTRY
    assert not named & {"unsigned", "hash_rule", "kind", "payment.max_amount", "payment.scheme", "version"}


@pytest.mark.usefixtures("environment")
def test_registry_covers_what_it_knows(saved: Saved) -> None:
    """What it says otherwise is named again; another measurement of the same key is a lie."""
    verifier = Verifier.registry()
    assert not OF_REGISTRY & set(not_covered(judged(saved, verifier))["receipt"])
    assert edited_and_verified(saved, verifier) == set()
    saved["receipt"]["enclave"]["pcr_hash"] = "0x" + "11" * 32
    verdict = judged(saved, verifier)
    assert (verdict.status, verdict.step) == ("failed", "receipt")


def test_members_of_the_files_own_making_are_counted(saved: Saved) -> None:
    """Their names could push the others out of the line."""
    saved["receipt"]["enclave"] |= {f"x{number}" * 50: number for number in range(50)}
    assert not_covered(judged(saved))["receipt"][-1] == "50 members that no receipt has"


@pytest.mark.parametrize("path", ["enclave.public_key", "payment.max_amount"])
def test_member_whose_name_has_a_dot_is_no_part_of_another(path: str, saved: Saved) -> None:
    """It would hide that the part itself was altered."""
    part, _, name = path.partition(".")
    saved["receipt"][path] = saved["receipt"][part][name]
    assert judged(saved).verified
    saved["receipt"][part][name] = "1"
    assert judged(saved).status == "failed"


def test_provider_of_the_model_is_named(saved: Saved) -> None:
    """The gateway is asked for the name alone."""
    saved["receipt"]["model"] = "anthropic/gpt-5-mini"
    verdict = judged(saved)
    assert (verdict.status, not_covered(verdict)["receipt"][0]) == ("verified", "the provider in model")


def test_payer_is_said_not_to_be_in_the_digest(saved: Saved) -> None:
    """Permit2 takes the payer from the signature."""
    details = {check.id: check.detail for check in judged(saved).checks}
    assert details["payment-hash"] == "EIP-712 digest of the payment's fields, among which the payer is not"


def with_member(saved: Saved, member: str) -> Saved:
    """Return `saved` with a member in its request that no hash covers."""
    request = json.loads(saved["exchange"]["request"])
    (request["messages"][0] if "name" in member else request)[member.rpartition(".")[2]] = "altered"
    return saved | {"exchange": saved["exchange"] | {"request": json.dumps(request)}}


@pytest.mark.parametrize("member", ["seed", "tool_choice"])
def test_unhashed_member_of_the_request_is_named(member: str, saved: Saved) -> None:
    """The gateway parses them and hashes nothing of them (docs/protocol.md §2, §4)."""
    verdict = judged(with_member(saved, member))
    assert (verdict.status, not_covered(verdict)["request"]) == ("verified", [member])


@pytest.mark.parametrize("member", ["n", "web_search", "messages[].name"])
def test_unhashed_member_that_a_receipt_names_is_found_or_named(member: str, saved: Saved) -> None:
    """Written into a file later, it is none of its receipt; in a file without a receipt it is named."""
    altered = with_member(saved, member)
    verdict = judged(altered)
    assert (verdict.status, verdict.step, not_covered(verdict)["request"]) == ("failed", "receipt", [member])
    altered["receipt"]["unsigned"] = sorted([*saved["receipt"]["unsigned"], member])
    assert judged(altered).status == "verified"
    verdict = judged(altered["exchange"])
    assert (verdict.status, not_covered(verdict)["request"]) == ("verified", [member])


@pytest.mark.parametrize("length", [1, 1000])
def test_members_of_a_request_that_nobody_knows_do_not_fill_the_line(length: int, saved: Saved) -> None:
    """Files of strangers may hold any number of them, each with a name of any length."""
    request = json.loads(saved["exchange"]["request"])
    request |= {f"x{number:03}".ljust(length, "x"): 1 for number in range(500)} | {"seed": 1}
    verdict = judged(saved | {"exchange": saved["exchange"] | {"request": json.dumps(request)}})
    shown = not_covered(verdict)["request"]
    line = next(check.detail for check in verdict.checks if check.id == "not-covered")
    assert (verdict.status, shown[0], shown[-1]) == ("verified", "seed", f"{501 - len(shown[:-1])} more members")
    assert len(line) <= LONGEST_LIST


@pytest.mark.parametrize(("earlier", "generation"), [("2026-04", "april"), ("next", "reduced")])
def test_receipt_with_an_earlier_name_of_its_rule_is_read(earlier: str, generation: str) -> None:
    """Receipts of that time named fewer parts of the request as unsigned."""
    with Devnet(generation=generation) as net:
        saved = save(net, [{"type": "text", "text": "hi"}])
    named = with_member(saved, "messages[].name")
    assert named["receipt"].pop("hash_rule") == generation
    named["receipt"]["hashing"] = earlier
    assert judged(named).status == "verified"
    named["receipt"]["hashing"] = "next" if earlier == "2026-04" else "2026-04"
    assert (judged(named).status, judged(named).step) == ("failed", "receipt")


@pytest.mark.parametrize(
    ("body", "member", "step"),
    [("request", '"messages":', "request-hash"), ("response", '"content": ', "shape")],
)
def test_member_named_twice_is_refused(body: str, member: str, step: str, saved: Saved) -> None:
    """A reader would see the forged one, and the last one is hashed."""
    text = saved["exchange"][body]
    assert member in text
    saved["exchange"][body] = text.replace(member, f'{member}"FORGED",{member}', 1)
    verdict = judged(saved)
    assert (verdict.status, verdict.step) == ("failed", step)


def test_settlement_of_headers_is_named_as_unsigned(network: Devnet) -> None:
    """An `individual` answer that is not streamed brings its transaction in headers."""
    saved = save(network, settlement_mode="individual")
    assert saved["receipt"]["payment"]["transaction_hash"]
    assert "settlement" in saved["receipt"]["unsigned"]
    assert judged(saved).status == "verified"
    assert edited_and_verified(saved, BY_FILE_KEY) == set()


def test_bytes_of_images_are_named_as_unsigned() -> None:
    """The next generation hashes that there was an image, and not which."""
    content = [{"type": "text", "text": "Is this signed?"}, PIXEL]
    with Devnet(generation="next") as net:
        saved = save(net, content)
        plain = save(net, content[:1])
    assert (saved["receipt"]["hash_rule"], saved["receipt"]["unsigned"][0]) == ("reduced", "attachments")
    assert "attachments" not in plain["receipt"]["unsigned"]
    saved["exchange"]["request"] = saved["exchange"]["request"].replace("AAAA", "EVIL")
    verdict = judged(saved)
    assert verdict.status == "verified"
    assert "attachments" in not_covered(verdict)["answer"]
    assert not_covered(verdict)["request"] == ["messages[].content[].image_url"]
