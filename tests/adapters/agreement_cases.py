"""The table: what both adapters are asked, and in what they may differ, with the reason."""

from typing import Any

from og_integrations.protocol._strict_json import JsonObject
from tests.adapters.agreement import Case

CLAUDE, GEMINI, GROK = "anthropic/claude-sonnet-4-6", "google/gemini-2.5-flash", "x-ai/grok-4"
PIXEL = "https://example.org/pixel.png"


def user(text: Any) -> JsonObject:
    """Return a user's message."""
    return {"role": "user", "content": text}


def tool(name: str, /, **properties: JsonObject) -> JsonObject:
    """Return a tool in wire form, all of whose arguments are required."""
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": f"To {name}.", "parameters": parameters}}


def schema(name: str, /, **properties: JsonObject) -> JsonObject:
    """Return a strict `response_format`."""
    described = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": name, "schema": described, "strict": True}}


ADD = tool("add", a={"type": "integer"}, b={"type": "integer"})
GREET = tool("greet", name={"type": "string"})
# Arguments of any name cannot be said strictly, so this one cannot be asked for as a json_schema.
ANYTHING = tool("anything", bag={"type": "object", "additionalProperties": {"type": "string"}})
CITY = schema("City", name={"type": "string"}, inhabitants={"type": "integer"})
USE_ADD = [user('use tool add {"a": 1, "b": 2}')]
USE_BOTH = [user('use tool add {"a": 1, "b": 2} and use tool greet {"name": "Zażółć"}')]
CALLED: JsonObject = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}},
        {"id": "c2", "type": "function", "function": {"name": "greet", "arguments": '{"name": "Zażółć"}'}},
    ],
}
RESULTS: list[JsonObject] = [
    {"role": "tool", "content": "3", "tool_call_id": "c1"},
    {"role": "tool", "content": "hello", "tool_call_id": "c2"},
]
HI = [user("hi there")]
SEEN = [user([{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PIXEL}}])]
OWN_WORDS = {"says": "each names the block in its framework's words"}
BY_STATUS = {"error": "LangChain's middleware needs a class per HTTP status; each is the same class here"}
UNENFORCED = "ToolChoiceNotHonoredError"


def named(name: str) -> JsonObject:
    """Return the wire form of "this tool"."""
    return {"type": "function", "function": {"name": name}}


MESSAGES = [
    Case(name="one message", messages=HI),
    Case(name="system", messages=[{"role": "system", "content": "Be brief."}, *HI]),
    Case(
        name="developer",
        messages=[{"role": "developer", "content": "Be brief."}, *HI],
        sent=[{"role": "system", "content": "Be brief."}, *HI],
    ),
    Case(name="history", messages=[*HI, {"role": "assistant", "content": "Hello."}, user("and now?")]),
    Case(name="unicode", messages=[user("Zażółć 你好 🌍\u2028\u0000\n\\ [[unicode]]")]),
    Case(name="no text", messages=[user("")]),
    Case(name="one part", messages=[user([{"type": "text", "text": "hi"}])], sent=[user("hi")]),
    Case(
        name="two texts",
        messages=[user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])],
        differs=dict.fromkeys(
            ("exchanges", "text", "pieces", "usage", "charges", "receipts"),
            "LlamaIndex shows and counts text blocks as one text with line feeds; LangChain has parts of its own",
        ),
    ),
    Case(name="calls and results", messages=[*USE_BOTH, CALLED, *RESULTS], call={"tools": [ADD, GREET]}),
    Case(
        name="calls and results, Claude",
        messages=[*USE_BOTH, CALLED, *RESULTS],
        call={"tools": [ADD, GREET]},
        model=CLAUDE,
    ),
    Case(name="a function's result", messages=[*HI, {"role": "function", "name": "add", "content": "3"}]),
    Case(name="image", messages=SEEN, error="InvalidRequestError", differs=OWN_WORDS),
    Case(name="image, next", messages=SEEN, generation="next"),
    Case(
        name="image, unseeing",
        messages=SEEN,
        generation="next",
        model="nous/hermes-4-70b",
        error="InvalidRequestError",
        differs=OWN_WORDS,
    ),
    Case(name="text, next", messages=HI, generation="next"),
    Case(name="drawn and thought", messages=[user("[[image reasoning]] draw")], generation="next"),
    Case(name="no messages", messages=[], error="InvalidRequestError"),
    Case(name="Claude", messages=HI, model=CLAUDE),
    Case(name="Gemini", messages=HI, model=GEMINI),
    Case(name="Grok", messages=HI, model=GROK),
    Case(name="a model of tomorrow", messages=HI, model="openai/gpt-9", error="GatewayError", differs=BY_STATUS),
]
TOOLS = [
    *(
        Case(name=f"tools, {model}", messages=USE_BOTH, model=model, call={"tools": [ADD, GREET]})
        for model in ("openai/gpt-4.1", CLAUDE, GROK)
    ),
    # One call only: the gateway runs the arguments of Gemini's streamed calls together.
    Case(name="tools, Gemini", messages=USE_ADD, model=GEMINI, call={"tools": [ADD, GREET]}),
    Case(name="tools unused", messages=HI, call={"tools": [ADD, GREET]}),
    Case(
        name="text beside calls", messages=[user('[[with_text]] use tool add {"a": 1, "b": 2}')], call={"tools": [ADD]}
    ),
    Case(name="broken arguments", messages=[user('use tool add {"a": 1, "c": [1, {}]}')], call={"tools": [ADD]}),
    *(
        Case(
            name=f"tool_choice {choice}", messages=HI, call={"tools": [ADD, GREET], "tool_choice": choice}, error=error
        )
        for choice, error in (
            ("auto", None),
            ("none", None),
            ("required", UNENFORCED),
            ("any", UNENFORCED),
            (True, UNENFORCED),
        )
    ),
    *(
        Case(
            name=f"forced {label}, {model}",
            messages=HI,
            model=model,
            call={"tools": [ADD, GREET], "tool_choice": choice},
        )
        for model in ("openai/gpt-4.1", CLAUDE)
        for label, choice in (
            ("by name", "add"),
            ("by dict", named("add")),
            ("by Anthropic's dict", {"type": "tool", "name": "add"}),
        )
    ),
    Case(name="forced, the only one", messages=HI, call={"tools": [ADD], "tool_choice": "required"}),
    Case(
        name="forced, not strict", messages=HI, call={"tools": [ANYTHING], "tool_choice": "anything"}, error=UNENFORCED
    ),
    Case(
        name="forced, in a history",
        messages=[*USE_BOTH, CALLED, *RESULTS, *USE_ADD],
        model=CLAUDE,
        call={"tools": [ADD, GREET], "tool_choice": "add"},
    ),
    Case(
        name="forced, unknown",
        messages=HI,
        call={"tools": [ADD], "tool_choice": "substract"},
        error="InvalidRequestError",
    ),
    *(
        Case(name=f"forced {choice}, no tools", messages=HI, call={"tool_choice": choice}, error="InvalidRequestError")
        for choice in ("required", True)
    ),
    Case(
        name="forced, no choice",
        messages=HI,
        call={"tools": [ADD], "tool_choice": {"type": "odd"}},
        error="InvalidRequestError",
    ),
    Case(
        name="a tool called any",
        messages=HI,
        call={"tools": [tool("any", a={"type": "integer"}), ADD], "tool_choice": "any"},
    ),
]
SCHEMAS = [
    *(
        Case(name=f"schema, {model}", messages=[user('about "Paris"')], model=model, call={"response_format": CITY})
        for model in ("openai/gpt-4.1", CLAUDE, GEMINI)
    ),
    *(
        Case(
            name=f"schema and tools, {model}",
            messages=messages,
            model=model,
            call={"tools": [ADD], "response_format": CITY},
        )
        for model in ("openai/gpt-4.1", CLAUDE, GEMINI)
        for messages in ([user('about "Paris"')], USE_ADD)
    ),
    Case(
        name="schema by forced tool, Claude",
        messages=[user("final City")],
        model=CLAUDE,
        call={"tools": [ADD], "response_format": CITY},
    ),
    Case(name="json_object", messages=[user('JSON with "a"')], call={"response_format": {"type": "json_object"}}),
    Case(
        name="json_object, Claude",
        messages=HI,
        model=CLAUDE,
        call={"response_format": {"type": "json_object"}},
        error="InvalidRequestError",
    ),
]
OPTIONS = [
    Case(name="stop", messages=[user("[[tokens=6]]")], call={"stop": ["tok3"]}),
    Case(name="stop as text", messages=[user("[[tokens=6]]")], call={"stop": "tok3"}),
    *(
        Case(name=f"stop of the constructor, {stop}", messages=[user("[[tokens=6]]")], options={"stop": stop})
        for stop in ("tok3", ["tok9", "tok3"])
    ),
    Case(name="stop, five", messages=HI, call={"stop": ["a", "b", "c", "d", "e"]}, error="InvalidRequestError"),
    *(
        Case(name=f"{name} {value}", messages=[user("[[tokens=9]]")], call={name: value})
        for name, value in (("temperature", 0.0), ("temperature", 0.7), ("temperature", 1), ("max_tokens", 3))
    ),
    Case(
        name="options of the constructor",
        messages=[user("[[tokens=9]]")],
        options={"temperature": 0.3, "max_tokens": 4},
    ),
    Case(name="temperature 3", messages=HI, call={"temperature": 3.0}, error="InvalidRequestError"),
    Case(name="max_tokens 0", messages=HI, call={"max_tokens": 0}, error="InvalidRequestError"),
    Case(
        name="an option nobody has",
        messages=HI,
        call={"temprature": 1.0},
        error="InvalidRequestError",
        differs={"says": "LangChain also has model_kwargs for what is sent as it is"},
    ),
    *(
        Case(name=f"settlement {mode}, {where}", messages=HI, **{where: {name: mode}})  # type: ignore[arg-type]
        for mode in ("private", "batch", "individual", "SETTLE_METADATA", "SETTLE_INDIVIDUAL_WITH_METADATA")
        for where, name in (("call", "settlement_mode"), ("options", "x402_settlement_mode"))
    ),
    *(
        Case(
            name=f"settlement of the call, {given} over {kept}",
            messages=HI,
            options={kept: "individual"},
            call={given: "private"},
        )
        for kept, given in (("x402_settlement_mode", "settlement_mode"), ("settlement_mode", "x402_settlement_mode"))
    ),
    Case(name="settlement, a typo", messages=HI, call={"settlement_mode": "privat"}, error="ConfigurationError"),
    Case(name="buffered", messages=HI, options={"verification": "buffer"}),
    Case(name="default_headers", messages=HI, options={"default_headers": {"x-app": "one"}}),
]
FAILURES = [
    *(
        Case(
            name=f"provider answers {status}",
            messages=[user(f"[[status={status}]]")],
            error="GatewayError",
            differs=BY_STATUS,
        )
        for status in (400, 429, 500)
    ),
    Case(
        name="timeout of the call",
        messages=HI,
        call={"timeout": 0.3},
        fault="stall_after_payment",
        error="ReadTimeoutError",
    ),
    Case(
        name="timeout of the constructor",
        messages=HI,
        options={"timeout": 0.3},
        fault="stall_after_payment",
        error="ReadTimeoutError",
    ),
    Case(
        name="timeout before payment",
        messages=HI,
        options={"timeout": 0.3},
        fault="stall_offer",
        error="ConnectionLostError",
        differs={"error": "LangChain has a class of its own for timeouts"},
    ),
    Case(name="over budget", messages=HI, options={"spend_policy": {"total": "0.01"}}, error="BudgetExceededError"),
    Case(name="no key", messages=HI, options={"private_key": None}, error="ConfigurationError"),
    Case(
        name="a key that is none",
        messages=HI,
        options={"private_key": "0x12"},
        error="ConfigurationError",
    ),
    Case(name="no such network", messages=HI, options={"network": "bass"}, error="ConfigurationError"),
]
CASES = [*MESSAGES, *TOOLS, *SCHEMAS, *OPTIONS, *FAILURES]
