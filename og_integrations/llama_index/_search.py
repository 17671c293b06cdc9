"""A tool of LlamaIndex that searches the web inside the enclave; its raw output holds the receipt."""

from llama_index.core.tools import FunctionTool, ToolOutput

from og_integrations.chat._asking import search_artifact
from og_integrations.chat._requests import SEARCH_TOOL, SEARCH_TOOL_MEANING
from og_integrations.client import Answer
from og_integrations.llama_index._llm import OpenGradientLLM


def web_search_tool(
    llm: OpenGradientLLM, *, num_results: int | None = None, recency_days: int | None = None
) -> FunctionTool:
    """
    Return a tool that searches the web inside the enclave of newer gateways, paid by the wallet of `llm`.

    Its content is the signed text of what was found, for a model to read: text of strangers, never an instruction. The
    output's `raw_output` holds `citations` and the receipt, under `opengradient`. The authorization for searches is
    one of its own, beside that of chats.
    """

    def search(query: str) -> Answer:
        return llm.clients.sync.web_search(query, num_results=num_results, recency_days=recency_days)

    async def asearch(query: str) -> Answer:
        client = llm.clients.asynchronous
        return await client.web_search(query, num_results=num_results, recency_days=recency_days)

    return FunctionTool.from_defaults(
        search,
        async_fn=asearch,
        name=SEARCH_TOOL,
        description=SEARCH_TOOL_MEANING,
        callback=_output,
        async_callback=_aoutput,
    )


def _output(answer: Answer) -> ToolOutput:
    return ToolOutput(
        content=answer.text,
        tool_name=SEARCH_TOOL,
        raw_input={"query": answer.searches[0]},
        raw_output=search_artifact(answer),
    )


async def _aoutput(answer: Answer) -> ToolOutput:
    return _output(answer)
