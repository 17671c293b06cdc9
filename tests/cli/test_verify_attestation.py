"""`verify-attestation`: documents in files, judged from a root that is pinned, and what the user reads."""

import base64
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from og_integrations.cli import main
from tests.protocol.documents import CASES, DEFAULTS, SOUND, arguments_of

BUILD = dict(zip(("PCR0", "PCR1", "PCR2"), DEFAULTS["pcrs"][0], strict=True))
STATUS_CODES = {"verified": 0, "failed": 1, "malformed": 2, "undecided": 2}


def flags_of(arguments: dict[str, Any], folder: Path) -> list[str]:
    """Return the flags that say what the arguments of a vector say."""
    flags = ["--at", str(arguments["now"]), "--max-age", str(arguments["max_age"])]
    flags += ["--max-future", str(arguments["max_future"])]
    for root in arguments["root_sha256"] or [""]:
        flags += ["--root-sha256", root]
    if arguments["nonce"] is not None:
        flags += ["--nonce", arguments["nonce"]]
    if arguments["pcrs"] is not None:
        (folder / "builds.json").write_text(
            json.dumps([dict(zip(BUILD, pcrs, strict=True)) for pcrs in arguments["pcrs"]])
        )
        flags += ["--measurements", str(folder / "builds.json")]
    for flag in ("tls_certificate", "signing_key"):
        if arguments[flag] is not None:
            (folder / flag).write_bytes(base64.b64decode(arguments[flag]))
            flags += ["--" + flag.replace("_", "-"), str(folder / flag)]
    return flags


def written(case_id: str, folder: Path) -> str:
    """Write the document of a vector to a file."""
    case, file = CASES[case_id], folder / "document"
    text = case.get("document_text")
    file.write_bytes(base64.b64decode(case["document"]) if text is None else text.encode())
    return str(file)


@pytest.mark.parametrize("case_id", CASES)
def test_vector(case_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command says of each document what its vector says, in one JSON line and the exit code."""
    file, expect = written(case_id, tmp_path), CASES[case_id]["expect"]
    code = main(["verify-attestation", file, "--json", *flags_of(arguments_of(case_id), tmp_path)])
    (line,) = capsys.readouterr().out.splitlines()
    report = json.loads(line)
    assert [*report] == ["file", "status", "step", "checks"]
    assert report["file"] == file
    assert code == STATUS_CODES[report["status"]]
    assert len(report["checks"]) == 10
    assert all([*check] == ["id", "result", "detail"] for check in report["checks"])
    if expect["status"] != "either":
        assert report["status"] == expect["status"]
        assert report["step"] in (expect["step"], *expect.get("also", ()))


def judged(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, *flags: str, document: bytes = SOUND[0]
) -> tuple[int, str]:
    """Judge a document with everything given and `flags`; return exit code and output."""
    (tmp_path / "document").write_bytes(document)
    code = main(["verify-attestation", str(tmp_path / "document"), *flags_of(DEFAULTS, tmp_path), *flags])
    return code, capsys.readouterr().out


def test_what_the_user_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each check, and the build that was attested, ready to be pinned."""
    code, out = judged(capsys, tmp_path)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].endswith("document: verified")
    assert len(lines) == 1 + 10 + 4
    assert lines[4] == "  ✓ pass chain           4 certificates from the pinned root to the leaf"
    assert lines[11] == f"  PCR0      {BUILD['PCR0']}"
    assert lines[14] == "  pcr hash  0x262280edc324ec60c79c9659b234d4c314a4ae2a3a6545b9943e7ccd7708e510"


def test_given_time_says_nothing_about_freshness(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out = judged(capsys, tmp_path)
    assert "before it was judged; that is the time given by --at, and says nothing about how fresh it is today" in out


def test_without_a_time_it_is_judged_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Saved documents are old, and are refused unless a time is given."""
    (tmp_path / "document").write_bytes(SOUND[0])
    code = main(["verify-attestation", str(tmp_path / "document"), "--root-sha256", DEFAULTS["root_sha256"][0]])
    out = capsys.readouterr().out
    assert code == 1
    assert "document: failed (time)" in out
    assert "--at" not in out


def test_root_of_aws_is_the_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "document").write_bytes(SOUND[0])
    assert main(["verify-attestation", str(tmp_path / "document")]) == 1
    assert "none of the 1 pinned roots" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    [
        BUILD,
        [BUILD],
        {"EnclaveName": "gateway", "Measurements": {"HashAlgorithm": "Sha384 { ... }"} | BUILD},
        [{"Measurements": BUILD}],
    ],
)
def test_measurements_in_every_form(content: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file of a gateway's repository serves as it is."""
    (tmp_path / "measurements.txt").write_text(json.dumps(content))
    code, out = judged(capsys, tmp_path, "--measurements", str(tmp_path / "measurements.txt"))
    assert (code, "pass measurements" in out) == (0, True)


def test_document_from_standard_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `curl` gets it."""
    body = base64.b64encode(SOUND[0]) + b"\n"
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(body)))
    assert main(["verify-attestation", "-", *flags_of(DEFAULTS, tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("-: verified")


def test_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["verify-attestation", str(tmp_path / "none"), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert (code, report["status"], report["step"]) == (2, "malformed", "input")
    assert "cannot be read" in report["checks"][0]["detail"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--nonce", ""], "--nonce: '' is no nonce; expected an even number of hex digits"),
        (["--nonce", "abc"], "--nonce: 'abc' is no nonce"),
        (["--root-sha256", "ab"], "--root-sha256: 'ab' is no SHA-256 of a certificate"),
        (["--at", "today"], "--at: 'today' is no number of seconds"),
        (["--max-age", "-1"], "--max-age: '-1' is no number of seconds"),
        (["--measurements", "{folder}/none"], "none: cannot be read"),
        (["--measurements", "{folder}/document"], "--measurements {folder}/document: not JSON"),
        (["--measurements", "{folder}/list"], "list: PCR1 holds None, expected 96 hex digits"),
        (
            ["--tls-certificate", "{folder}/pem"],
            "pem: no DER; `openssl x509 -outform DER` makes it of a PEM certificate",
        ),
        (["--signing-key", "{folder}/none"], "--signing-key {folder}/none: cannot be read"),
    ],
)
def test_flag_with_bad_value_is_named(
    flags: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is judged by half of what was meant: exit code 2, and no verdict."""
    (tmp_path / "document").write_bytes(SOUND[0])
    (tmp_path / "list").write_text(json.dumps([{"PCR0": BUILD["PCR0"]}]))
    (tmp_path / "pem").write_text("-----BEGIN CERTIFICATE-----\n")
    command = ["verify-attestation", str(tmp_path / "document")]
    command += [flag.format(folder=tmp_path) for flag in flags]
    try:
        code = main(command)
    except SystemExit as exc:
        code = int(str(exc.code))
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert says.format(folder=tmp_path) in err


def test_document_cannot_print_its_own_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a stranger wrote stays on its line, without terminal escapes."""
    code, out = judged(capsys, tmp_path, document=SOUND[0].replace(b"enc0123456789abcdef", b"enc\n\x1b[2Jverified!!\n"))
    assert code == 1
    assert "\x1b" not in out
    assert len(out.splitlines()) == 11
