"""
Models and workflows on chain as LangChain's tools: the receipt is in `ToolMessage.artifact["opengradient"]`.

The agent is told of what it can mend, and of what was never sent; any other error ends its run.
"""

from collections.abc import Sequence

from langchain_core.tools import BaseTool, BaseToolkit, StructuredTool, ToolException
from pydantic import InstanceOf, ValidationError
from pydantic.v1 import ValidationError as ValidationErrorV1
from typing_extensions import override

from og_integrations.errors import OpenGradientError
from og_integrations.langchain.errors import as_model_error
from og_integrations.onchain._tools import OnchainTool, ToolResult, is_told
from og_integrations.protocol._strict_json import JsonObject


def onchain_tool(tool: OnchainTool) -> StructuredTool:
    """
    Return a model or workflow on chain (`onchain.model_tool`, `onchain.workflow_tool`) as a tool of LangChain.

    ```python
    agent = create_agent(model, [onchain_tool(model_tool(chain, model_cid, model_file="model.onnx"))])
    ```
    """

    def call(**arguments: object) -> tuple[str, JsonObject]:
        try:
            return _answer(tool.run(arguments))
        except OpenGradientError as exc:
            raise _for_agent(exc) from exc

    async def acall(**arguments: object) -> tuple[str, JsonObject]:
        try:
            return _answer(await tool.arun(arguments))
        except OpenGradientError as exc:
            raise _for_agent(exc) from exc

    def explained(error: ValidationError | ValidationErrorV1) -> str:
        return tool.explain(error) if isinstance(error, ValidationError) else str(error)

    return StructuredTool(
        name=tool.name,
        description=tool.description,
        args_schema=tool.arguments,
        func=call,
        coroutine=acall,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=explained,
    )


class OnchainToolkit(BaseToolkit):
    """
    A toolkit holds models and workflows on chain, and hands them out as tools.

    ```python
    OnchainToolkit(tools=[model_tool(chain, …), workflow_tool(chain, WORKFLOW_MODELS["btc_1_hour"])]).get_tools()
    ```
    """

    tools: Sequence[InstanceOf[OnchainTool]] = ()

    @override
    def get_tools(self) -> list[BaseTool]:
        """Return the tools as LangChain's."""
        return [onchain_tool(tool) for tool in self.tools]


def _answer(result: ToolResult) -> tuple[str, JsonObject]:
    return result.text, result.artifact


def _for_agent(error: OpenGradientError) -> Exception:
    return ToolException(str(error)) if is_told(error) else as_model_error(error)
