"""
This module reads public vectors as cases for any verifier: a question, its verdict, and the line that demands it.

A verifier reads one JSON object a line and writes one for each (docs/conformance.md). Nothing here knows how it works,
in which language or process: `cases_in` reads the questions, `compared` judges what was answered.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from og_integrations.errors import ConfigurationError
from og_integrations.protocol._strict_json import JsonObject, decode_json

INDEX = "conformance.json"
FORMAT = "og-conformance/1"
ACCEPTED = "verified"
STATUSES = (ACCEPTED, "failed", "undecided", "malformed")
UNCLAIMED = "unsupported"
"""What a verifier answers to a question that it does not claim to judge."""
_EITHER = ("encoding", "header", "document", "chain", "signature")
_REFUSED = frozenset({"failed", "malformed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """
    A case is one question to a verifier, and what it must be answered.

    `statuses` and `steps` are all that may be said, `found` has to be told beside a "verified". `line` is the line of
    the specification that decides it.
    """

    id: str
    kind: str
    asked: JsonObject
    statuses: tuple[str, ...]
    steps: tuple[str | None, ...]
    line: str
    found: JsonObject = field(default_factory=dict)

    @property
    def question(self) -> JsonObject:
        """Return the line that the verifier reads."""
        return {"id": self.id, "kind": self.kind, **self.asked}

    @property
    def expected(self) -> str:
        """Return what must be answered, in words."""
        return _said(" or ".join(self.statuses), self.steps[0])

    def wrong(self, answer: JsonObject) -> str | None:
        """Return what is wrong with `answer`, None if it is right."""
        status, step = answer.get("status"), answer.get("step")
        if status not in self.statuses or (status != ACCEPTED and step not in self.steps):
            return f"answered {_said(status, step)}, expected {self.expected}"
        if answer.get("code", "missing") != code_of(self.kind, status, step):
            expected = code_of(self.kind, status, step)
            return f"answered {_said(status, step)} with the code {_shown(answer.get('code'))}, expected {expected}"
        if status == ACCEPTED and step is not None:
            return f"answered verified with the step {_shown(step)}, expected none"
        found = answer.get("found")
        for name, value in self.found.items():
            told = found.get(name) if isinstance(found, Mapping) else None
            if told != value:
                return f"found {name} {_shown(told)}, expected {_shown(value)}"
        return None


def code_of(kind: str, status: object, step: object) -> str | None:
    """Return the rejection code of a verdict, which names one line of the specification; None of "verified"."""
    return None if status == ACCEPTED else f"{kind}.{step}" if step is not None else f"{kind}.open"


@dataclass(slots=True)
class Conformance:
    """This says what came of all cases: which were answered rightly, wrongly (and what was wrong), or not claimed."""

    right: list[Case] = field(default_factory=list)
    wrong: list[tuple[Case, str]] = field(default_factory=list)
    unclaimed: list[Case] = field(default_factory=list)
    diagnoses: list[str] = field(default_factory=list)

    @property
    def conforms(self) -> bool:
        """Return whether something was claimed, and all of that is right."""
        return bool(self.right) and not self.wrong


def compared(cases: Sequence[Case], answers: Mapping[str, JsonObject], *, partial: bool = False) -> Conformance:
    """Compare the answers of a verifier, by id; only with `partial` may it say that it does not claim a case."""
    found = Conformance()
    for case in cases:
        answer = answers.get(case.id)
        if answer is None:
            found.wrong.append((case, "was not answered"))
        elif answer.get("status") == UNCLAIMED:
            if partial:
                found.unclaimed.append(case)
            else:
                found.wrong.append((case, f"answered {UNCLAIMED}, which only --partial allows"))
        elif (problem := case.wrong(answer)) is not None:
            found.wrong.append((case, problem))
        else:
            found.right.append(case)
    claimed = [case for case in cases if answers.get(case.id, {}).get("status") in STATUSES]
    found.diagnoses = list(_diagnoses(claimed, answers))
    return found


def _diagnoses(cases: Sequence[Case], answers: Mapping[str, JsonObject]) -> Iterator[str]:
    """Yield what is wrong with the verifier as a whole: whom it believes, and which steps it does not make."""
    accepted = [case for case in cases if answers[case.id]["status"] == ACCEPTED]
    sound = [case for case in cases if case.statuses == (ACCEPTED,)]
    forged = [case for case in cases if _REFUSED.issuperset(case.statuses)]
    if forged and len(accepted) == len(cases):
        yield f"It accepts everything: {len(forged)} of {len(cases)} had to be refused."
        return
    if sound and not accepted:
        yield f"It refuses everything: {len(sound)} of {len(cases)} are sound."
        return
    steps: dict[tuple[str, str | None], list[Case]] = {}
    for case in forged:
        steps.setdefault((case.kind, case.steps[0]), []).append(case)
    for (kind, step), held in steps.items():
        made = [case for case in held if answers[case.id].get("step") == step]
        believed = [case for case in held if answers[case.id]["status"] == ACCEPTED]
        if believed and not made:
            yield (
                f"It skips the step {step} of {kind} ({held[0].line}): {len(held)} had to be refused there, none was, "
                f"and {len(believed)} were accepted."
            )
        elif believed:
            yield f"It makes the step {step} of {kind} only in part: {len(believed)} of {len(held)} were accepted."


def read_answers(lines: Iterable[str]) -> dict[str, JsonObject]:
    """Return the answers on `lines` by their ids. Raises `ConfigurationError` for a line that is no answer."""
    answers: dict[str, JsonObject] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            answer = decode_json(line.encode())
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not isinstance(answer.get("id"), str):
            raise ConfigurationError(
                f"line {number} of the verifier's output is no JSON object with an id: {line!r:.80}"
            )
        if answer["id"] in answers:
            raise ConfigurationError(f"the verifier answered {answer['id']!r:.80} twice")
        answers[answer["id"]] = answer
    return answers


def cases_in(folder: Path) -> list[Case]:
    """Return all cases of a folder of vectors, which `conformance.json` lists. Raises `ConfigurationError`."""
    index = _read(folder / INDEX)
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise ConfigurationError(f"{folder / INDEX} is not of the format {FORMAT}")
    try:
        lines = {
            code: f"{index['specification']} §{section}: {text}" for code, (section, text) in index["lines"].items()
        }
        documents: dict[str, JsonObject] = {}
        for source in index["documents"]:
            documents |= _documents(source, _read(folder / source["file"]))
        cases = [_case(entry, documents, lines) for entry in index["cases"]]
        for source in index["sources"]:
            make = _MAKERS[source["kind"]]
            cases += (_with_line(case, lines) for case in make(_read(folder / source["file"])))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as exc:
        raise ConfigurationError(f"{folder}: a vector cannot be read ({type(exc).__name__}: {exc})") from exc
    if len({case.id for case in cases}) != len(cases):
        raise ConfigurationError(f"{folder}: two vectors have one id")
    return cases


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except OSError as exc:
        raise ConfigurationError(f"{file} cannot be read ({exc.strerror}); --vectors names a folder with it") from exc
    except ValueError as exc:
        raise ConfigurationError(f"{file} is not JSON ({exc})") from exc


def _documents(source: JsonObject, content: JsonObject) -> dict[str, JsonObject]:
    """Return the documents that cases begin from, by name: the captures of a gateway, or one saved file."""
    if "vectors" not in content:
        return {source["name"]: content}
    key = {"tee_id": content["tee_id"], "public_key_pem": content["public_key_pem"]}
    members = ("path", "request", "content_type", "response")
    return {vector["name"]: {name: vector[name] for name in members} | key for vector in content["vectors"]}


def _case(entry: JsonObject, documents: Mapping[str, JsonObject], lines: Mapping[str, str]) -> Case:
    """Return a case of the index: a document with edits, or a text, and whom to believe."""
    text = entry.get("text")
    if text is None:
        document = deepcopy(documents[entry["of"]])
        for edit in entry.get("edits", ()):
            _edit(document, edit)
        text = json.dumps(document)
    status, step = entry["expect"]
    kind = entry["kind"]
    case = _asked(f"{kind}/{entry['id']}", kind, {"file": text, "trust": entry["trust"]}, status, step)
    return _with_line(case, lines)


def _edit(document: JsonObject, edit: JsonObject) -> None:
    """Change one member of `document` as `edit` says: set, remove, or replace within its text or the JSON in it."""
    *outer, last = edit["at"]
    for name in outer:
        document = document[name]
    if "remove" in edit:
        del document[last]
    elif "replace" in edit:
        old, new = edit["replace"]
        if old not in document[last]:
            raise ValueError(f"{old!r} is not in {last}")
        document[last] = document[last].replace(old, new)
    elif "json" in edit:
        inner = json.loads(document[last])
        for change in edit["json"]:
            _edit(inner, change)
        document[last] = json.dumps(inner)
    else:
        document[last] = edit["set"]


def _asked(
    name: str, kind: str, asked: JsonObject, status: str, step: str | None, found: JsonObject | None = None
) -> Case:
    return Case(id=name, kind=kind, asked=asked, statuses=(status,), steps=(step,), line="", found=found or {})


def _with_line(case: Case, lines: Mapping[str, str]) -> Case:
    """Return `case` with the line of the specification for its code, or for its kind if it is accepted."""
    line = lines[code_of(case.kind, case.statuses[0], case.steps[0]) or case.kind]
    return replace(case, line=line)


def _attestation(content: JsonObject) -> Iterator[Case]:
    for entry in content["cases"]:
        given = content["defaults"] | entry.get("args", {})
        expect = entry["expect"]
        status, step = expect["status"], expect["step"]
        held = {name: entry[name] for name in ("document", "document_text") if name in entry}
        case = _asked(f"attestation/{entry['id']}", "attestation", held | given, status, step)
        steps, statuses = (step, *expect.get("also", ())), [status]
        if status == "either":
            # Readers may differ there: any verdict is fine, and none is not.
            steps, statuses = (None, *expect.get("also", ()), *_EITHER), [ACCEPTED, "failed", "malformed"]
        elif "encoding" in steps:
            statuses = [status, "malformed"]
        yield replace(case, statuses=tuple(statuses), steps=steps)


def _nonces(content: JsonObject) -> Iterator[Case]:
    for entry in content["cases"]:
        expect, task = entry["expect"], "find" if entry["id"].startswith("carries/") else "carry"
        asked = {"task": task, **{name: entry[name] for name in ("path", "request", "nonce")}}
        place = expect["place"]
        if place is None:
            yield _asked(f"nonce/{entry['id']}", "nonce", asked, "failed", "place")
            continue
        found = {"place": place} | ({"request": expect["carried"]} if task == "carry" else {})
        yield _asked(f"nonce/{entry['id']}", "nonce", asked, ACCEPTED, None, found)


def _inclusions(content: JsonObject) -> Iterator[Case]:
    verdicts = {"included": (ACCEPTED, None), "absent": ("undecided", "absent"), "refused": ("failed", "batch")}
    for entry in content["cases"]:
        status, step = verdicts[entry["expect"]["status"]]
        asked = {name: entry[name] for name in ("blob", "root", "receipt")}
        found = {name: entry["expect"][name] for name in ("leaf", "proof") if status == ACCEPTED}
        yield _asked(f"inclusion/{entry['id']}", "inclusion", asked, status, step, found)


def _hashes(content: JsonObject) -> Iterator[Case]:
    for entry in content["requests"]:
        for rule, expect in entry["hashes"].items():
            asked = {"path": entry["path"], "request": entry["wire"], "rule": rule}
            yield _asked(f"hash/{entry['name']}/{rule}", "hash", asked, ACCEPTED, None, {"hash": expect["keccak256"]})


_MAKERS = {"attestation": _attestation, "nonce": _nonces, "inclusion": _inclusions, "hash": _hashes}


def _said(status: object, step: object) -> str:
    return _shown(status) if step is None else f"{_shown(status)} ({_shown(step)})"


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:79] + "…"
