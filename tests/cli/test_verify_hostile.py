"""`verify` on files made to break it: a verdict each time, never a traceback."""

import io
import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from og_integrations.cli import main
from og_integrations.errors import ConfigurationError
from og_integrations.verify import Verifier
from og_integrations.verify._bundle import MAX_BYTES, parse_bundle

CAPTURES: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "gateway.json").read_text())
MEMBERS = ("path", "request", "content_type", "response")
PLAIN = next(vector for vector in CAPTURES["vectors"] if vector["name"] == "plain")
EXCHANGE: dict[str, Any] = {member: PLAIN[member] for member in MEMBERS} | {
    "tee_id": CAPTURES["tee_id"],
    "public_key_pem": CAPTURES["public_key_pem"],
}


def pem_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    public = key.public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def changed(**members: object) -> bytes:
    return json.dumps(EXCHANGE | members).encode()


UNUSABLE: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"not JSON",
    "not UTF-8": b"\xff\xfe\xfd",
    "a list": b"[]",
    "a number": b"1",
    "a bomb": b"[" * 100_000,
    "an object bomb": b'{"a":' * 100_000,
    "a huge number": b'{"path": ' + b"9" * 100_000 + b"}",
    "nothing in it": b"{}",
    "path missing": json.dumps({k: v for k, v in EXCHANGE.items() if k != "path"}).encode(),
    "request as object": changed(request={"model": "gpt-5"}),
    "response null": changed(response=None),
    "tee_id a number": changed(tee_id=1),
    "lone surrogate in the request": changed(request='{"model": "\ud800"}'),
    "no PEM": changed(public_key_pem="garbage"),
    "surrogate PEM": changed(public_key_pem="\udc80"),
    "broken PEM": changed(public_key_pem=EXCHANGE["public_key_pem"].replace("A", "B")),
    "EC key": changed(public_key_pem=pem_of(ec.generate_private_key(ec.SECP256R1()))),
    "weak key": changed(public_key_pem=pem_of(rsa.generate_private_key(public_exponent=65537, key_size=1024))),
    "receipt alone": b'{"receipt": {}}',
    "exchange not kept": b'{"receipt": {}, "exchange": null}',
    "receipt a list": json.dumps({"receipt": [], "exchange": EXCHANGE}).encode(),
    "exchange a text": b'{"receipt": {}, "exchange": "x"}',
    "exchange without receipt": json.dumps({"exchange": EXCHANGE}).encode(),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_input_is_malformed(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It is neither verified nor failed, says why, and the exit code is 2."""
    file = tmp_path / "input.json"
    file.write_bytes(UNUSABLE[name])
    assert main(["verify", "--trust-file-key", "--json", str(file)]) == 2
    report = json.loads(capsys.readouterr().out)
    assert (report["status"], report["step"], report["checks"][0]["result"]) == ("malformed", "input", "fail")


def _no_ledger_entry(folder: Path) -> str:
    from og_integrations.ledger import open_ledger

    url = f"sqlite:///{folder / 'empty.db'}"
    assert not list(open_ledger(url).entries())
    return url


@pytest.mark.parametrize(
    ("command", "what"),
    # `settlement` takes no list.
    [
        *product(("verify", "report", "settlement"), ("blank", "folder", "ledger")),
        ("verify", "list"),
        ("report", "list"),
    ],
)
def test_nothing_to_judge_is_not_all_right(
    command: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job that wrote no receipt yet: the exit code is 2, and the error says that nothing was there."""
    (tmp_path / "blank.jsonl").write_text("\n\n")
    (tmp_path / "list").write_text("")
    named = {
        "blank": lambda: str(tmp_path / "blank.jsonl"),
        "folder": lambda: str(tmp_path),
        "ledger": lambda: _no_ledger_entry(tmp_path),
        "list": lambda: f"--files-from={tmp_path / 'list'}",
    }[what]()
    flags = [] if command == "settlement" else ["--trust-file-key"]
    flags += ["--html", str(tmp_path / "page.html")] if command == "report" else []
    assert main([command, *flags, named]) == 2
    out, err = capsys.readouterr()
    assert (out, "There is nothing to judge: no receipt stands in what was named." in err) == ("", True)
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_list_of_files_is_cut_at_ends_of_lines_only(
    end: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name may hold U+2028 or U+0085, at which Python cuts a text."""
    monkeypatch.chdir(tmp_path)
    names = ["a\u2028b.json", "c\u0085d.json"]
    Path("list").write_bytes(b"".join(name.encode() + end for name in names))
    assert main(["verify", "--trust-file-key", "--summary", "--files-from=list"]) == 2
    assert capsys.readouterr().out.startswith("2 files: 2 malformed")


@pytest.mark.parametrize("name", ["missing.json", ".", "nul\0.json", "x" * 5000])
def test_unreadable_file_is_malformed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not there, a folder, a name that no system takes."""
    monkeypatch.chdir(tmp_path)
    assert main(["verify", "--trust-file-key", name]) == 2


def test_endless_input_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading stops at the limit."""
    monkeypatch.setattr("og_integrations.verify._bundle.MAX_BYTES", 10)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(changed())))
    assert main(["verify", "--trust-file-key", "-"]) == 2
    assert MAX_BYTES > 64 * 1024 * 1024


DEEP = 980
FAILING: dict[str, bytes] = {
    "response a bomb": changed(response="[" * 100_000),
    "request a bomb": changed(request="[" * 100_000),
    "huge number": changed(response='{"choices": ' + "9" * 100_000 + "}"),
    "lone surrogate in the response": changed(response='data: "\ud800"\n\n', content_type="text/event-stream"),
    "surrogate text": changed(response=EXCHANGE["response"].replace("Hello", "\\ud800")),
    "deep request": changed(
        request='{"model": "gpt-5-mini", "messages": [], "tools": ' + "[" * DEEP + "]" * DEEP + "}"
    ),
    "deep model": changed(request='{"messages": [], "model": ' + "[" * DEEP + "]" * DEEP + "}"),
    "tools a number": changed(request='{"model": "gpt-5-mini", "messages": [], "tools": 5}'),
    "messages a text": changed(request='{"model": "gpt-5-mini", "messages": "hi"}'),
    "infinite time": changed(response=EXCHANGE["response"].replace("1795181472", "1e999")),
    "far time": changed(response=EXCHANGE["response"].replace("1795181472", "9" * 400)),
    "negative time": changed(response=EXCHANGE["response"].replace("1795181472", "-1")),
    "event that never ends": changed(response="data: " + "x" * 1000, content_type="text/event-stream"),
}


@pytest.mark.parametrize("name", FAILING)
def test_hostile_content_fails(name: str, tmp_path: Path) -> None:
    """The file is of the right form; what is in it proves nothing."""
    file = tmp_path / "input.json"
    file.write_bytes(FAILING[name])
    assert main(["verify", "--trust-file-key", str(file)]) == 1


def test_file_cannot_write_to_the_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Escapes in a file are shown, not obeyed: it could otherwise paint its own verdict."""
    body = json.loads(EXCHANGE["response"]) | {"model": "\x1b[2J\nverified\x07"}
    file = tmp_path / "input.json"
    file.write_bytes(changed(response=json.dumps(body), content_type="application/json\x1b[1A"))
    assert main(["verify", "--trust-file-key", str(file)]) == 1
    file.write_bytes(changed(response=json.dumps(body)))
    assert main(["verify", "--trust-file-key", str(file)]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "\nverified" not in out


def test_output_that_is_not_utf8_works(tmp_path: Path) -> None:
    """An ASCII terminal or pipe gets other marks, and no `UnicodeEncodeError`."""
    file = tmp_path / "ümläut.json"
    file.write_bytes(changed())
    done = subprocess.run(
        [sys.executable, "-m", "og_integrations", "verify", "--trust-file-key", str(file)],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"+ pass signature" in done.stdout


def test_reader_may_leave(tmp_path: Path) -> None:
    """`verify … | head` ends without a traceback."""
    file = tmp_path / "input.json"
    file.write_bytes(changed())
    command = [sys.executable, "-m", "og_integrations", "verify", "--trust-file-key", "--json", *[str(file)] * 50]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(member=st.sampled_from([*EXCHANGE, "extra"]), value=JSON)
def test_any_member_of_any_type_has_a_verdict(member: str, value: object) -> None:
    """Nothing is raised, and no altered file is verified."""
    verdict = Verifier.unsafe_file_key().verify(changed(**{member: value}))
    assert verdict.status in (("verified",) if member == "extra" else ("failed", "malformed"))


@given(member=st.sampled_from([*json.loads(EXCHANGE["response"]), "choices", "error"]), value=JSON)
def test_any_answer_has_a_verdict(member: str, value: object) -> None:
    """The same for each member of the answer; unsigned ones may be anything that can be read."""
    body = json.loads(EXCHANGE["response"]) | {member: value}
    verdict = Verifier.unsafe_file_key().verify(changed(response=json.dumps(body)))
    assert verdict.status == "failed" or member in {"created", "id", "object", "usage", "error"}


@given(data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_have_a_verdict(data: bytes) -> None:
    """Random bytes are unusable."""
    with pytest.raises(ConfigurationError):
        parse_bundle(data)
    assert Verifier.unsafe_file_key().verify(data).status == "malformed"
