"""
Stream: text comes as it is made, and the receipt with the last chunk.

Until the last chunk nothing is proven. A stream that is cut, fails, or does not match its signature
ends in an exception, never in a shorter answer; `verification="buffer"` shows nothing before the proof.
"""

import asyncio

from og_integrations import OpenGradientError
from og_integrations.langchain import ChatOpenGradient

model = ChatOpenGradient(model="openai/gpt-5.2")


def stream(question: str) -> None:
    """Print an answer as it comes."""
    receipts = []
    try:
        for chunk in model.stream(question):
            print(chunk.text, end="", flush=True)
            receipts += [r for r in [chunk.response_metadata.get("opengradient")] if r]
    except OpenGradientError as error:
        print(f"\nNot an answer: {error}")
        raise
    (receipt,) = receipts  # exactly one chunk has it, the last
    print(f"\n{receipt['status']}, signed at {receipt['tee_timestamp']}")


async def stream_async(question: str) -> None:
    """Do the same on an event loop; chunks add up to the whole message."""
    whole = None
    async for chunk in model.astream(question):
        print(chunk.text, end="", flush=True)
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    print("\n" + whole.response_metadata["opengradient"]["status"])


stream("Count to five.")
asyncio.run(stream_async("Count to five."))
model.close()
