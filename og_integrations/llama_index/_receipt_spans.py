"""This module puts receipts into the responses of engines by a span handler of LlamaIndex, where that is asked for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from llama_index.core.base.response.schema import (
    AsyncStreamingResponse,
    PydanticResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.chat_engine.types import AgentChatResponse, StreamingAgentChatResponse
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.span import BaseSpan
from llama_index_instrumentation.span_handlers import BaseSpanHandler
from pydantic import PrivateAttr
from typing_extensions import override

from og_integrations.client import Receipts, collect_receipts
from og_integrations.client._collecting import collecting
from og_integrations.receipt import RECEIPT_KEY

if TYPE_CHECKING:
    from inspect import BoundArguments

_ANSWERING = frozenset(["query", "aquery", "chat", "achat", "stream_chat", "astream_chat", "synthesize", "asynthesize"])
_RESPONSES = (
    AgentChatResponse,
    AsyncStreamingResponse,
    PydanticResponse,
    Response,
    StreamingAgentChatResponse,
    StreamingResponse,
)


def receipts_in_responses(on: bool = True) -> None:
    """
    Have the responses of all query engines, chat engines and synthesizers of this process carry their receipts.

    They stand in `response.metadata["opengradient"]`: a list with the receipt of each call that the answer took, as
    plain JSON, in order of ending. That of a stream is complete when the stream was read to its end. `on=False` ends
    it. Retrievers and embedding models leave no receipt: embeddings are not proven.
    """
    dispatcher = get_dispatcher()
    others = [handler for handler in dispatcher.span_handlers if not isinstance(handler, _ReceiptSpanHandler)]
    dispatcher.span_handlers = [*others, _ReceiptSpanHandler()] if on else others


class _ReceiptSpan(BaseSpan):
    """This is a span of an engine's method, with the collector that is open while it runs."""

    _collecting: AbstractContextManager[Receipts] = PrivateAttr()
    _receipts: Receipts = PrivateAttr()

    def open(self) -> None:
        """Begin to collect."""
        self._collecting = collect_receipts()
        self._receipts = self._collecting.__enter__()

    def close(self) -> Receipts:
        """Collect no more, and return what was collected; streams and threads may still add to it."""
        self._collecting.__exit__(None, None, None)
        return self._receipts


class _ReceiptSpanHandler(BaseSpanHandler[_ReceiptSpan]):
    """The handler opens a collector around each answer of an engine, and puts what it holds into the response."""

    @override
    def new_span(
        self,
        id_: str,
        bound_args: BoundArguments,
        instance: object = None,
        parent_span_id: str | None = None,
        tags: dict[str, object] | None = None,
        **kwargs: object,
    ) -> _ReceiptSpan | None:
        if id_.partition("-")[0].rpartition(".")[2] not in _ANSWERING:
            return None
        span = _ReceiptSpan(id_=id_, parent_id=parent_span_id)
        span.open()
        return span

    @override
    def prepare_to_exit_span(
        self,
        id_: str,
        bound_args: BoundArguments,
        instance: object = None,
        result: object = None,
        **kwargs: object,
    ) -> _ReceiptSpan | None:
        span = self.open_spans.get(id_)
        if span is not None:
            receipts = span.close()
            if isinstance(result, _RESPONSES):
                _put(result, receipts)
        return span

    @override
    def prepare_to_drop_span(
        self,
        id_: str,
        bound_args: BoundArguments,
        instance: object = None,
        err: BaseException | None = None,
        **kwargs: object,
    ) -> _ReceiptSpan | None:
        span = self.open_spans.get(id_)
        if span is not None:
            span.close()
        return span


def _put(response: Any, receipts: Receipts) -> None:
    """Put `receipts` into the metadata of `response`, and what reading its stream will add to them."""
    # An engine hands on the metadata of what answered inside it, so the outermost list, which has all, wins.
    response.metadata = {**(getattr(response, "metadata", None) or {}), RECEIPT_KEY: receipts}
    # A stream asks on while it is read, in the context of whoever reads it.
    if isinstance(response, StreamingResponse) and response.response_gen is not None:
        response.response_gen = _reading(iter(response.response_gen), receipts)
    elif isinstance(response, AsyncStreamingResponse) and response.response_gen is not None:
        response.response_gen = _areading(aiter(response.response_gen), receipts)


def _reading(pieces: Iterator[str], receipts: Receipts) -> Generator[str, None, None]:
    try:
        while True:
            # Not around the `yield`: between two pieces the reader's own calls would be collected, too.
            with collecting(receipts):
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece
    finally:
        if isinstance(pieces, Generator):
            pieces.close()


async def _areading(pieces: AsyncIterator[str], receipts: Receipts) -> AsyncGenerator[str, None]:
    try:
        while True:
            with collecting(receipts):
                piece = await anext(pieces, None)
            if piece is None:
                return
            yield piece
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()
