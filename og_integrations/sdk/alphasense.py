"""This module makes tools of models and workflows, as AlphaSense did: for LangChain, or plain functions for Swarm."""

import inspect
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from og_integrations.onchain._inference import Inference
from og_integrations.onchain._tools import OnchainTool, model_tool, plain, workflow_tool
from og_integrations.onchain._workflows import WorkflowResult
from og_integrations.protocol.chain._inference import InferenceMode
from og_integrations.sdk._alpha import Alpha, _arrays, _output
from og_integrations.sdk._errors import OldErrors, WrongArgumentError
from og_integrations.sdk.types import InferenceResult, ModelOutput

__all__ = ["ToolType", "create_read_workflow_tool", "create_run_model_tool"]


class ToolType(StrEnum):
    """This is the framework of a tool."""

    LANGCHAIN = "langchain"
    SWARM = "swarm"


def create_run_model_tool(
    tool_type: ToolType | str,
    model_cid: str,
    tool_name: str,
    model_input_provider: Callable[..., Mapping[str, object]],
    model_output_formatter: Callable[[InferenceResult], str] | None = None,
    inference: Alpha | None = None,
    tool_input_schema: type[BaseModel] | None = None,
    tool_description: str = "Executes the given ML model",
    inference_mode: InferenceMode | int | str = InferenceMode.VANILLA,
) -> Any:
    """
    Return a tool that runs a model on chain, on the inputs that `model_input_provider` returns for the agent's words.

    Without `tool_input_schema` the agent says the provider's own parameters. `inference` is an `Alpha` (default: that
    of the last `init`). The receipt is in the artifact of LangChain's tool message.
    """
    alpha = _alpha(inference)

    def shown(found: Inference) -> str:
        if model_output_formatter is None:
            return str(plain(found.values))
        result = InferenceResult(
            found.transaction_hash.removeprefix("0x"), _arrays(found.output), found.values, found.receipt
        )
        return model_output_formatter(result)

    with OldErrors():
        tool = model_tool(
            alpha.onchain,
            model_cid,
            name=tool_name,
            description=tool_description,
            mode=inference_mode,
            provider=model_input_provider,
            arguments=tool_input_schema,
            format=shown,
        )
    return _of_type(tool_type, tool)


def create_read_workflow_tool(
    tool_type: ToolType | str,
    workflow_contract_address: str,
    tool_name: str,
    tool_description: str,
    alpha: Alpha | None = None,
    output_formatter: Callable[[ModelOutput], str] | None = None,
) -> Any:
    """Return a tool that reads the newest result of a workflow; it takes no arguments."""

    def shown(found: WorkflowResult) -> str:
        return str(plain(found.values)) if output_formatter is None else str(output_formatter(_output(found.output)))

    tool = workflow_tool(
        _alpha(alpha).onchain,
        workflow_contract_address,
        name=tool_name,
        description=tool_description,
        format=shown,
    )
    return _of_type(tool_type, tool)


def _alpha(given: Alpha | None) -> Alpha:
    from og_integrations.sdk._client import current_client

    if given is not None:
        return given
    client = current_client()
    if client is None:
        raise WrongArgumentError("Which wallet? Give an Alpha, or call init(private_key) first.")
    return client.alpha


def _of_type(tool_type: ToolType | str, tool: OnchainTool) -> object:
    if tool_type == ToolType.LANGCHAIN:
        from og_integrations.langchain import onchain_tool

        return onchain_tool(tool)
    if tool_type != ToolType.SWARM:
        raise WrongArgumentError(f"Invalid tooltype: {tool_type!r:.40}, expected langchain or swarm.")

    def call(**arguments: object) -> str:
        with OldErrors():
            return tool.run(arguments).text

    fields = tool.arguments.model_fields
    call.__name__, call.__doc__ = tool.name, tool.description
    call.__annotations__ = {name: field.annotation for name, field in fields.items()} | {"return": str}
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=field.annotation,
            default=inspect.Parameter.empty if field.is_required() else field.get_default(),
        )
        for name, field in fields.items()
    ]
    signature = inspect.Signature(parameters, return_annotation=str)
    call.__signature__ = signature  # type: ignore[attr-defined]
    return call
