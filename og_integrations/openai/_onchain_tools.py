"""
Models and workflows on chain as tools: of the Agents SDK, and as plain functions of chat completions.

What such a tool returns is text, so receipts come through `collect_receipts`, and from the Agents SDK also in
`custom_data` of the tool's output item.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from og_integrations.errors import ConfigurationError, InvalidRequestError, OpenGradientError
from og_integrations.onchain._tools import OnchainTool, is_told
from og_integrations.openai._tracing import trace_receipt
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.receipt import RECEIPT_KEY

if TYPE_CHECKING:
    from agents import FunctionTool
    from agents.tool import FunctionToolCustomDataContext
    from agents.tool_context import ToolContext


def onchain_tool(tool: OnchainTool, *, trace_receipts: bool = False) -> "FunctionTool":
    """
    Return a model or workflow on chain as a tool of the OpenAI Agents SDK.

    The agent is told of what it can mend, and of what was never sent; any other error ends its run. With
    `trace_receipts` the receipt stands in the run's trace, too (see `OpenGradientProvider`). Raises
    `ConfigurationError` without the package `openai-agents`.
    """
    try:
        from agents import FunctionTool
    except ImportError as exc:
        raise ConfigurationError('OpenAI\'s Agents SDK is missing: pip install "og-integrations[agents]".') from exc

    artifacts: dict[str, JsonObject] = {}

    async def invoke(context: "ToolContext[object]", arguments: str) -> str:
        try:
            result = await tool.arun(arguments)
        except OpenGradientError as exc:
            if trace_receipts and exc.receipt is not None:
                trace_receipt(exc.receipt)
            if is_told(exc):
                return str(exc)
            raise
        artifacts[context.tool_call_id] = result.artifact
        if trace_receipts and (receipt := result.artifact.get(RECEIPT_KEY)) is not None:
            trace_receipt(receipt)
        return result.text

    def artifact(context: "FunctionToolCustomDataContext") -> Mapping[str, object] | None:
        return artifacts.pop(context.tool_context.tool_call_id, None)

    return FunctionTool(
        name=tool.name,
        description=tool.description,
        params_json_schema=tool.parameters,
        on_invoke_tool=invoke,
        strict_json_schema=False,
        custom_data_extractor=artifact,
    )


def onchain_tool_schema(tool: OnchainTool) -> JsonObject:
    """Return the tool as an entry of `tools` of a chat completion, for any client that speaks its format."""
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def call_onchain_tool(tools: Sequence[OnchainTool], name: str, arguments: str) -> JsonObject:
    """
    Run the tool that an answer calls, with its arguments as JSON text; return `{"content", "artifact"}`.

    Raises `InvalidRequestError` for an unknown tool, and what `OnchainTool.run` raises but for what the model can mend:
    that is its `content`.
    """
    tool = next((tool for tool in tools if tool.name == name), None)
    if tool is None:
        raise InvalidRequestError(f"There is no tool {name[:80]!r} among {[one.name for one in tools]}.")
    try:
        result = tool.run(arguments)
    except OpenGradientError as exc:
        if is_told(exc):
            return {"content": str(exc), "artifact": None}
        raise
    return {"content": result.text, "artifact": result.artifact}
