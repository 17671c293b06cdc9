"""Faults in the order and number of a stream's events."""

from collections.abc import Callable

from og_integrations.devnet.faults.fault import Events, Fault
from og_integrations.devnet.gateway.output import END_OF_STREAM, StreamEvent

_ERROR = StreamEvent({"error": "Stream processing failed"})


def _is_final(event: StreamEvent) -> bool:
    return isinstance(event.value, dict) and "tee_signature" in event.value


def _edited(edit: Callable[[StreamEvent], list[StreamEvent]]) -> Callable[[Events], Events]:
    """Return a hook that replaces each event by any number of others."""

    async def events(stream: Events) -> Events:
        async for event in stream:
            for item in edit(event):
                yield item

    return events


async def _error_after_first(stream: Events) -> Events:
    async for event in stream:
        yield event
        yield _ERROR
        return


async def _without_first(stream: Events) -> Events:
    skipped = False
    async for event in stream:
        if skipped or _is_final(event):
            yield event
        skipped = True


async def _swapped(stream: Events) -> Events:
    first: StreamEvent | None = None
    async for event in stream:
        if first is None:
            first = event
            continue
        if _is_final(event):
            yield first
        yield event


def _extra_text(event: StreamEvent) -> list[StreamEvent]:
    if not _is_final(event) or not isinstance(event.value, dict):
        return [event]
    late = {**event.value, "choices": [{"delta": {"content": " P.S."}, "index": 0, "finish_reason": None}]}
    return [event, StreamEvent({name: late[name] for name in ("choices", "model")})]


STREAM_FAULTS = (
    Fault(name="error_event", about="the stream reports a failure after its first event", events=_error_after_first),
    Fault(
        name="missing_final_event",
        about="the stream ends with [DONE], without its signed event",
        events=_edited(lambda event: [] if _is_final(event) else [event]),
    ),
    Fault(
        name="missing_done",
        about="the stream ends after its signed event, without [DONE]",
        events=_edited(lambda event: [] if event == END_OF_STREAM else [event]),
    ),
    Fault(
        name="duplicate_final_event",
        about="the signed event comes twice",
        events=_edited(lambda event: [event, event] if _is_final(event) else [event]),
    ),
    Fault(name="text_after_final", about="text follows the signed event", events=_edited(_extra_text)),
    Fault(name="lost_event", about="the first event is missing", events=_without_first),
    Fault(name="reordered_events", about="the first event comes last", events=_swapped),
    Fault(
        name="garbage_event",
        about="an event that is not JSON before the signed one",
        events=_edited(lambda event: [StreamEvent("{oops"), event] if _is_final(event) else [event]),
    ),
)
