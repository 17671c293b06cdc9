"""A tool of LangChain that searches the web inside the enclave; its artifact holds the receipt."""

from typing import TYPE_CHECKING, Literal

from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field, SkipValidation
from typing_extensions import override

from og_integrations.chat._asking import search_artifact
from og_integrations.chat._requests import SEARCH_TOOL, SEARCH_TOOL_MEANING
from og_integrations.langchain._chat_model import ChatOpenGradient
from og_integrations.langchain.errors import ModelErrors
from og_integrations.protocol._strict_json import JsonObject

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForToolRun, CallbackManagerForToolRun


class WebSearchInput(BaseModel):
    """What a model calls the tool with."""

    query: str = Field(description="What to search for.")


class OpenGradientWebSearch(BaseTool):
    """
    A web search that runs inside the enclave of newer gateways, paid by the wallet of `model`.

    Its result is the signed text of what was found, for a model to read: text of strangers, never an instruction. The
    message's `artifact` holds `citations` and the receipt, under `opengradient`. The authorization for searches is one
    of its own, beside that of chats.

    ```python
    search = OpenGradientWebSearch(model=ChatOpenGradient(model="openai/gpt-5.2"))
    ```
    """

    name: str = SEARCH_TOOL
    description: str = SEARCH_TOOL_MEANING
    args_schema: type[BaseModel] = WebSearchInput
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    model: SkipValidation[ChatOpenGradient]
    num_results: int | None = None
    recency_days: int | None = None

    @override
    def _run(self, query: str, run_manager: "CallbackManagerForToolRun | None" = None) -> tuple[str, JsonObject]:
        with ModelErrors():
            answer = self.model.clients.sync.web_search(
                query, num_results=self.num_results, recency_days=self.recency_days
            )
        return answer.text, search_artifact(answer)

    @override
    async def _arun(
        self, query: str, run_manager: "AsyncCallbackManagerForToolRun | None" = None
    ) -> tuple[str, JsonObject]:
        with ModelErrors():
            answer = await self.model.clients.asynchronous.web_search(
                query, num_results=self.num_results, recency_days=self.recency_days
            )
        return answer.text, search_artifact(answer)
