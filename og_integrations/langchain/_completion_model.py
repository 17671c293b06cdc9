"""This module holds `OpenGradientCompletion`, LangChain's text model on the completions endpoint."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.llms import BaseLLM
from langchain_core.outputs import Generation, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig
from typing_extensions import override

from og_integrations.chat._arguments import call_arguments, named_model
from og_integrations.langchain._chat_model import OF_BOTH, LangChainModel
from og_integrations.langchain._messages import count_text_tokens
from og_integrations.langchain._outputs import combined_llm_output, llm_output, response_metadata
from og_integrations.langchain._runs import Run

if TYPE_CHECKING:
    from og_integrations.client import Answer, CallOptions
    from og_integrations.langchain._chat_model import LangChainOptions


class OpenGradientCompletion(LangChainModel, BaseLLM, defer_build=False):
    """
    `OpenGradientCompletion` asks models in attested enclaves to continue a text; each answer has a receipt.

    Takes the arguments of `ChatOpenGradient`, except those about chats. The endpoint does not stream,
    and answers with 16 tokens unless `max_tokens` says more. `batch` asks for its prompts at once, each
    in a run of its own, so that one that fails does not take the others' answers along.

    ```python
    from og_integrations.langchain import OpenGradientCompletion

    model = OpenGradientCompletion(model="openai/gpt-5.2", max_tokens=100)
    print(model.invoke("Once upon a time"))
    ```

    The receipt is in `generation_info["opengradient"]` of what `generate` returns; for `invoke`, use
    `get_receipt_callback` or `collect_receipts`.

    Raises:
        The errors of `ChatOpenGradient`.
    """

    if TYPE_CHECKING:

        def __init__(self, **options: Unpack[LangChainOptions]) -> None: ...

    @override
    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> LLMResult:
        answers = []
        for prompt in prompts:
            with Run(self, run_manager, prompt, kwargs) as run:
                name, options = self._call(stop, kwargs)
                answers.append(run.note(self.clients.sync.complete(name, prompt, **options)))
        return _result(answers)

    @override
    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> LLMResult:
        answers = []
        for prompt in prompts:
            with Run(self, run_manager, prompt, kwargs) as run:
                name, options = self._call(stop, kwargs)
                answers.append(run.note(await self.clients.asynchronous.complete(name, prompt, **options)))
        return _result(answers)

    def _call(self, stop: list[str] | None, arguments: Mapping[str, object]) -> "tuple[str, CallOptions]":
        """Return model and options of one call. Raises `InvalidRequestError` for what is not known."""
        given = call_arguments(arguments, OF_BOTH)
        name = named_model(given, self.model_name)
        return name, self.call_options(name, given, stop)

    # LangChain's own two for texts ask for all in one run, one after the other, and lose all with one.
    @override
    def batch(
        self,
        inputs: Sequence[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        """Return the answers to `inputs` in their order, each asked in a run of its own, several at once."""
        return Runnable.batch(self, list(inputs), config, return_exceptions=return_exceptions, **kwargs)

    @override
    async def abatch(
        self,
        inputs: Sequence[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        """Return what `batch` returns, without blocking the event loop."""
        return await Runnable.abatch(self, list(inputs), config, return_exceptions=return_exceptions, **kwargs)

    @override
    def get_num_tokens(self, text: str) -> int:
        """Return about how many tokens `text` has, offline; exactly with `custom_get_token_ids`."""
        return len(self.custom_get_token_ids(text)) if self.custom_get_token_ids else count_text_tokens(text)

    @property
    @override
    def _llm_type(self) -> str:
        return "opengradient-completion"

    @property
    @override
    def _identifying_params(self) -> dict[str, object]:
        return self.identifying_params()


def _result(answers: "list[Answer]") -> LLMResult:
    generations = [[Generation(text=answer.text, generation_info=response_metadata(answer))] for answer in answers]
    return LLMResult(
        generations=[list(generation) for generation in generations],
        llm_output=combined_llm_output([llm_output(answer) for answer in answers]),
    )
