"""
Structured answers to instances of their schema.

LangChain's own parsers repair what was cut off, so that an answer which ends in `"inhabitants": 70`
instead of `700}` becomes a wrong instance. Here a piece is completed only while more may come; the
whole answer is read as it stands, or refused.
"""

from collections.abc import AsyncIterator, Iterator
from functools import reduce
from operator import add
from typing import Any, cast

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import JsonOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from typing_extensions import override

from og_integrations.langchain.blocks import unmarked
from og_integrations.protocol.strict_json import decode_answer


class StructuredParser(JsonOutputParser):
    """
    Reads the text of an answer, or the arguments of its call of `tool`, as JSON of the schema.

    A pydantic class (`pydantic_object`) has instances of whole answers only; dicts of a stream grow.
    An answer that calls one of the user's own tools is not there yet: None.

    Raises `OutputParserException` for a whole answer that is not JSON, or does not fit the class.
    """

    tool: str | None = None

    @property
    @override
    def OutputType(self) -> Any:
        return self.pydantic_object or Any

    @override
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        if partial:
            grows = self.pydantic_object is None and self.tool is None
            return super().parse_result(result, partial=True) if grows else None
        message = result[0].message if isinstance(result[0], ChatGeneration) else None
        value = self._arguments(message) if isinstance(message, AIMessage) else _decoded(result[0].text)
        return value if value is None or self.pydantic_object is None else self._instance(value)

    @override
    def _transform(self, input: Iterator[str | BaseMessage]) -> Iterator[Any]:
        seen: list[Any] = []
        shown: Any = _NOTHING

        def pieces() -> Iterator[str | BaseMessage]:
            for piece in input:
                seen.append(piece)
                yield piece

        for shown in super()._transform(pieces()):
            yield shown
        if (whole := self._whole(seen)) != shown:
            yield whole

    @override
    async def _atransform(self, input: AsyncIterator[str | BaseMessage]) -> AsyncIterator[Any]:
        seen: list[Any] = []
        shown: Any = _NOTHING

        async def pieces() -> AsyncIterator[str | BaseMessage]:
            async for piece in input:
                seen.append(piece)
                yield piece

        async for shown in super()._atransform(pieces()):
            yield shown
        if (whole := self._whole(seen)) != shown:
            yield whole

    def _whole(self, pieces: list[Any]) -> Any:
        answer = reduce(add, pieces)
        return self.parse_result(
            [Generation(text=answer) if isinstance(answer, str) else ChatGeneration(message=answer)]
        )

    def _arguments(self, message: AIMessage) -> Any:
        """Return the JSON value that `message` answers with; None if it calls other tools."""
        if self.tool is not None:
            found = [call["args"] for call in message.tool_calls if call["name"] == self.tool]
            broken = [call for call in message.invalid_tool_calls if call["name"] == self.tool]
            if broken and not found:
                return _decoded(unmarked(broken[0]["args"]))
            return found[0] if found else None
        return None if message.tool_calls else _decoded(message.text)

    def _instance(self, value: Any) -> Any:
        cls = cast("Any", self.pydantic_object)
        try:
            return cls.model_validate(value) if hasattr(cls, "model_validate") else cls.parse_obj(value)
        except ValueError as exc:  # pydantic's errors of both versions are
            text = f"The answer is JSON, but does not fit {cls.__name__}: {exc}"
            raise OutputParserException(text, llm_output=str(value)) from exc


_NOTHING = object()


def _decoded(text: str) -> Any:
    try:
        return decode_answer(text)
    except ValueError as exc:
        shown = f"{text[:200]}{'…' * (len(text) > 200)}"
        raise OutputParserException(f"The answer is not JSON as a whole: {shown}", llm_output=text) from exc
