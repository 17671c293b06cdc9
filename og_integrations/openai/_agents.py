"""`OpenGradientProvider`: the models of the OpenAI Agents SDK, each call paid and verified."""

from typing import TYPE_CHECKING, Unpack

from og_integrations.errors import ConfigurationError
from og_integrations.openai._tracing import trace_receipt
from og_integrations.openai._transport import AsyncOpenGradientTransport, async_client_on

try:
    from agents import Model, ModelProvider, OpenAIChatCompletionsModel
except ModuleNotFoundError as _exc:
    raise ModuleNotFoundError(
        f'The OpenAI Agents SDK is not installed ({_exc.name} is missing). Run: pip install "og-integrations[agents]"',
        name=_exc.name,
    ) from _exc

if TYPE_CHECKING:
    from og_integrations.client import ClientOptions


class OpenGradientProvider(ModelProvider):
    """
    A provider gives the Agents SDK models whose every call is paid, answered in an enclave, and verified.

    ```python
    from agents import Agent, RunConfig, Runner, set_tracing_disabled
    from og_integrations.openai import OpenGradientProvider

    set_tracing_disabled(True)  # the SDK sends prompts and answers to OpenAI otherwise
    run_config = RunConfig(model_provider=OpenGradientProvider(spend_policy={"total": "1"}))
    agent = Agent(name="Assistant", model="openai/gpt-5.2")
    result = Runner.run_sync(agent, "hi", run_config=run_config)
    ```

    `model` is what agents without a model of their own ask; `options` are those of `Client`. The SDK's results have
    no room for receipts: collect them with `og_integrations.collect_receipts`. With `trace_receipts` each stands in
    the run's trace, too, as a span of its own; receipts name the wallet, so set processors of your own first. Close
    with `aclose`.
    """

    def __init__(
        self, *, model: str | None = None, trace_receipts: bool = False, **options: Unpack["ClientOptions"]
    ) -> None:
        self._model = model
        transport = AsyncOpenGradientTransport(**options)
        transport.told = trace_receipt if trace_receipts else None
        self._client = async_client_on(transport)

    def get_model(self, model_name: str | None) -> Model:
        """Return the model `model_name` (`provider/name`). Raises `ConfigurationError` if none is named."""
        name = model_name or self._model
        if name is None:
            raise ConfigurationError(
                "The agent names no model, and the provider has no default: expected Agent(model='openai/gpt-5.2', …) "
                "or OpenGradientProvider(model='openai/gpt-5.2'). Nothing was sent."
            )
        # The gateways' streams name tool calls only at their end, as one piece.
        return OpenAIChatCompletionsModel(model=name, openai_client=self._client)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()
