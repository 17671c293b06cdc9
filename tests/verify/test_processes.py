"""Several processes share the work: the same documents, whoever reads them, in the same order."""

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from og_integrations.errors import ConfigurationError
from og_integrations.verify import Source, Verdict, Verifier, sources_in
from og_integrations.verify._bundle import read_places
from og_integrations.verify._processes import _help, verify_in_processes
from tests.verify.many_receipts import TEE_ID, documents

ENOUGH = 600
VERIFIER = Verifier.tee_ids([TEE_ID])


@pytest.fixture(scope="module")
def saved() -> list[str]:
    """Receipts as text; in each an answer's id of its own with what ends a line of a text, but not of a file."""
    found = []
    for number, document in enumerate(documents(8)):
        answer = json.loads(document["exchange"]["response"]) | {"id": f"{number}\u2028\x85\u2029"}
        document["exchange"]["response"] = json.dumps(answer, ensure_ascii=False)
        found.append(json.dumps(document, ensure_ascii=False))
    return found


def judged(sources: Iterator[Source], jobs: int) -> list[tuple[str, Verdict]]:
    return list(verify_in_processes(VERIFIER.verify, sources, jobs))


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_lines_are_the_same_to_every_process(saved: list[str], end: str, tmp_path: Path) -> None:
    """Blank lines and notes are none, the last one has no end, and one is cut in the middle of a character."""
    file = tmp_path / "all.jsonl"
    lines: list[bytes] = []
    for number in range(ENOUGH):
        lines.append(saved[number % len(saved)].encode())
        if number % 7 == 3:
            lines += [b"", b" \t ", b'{"settlement": {}}']
        if number % 50 == 20:
            lines.append("é".encode()[:1] + b"junk")
    file.write_bytes(end.encode().join(lines))
    alone = [(source.name, VERIFIER.verify(source.saved)) for source in sources_in(file)]
    assert [name for name, _ in alone] == [
        f"{file}:{n}" for n, line in enumerate(lines, 1) if line.strip() and not line.startswith(b'{"settlement":')
    ]
    assert [verdict.status for _, verdict in alone].count("verified") == ENOUGH
    assert judged(sources_in(file), 3) == alone


def test_place_is_where_the_bytes_stand(saved: list[str], tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    file.write_text("\n\n".join(saved), newline="")
    sources = list(sources_in(file))
    assert read_places(str(file), [source.place for source in sources if source.place]) == [
        source.saved for source in sources
    ]
    file.write_bytes(b"")
    assert list(sources_in(file)) == []
    assert judged(sources_in(file), 2) == []


def test_texts_larger_than_a_pipe_wait_for_nobody(saved: list[str]) -> None:
    """Two processes that write to each other would both wait until the other one reads."""
    one = json.loads(saved[0])
    one["exchange"]["path"] = "x" * 200_000
    large = json.dumps(one).encode()
    assert [name for name, _ in judged((Source(str(n), large) for n in range(100)), 3)] == list(map(str, range(100)))


def test_file_that_has_gone_is_malformed(saved: list[str], tmp_path: Path) -> None:
    """Whoever had its lines to judge says so of each; the others are judged."""
    gone, there = tmp_path / "gone.jsonl", tmp_path / "there.jsonl"
    for file in (gone, there):
        file.write_text("\n".join(saved * 20))
    sources = [*sources_in(gone), *sources_in(there)]
    gone.unlink()
    found = judged(iter(sources), 2)
    assert [name for name, _ in found] == [source.name for source in sources]
    assert {verdict.status for _, verdict in found[160:]} == {"verified"}
    lost = [verdict for _, verdict in found[:160] if not verdict.verified]
    assert lost
    assert {(verdict.status, verdict.step) for verdict in lost} == {("malformed", "input")}


def test_who_leaves_early_leaves_no_process(saved: list[str]) -> None:
    found = verify_in_processes(VERIFIER.verify, iter([Source(str(n), saved[0].encode()) for n in range(ENOUGH)]), 3)
    assert next(found)[0] == "0"
    assert len(multiprocessing.active_children()) == 2
    found.close()
    assert multiprocessing.active_children() == []


def test_process_that_is_killed_is_no_verdict(saved: list[str]) -> None:
    found = verify_in_processes(VERIFIER.verify, iter([Source(str(n), saved[0].encode()) for n in range(ENOUGH)]), 2)
    next(found)
    for process in multiprocessing.active_children():
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(ConfigurationError, match="ended before it was done"):
        list(found)


@pytest.mark.parametrize("given", [[], [b"junk"]], ids=["while it waits", "while it judges"])
def test_process_ends_with_the_one_that_began_it(given: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """However that ended: nobody is left to read a traceback, or to end a process that waits for ever."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    ours, theirs = multiprocessing.Pipe()
    inherited = multiprocessing.Pipe()[0]
    if given:
        ours.send(given)
    ours.close()
    _help(VERIFIER.verify, theirs, inherited)
    assert inherited.closed
    theirs.close()
