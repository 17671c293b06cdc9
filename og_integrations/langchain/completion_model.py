"""`OpenGradientCompletion`: LangChain's text model on the completions endpoint."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Self, Unpack

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.llms import BaseLLM
from langchain_core.messages import HumanMessage
from langchain_core.outputs import Generation, LLMResult
from langchain_core.runnables import Runnable
from pydantic import model_validator
from typing_extensions import override

import og_integrations
from og_integrations.langchain.calls import completion_options
from og_integrations.langchain.errors import model_errors
from og_integrations.langchain.outputs import combined_llm_output, llm_output, response_metadata
from og_integrations.langchain.profile import count_text_tokens, overflow_check
from og_integrations.langchain.spans import CallSpan
from og_integrations.langchain.wallet import WalletModel

if TYPE_CHECKING:
    from og_integrations.client import Answer
    from og_integrations.langchain.options import ModelOptions


class OpenGradientCompletion(WalletModel, BaseLLM):
    """
    Models in attested enclaves that continue a text, each answer with a receipt.

    Takes the arguments of `ChatOpenGradient`, except those about chats. The endpoint does not stream,
    and answers with 16 tokens unless `max_tokens` says more. `batch` asks for its prompts at once, each
    in a run of its own, so that one that fails does not take the others' answers along.

    ```python
    from og_integrations.langchain import OpenGradientCompletion

    model = OpenGradientCompletion(model="openai/gpt-5", max_tokens=100)
    print(model.invoke("Once upon a time"))
    ```

    The receipt is in `generation_info["opengradient"]` of what `generate` returns; for `invoke`, use
    `get_receipt_callback` or `collect_receipts`.

    Raises:
        The errors of `ChatOpenGradient`.
    """

    if TYPE_CHECKING:

        def __init__(self, **options: Unpack[ModelOptions]) -> None: ...

    @model_validator(mode="after")
    def _set_og_integrations_version(self) -> Self:
        self._add_version("og-integrations", og_integrations.__version__)
        return self

    @override
    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        answers = []
        for prompt in prompts:
            with self._errors(prompt, kwargs), CallSpan(run_manager) as span:
                name, options = completion_options(self, stop, kwargs)
                answers.append(span.note(self.clients.sync.complete(name, prompt, **options)))
        return _result(answers)

    @override
    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        answers = []
        for prompt in prompts:
            with self._errors(prompt, kwargs), CallSpan(run_manager) as span:
                name, options = completion_options(self, stop, kwargs)
                answers.append(span.note(await self.clients.asynchronous.complete(name, prompt, **options)))
        return _result(answers)

    # LangChain's own for texts asks for all in one run, one after the other, and loses all with one.
    batch = Runnable.batch
    abatch = Runnable.abatch

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
    def _identifying_params(self) -> dict[str, Any]:
        return self.identifying_params()

    def _errors(self, prompt: str, kwargs: dict[str, Any]) -> AbstractContextManager[None]:
        return model_errors(overflow_check(self.asked_model(kwargs), [HumanMessage(prompt)]))


def _result(answers: "list[Answer]") -> LLMResult:
    generations = [[Generation(text=answer.text, generation_info=response_metadata(answer))] for answer in answers]
    return LLMResult(
        generations=[list(generation) for generation in generations],
        llm_output=combined_llm_output([llm_output(answer) for answer in answers]),
    )
