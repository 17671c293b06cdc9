"""
Models and workflows on chain as LlamaIndex's tools: the receipt is in `ToolOutput.raw_output["opengradient"]`.

Its agents hand every error of a tool to the model, also of what may have been paid: a `GasBudget` limits that.
"""

from collections.abc import Callable, Sequence

from llama_index.core.tools import FunctionTool
from llama_index.core.tools.tool_spec.base import BaseToolSpec

from og_integrations.onchain._tools import OnchainTool, ToolResult
from og_integrations.protocol._strict_json import JsonObject


def onchain_tool(tool: OnchainTool) -> FunctionTool:
    """
    Return a model or workflow on chain (`onchain.model_tool`, `onchain.workflow_tool`) as a tool of LlamaIndex.

    ```python
    agent = FunctionAgent(llm=llm, tools=[onchain_tool(model_tool(chain, model_cid, model_file="model.onnx"))])
    ```
    """

    # LlamaIndex does not check arguments against `fn_schema`: `run` does.
    def call(**arguments: object) -> JsonObject:
        return _raw(tool.run(arguments))

    async def acall(**arguments: object) -> JsonObject:
        return _raw(await tool.arun(arguments))

    return FunctionTool.from_defaults(
        fn=call,
        async_fn=acall,
        name=tool.name,
        description=tool.description,
        fn_schema=tool.arguments,
        callback=_text,
    )


class OnchainToolSpec(BaseToolSpec):
    """
    A tool spec holds models and workflows on chain; `to_tool_list` hands them out.

    ```python
    OnchainToolSpec([model_tool(chain, …), workflow_tool(chain, WORKFLOW_MODELS["btc_1_hour"])]).to_tool_list()
    ```
    """

    def __init__(self, tools: Sequence[OnchainTool]) -> None:
        self.tools: tuple[OnchainTool, ...] = tuple(tools)
        self.spec_functions: list[str | tuple[str, str]] = [tool.name for tool in self.tools]

    def to_tool_list(self, *_: object, **__: object) -> list[FunctionTool]:
        """Return the tools."""
        return [onchain_tool(tool) for tool in self.tools]

    def __getattr__(self, name: str) -> Callable[..., JsonObject]:
        """Return the function of the tool of that name."""
        for tool in self.__dict__.get("tools", ()):
            if tool.name == name:
                return lambda **arguments: _raw(tool.run(arguments))
        raise AttributeError(name)


def _raw(result: ToolResult) -> JsonObject:
    return result.artifact | {"text": result.text}


def _text(raw: JsonObject) -> str:
    return str(raw["text"])
