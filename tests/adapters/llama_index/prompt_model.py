"""The devnet's model for LlamaIndex's own prompts: it knows the forms that their parsers expect."""

import json
import re
from dataclasses import dataclass, field

from og_integrations.devnet import Answer, ModelRequest, Script
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.protocol.chat._wire import Usage

_SUB_QUESTIONS = {
    "items": [
        {"sub_question": "What is the capital of France?", "tool_name": "cities"},
        {"sub_question": "What is the capital of Italy?", "tool_name": "cities"},
    ]
}
_RULES: tuple[tuple[str, str], ...] = (
    (r"output a list of relevant sub-questions", f"```json\n{json.dumps(_SUB_QUESTIONS)}\n```"),
    (r"Previous reasoning: (?=\S)(?!None)[^\n]*\nNew question:\s*$", "None"),
    (r"New question:\s*$", "What is the capital of France?"),
    (r"generates multiple search queries", "capital of France\ncapital of Italy"),
    (r"Doc: 9, Relevance: 7", "Doc: 1, Relevance: 9"),
    (r"in the following format: 'ANSWER: <number", "ANSWER: 1"),
    (r"'KEYWORDS: <keywords>'", "KEYWORDS: capital, France"),
    (r"SQLQuery: ?$", "SELECT name FROM cities WHERE country = 'France'"),
    (r"You need to answer with either YES or NO|You have two options to answer", "YES"),
    (r"Some choices are given below", '[{"choice": 1, "reason": "x"}]'),
    (r"holistic evaluation", "4.5\nIt matches the reference."),
)
_REACT = "Thought: "


@dataclass
class Speaker:
    """
    Answers LlamaIndex's prompts by rule, everything else as the script does; keeps what it was asked.

    What is in `says` comes first, one answer for each request.
    """

    asked: list[ModelRequest] = field(default_factory=list)
    says: list[Answer] = field(default_factory=list)
    script: Script = field(default_factory=Script)

    async def answer(self, request: ModelRequest) -> Answer:
        """Answer by the first rule that fits."""
        self.asked.append(request)
        if self.says:
            return self.says.pop(0)
        prompt = "\n".join(_text(message) for message in request.messages)
        if "one of" in prompt and "Action Input: the input to the tool" in prompt:
            return said(_react(request.messages))
        if request.response_format is None and not request.tools:
            for pattern, text in _RULES:
                if re.search(pattern, prompt):
                    return said(text)
        return await self.script.answer(request)


def said(text: str) -> Answer:
    """Return an answer of `text`, in words."""
    return Answer(pieces=tuple(re.findall(r"\S+\s*|\s+", text)), usage=Usage(10, 5, 15))


def _react(messages: list[JsonObject]) -> str:
    observed = re.search(r"Observation: (.*)", _text(messages[-1]))
    if observed:
        return f"{_REACT}I can answer without using any more tools.\nAnswer: {observed.group(1)}"
    return f'{_REACT}I need a tool.\nAction: add\nAction Input: {{"a": 3, "b": 3}}'


def _text(message: JsonObject) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""
