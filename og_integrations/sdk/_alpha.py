"""This module has `Alpha`: models and workflows on chain, with float32 arrays as the published client returned them."""

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from og_integrations.errors import ConfigurationError
from og_integrations.onchain import ModelOutput as ExactOutput
from og_integrations.onchain import OnchainClient
from og_integrations.protocol.chain._inference import InferenceMode
from og_integrations.protocol.chain._tensors import exact_value
from og_integrations.sdk._errors import OldErrors, WrongArgumentError, hidden
from og_integrations.sdk.types import HistoricalInputQuery, InferenceResult, ModelOutput, SchedulerParams

if TYPE_CHECKING:
    from numpy import ndarray


class Alpha:
    """
    This runs models and workflows on chain, as the published package does; for new programs: `OnchainClient`.

    `rpc_url` is the node of the chain, `inference_contract_address` the hub, `api_url` the node's API, which has the
    results that come late.
    """

    def __init__(
        self,
        private_key: str | SecretStr | None = None,
        rpc_url: str | None = None,
        inference_contract_address: str | None = None,
        api_url: str | None = None,
        **options: Any,
    ) -> None:
        private_key = hidden(private_key)
        given = {
            "private_key": private_key,
            "rpc_url": rpc_url,
            "hub": inference_contract_address,
            "node_api_url": api_url,
        }
        with OldErrors():
            self.onchain: OnchainClient = OnchainClient(**{n: v for n, v in given.items() if v is not None}, **options)  # type: ignore[arg-type]

    def infer(
        self,
        model_cid: str,
        inference_mode: InferenceMode | int | str,
        model_input: Mapping[str, object],
        max_retries: int | None = None,
    ) -> InferenceResult:
        """
        Run a model on chain; what never left is tried again by itself, so `max_retries` is only checked.

        Raises errors of this package, which are a `ValueError` or `RuntimeError` as well.
        """
        if max_retries is not None and max_retries < 1:
            raise WrongArgumentError(f"max_retries is {max_retries}, expected 1 or more. Nothing was sent.")
        with OldErrors():
            found = self.onchain.infer(model_cid, model_input, inference_mode)
        return InferenceResult(
            transaction_hash=found.transaction_hash.removeprefix("0x"),
            model_output=_arrays(found.output),
            values=found.values,
            receipt=found.receipt,
        )

    def new_workflow(
        self,
        model_cid: str,
        input_query: HistoricalInputQuery,
        input_tensor_name: str,
        scheduler_params: SchedulerParams | None = None,
    ) -> str:
        """
        Deploy a workflow, schedule it if `scheduler_params` are given, and return its address.

        A scheduler that refuses is an error: the published client printed it, and went on.
        """
        with OldErrors():
            address = self.onchain.deploy_workflow(model_cid, input_tensor_name, input_query.to_query())
            if scheduler_params is not None:
                duration = scheduler_params.duration_hours * 3600
                self.onchain.schedule_workflow(address, every=scheduler_params.frequency, duration=duration)
        return address

    def run_workflow(self, contract_address: str) -> ModelOutput:
        """Run a workflow now and return the result of this run."""
        with OldErrors():
            return _output(self.onchain.run_workflow(contract_address).output)

    def read_workflow_result(self, contract_address: str) -> ModelOutput:
        """Return the newest result of a workflow; needs no wallet."""
        with OldErrors():
            return _output(self.onchain.read_workflow(contract_address).output)

    def read_workflow_history(self, contract_address: str, num_results: int) -> list[ModelOutput]:
        """Return at most `num_results` results, the newest first; needs no wallet."""
        with OldErrors():
            return [_output(found) for found in self.onchain.read_workflow_history(contract_address, num_results)]

    def close(self) -> None:
        """Close the connections."""
        self.onchain.close()


def _numpy() -> ModuleType:
    try:
        return import_module("numpy")
    except ImportError as exc:
        raise ConfigurationError(
            'Results as arrays need NumPy: pip install "og-integrations[sdk]". og_integrations.onchain needs it not.'
        ) from exc


def _output(output: ExactOutput) -> ModelOutput:
    np = _numpy()
    numbers = {
        tensor.name: np.array(list(map(exact_value, tensor.values)), dtype=np.float32).reshape(tensor.shape)
        for tensor in output.numbers
    }
    strings = {tensor.name: np.array(tensor.values) for tensor in output.strings}
    jsons = {scalar.name: np.array(output.values[scalar.name], dtype=object) for scalar in output.jsons}
    return ModelOutput(numbers, strings, jsons, output.is_simulation_result)


def _arrays(output: ExactOutput) -> "dict[str, ndarray]":
    found = _output(output)
    return found.numbers | found.strings | found.jsons
