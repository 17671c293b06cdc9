"""
What a user of `ChatOpenGradient` sees under each fault of the devnet: expected here, and shown in `docs/faults.md`.

`python -m tests.adapters.langchain.fault_table` writes the document; `test_fault_table.py` holds both.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from og_integrations.devnet._fault import Fault
from og_integrations.devnet.faults._answers import ANSWER_FAULTS, STREAM_FAULTS
from og_integrations.devnet.faults._attestation import ATTESTATION_FAULTS
from og_integrations.devnet.faults._payments import PAYMENT_FAULTS
from og_integrations.devnet.faults._sealing import SEALING_FAULTS
from og_integrations.devnet.faults._trust import TRUST_FAULTS
from og_integrations.devnet.faults._wire import WIRE_FAULTS

DOCUMENT = Path(__file__).parents[3] / "docs" / "faults.md"
SECTIONS = {
    "Who is who": TRUST_FAULTS,
    "What an enclave is": ATTESTATION_FAULTS,
    "Payment": PAYMENT_FAULTS,
    "Answers": ANSWER_FAULTS,
    "Streams": STREAM_FAULTS,
    "Bytes": WIRE_FAULTS,
    "Sealed channel": SEALING_FAULTS,
}
OK = "answered"
ATTESTED = frozenset(fault.name for fault in ATTESTATION_FAULTS)
"""Under these, models are asked with a policy that pins the builds: others ask for no document."""
UNDER = {
    "What an enclave is": "Asked with `EnclavePolicy(measurements=…)`, which pins the builds. With the default policy "
    "no document is asked for, and a client is answered by whomever the registry, or the node in front of it, lists: "
    "its receipts then say `trust: registry` ([attestation.md](attestation.md)).\n"
}
HEAD = """\
# What happens when something lies or breaks

Made by `python -m tests.adapters.langchain.fault_table`; `tests/adapters/langchain/test_fault_table.py` runs every
fault by every method against `ChatOpenGradient` over TLS, and fails if this page tells anything else.

Each call ends in a verified answer ("answered") or in the error named here, a class of `og_integrations.errors` that is
also LangChain's `ModelError`. Besides, in every cell: at most one payment is signed for a call; the receipts tell of
exactly the payments that the network saw; no receipt says "verified" for what failed; a stream that fails ends in the
error after the text so far, without tool calls (`verification="buffer"` shows nothing before the proof); and
`Devnet.verdict()` has nothing to say.

"Signed" is how many payments left for a first call (with 0 nothing can have been charged). The faults of the sealed
channel are met with `channel="ohttp"` through a relay, which pays.
"""


class Row(NamedTuple):
    """The outcome of `invoke`, `ainvoke` and `batch`, that of the streams, and how many payments were signed."""

    whole: str
    streamed: str
    signed: int
    note: str = ""


def _same(outcome: str, signed: int, *faults: str, note: str = "") -> dict[str, Row]:
    return {fault: Row(outcome, outcome, signed, note) for fault in faults}


def _streams(outcome: str, *faults: str) -> dict[str, Row]:
    return {fault: Row(OK, outcome, 1) for fault in faults}


def _names(faults: Iterable[Fault], *without: str) -> list[str]:
    return [fault.name for fault in faults if fault.name not in without]


_SHOWN_AS_REPORTED = ("contradictory_cost", "calling_picture")
_ANSWERED_RIGHTLY = ("settlement_failure", "clock_drift", "unoffered_tool", *_SHOWN_AS_REPORTED, "made_up_citation")
_MALFORMED = ("garbage_usage", "no_choices", "wrong_content_type")
ROWS: dict[str, Row] = {
    **_same("CertificateMismatchError", 0, "wrong_certificate", "registry_other_certificate"),
    **_same("DiscoveryError", 0, "empty_registry", "dead_registry", "garbage_registry", "silent_registry"),
    **_same("ConnectionFailedError", 0, "dead_endpoint"),
    **_same("EnclaveRejectedError", 0, "debug_enclave", "retired_enclave"),
    **_same("VerificationError", 1, "registry_other_key"),
    **_same("AttestationError", 0, *_names(ATTESTATION_FAULTS, "lying_registry", "nonce_ignored")),
    **_same("VerificationError", 1, "nonce_ignored"),
    **_same("EnclaveRejectedError", 0, "lying_registry", note="its pcr hash is that of no pinned build"),
    **_same("BudgetExceededError", 0, "offer_over_cap", "offer_of_everything"),
    **_same("MalformedOfferError", 0, "offer_of_nothing", "fractional_offer", "no_facilitator", "empty_offer"),
    **_same("MalformedOfferError", 0, "old_offer", "garbage_offer", "duplicate_offer", "missing_offer", "giant_offer"),
    **_same("AssetRefusedError", 0, "other_asset"),
    **_same("NetworkRefusedError", 0, "other_network"),
    **_same("SchemeRefusedError", 0, "other_scheme"),
    **_same("PayeeRefusedError", 0, "other_pay_to", note="the registry lists another payment address"),
    **_same("PaymentRefusedError", 1, "other_facilitator", "second_402"),
    **_same(OK, 1, "expired_session", "moving_margin", note="a new session is paid for"),
    **_same(OK, 1, "foreign_session", note="the next call finds it gone and pays for its own"),
    **_same(OK, 1, "stolen_session", note="a client cannot see whose it is; its receipts tell what it was told"),
    **_same("PaymentInDoubtError", 1, "server_error_after_payment", "facilitator_down", "facilitator_crash"),
    **_same("PaymentInDoubtError", 1, "duplicate_session", "malformed_session"),
    **_same(OK, 1, "missing_session", note="calls at once share one authorization, a later one signs its own"),
    **_same("VerificationError", 1, *_names(ANSWER_FAULTS, *_ANSWERED_RIGHTLY, *_MALFORMED)),
    **_same("MalformedReplyError", 1, *_MALFORMED),
    **_same(OK, 1, "settlement_failure", note="the receipt has no transaction"),
    **_same(OK, 1, "unoffered_tool", note="the model's slip, and proven: frameworks refuse the call by its name"),
    **_same(OK, 1, *_SHOWN_AS_REPORTED, note="shown as unsigned, and nothing is fetched or believed"),
    **_same(OK, 1, "made_up_citation", note="of a web search: `VerificationError`"),
    **_same(OK, 1, "clock_drift", "slow_answer", "incomplete_enclaves"),
    **_same(OK, 1, "stale_heartbeat", note="whom it lists as active is the registry's word"),
    **_streams("StreamFailedError", "error_event"),
    **_streams("StreamCutError", "missing_final_event", "missing_done"),
    **_streams("MalformedReplyError", "duplicate_final_event", "text_after_final", "garbage_event"),
    **_streams("VerificationError", "lost_event", "reordered_events"),
    **_same("ConnectionLostError", 0, "stall_offer", "cut_offer", "flipped_offer"),
    **_same("ReadTimeoutError", 1, "stall_after_payment", "stall_mid_head", "stall_mid_body"),
    **_streams("ReadTimeoutError", "stall_before_end", "stall_in_comments"),
    "stall_in_blanks": Row("ReadTimeoutError", OK, 1),
    **_same("PaymentInDoubtError", 1, "cut_after_payment", "cut_head"),
    **_same("PaymentInDoubtError", 1, "giant_header", "garbage_header", "garbage_status"),
    **_same("PaymentInDoubtError", 1, "flipped_record", "injected_alert", "unknown_record", "cut_record"),
    **_streams("StreamCutError", "flipped_event"),
    "cut_body": Row("PaymentInDoubtError", OK, 1),
    "two_lengths": Row("PaymentInDoubtError", OK, 1),
    **_streams("StreamCutError", "cut_event", "cut_stream", "reset_stream", "closed_stream", "short_stream"),
    **_streams("StreamCutError", "cut_before_done", "cut_before_end"),
    **_streams("MalformedReplyError", "endless_stream", "endless_event"),
    **_same("GatewayError", 1, "redirect"),
    **_same("MalformedReplyError", 1, "gzip_bomb"),
    **_same("SealedChannelError", 0, "unsigned_key_config", "foreign_key_config"),
    **_same("EnclaveRejectedError", 0, "no_key_config"),
    **_same("SealedChannelError", 0, "relay_in_clear", "relay_asks_for_payment", "relay_error"),
    **_same("SealedChannelError", 0, "relay_truncates", "relay_replays", "relay_swaps_enclave"),
    **_same(OK, 0, "unsigned_registry_key", "relay_keeps_billing"),
}


def page() -> str:
    """Return the document."""
    return "\n".join([HEAD, *(line for title, faults in SECTIONS.items() for line in _section(title, faults))])


def _section(title: str, faults: Iterable[Fault]) -> Iterator[str]:
    yield f"## {title}\n"
    if title in UNDER:
        yield UNDER[title]
    yield "| Fault | What it does | invoke, ainvoke, batch | stream, astream | Signed |"
    yield "| --- | --- | --- | --- | --- |"
    for fault in faults:
        row = ROWS[fault.name]
        about = fault.about + (f" ({row.note})" if row.note else "")
        yield f"| `{fault.name}` | {about} | {_shown(row.whole)} | {_shown(row.streamed)} | {row.signed} |"
    yield ""


def _shown(outcome: str) -> str:
    return outcome if outcome == OK else f"`{outcome}`"


if __name__ == "__main__":
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(page(), "utf-8")
