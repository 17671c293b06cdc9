"""LlamaIndex's own retries, told what may be asked again: nothing that was paid, or not proven."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from llama_index.core.evaluation import BatchEvalRunner, GuidelineEvaluator, batch_runner
from llama_index.core.workflow import StartEvent, StopEvent, Workflow, step
from tenacity import retry_if_exception, wait_none

from og_integrations import errors
from og_integrations.langchain.errors import as_model_error
from og_integrations.llama_index import OpenGradientLLM, is_retryable
from tests.adapters.llama_index.auditing import Account

Way = Callable[[OpenGradientLLM, str], Any]
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]


@pytest.mark.parametrize("status", [0, 400, 402, 404, 429, 500, 503])
@pytest.mark.parametrize("kind", KINDS)
def test_both_adapters_repeat_the_same(kind: type[errors.OpenGradientError], status: int) -> None:
    """What LangChain may repeat, LlamaIndex may."""
    error = kind("x", status=status) if kind is errors.GatewayError else kind("x")
    assert is_retryable(error) == getattr(as_model_error(error), "is_retryable", None)


@pytest.mark.parametrize(
    "error", [ValueError("x"), RuntimeError("x"), KeyboardInterrupt(), ExceptionGroup("x", [OSError()])]
)
def test_errors_of_others_are_not_repeated(error: BaseException) -> None:
    """Nobody knows what was paid before them."""
    assert not is_retryable(error)


class Careful:
    """A step's retry policy: three attempts, of what may be repeated."""

    def next(self, elapsed_time: float, attempts: int, error: Exception, **more: Any) -> float | None:
        return 0 if attempts < 3 and is_retryable(error) else None


class Asking(Workflow):
    llm: OpenGradientLLM

    @step(retry_policy=Careful())
    async def ask(self, event: StartEvent) -> StopEvent:
        return StopEvent(result=(await self.llm.acomplete(event.prompt)).text)


async def workflow(llm: OpenGradientLLM, prompt: str) -> None:
    asking = Asking()
    asking.llm = llm
    await asking.run(prompt=prompt)


async def evaluation(llm: OpenGradientLLM, prompt: str) -> None:
    runner = BatchEvalRunner({"polite": GuidelineEvaluator(llm=llm)})
    await runner.aevaluate_response_strs(queries=[prompt], response_strs=[prompt], contexts_list=[["c"]])


@pytest.fixture(params=[workflow, evaluation])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Way:
    retrying = cast("Any", batch_runner.eval_worker).retry  # tenacity types it, depending on its version
    monkeypatch.setattr(retrying, "retry", retry_if_exception(is_retryable))
    monkeypatch.setattr(retrying, "wait", wait_none())
    found: Way = request.param
    return found


def test_unproven_answer_is_not_asked_for_again(account: Account, way: Way) -> None:
    """One call, one payment, one error."""
    account.net.inject("bad_signature")
    with pytest.raises(errors.VerificationError):
        asyncio.run(way(account.llm(), "hi"))
    assert account.served() == 1


def test_failed_provider_is_asked_again(account: Account, way: Way) -> None:
    """Nobody charges for a failure."""
    with pytest.raises(errors.GatewayError):
        asyncio.run(way(account.llm(), "[[status=500]]"))
    assert len(account.exchanges()) == 3
