"""A job answers each prompt once, whatever interrupts it; what was not answered says why."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from og_integrations import cli
from og_integrations.devnet import Devnet
from og_integrations.errors import ConfigurationError
from og_integrations.jobs import BatchJob, Progress
from og_integrations.jobs._answers import Done, read_done
from og_integrations.ledger import open_ledger
from og_integrations.networks import OPG
from tests.sizes import sized

MODEL = "openai/gpt-5-mini"


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Iterator[Devnet]:
    """A network whose cap no job here exceeds: an April gateway answers beyond it, and charges nothing for that."""
    with Devnet(cap=OPG) as devnet:
        for name, value in devnet.environment().items():
            monkeypatch.setenv(name, value)
        yield devnet


def prompts_file(folder: Path, *lines: Any) -> Path:
    file = folder / "prompts.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def answers_in(file: Path) -> dict[str, dict[str, Any]]:
    """Return the answers by id; no id has two."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    counts = Counter(line["id"] for line in lines)
    assert [name for name, count in counts.items() if count > 1] == []
    return {line["id"]: line for line in lines}


def job(folder: Path, prompts: Any, **options: Any) -> Progress:
    return BatchJob(prompts, out=folder / "answers.jsonl", model=MODEL, **options).run()


def test_dead_letters_may_go_into_a_pipe_that_stays_one(tmp_path: Path) -> None:
    """Replaced, a device such as /dev/null would be gone for the whole machine."""
    os.mkfifo(pipe := tmp_path / "pipe")
    with ThreadPoolExecutor() as pool:
        pool.submit(pipe.write_text, "")
        assert read_done(tmp_path / "answers.jsonl", pipe, again=False) == Done({}, {})
    assert pipe.is_fifo()


@sized("prompts", small=300, full=10_000)
def test_job_that_is_killed_goes_on(net: Devnet, tmp_path: Path, prompts: int) -> None:
    """Killed in the middle and said again: each prompt is answered once, receipts are the devnet's charges."""
    file = prompts_file(tmp_path, *({"id": f"p{n}", "prompt": f"question {n}"} for n in range(prompts)))
    ledger, out = f"sqlite:///{tmp_path / 'receipts.db'}", tmp_path / "answers.jsonl"
    arguments = ["batch", str(file), "--model", MODEL, "--out", str(out), "--ledger", ledger, "--concurrency", "16"]
    command = [sys.executable, "-m", "og_integrations", *arguments]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (out.exists() and out.read_bytes().count(b"\n") > prompts // 3):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    killed = net.stats().charges
    assert 0 < killed < prompts
    assert cli.main([*arguments, "--quiet"]) == 0
    assert set(answers_in(out)) == {f"p{n}" for n in range(prompts)}
    kept = list(open_ledger(ledger).entries(status="verified"))
    # In flight when it was killed: charged, maybe, and asked again.
    assert len(kept) == prompts
    assert prompts <= net.stats().charges <= prompts + 16
    assert net.stats().payments <= 2
    signatures = {entry.receipt["tee_signature"] for entry in kept}
    assert {line["signature"] for line in answers_in(out).values()} == signatures
    assert cli.main([*arguments, "--quiet"]) == 0
    assert len(list(open_ledger(ledger).entries())) >= prompts
    assert net.stats().charges <= prompts + 16


def test_answer_that_was_paid_is_found_in_the_ledger(net: Devnet, tmp_path: Path) -> None:
    """As after a kill between the ledger and the file; equal prompts have an answer each."""
    file = prompts_file(tmp_path, {"prompt": "a"}, {"prompt": "b"}, {"prompt": "b"}, {"prompt": "[[tool]] c"})
    first = job(tmp_path, file)
    before = answers_in(tmp_path / "answers.jsonl")
    (tmp_path / "answers.jsonl").unlink()
    again = job(tmp_path, file)
    assert (first.answered, again.answered, again.recovered, again.complete) == (4, 0, 4, True)
    after = answers_in(tmp_path / "answers.jsonl")
    assert {name: line["text"] for name, line in after.items()} == {name: line["text"] for name, line in before.items()}
    assert len({line["signature"] for line in after.values()}) == 4
    assert net.stats().charges == 4


STOPS: dict[str, Any] = {"stop one": {"stop": "xyz"}, "stop many": {"stop": ["xyz", "zyx"]}}
SHAPES: dict[str, Any] = {"plain": {}, **STOPS, "text": {"response_format": {"type": "text"}}}


@pytest.mark.parametrize("first", ["off", "require"])
def test_answer_is_found_whatever_its_nonce_was(net: Devnet, tmp_path: Path, first: str) -> None:
    """Each call has another nonce, and a gateway may begin to refuse them: what was asked is the same."""
    prompts = [{"id": name, "prompt": "a", **options} for name, options in SHAPES.items()]
    prompts.append({"id": "json", "prompt": '"a" 1', "response_format": {"type": "json_object"}})
    out = tmp_path / "answers.jsonl"
    assert job(tmp_path, prompts, nonce=first).complete
    before = answers_in(out)
    for later in ("require", "off", "require"):
        out.write_bytes(b"".join(out.read_bytes().splitlines(keepends=True)[:2]))
        again = job(tmp_path, prompts, nonce=later)
        assert (again.earlier, again.recovered, again.answered, again.complete) == (2, 3, 0, True)
    after = answers_in(out)
    assert {name: line["text"] for name, line in after.items()} == {name: line["text"] for name, line in before.items()}
    assert net.stats().charges == len(prompts)


def test_half_a_line_of_answers_is_asked_of_the_ledger(net: Devnet, tmp_path: Path) -> None:
    file = prompts_file(tmp_path, {"prompt": "a"}, {"prompt": "b"})
    job(tmp_path, file)
    out = tmp_path / "answers.jsonl"
    out.write_bytes(out.read_bytes()[:-30])
    again = job(tmp_path, file)
    assert (again.earlier, again.recovered, again.answered) == (1, 1, 0)
    assert net.stats().charges == 2


def test_prompt_that_was_changed_is_asked_again(net: Devnet, tmp_path: Path) -> None:
    job(tmp_path, [{"id": "x", "prompt": "a"}, {"id": "y", "prompt": "b"}])
    again = job(tmp_path, [{"id": "x", "prompt": "a"}, {"id": "y", "prompt": "another"}])
    assert (again.earlier, again.answered) == (1, 1)
    assert net.stats().charges == 3


def test_other_jobs_answers_are_none_of_this_one(net: Devnet, tmp_path: Path) -> None:
    """A nightly job that asks the same pays each night."""
    for night in ("one", "two"):
        progress = BatchJob(["a"], out=tmp_path / f"{night}.jsonl", model=MODEL, ledger=tmp_path / "all.jsonl").run()
        assert progress.answered == 1
    assert net.stats().charges == 2


def test_forms_of_prompts(net: Devnet, tmp_path: Path) -> None:
    asked = [{"role": "user", "content": "3"}]
    lines: list[Any] = [
        {"prompt": "one", "temperature": 0.5},
        {"id": "two", "messages": [{"role": "user", "content": "two"}], "stop": ["x"]},
        {"custom_id": "three", "method": "POST", "url": "/v1", "body": {"model": MODEL, "messages": asked}},
    ]  # fmt: skip
    progress = BatchJob(lines, out=tmp_path / "answers.jsonl", model=MODEL).run()
    assert progress.complete
    assert set(answers_in(tmp_path / "answers.jsonl")) == {"1", "two", "three"}
    text = tmp_path / "prompts.txt"
    text.write_text("Say a.\n\nSay b.\n")
    assert BatchJob(text, out=tmp_path / "texts.jsonl", model=MODEL).run().answered == 2
    assert net.stats().charges == 5


def test_prompts_without_an_answer_say_why(net: Devnet, tmp_path: Path) -> None:
    """Each kind of failure; what may have been paid is asked again only on demand."""
    file = tmp_path / "prompts.jsonl"
    file.write_text(
        '{"prompt": "fine"}\nnot json\n{"prompt": "x", "temprature": 1}\n{"id": "big", "prompt": "[[tokens=3]] y"}\n'
    )
    net.inject("bad_signature", times=1)
    progress = job(tmp_path, file, concurrency=1)
    dead = [json.loads(line) for line in (tmp_path / "answers.jsonl.dead").read_text().splitlines()]
    assert [(line["id"], line["error"], line["maybe_paid"]) for line in dead] == [
        ("1", "VerificationError", True),
        ("2", "InvalidRequestError", False),
        ("3", "InvalidRequestError", False),
    ]
    assert "Did you mean 'temperature'?" in dead[2]["message"]
    assert (progress.answered, progress.failed, progress.complete) == (1, 3, False)
    again = job(tmp_path, file)
    assert (again.answered, again.failed) == (0, 3)
    assert net.stats().charges == 2
    last = job(tmp_path, file, again=True)
    assert (last.answered, last.failed) == (1, 2)


def test_what_was_not_charged_is_tried_again(net: Devnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("og_integrations.jobs._batch.FIRST_PAUSE", 0.01)
    net.inject("dead_registry", times=2)
    progress = job(tmp_path, ["a"])
    assert progress.complete
    assert net.stats().charges == 1


def test_empty_budget_stops_the_job(net: Devnet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No prompt is blamed; the same again with more money goes on."""
    file = prompts_file(tmp_path, *({"prompt": f"n {n}"} for n in range(20)))
    arguments = ["batch", str(file), "--model", MODEL, "--out", str(tmp_path / "answers.jsonl")]
    assert cli.main([*arguments, "--total", "0.05", "--quiet"]) == 3
    shown = capsys.readouterr().out
    assert "stopped early   BudgetExceededError" in shown
    assert "failed          0" in shown
    assert net.stats().payments == 0
    assert cli.main([*arguments, "--total", "1"]) == 0
    last = capsys.readouterr()
    assert "of these        20 now, 0 from the ledger, 0 before" in last.out
    assert "of 20 done, 0 failed" in last.err


def test_kill_switch_stops_the_job(net: Devnet, tmp_path: Path) -> None:
    def watch(progress: Progress) -> None:
        if progress.answered >= 5:
            made.stop("enough")

    prompts = [f"n {n}" for n in range(50)]
    made = BatchJob(prompts, out=tmp_path / "a.jsonl", model=MODEL, concurrency=2, on_progress=watch)
    progress = made.run()
    assert progress.stopped == "enough"
    assert 5 <= progress.answered <= 7
    assert progress.failed == 0


def test_ctrl_c_ends_the_job_in_order(net: Devnet, tmp_path: Path) -> None:
    """What is on its way is answered and kept; the exit code says that it was interrupted."""
    file = prompts_file(tmp_path, *({"prompt": f"[[delay=0.2]] n {n}"} for n in range(200)))
    out = tmp_path / "a.jsonl"
    command = [sys.executable, "-m", "og_integrations", "batch", str(file), "--model", MODEL, "--out", str(out)]
    with subprocess.Popen([*command, "--concurrency", "4"], stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (out.exists() and out.stat().st_size):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert "calls on their way are waited for" in process.stderr.read()
    assert len(answers_in(out)) == net.stats().charges


@pytest.mark.parametrize(
    ("prompts", "options", "expected"),
    [
        ("no-such-file.jsonl", {}, "cannot be read"),
        ([{"id": "a", "prompt": "x"}, {"id": "a", "prompt": "y"}], {}, "Two prompts have the id 'a'"),
        (["x"], {"concurrency": 0}, "concurrency"),
        (["x"], {"ledger": "sqlite:///no/such/folder/x.db"}, "is away"),
    ],
)
def test_unusable_job_asks_nothing(net: Devnet, tmp_path: Path, prompts: Any, options: Any, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        job(tmp_path, prompts, **options)
    assert net.stats().requests == 0


def test_memory_of_a_job_is_that_of_its_ids(net: Devnet, tmp_path: Path) -> None:
    """An iterable is read twice, lazily, and no answer is held."""

    class Lines:
        def __iter__(self) -> Iterator[str]:
            return (f"n {n}" for n in range(30))

    assert job(tmp_path, Lines()).answered == 30
