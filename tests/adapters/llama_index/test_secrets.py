"""Nothing that spends money shows: not in dicts, reprs, pickles, memories, events, spans, logs."""

import logging
import pickle
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.extractors import SummaryExtractor
from llama_index.core.memory import ChatSummaryMemoryBuffer
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.event_handlers import BaseEventHandler
from llama_index_instrumentation.span import SimpleSpan
from llama_index_instrumentation.span_handlers import SimpleSpanHandler

from og_integrations import collect_receipts
from og_integrations.errors import VerificationError
from tests.adapters.llama_index.auditing import Account


class Everything(BaseEventHandler):
    texts: list[str] = []  # noqa: RUF012 - a pydantic field

    @classmethod
    def class_name(cls) -> str:
        return "everything"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        self.texts += [repr(event), str(event.model_dump())]


def check_clean(account: Account, *texts: str | bytes) -> None:
    secrets = {account.wallet.private_key[2:], *account.net.secrets()}
    for text in texts:
        shown = text.encode() if isinstance(text, str) else text
        leaked = [secret for secret in secrets if secret.encode() in shown or secret.upper().encode() in shown]
        assert leaked == []
    assert bytes.fromhex(account.wallet.private_key[2:]) not in b"".join(
        text for text in texts if isinstance(text, bytes)
    )


async def test_nothing_leaks(account: Account, index: VectorStoreIndex, caplog: pytest.LogCaptureFixture) -> None:
    """A query engine, an agent and a failure, with every observer that LlamaIndex offers."""
    caplog.set_level(logging.DEBUG)
    debug = LlamaDebugHandler(print_trace_on_end=False)
    llm = account.llm(callback_manager=CallbackManager([debug]), default_headers={"x-mine": "secret"})
    dispatcher = get_dispatcher()
    events, spans = Everything(texts=[]), SimpleSpanHandler()
    dispatcher.add_event_handler(events)
    dispatcher.add_span_handler(spans)
    try:
        with collect_receipts(keep_exchanges=True) as receipts:
            index.as_query_engine(llm=llm).query("capital?")
            await FunctionAgent(tools=[], llm=llm).run("hi")
            account.net.inject("bad_signature", times=1)
            with pytest.raises(VerificationError) as caught:
                llm.complete("x")
    finally:
        dispatcher.event_handlers.remove(events)
        dispatcher.span_handlers.remove(spans)
    completed: list[SimpleSpan] = spans.completed_spans
    memory = ChatSummaryMemoryBuffer.from_defaults(llm=llm)
    check_clean(
        account,
        *events.texts,
        *(repr(span) for span in completed),
        caplog.text,
        repr(caught.value) + str(caught.value) + str(vars(caught.value)),
        str(receipts) + str(receipts.exchanges),
        str(debug.get_event_pairs()),
        memory.to_string() + repr(memory),
        str(SummaryExtractor(llm=llm).to_dict()),
        repr(llm) + str(llm) + str(llm.to_dict()) + llm.to_json() + llm.model_dump_json() + str(llm.to_payload()),
        str(vars(llm)) + str(llm.__pydantic_private__),
        pickle.dumps(llm),
        pickle.dumps(SummaryExtractor(llm=llm)),
    )
    assert "secret" not in repr(llm) + str(llm.to_dict())
    assert len(events.texts) > 10
