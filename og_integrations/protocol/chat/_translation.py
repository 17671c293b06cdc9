"""
This module holds where what the user sees differs from what the enclave signed (docs/design.md "Trust").

The gateway hashes `stop` but never passes it to the model (docs/protocol.md §2), so stop sequences are cut
here. Verification always runs on the whole signed text; the receipt's `presentation` tells of the cut.

What the gateway drops or does not enforce is written in a form that it does honour.

* It silently drops `tools` for Anthropic models when `response_format` is a json_schema, while still
  hashing them. Only OpenAI and xAI models are known to take both. For all others the schema is sent
  as one more tool, whose (signed) arguments are then shown as the answer's JSON text.
* `tool_choice` never reaches the model. A tool that must be called is asked for as a json_schema,
  which providers enforce, if its parameters can be expressed strictly; otherwise the tools are sent
  and an answer that does not call one is a `ToolChoiceNotHonoredError`. "none" leaves the tools out.

Each translation names itself in the receipt's `presentation`. Verification is never concerned: it
runs on what was really sent and signed.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from itertools import count
from typing import Literal, NamedTuple

from og_integrations.errors import InvalidRequestError, ToolChoiceNotHonoredError
from og_integrations.models import ModelInfo
from og_integrations.protocol._strict_json import SURROGATE, JsonObject, decode_answer, decode_arguments
from og_integrations.protocol.chat._wire import ChatRequest, Completion, ToolCall


class StopCutter:
    """
    A cutter turns text into shown text: nothing from the first stop sequence on.

    It holds back as much as could be the beginning of one, so that no part of it is ever shown.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        # An empty sequence is found at the start of every text, and would cut all of it.
        self._stop = tuple(sequence for sequence in stop if sequence)
        self._held = ""
        self.cut_at: str | None = None

    def feed(self, text: str) -> str:
        """Return what may be shown now that `text` came."""
        if not self._stop:
            return text
        if self.cut_at is not None:
            return ""
        self._held += text
        found = [(at, sequence) for sequence in self._stop if (at := self._held.find(sequence)) >= 0]
        if found:
            # The one that ends first: so it does not matter in which pieces the text came.
            at, self.cut_at = min(found, key=lambda hit: (hit[0] + len(hit[1]), hit[0]))
            shown, self._held = self._held[:at], ""
            return shown
        # What could be the beginning of a sequence is held back: text that was shown cannot be taken back.
        keep = max(self._suspicious(sequence) for sequence in self._stop)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def flush(self) -> str:
        """Return what was held back, now that no more text comes."""
        shown, self._held = self._held, ""
        return shown

    def _suspicious(self, sequence: str) -> int:
        """Return how many characters at the end could begin `sequence`."""
        longest = min(len(sequence) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(sequence[:n])), 0)


_FIRST_CALL = "first_tool_call"
_RENAMED = "renamed_tools"
_MENDED = "mended_characters"
_TAKEN_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_Kind = Literal["plain", "tool_from_json_schema", "schema_through_tool"]


class Shown(NamedTuple):
    """Shown is an answer as the caller asked for it; `presentation` is None if that is what was signed."""

    text: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str
    presentation: JsonObject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    A plan says what to send for a wish, and how to show the answer.

    `tool` is the tool that stands for the schema, or the one that the schema stands for.
    `demanded` names the tools of which one must be called (empty: none must), `forbidden` says that
    none may, `one_call` that no second call is shown. `names` maps names of tools that were sent to the caller's own.
    """

    tools: Sequence[JsonObject] | None = None
    tool_choice: str | JsonObject | None = None
    response_format: JsonObject | None = None
    kind: _Kind = "plain"
    tool: str = ""
    parameters: JsonObject | None = None
    demanded: frozenset[str] = frozenset()
    forbidden: bool = False
    one_call: bool = False
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def holds_text(self) -> bool:
        """Return whether a stream's text means something else than text, and so is shown at the end only."""
        return self.kind != "plain"

    def show(self, completion: Completion) -> Shown:
        """Return the verified `completion` as asked for. Raises `ToolChoiceNotHonoredError`."""
        shown = _mended(self._as_asked(completion))
        if self.one_call:
            shown = _first_call(shown)
        return _with_own_names(shown, self.names) if self.names else shown

    def _as_asked(self, completion: Completion) -> Shown:
        match self.kind:
            case "tool_from_json_schema":
                return self._tool_call(completion)
            case "schema_through_tool":
                shown = self._schema_text(completion)
            case "plain":
                # Text beside tool calls is not signed; where a form and no tool was asked for, it would be the answer.
                unasked = completion.tool_calls and self.response_format is not None and not self.tools
                text = "" if unasked else completion.text
                shown = Shown(text=text, tool_calls=completion.tool_calls, finish_reason=completion.finish_reason)
        called = {call.name for call in completion.tool_calls}
        # No gateway hands `tool_choice` to a model (docs/protocol.md
        # §2.2), so the answer is the first place to notice.
        if self.demanded and not called & self.demanded:
            raise ToolChoiceNotHonoredError(
                f"tool_choice asked for a call of {' or '.join(sorted(self.demanded))}, but the model "
                f"{'called ' + ', '.join(sorted(called)) if called else 'answered in text'}. The gateway does not "
                "enforce tool_choice; the answer was paid, and its receipt is attached to this error."
            )
        if self.forbidden and called - {self.tool}:
            raise ToolChoiceNotHonoredError(
                "tool_choice was 'none', but the model called a tool. The gateway does not enforce tool_choice; "
                "the answer was paid, and its receipt is attached to this error."
            )
        return shown

    def _tool_call(self, completion: Completion) -> Shown:
        # A gateway could write arguments of its own beside a signed call of a tool that nobody offered.
        arguments = None if completion.tool_calls else self._arguments(completion.text)
        if arguments is None:
            raise ToolChoiceNotHonoredError(
                f"The call of {self.tool} was asked for as a json_schema, but the model did not answer with a JSON "
                "object. The answer was paid, and its receipt is attached to this error."
            )
        # Derived, so that the same answer always has the same id; unique as the proof is.
        suffix = completion.proof.signature[:24] if completion.proof else ""
        call = ToolCall("call_" + re.sub(r"[^A-Za-z0-9]", "", suffix), self.tool, arguments)
        return Shown(
            text="",
            tool_calls=(call,),
            finish_reason="tool_calls",
            presentation={"kind": self.kind, "tool": self.tool},
        )

    def _arguments(self, text: str) -> str | None:
        """Return the object that `text` holds; None if there is none, or one that could not be sent back."""
        try:
            answered = decode_answer(text)
            if not isinstance(answered, dict):
                return None
            # The strict form turned optional parameters into nullable
            # ones, and the tool itself does not expect those nulls.
            from og_integrations.protocol.chat._schemas import drop_added_nulls

            cleaned = drop_added_nulls(answered, self.parameters or {})
            arguments = json.dumps(cleaned, ensure_ascii=False, allow_nan=False)
            arguments.encode()  # half of a character cannot be
        except ValueError:
            return None
        return arguments

    def _schema_text(self, completion: Completion) -> Shown:
        calls = tuple(call for call in completion.tool_calls if call.name != self.tool)
        answers = [call for call in completion.tool_calls if call.name == self.tool]
        presentation: JsonObject = {"kind": self.kind, "tool": self.tool}
        if calls or not answers:
            # Real tools first: the model will give its final answer after their results.
            return Shown(
                text=completion.text,
                tool_calls=calls,
                finish_reason=completion.finish_reason,
                presentation=presentation if answers else None,
            )
        return Shown(text=answers[0].arguments, tool_calls=(), finish_reason="stop", presentation=presentation)


AS_ASKED = Plan()
"""The plan of a request that asks for text and nothing else, as most do."""


def _first_call(shown: Shown) -> Shown:
    """Return `shown` without the calls after its first: gateways hand `parallel_tool_calls` on to no model."""
    calls = len(shown.tool_calls)
    if calls < 2:
        return shown
    told = (shown.presentation or {"kind": _FIRST_CALL}) | {"tool_calls": calls}
    return shown._replace(tool_calls=shown.tool_calls[:1], presentation=told)


def _mended(shown: Shown) -> Shown:
    """
    Return `shown` without halves of characters (lone surrogates), each replaced by U+FFFD.

    JSON can spell them, so that calls with them are signed, and the unsigned text beside calls may have them. No text
    can hold them: the conversation could never go on.
    """
    if shown.text.isascii() and not shown.tool_calls:
        return shown
    calls = tuple(ToolCall(*(SURROGATE.sub("\ufffd", part) for part in astuple(call))) for call in shown.tool_calls)
    text = SURROGATE.sub("\ufffd", shown.text)
    if (text, calls) == (shown.text, shown.tool_calls):
        return shown
    return shown._replace(text=text, tool_calls=calls, presentation={"kind": _MENDED} | (shown.presentation or {}))


def _with_own_names(shown: Shown, names: Mapping[str, str]) -> Shown:
    """Return `shown` with calls under the names that the caller gave its tools."""
    renamed = {call.name: names[call.name] for call in shown.tool_calls if call.name in names}
    if not renamed:
        return shown
    calls = tuple(replace(call, name=renamed.get(call.name, call.name)) for call in shown.tool_calls)
    return shown._replace(
        tool_calls=calls, presentation=(shown.presentation or {"kind": _RENAMED}) | {"names": renamed}
    )


def names_to_send(messages: Sequence[JsonObject], tools: Sequence[JsonObject] | None) -> dict[str, str]:
    """
    Return a name that providers take for each name of a tool, offered or called before, that they refuse.

    MCP servers have such names (`github.issues/list`). Two names never become one.
    """
    offered = [str(_function(tool).get("name")) for tool in tools or ()]
    called = [str(_function(call).get("name")) for message in messages for call in message.get("tool_calls") or ()]
    refused = [name for name in dict.fromkeys(offered + called) if not _TAKEN_NAME.fullmatch(name)]
    if not refused:
        return {}
    taken = {*offered, *called}
    names: dict[str, str] = {}
    for name in refused:
        wished = sent = schema_name(name)
        numbers = count(2)
        # Two tools of one name could not be told apart in the answer, and the wrong one would be run.
        while sent in taken:
            sent = f"{wished[:58]}_{next(numbers)}"
        taken.add(sent)
        names[name] = sent
    return names


def rename_tools(tools: Sequence[JsonObject], names: Mapping[str, str]) -> list[JsonObject]:
    """Return `tools`, or calls of tools, under the `names` to send."""
    renamed = []
    for tool in tools:
        name = _function(tool).get("name")
        known = names.get(name) if isinstance(name, str) else None
        renamed.append(tool if known is None else {**tool, "function": {**_function(tool), "name": known}})
    return renamed


def rename_calls(messages: Sequence[JsonObject], names: Mapping[str, str]) -> list[JsonObject]:
    """Return `messages` whose tool calls have the `names` to send."""
    return [
        {**message, "tool_calls": rename_tools(message["tool_calls"], names)} if message.get("tool_calls") else message
        for message in messages
    ]


def readable_calls(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """
    Return `messages` whose tool calls have arguments that gateways can read; none where there were none.

    A gateway decodes the arguments of each call in the history and hands an object to the provider. Text that is no
    object (NaN, half of a character, a list) fails there with a 500, in this turn and in every later one; text with a
    raw line feed arrives as `{}`.
    """
    readable = []
    for message in messages:
        calls = [
            {**call, "function": {**_function(call), "arguments": _readable(str(_function(call).get("arguments")))}}
            for call in message.get("tool_calls") or ()
        ]
        readable.append({**message, "tool_calls": calls} if calls else message)
    return readable


def _readable(arguments: str) -> str:
    try:
        value = decode_arguments(arguments)
    except ValueError:
        return "{}"
    try:
        kept = isinstance(json.loads(arguments), dict)
    except ValueError:
        kept = False
    return arguments if kept else json.dumps(value, ensure_ascii=False)


def plan_chat(
    info: ModelInfo, wish: ChatRequest, *, parallel_tool_calls: bool | None = None
) -> tuple[ChatRequest, Plan]:
    """
    Return the request to send for `wish` to a model of `info`, and how to show its answer.

    Raises `InvalidRequestError` if `tool_choice` demands a tool that is not there.
    """
    if parallel_tool_calls not in (None, True, False):
        raise InvalidRequestError(f"parallel_tool_calls is {parallel_tool_calls!r:.40}, expected True or False.")
    # 0 and 1 are as good to Python; what is neither (a text "false") would be true.
    several = None if parallel_tool_calls is None else bool(parallel_tool_calls)
    # Most requests name no tool and no format, so that nothing is translated; any other sequence may change meanwhile.
    plain = isinstance(wish.messages, list) and not [True for message in wish.messages if message.get("tool_calls")]
    asks_tools = wish.tools or several is False or wish.tool_choice is not None
    if plain and not asks_tools and wish.response_format is None:
        return wish, AS_ASKED
    messages, tools, choice = readable_calls(wish.messages), _whole_tools(wish.tools), wish.tool_choice
    if names := names_to_send(messages, tools):
        messages, tools = rename_calls(messages, names), rename_tools(tools or (), names)
        # A choice under the old name would demand a tool that is not among those sent.
        if isinstance(choice, dict):
            (choice,) = rename_tools([choice], names)
    plan = plan_tools(
        info,
        messages,
        tools=tools,
        tool_choice=choice,
        response_format=_whole_format(wish.response_format),
        several=several is True,
    )
    if names or several is False:
        own_names = {sent: own for own, sent in names.items()}
        plan = replace(plan, one_call=several is False, names=own_names)
    request = replace(
        wish,
        messages=messages,
        tools=plan.tools or None,
        tool_choice=plan.tool_choice,
        response_format=plan.response_format,
        # The verified answer is then shown as one piece.
        stream=wish.stream and (info.tool_streams or not plan.tools),
    )
    return request, plan


def _whole_tools(tools: Sequence[JsonObject] | None) -> Sequence[JsonObject] | None:
    """Return `tools` with schemas that providers take. Raises `InvalidRequestError`."""
    if not tools:
        return tools
    from og_integrations.protocol.chat._schemas import whole_schema

    whole = []
    for tool in tools:
        function = _function(tool)
        given = function.get("parameters")
        told = whole_schema(given, f"the tool {str(function.get('name'))[:80]}") if given else given
        whole.append(tool if told is given else {**tool, "function": {**function, "parameters": told}})
    return whole


def _whole_format(response_format: JsonObject | None) -> JsonObject | None:
    """Return `response_format` with a schema that providers take. Raises `InvalidRequestError`."""
    described = (response_format or {}).get("json_schema")
    given = described.get("schema") if isinstance(described, dict) else None
    if response_format is None or not isinstance(described, dict) or not given:
        return response_format
    from og_integrations.protocol.chat._schemas import whole_schema

    told = whole_schema(given, f"the format {str(described.get('name'))[:80]}")
    return response_format if told is given else {**response_format, "json_schema": {**described, "schema": told}}


def plan_tools(
    info: ModelInfo,
    messages: Sequence[JsonObject],
    *,
    tools: Sequence[JsonObject] | None,
    tool_choice: str | JsonObject | None,
    response_format: JsonObject | None,
    several: bool = False,
) -> Plan:
    """
    Return what to send for these tools, choice and format to a model of `info`.

    `several` says that more than one call is wanted, which a schema in place of the one tool would not allow.
    Raises `InvalidRequestError` if `tool_choice` demands a tool that is not there.
    """
    named = _named(tool_choice)
    names = frozenset(str(_function(tool).get("name")) for tool in tools or ())
    if named is not None and named not in names:
        raise InvalidRequestError(f"tool_choice names {named!r}, which is not among the tools {sorted(names)}.")
    if not tools:
        if tool_choice == "required":
            raise InvalidRequestError("tool_choice asks for a call of some tool, but there are no tools.")
        return Plan(response_format=response_format)
    if tool_choice == "none":
        # Anthropic refuses tool turns in the history without the tools that they are about.
        if not (info.provider == "anthropic" and _has_tool_turns(messages)):
            return Plan(response_format=response_format, forbidden=True)
        return _with_schema(info, tools, tool_choice, response_format, forbidden=True)
    demanded = frozenset({named}) if named else names if tool_choice == "required" else frozenset()
    # No gateway hands `tool_choice` on. A strict schema in place of the tool is the only demand that providers enforce.
    if len(demanded) == 1 and response_format is None and (named is not None or not several):
        (name,) = demanded
        forced = _forced(info, messages, next(tool for tool in tools if _function(tool).get("name") == name))
        if forced is not None:
            return forced
    return _with_schema(info, tools, tool_choice, response_format, demanded=demanded)


def _forced(info: ModelInfo, messages: Sequence[JsonObject], tool: JsonObject) -> Plan | None:
    """Return the plan that asks for a call of `tool` as a json_schema; None if that cannot be said."""
    # This plan sends no tools, and Anthropic refuses a history with tool turns that comes without them.
    if info.provider == "anthropic" and _has_tool_turns(messages):
        return None
    function = _function(tool)
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    from og_integrations.protocol.chat._schemas import strict_schema

    schema = strict_schema(parameters)
    # A schema that is not strict is only a wish to most
    # providers, and the answer could miss the tool's parameters.
    if schema is None:
        return None
    name = str(function.get("name"))
    described = {"description": function["description"]} if function.get("description") else {}
    json_schema = {"name": schema_name(name), "schema": schema, "strict": True} | described
    return Plan(
        response_format={"type": "json_schema", "json_schema": json_schema},
        kind="tool_from_json_schema",
        tool=name,
        parameters=parameters,
    )


def _with_schema(
    info: ModelInfo,
    tools: Sequence[JsonObject],
    tool_choice: str | JsonObject | None,
    response_format: JsonObject | None,
    *,
    demanded: frozenset[str] = frozenset(),
    forbidden: bool = False,
) -> Plan:
    if response_format is None or response_format.get("type") != "json_schema" or info.tools_with_schema:
        return Plan(
            tools=tools,
            tool_choice=tool_choice,
            response_format=response_format,
            demanded=demanded,
            forbidden=forbidden,
        )
    wanted = response_format.get("json_schema") or {}
    taken = {_function(tool).get("name") for tool in tools}
    wished = name = schema_name(str(wanted.get("name") or "final_answer"))
    numbers = count(2)
    # A tool of the caller with this name would receive the final answer as if it were its arguments.
    while name in taken:
        name = f"{wished[:60]}_{next(numbers)}"
    description = wanted.get("description") or "The form of the final answer."
    extra = {
        "type": "function",
        "function": {
            "name": name,
            "description": f"{description} Call this, once and alone, to give the final answer.",
            "parameters": wanted.get("schema") or {"type": "object", "properties": {}},
        },
    }
    return Plan(
        tools=[*tools, extra],
        tool_choice=tool_choice,
        kind="schema_through_tool",
        tool=name,
        demanded=demanded,
        forbidden=forbidden,
    )


def schema_name(name: str) -> str:
    """Return `name` as providers take it for a schema or tool: at most 64 of A-Z a-z 0-9 _ -."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "answer"


def _named(tool_choice: str | JsonObject | None) -> str | None:
    if not isinstance(tool_choice, Mapping):
        return None
    name = (tool_choice.get("function") or {}).get("name")
    return str(name) if name else None


def _function(tool: JsonObject) -> JsonObject:
    function = tool.get("function")
    return function if isinstance(function, dict) else {}


def _has_tool_turns(messages: Sequence[JsonObject]) -> bool:
    return any(message.get("role") == "tool" or message.get("tool_calls") for message in messages)


def cut_at_stop(shown: Shown, stop: Sequence[str]) -> Shown:
    """Return `shown` with its text cut at the first of `stop`; a translated answer is left whole."""
    if shown.presentation is not None and shown.presentation["kind"] not in (_FIRST_CALL, _RENAMED, _MENDED):
        return shown
    if not stop:
        return shown
    cutter = StopCutter(stop)
    text = cutter.feed(shown.text) + cutter.flush()
    if cutter.cut_at is None:
        return shown
    # The receipt tells of the cut, because whoever checks the signed text finds more of it than was shown.
    told = (shown.presentation or {}) | {"kind": "cut_at_stop", "stop": cutter.cut_at}
    return shown._replace(text=text, presentation=told)
