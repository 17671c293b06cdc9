"""`verify` on the captured exchanges, whole and tampered with."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from og_integrations.cli import main

CAPTURES: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "gateway.json").read_text())
VECTORS: dict[str, dict[str, Any]] = {vector["name"]: vector for vector in CAPTURES["vectors"]}
MEMBERS = ("path", "request", "content_type", "response")
UNPROVEN = {
    "stop-empty-list": "shape",
    "json-object-anthropic": "shape",
    "developer-role": "shape",
    "unknown-model": "shape",
    "missing-messages": "shape",
    "stream-error-event": "proof",
    "individual-stream-error": "proof",
    "upstream-error": "shape",
}
IDS = [
    "proof",
    "shape",
    "enclave",
    "request-hash",
    "output-hash",
    "signature",
    "enclave-trusted",
    "attestation",
    "freshness",
    "channel",
    "not-covered",
]


def exchange_of(name: str) -> dict[str, Any]:
    members = {member: VECTORS[name][member] for member in MEMBERS}
    return members | {"tee_id": CAPTURES["tee_id"], "public_key_pem": CAPTURES["public_key_pem"]}


def report_of(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, document: object, *flags: str
) -> tuple[int, dict[str, Any]]:
    file = tmp_path / "exchange.json"
    file.write_text(json.dumps(document))
    code = main(["verify", "--json", *(flags or ["--trust-file-key"]), str(file)])
    (line,) = capsys.readouterr().out.splitlines()
    return code, json.loads(line)


@pytest.mark.parametrize("name", VECTORS)
def test_capture_is_judged_rightly(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """43 answers are proven; refusals and failed streams are not, and say where they end."""
    code, report = report_of(capsys, tmp_path, exchange_of(name))
    expected = ("failed", UNPROVEN[name], 1) if name in UNPROVEN else ("verified", None, 0)
    assert (report["status"], report["step"], code) == expected


def test_report_has_the_promised_shape(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Programs read it: these members, these checks, and a skip where nothing can be said."""
    _, report = report_of(capsys, tmp_path, exchange_of("plain"))
    assert list(report) == ["file", "status", "step", "checks"]
    assert report["file"] == str(tmp_path / "exchange.json")
    assert [check["id"] for check in report["checks"]] == IDS
    assert {check["id"] for check in report["checks"] if check["result"] != "pass"} == {*IDS[-4:]}
    assert {check["result"] for check in report["checks"]} == {"pass", "skip"}
    assert all(set(check) == {"id", "result", "detail"} for check in report["checks"])


def edit(member: str, change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], None]:
    """Return an edit of the JSON inside `member`."""

    def apply(exchange: dict[str, Any]) -> None:
        body = json.loads(exchange[member])
        change(body)
        exchange[member] = json.dumps(body)

    return apply


def message(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = body["choices"][0]["message"]
    return found


def call(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = message(body)["tool_calls"][0]["function"]
    return found


Edit = Callable[[dict[str, Any]], None]
OTHER_SIGNATURE = json.loads(VECTORS["unicode"]["response"])["tee_signature"]
TAMPERINGS: dict[str, tuple[str, Edit, str]] = {
    "prompt": ("plain", edit("request", lambda r: r["messages"][0].update(content="ho")), "request-hash"),
    "temperature": ("plain", edit("request", lambda r: r.update(temperature=0.1)), "request-hash"),
    "tool removed": ("tools-unused", edit("request", lambda r: r.pop("tools")), "request-hash"),
    "path": ("plain", lambda e: e.update(path="/v1/embeddings"), "request-hash"),
    "other endpoint": ("plain", lambda e: e.update(path="/v1/completions"), "request-hash"),
    "request not JSON": ("plain", lambda e: e.update(request="hi"), "request-hash"),
    "model of the request": ("plain", edit("request", lambda r: r.update(model="gpt-5")), "shape"),
    "text": ("plain", edit("response", lambda r: message(r).update(content="Buy now.")), "output-hash"),
    "tool arguments": ("tool-call", edit("response", lambda r: call(r).update(arguments="{}")), "output-hash"),
    "tool name": ("tool-call", edit("response", lambda r: call(r).update(name="transfer")), "output-hash"),
    "streamed text": ("stream-text", lambda e: e.update(response=e["response"].replace("tok1", "tokX")), "output-hash"),
    "second choice": ("plain", edit("response", lambda r: r["choices"].append(r["choices"][0])), "shape"),
    "finish reason": ("tool-call", edit("response", lambda r: r["choices"][0].update(finish_reason="stop")), "shape"),
    "model of the answer": ("plain", edit("response", lambda r: r.update(model="gpt-4o")), "shape"),
    "no signature": ("plain", edit("response", lambda r: r.pop("tee_signature")), "proof"),
    "another signature": ("plain", edit("response", lambda r: r.update(tee_signature=OTHER_SIGNATURE)), "signature"),
    "signature with a blank": (
        "plain",
        edit("response", lambda r: r.update(tee_signature=r["tee_signature"] + " ")),
        "shape",
    ),
    "time": ("plain", edit("response", lambda r: r.update(tee_timestamp=r["tee_timestamp"] + 1)), "signature"),
    "time as text": ("plain", edit("response", lambda r: r.update(tee_timestamp=str(r["tee_timestamp"]))), "proof"),
    "request hash": ("plain", edit("response", lambda r: r.update(tee_request_hash="00" * 32)), "request-hash"),
    "output hash": ("plain", edit("response", lambda r: r.update(tee_output_hash="00" * 32)), "output-hash"),
    "id of the answer": ("plain", edit("response", lambda r: r.update(tee_id="0x" + "00" * 32)), "enclave"),
    "id of the file": ("plain", lambda e: e.update(tee_id="0x" + "00" * 32), "enclave"),
    "content type": ("plain", lambda e: e.update(content_type="text/html"), "shape"),
    "cut": ("stream-text", lambda e: e.update(response=e["response"][:400]), "proof"),
    "no DONE": ("stream-text", lambda e: e.update(response=e["response"].replace("data: [DONE]", "")), "proof"),
    "garbage": ("plain", lambda e: e.update(response="<html>"), "shape"),
    "empty": ("plain", lambda e: e.update(response=""), "shape"),
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_tampering_fails_at_its_step(tampering: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Whatever is changed, the check that it breaks is named, and what comes after is a skip."""
    name, change, step = TAMPERINGS[tampering]
    exchange = exchange_of(name)
    change(exchange)
    code, report = report_of(capsys, tmp_path, exchange)
    assert (report["status"], report["step"], code) == ("failed", step, 1)
    results = {check["id"]: check["result"] for check in report["checks"]}
    assert [name for name, result in results.items() if result == "fail"] == [step]
    assert {results[name] for name in IDS[IDS.index(step) + 1 : -1]} <= {"skip"}
    assert "not-covered" not in results


ID, OTHER_ID = CAPTURES["tee_id"], "0x" + "11" * 32


@pytest.mark.parametrize(
    ("flags", "code", "step"),
    [
        (["--tee-id", ID], 0, None),
        (["--tee-id", ID.upper().replace("0X", "0x")], 0, None),
        (["--tee-id", ID[2:]], 0, None),
        (["--tee-id", OTHER_ID, "--tee-id", ID], 0, None),
        (["--tee-id", OTHER_ID], 1, "enclave-trusted"),
        (["--json"], 1, "enclave-trusted"),
    ],
)
def test_trust_comes_from_the_flags(
    flags: list[str], code: int, step: str | None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Without a word about whom to believe, a perfect file is not verified."""
    found, report = report_of(capsys, tmp_path, exchange_of("plain"), *flags)
    assert (found, report["step"]) == (code, step)


def test_malformed_tee_id_is_a_usage_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A typo in the id must not read as "another enclave"."""
    file = tmp_path / "exchange.json"
    file.write_text(json.dumps(exchange_of("plain")))
    assert main(["verify", "--tee-id", "0x12", str(file)]) == 2
    assert "expected 0x and 64 hex digits" in capsys.readouterr().err


def test_worst_file_decides_the_exit_code(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """0 if all are verified, 1 if one failed, else 2 if one could not be read; each has its own line."""
    documents = {"good": exchange_of("plain"), "bad": exchange_of("upstream-error"), "ugly": ["no exchange"]}
    files = {name: tmp_path / f"{name}.json" for name in documents}
    for name, file in files.items():
        file.write_text(json.dumps(documents[name]))

    def code(*names: str) -> int:
        return main(["verify", "--trust-file-key", "--json", *(str(files[name]) for name in names)])

    assert [code("good"), code("good", "good"), code("good", "bad"), code("bad", "good")] == [0, 0, 1, 1]
    assert [code("bad", "ugly", "good"), code("ugly", "good")] == [1, 2]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["status"] for line in lines[-5:]] == ["failed", "malformed", "verified", "malformed", "verified"]


def test_text_shows_a_line_per_check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """For people: a mark and a word for each check; a skip never looks like a pass."""
    file = tmp_path / "exchange.json"
    file.write_text(json.dumps(exchange_of("plain")))
    assert main(["verify", "--trust-file-key", str(file), str(tmp_path / "none.json")]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{file}: verified"
    assert [line.split()[:3] for line in lines[1:8]] == [["✓", "pass", name] for name in IDS[:7]]
    assert [line.split()[:3] for line in lines[8:12]] == [["-", "skip", name] for name in IDS[7:]]
    assert lines[-1] == "2 files: 1 malformed, 1 verified"
