"""`og-integrations conformance` puts the public vectors to any verifier that reads and writes JSON Lines."""

import argparse
import json
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

from og_integrations.cli._terminal import one_line, seconds
from og_integrations.errors import ConfigurationError
from og_integrations.protocol._strict_json import JsonObject, decode_json
from og_integrations.verify._vectors import Case, Conformance, cases_in, compared, read_answers

_OURS = (sys.executable, "-m", "og_integrations", "conformance", "--answer")
_MOST_NAMES = 20
"""Vectors that are named below a summary; --json names them all."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what can be said to `conformance`."""
    command.description = (
        "Put the public vectors to a verifier, a question a line, and judge its answers (docs/conformance.md). Exit "
        "code: 0 it conforms, 1 it does not, 2 it could not be run."
    )
    command.add_argument(
        "command_line", nargs="?", metavar="COMMAND", help="the verifier, with its arguments; without one, this package"
    )
    command.add_argument(
        "--vectors", metavar="DIR", help="a folder with conformance.json: tests/vectors of this package's repository"
    )
    command.add_argument("--kind", action="append", metavar="KIND", help="only vectors of this kind (may be repeated)")
    command.add_argument(
        "--partial", action="store_true", help="the verifier may say of a vector that it does not claim it"
    )
    command.add_argument(
        "--timeout", type=seconds, default=300.0, metavar="SECONDS", help="for all answers (default: %(default)g)"
    )
    command.add_argument("--json", action="store_true", help="one JSON line per vector, and one about all")
    command.add_argument(
        "--answer", action="store_true", help="be a verifier: answer the questions on standard input, a line each"
    )


def run(arguments: argparse.Namespace) -> int:
    """Judge a verifier, or answer as one. Raises `ConfigurationError`."""
    if arguments.answer:
        return _answer_all()
    if arguments.vectors is None:
        raise ConfigurationError("Say where the vectors are: --vectors tests/vectors, of this package's repository.")
    cases = cases_in(Path(arguments.vectors))
    kinds = Counter(case.kind for case in cases)
    for kind in arguments.kind or ():
        if kind not in kinds:
            raise ConfigurationError(f"--kind {kind!r} is none of {', '.join(kinds)}.")
    chosen = [case for case in cases if not arguments.kind or case.kind in arguments.kind]
    command = _OURS if arguments.command_line is None else tuple(shlex.split(arguments.command_line))
    found = compared(chosen, _asked(command, chosen, arguments.timeout), partial=arguments.partial)
    if arguments.json:
        _print_lines(chosen, found)
    else:
        _print_summary(chosen, found)
    return 0 if found.conforms else 1


def _answer_all() -> int:
    from og_integrations.verify._answering import answer

    for line in sys.stdin.buffer:
        if line.strip():
            try:
                question = decode_json(line)
            except ValueError as exc:
                raise ConfigurationError(f"A line of standard input is no JSON ({type(exc).__name__}).") from None
            if not isinstance(question, dict) or not {"id", "kind"} <= question.keys():
                raise ConfigurationError("A line of standard input is no question with an id and a kind.")
            print(json.dumps(answer(question)))
    return 0


def _asked(command: tuple[str, ...], cases: list[Case], timeout: float) -> dict[str, JsonObject]:
    """Run `command` once for all `cases`, and return its answers by id. Raises `ConfigurationError`."""
    questions = "".join(json.dumps(case.question) + "\n" for case in cases)
    if not command:
        raise ConfigurationError("The verifier '' cannot be run: its command is empty.")
    try:
        # What the user named is run; no shell reads it.
        done = subprocess.run(  # noqa: S603
            command, input=questions.encode(), stdout=subprocess.PIPE, timeout=timeout, check=False
        )
    except (OSError, ValueError) as exc:
        raise ConfigurationError(f"The verifier {command[0]!r:.200} cannot be run ({exc}).") from exc
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"The verifier did not end within {timeout:g} s; --timeout allows it more.") from None
    if done.returncode != 0:
        raise ConfigurationError(
            f"The verifier ended with exit code {done.returncode}; it has to answer every question, and end with 0."
        )
    # Cut as bytes: of a text, U+2028 within a JSON string would end a line, too.
    return read_answers(line.decode("utf-8", "replace") for line in done.stdout.splitlines())


def _print_lines(cases: list[Case], found: Conformance) -> None:
    wrong = {case.id: problem for case, problem in found.wrong}
    unclaimed = {case.id for case in found.unclaimed}
    for case in cases:
        result = "fail" if case.id in wrong else "unclaimed" if case.id in unclaimed else "pass"
        report = {"id": case.id, "kind": case.kind, "result": result, "expected": case.expected, "line": case.line}
        print(json.dumps(report | ({"detail": one_line(wrong[case.id])} if case.id in wrong else {})))
    counts = {"right": len(found.right), "wrong": len(found.wrong), "unclaimed": len(found.unclaimed)}
    print(json.dumps({"conforms": found.conforms, **counts, "diagnoses": list(map(one_line, found.diagnoses))}))


def _print_summary(cases: list[Case], found: Conformance) -> None:
    right = Counter(case.kind for case in found.right)
    unclaimed = Counter(case.kind for case in found.unclaimed)
    for kind, number in Counter(case.kind for case in cases).items():
        rest = f", {unclaimed[kind]} not claimed" if unclaimed[kind] else ""
        print(f"{kind:12} {right[kind]} of {number} right{rest}")
    claimed = len(cases) - len(found.unclaimed)
    if found.conforms:
        print(f"It conforms: {len(found.right)} of {claimed} vectors.")
        return
    if not claimed:
        print("It does not conform: it claims nothing.")
        return
    print(f"It does not conform: {len(found.wrong)} of {claimed} vectors are answered wrongly.")
    for diagnosis in found.diagnoses:
        print(f"  {one_line(diagnosis)}")
    for case, problem in found.wrong[:_MOST_NAMES]:
        print(f"  {case.id}: {one_line(problem)} ({case.line})")
    if len(found.wrong) > _MOST_NAMES:
        print(f"  and {len(found.wrong) - _MOST_NAMES} more; --json names them all")
