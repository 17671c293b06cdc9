"""
This module reads what a job is to ask: one prompt a line, in JSON Lines or plain text.

```text
{"prompt": "Say hello."}                                          a text
{"id": "a7", "messages": [{"role": "user", "content": "…"}]}       a conversation, with a name of its own
{"custom_id": "a7", "body": {"model": "…", "messages": […]}}       a line of OpenAI's batch files
Say hello.                                                          in a file whose name does not end in .jsonl
```

Beside them may stand `model` and the options of a call (`temperature`, `max_tokens`, `stop`, `tools`, `tool_choice`,
`response_format`, `parallel_tool_calls`, `timeout`, `settlement_mode`). A prompt without an id is named by its line.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from og_integrations.client._call import Call
from og_integrations.client._engine import Engine
from og_integrations.client._options import ChatOptions, hint
from og_integrations.errors import ConfigurationError, InvalidRequestError
from og_integrations.protocol._strict_json import JsonObject, decode_json, encode_json, parse_json_object
from og_integrations.protocol.proof._canonical import without_nonce

_OPTIONS = frozenset(ChatOptions.__annotations__)
_NAMES = ("id", "custom_id")
Line = Mapping[str, object] | str | InvalidRequestError
_OF_OTHERS = frozenset({"method", "url"})
"""Members of OpenAI's batch lines that say nothing here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt is one request of a job: its `id`, the model, the messages, and the options of the call."""

    id: str
    model: str
    messages: list[JsonObject] = field(repr=False)
    options: ChatOptions = field(default_factory=ChatOptions, repr=False)

    def prepared(self, engine: Engine) -> Call:
        """Return the call, as it is sent. Raises `InvalidRequestError` or `ConfigurationError`."""
        return engine.prepare_chat(self.model, self.messages, **self.options)


def request_key(call: Call) -> str:
    """Return what names the request of `call`, whatever its nonce; see `body_key`."""
    return body_key(call.path, call.wire)


def body_key(path: str, body: str | bytes) -> str:
    """
    Return what names a request to `path`: SHA-256 of the path and of what `body` asks, hex.

    A nonce is no part of it: each call has another one, and an answer that was paid is one to all of them. Raises
    `MalformedReplyError` for a body that is no JSON object.
    """
    asked = without_nonce(path, parse_json_object(body, "The request", unique=False))
    if isinstance(asked.get("stop"), str):
        # Sent beside a nonce it was a list of one: as a text it would be another request, and be paid once more.
        asked = asked | {"stop": [asked["stop"]]}
    if asked.get("response_format") == {"type": "text"}:
        asked = {name: value for name, value in asked.items() if name != "response_format"}
    return hashlib.sha256(path.encode() + b"\n" + encode_json(asked)).hexdigest()


def read_prompt(line: Line, *, number: int, model: str | None) -> Prompt:
    """
    Return the prompt of one line; `number` names it if it has no id, `model` is asked if it names none.

    Raises `InvalidRequestError` that says which line and why.
    """
    if isinstance(line, InvalidRequestError):
        raise line
    if isinstance(line, str):
        line = {"prompt": line}
    given: JsonObject = dict(line)
    name = next((str(given[key]) for key in _NAMES if given.get(key) is not None), str(number))
    body = given.pop("body", None)
    if isinstance(body, Mapping):
        given |= body
    messages = given.pop("messages", None)
    text = given.pop("prompt", None)
    if isinstance(text, str) and messages is None:
        messages = [{"role": "user", "content": text}]
    if not isinstance(messages, list) or not messages:
        raise InvalidRequestError(f"Prompt {name} (line {number}) has neither `prompt` (a text) nor `messages`.")
    asked = given.pop("model", None) or model
    if not isinstance(asked, str):
        raise InvalidRequestError(f"Prompt {name} (line {number}) names no model, and the job has none.")
    options = {key: value for key, value in given.items() if key not in _NAMES and key not in _OF_OTHERS}
    for key in options.keys() - _OPTIONS:
        raise InvalidRequestError(f"Prompt {name} (line {number}) has an unknown option {key!r}.{hint(key, _OPTIONS)}")
    return Prompt(id=name, model=asked, messages=messages, options=cast("ChatOptions", options))


Source = str | Path | Iterable[Mapping[str, object] | str]
"""A file of prompts, or the lines of one, already read."""


def lines_of(source: Source) -> Iterator[tuple[int, Line]]:
    """
    Yield (number, line) of the prompts in `source`; blank lines are none, and an error stands for what is no JSON.

    Raises `ConfigurationError` if the file cannot be read.
    """
    if not isinstance(source, str | Path):
        yield from enumerate(source, 1)
        return
    path = Path(source)
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if text := line.strip():
                    yield number, (_object(text, number) if path.suffix == ".jsonl" else text)
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"The prompts in {path} cannot be read: {exc}.") from exc


def _object(text: str, number: int) -> Line:
    try:
        found = decode_json(text)
    except ValueError as exc:
        return InvalidRequestError(f"Line {number} of the prompts is not JSON ({exc}).")
    return found if isinstance(found, dict) else InvalidRequestError(f"Line {number} of the prompts is no JSON object.")
