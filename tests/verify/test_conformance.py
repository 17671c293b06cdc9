"""The public vectors against our own verifier, and against some that are broken, each found out by name."""

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from og_integrations.cli import main
from og_integrations.errors import ConfigurationError
from og_integrations.protocol.chat._wire import CHAT_PATH
from og_integrations.protocol.proof import _attestation as attestation
from og_integrations.protocol.proof import _inclusion as inclusion
from og_integrations.protocol.proof import _verification
from og_integrations.protocol.proof._attestation import STEPS as TEN_STEPS
from og_integrations.protocol.proof._canonical import APRIL
from og_integrations.receipt import Check
from og_integrations.verify import _answering, _evidence, _verifier
from og_integrations.verify._answering import answer
from og_integrations.verify._vectors import Case, Conformance, cases_in, compared, read_answers

ROOT = Path(__file__).parent.parent.parent
VECTORS = ROOT / "tests" / "vectors"
OF_FILES = ("proof", "shape", "enclave", "request-hash", "output-hash", "signature", "enclave-trusted", "attestation")


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return cases_in(VECTORS)


def test_ours_conforms(capfd: pytest.CaptureFixture[str]) -> None:
    """In a process of its own, as any other verifier: 886 vectors."""
    assert main(["conformance", "--vectors", str(VECTORS), "--json"]) == 0
    *lines, last = map(json.loads, capfd.readouterr().out.splitlines())
    assert last == {"conforms": True, "right": 886, "wrong": 0, "unclaimed": 0, "diagnoses": []}
    assert {line["result"] for line in lines} == {"pass"}
    counts = Counter(line["kind"] for line in lines)
    shown = (ROOT / "docs" / "conformance.md").read_text()
    assert all(f"| `{kind}` | {number} |" in shown for kind, number in counts.items())
    assert all(line["line"].startswith("docs/protocol.md §") for line in lines)


def test_every_line_stands_in_the_specification() -> None:
    """Whoever is told that a vector failed can read why, word for word, in the section that is named."""
    text = (ROOT / "docs" / "protocol.md").read_text()
    lines = json.loads((VECTORS / "conformance.json").read_text())["lines"]
    for code, (section, line) in lines.items():
        begin = text.index(f" {section}{'.' if '.' not in section else ''} ")
        assert line in text[begin : text.index("\n##", begin)].splitlines(), code


def test_every_step_has_vectors(cases: list[Case]) -> None:
    """A verifier that leaves any step out meets one that only this step refuses."""
    held = {(case.kind, case.steps[0]) for case in cases}
    wanted = {("verify", step) for step in (*OF_FILES, "input")} | {("attestation", step) for step in TEN_STEPS}
    parts = ("receipt", "payment-hash", "nonce", "hpke", "inclusion", "enclave-trusted", "attestation", "signature")
    wanted |= {("receipt", step) for step in parts} | {("inclusion", "batch"), ("nonce", "place")}
    assert wanted - held == set()
    assert {case.kind for case in cases if case.statuses == ("verified",)} == {case.kind for case in cases}


def verifier(tmp_path: Path, body: str) -> str:
    """Return the command of a verifier that prints the expression `body` for each `asked`."""
    script = tmp_path / "verifier.py"
    script.write_text(f"import json, sys\nfor line in sys.stdin:\n    asked = json.loads(line)\n    {body}\n")
    return f"{sys.executable} {script}"


def says(status: str, step: str = "None", code: str = "None") -> str:
    return f'print(json.dumps({{"id": asked["id"], "status": "{status}", "step": {step}, "code": {code}}}))'


def judged(capfd: pytest.CaptureFixture[str], command: str, *flags: str) -> tuple[int, list[str]]:
    code = main(["conformance", command, "--vectors", str(VECTORS), *flags])
    return code, capfd.readouterr().out.splitlines()


def test_verifier_that_accepts_everything_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, lines = judged(capfd, verifier(tmp_path, says("verified")))
    assert code == 1
    assert any(line.startswith("  It accepts everything: ") and line.endswith("had to be refused.") for line in lines)
    assert any("  verify/captured/upstream-error: answered verified, expected failed (shape)" in line for line in lines)


def test_line_of_a_verifier_ends_at_the_line_end_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its words may hold U+2028 or U+0085, at which Python cuts a text."""
    answer = '{"id": asked["id"], "status": "verified", "step": None, "code": None, "why": "a\\u2028b\\x85c"}'
    body = f'sys.stdout.buffer.write(json.dumps({answer}, ensure_ascii=False).encode() + b"\\n")'
    code, lines = judged(capfd, verifier(tmp_path, body))
    assert code == 1
    assert any(line.startswith("  It accepts everything: ") for line in lines)


def test_verifier_that_refuses_everything_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    body = says("failed", '"signature"', 'asked["kind"] + ".signature"')
    code, lines = judged(capfd, verifier(tmp_path, body))
    assert code == 1
    assert any(line.startswith("  It refuses everything: ") and line.endswith("are sound.") for line in lines)


def test_verifier_that_skips_a_step_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """In a process of its own: our judge without the look at the nonce of a document."""
    script = tmp_path / "verifier.py"
    script.write_text(
        "import json, sys\n"
        "from og_integrations.protocol.proof import _attestation as attestation\n"
        "from og_integrations.verify._answering import answer\n"
        "attestation._judge_nonce = lambda found, expected, log: log.passed('whatever')\n"
        "for line in sys.stdin:\n    print(json.dumps(answer(json.loads(line))))\n"
    )
    code, lines = judged(capfd, f"{sys.executable} {script}", "--kind", "attestation")
    assert code == 1
    (diagnosis,) = [line for line in lines if line.startswith("  It ")]
    assert diagnosis.startswith("  It skips the step nonce of attestation (docs/protocol.md §9.2: 7. `nonce`: ")


def accept(*_: Any) -> None:
    """Stand for a step that finds nothing wrong."""


def passing(*given: Any) -> None:
    """The same, of a step that notes its verdict in its last argument."""
    given[-1].passed("not looked at")


_by_rule = _verification._matching_rule


def any_hash(exchange: Any, *rest: Any) -> str:
    """Stand for the comparison of hashes, where there is one."""
    return APRIL if exchange.path == CHAT_PATH else _by_rule(exchange, *rest)


SKIPPED: dict[tuple[str, str], tuple[Any, str, Callable[..., Any]]] = {
    ("verify", "enclave"): (_verification, "_check_enclave", accept),
    ("verify", "request-hash"): (_verification, "_matching_rule", any_hash),
    ("verify", "output-hash"): (_verification, "_check_output", accept),
    ("verify", "signature"): (_verification, "_check_signature", accept),
    ("verify", "enclave-trusted"): (_verification, "_judge_trust", passing),
    ("receipt", "receipt"): (_verifier, "receipt_check", lambda *_: Check("receipt", "pass", "")),
    ("receipt", "payment-hash"): (_verifier, "payment_check", lambda *_: Check("payment-hash", "pass", "")),
    ("receipt", "nonce"): (_evidence, "_nonce", lambda *_: Check("nonce", "pass", "")),
    ("receipt", "hpke"): (_evidence, "_key_config", lambda *_: Check("hpke", "pass", "")),
    ("receipt", "inclusion"): (_evidence, "_inclusion", lambda *_: Check("inclusion", "pass", "")),
    ("attestation", "header"): (attestation, "_check_header", accept),
    ("attestation", "signature"): (attestation, "_check_signature", accept),
    ("attestation", "time"): (attestation, "_judge_time", lambda *_: "not looked at"),
    ("attestation", "debug"): (attestation, "_judge_debug", passing),
    ("attestation", "measurements"): (attestation, "_judge_measurements", passing),
    ("attestation", "binding"): (attestation, "_judge_binding", passing),
    ("inclusion", "batch"): (_answering, "find_inclusion", lambda *_, **__: inclusion.Inclusion(b"", ())),
    ("nonce", "place"): (_answering, "nonce_place", lambda *_: "stop"),
}


def answered(cases: list[Case]) -> Conformance:
    return compared(cases, {case.id: answer(case.question) for case in cases})


@pytest.mark.parametrize("skipped", SKIPPED, ids="-".join)
def test_skipped_step_is_named(skipped: tuple[str, str], cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    """Our judge without one of its steps does not conform, and the report names that step."""
    kind, step = skipped
    chosen = [case for case in cases if case.kind == kind and case.steps[0] in (step, None)]
    chosen += [case for case in cases if case.id == "verify/input/junk"]
    monkeypatch.setattr(*SKIPPED[skipped])
    found = answered(chosen)
    assert not found.conforms
    assert [text for text in found.diagnoses if f"the step {step} of {kind}" in text], found.diagnoses


def test_part_may_be_claimed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A verifier of one kind says so of all others; only --partial lets it, and some of it has to be right."""
    guess = '{"id": asked["id"], "status": "verified", "step": None, "code": None, "found": {"hash": "?"}}'
    body = says("unsupported") + f' if asked["kind"] != "hash" else print(json.dumps({guess}))'
    command = verifier(tmp_path, body)
    assert judged(capfd, command)[0] == 1
    code, lines = judged(capfd, command, "--partial")
    assert code == 1
    assert "attestation  0 of 154 right, 154 not claimed" in lines
    assert any("found hash ?, expected " in line for line in lines)
    nothing, lines = judged(capfd, verifier(tmp_path, says("unsupported")), "--partial")
    assert (nothing, lines[-1]) == (1, "It does not conform: it claims nothing.")


def test_right_verdict_for_a_wrong_reason_is_wrong(cases: list[Case]) -> None:
    (case,) = [case for case in cases if case.id == "verify/output-hash/text"]
    right = {"id": case.id, "status": "failed", "step": "output-hash", "code": "verify.output-hash"}
    assert case.wrong(right) is None
    assert case.wrong(right | {"step": "signature"}) == "answered failed (signature), expected failed (output-hash)"
    assert "with the code null, expected verify.output-hash" in str(case.wrong(right | {"code": None}))
    assert "expected failed" in str(case.wrong(right | {"status": "malformed"}))
    assert compared([case], {}).wrong == [(case, "was not answered")]
    (sound,) = [case for case in cases if case.id == "verify/captured/plain"]
    assert sound.wrong({"status": "verified", "step": None, "code": None}) is None
    assert "with the step shape" in str(sound.wrong({"status": "verified", "step": "shape", "code": None}))


@pytest.mark.parametrize(
    ("command", "flags", "said"),
    [
        ("there-is-no-such-verifier", (), "cannot be run"),
        ("", (), "cannot be run"),
        ("{python} -c pass", ("--kind", "signature"), "is none of verify, receipt, attestation"),
        ("{python} -c exit(3)", (), "ended with exit code 3"),
        ("{python} -c print(5)", (), "line 1 of the verifier's output is no JSON object with an id"),
        ("{python} -c 'import time; time.sleep(30)'", ("--timeout", "0.2"), "did not end within 0.2 s"),
    ],
)
def test_verifier_that_cannot_be_judged(
    command: str, flags: tuple[str, ...], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is wrong is said in one line, with exit code 2: this is no verdict."""
    command = command.replace("{python}", sys.executable)
    assert main(["conformance", command, "--vectors", str(VECTORS), *flags]) == 2
    assert said in capfd.readouterr().err


@pytest.mark.parametrize(
    ("lines", "said"), [(["{}"], "no JSON object with an id"), (['{"id": "a"}', '{"id": "a"}'], "answered 'a' twice")]
)
def test_output_that_is_none(lines: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_answers(lines)


def test_folder_without_vectors(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance"]) == 2
    assert "--vectors tests/vectors" in capfd.readouterr().err
    assert main(["conformance", "--vectors", str(tmp_path)]) == 2
    assert "conformance.json cannot be read" in capfd.readouterr().err
    (tmp_path / "conformance.json").write_text('{"format": "og-conformance/1", "specification": "x", "lines": {}}')
    assert main(["conformance", "--vectors", str(tmp_path)]) == 2
    assert "a vector cannot be read (KeyError" in capfd.readouterr().err


@pytest.mark.parametrize("line", ["junk", "5", '{"id": "a"}'])
def test_our_verifier_is_asked_something_else(
    line: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "asked").write_text(line)
    with (tmp_path / "asked").open() as asked:
        monkeypatch.setattr(sys, "stdin", asked)
        assert main(["conformance", "--answer"]) == 2
    assert "A line of standard input is no" in capfd.readouterr().err
    assert answer({"id": "a", "kind": "of another time"})["status"] == "unsupported"
