"""
The names that users may rely on, package by package; all else is private and may change.

A name that is added or taken away changes this file, and so is a decision and not an accident.
"""

import importlib

import pytest

SURFACE = {
    "og_integrations": """
        AsyncClient Client EnclavePolicy LocalSigner OpenGradientError Receipt SettlementMode SpendPolicy TEE_LLM
        __version__ collect_receipts
    """,
    "og_integrations.client": """
        Answer Approval ApprovalProgress AsyncClient AsyncStream CallOptions ChatOptions Client ClientOptions Engine
        LocalSigner Receipt Receipts Recording Signer TransactionSigner collect_receipts set_ledger typed_data_digest
    """,
    "og_integrations.client.stores": "BudgetStore BudgetTotals Entry HoldState Judge Limits SessionNotes",
    "og_integrations.hub": """
        AsyncModelHub AsyncTwins FileCheck FileHash HubFile ModelHub ModelVersion Transfer TwinAnswer Twins
    """,
    "og_integrations.langchain": """
        ChatOpenGradient OnchainToolkit OpenGradientCompletion OpenGradientWebSearch ReceiptCallbackHandler
        get_receipt_callback onchain_tool register_with_langchain
    """,
    "og_integrations.jobs": "BatchActor BatchJob Progress",
    "og_integrations.ledger": "Ledger LedgerEntry Query SettlementNote Totals open_ledger",
    "og_integrations.llama_index": """
        OnchainToolSpec OpenGradientLLM is_retryable onchain_tool receipts_in_responses web_search_tool
    """,
    "og_integrations.openai": """
        AsyncOpenGradientTransport OpenGradientProvider OpenGradientTransport async_openai_client call_onchain_tool
        onchain_tool onchain_tool_schema openai_client
    """,
    "og_integrations.report": "Report",
    "og_integrations.verify": """
        Check SavedExchange Source TrustDecision TrustSource Verdict Verifier evidence_of sources_in
    """,
    "og_integrations.devnet": """
        Answer CATALOGUE DEFAULT_CAP Devnet Fault Finding Journal Judgement LocalEnclave MISBEHAVIOURS Mark Model
        ModelCall ModelRequest SERVICE_FAULTS Script ServiceFault Services Stats Upstream Usage Wallet serve
    """,
    "og_integrations.sdk": """
        Alpha CandleOrder CandleType ChatAccountAuth Client ConfidentialLLM FileUploadResult
        HistoricalInputQuery InferenceMode InferenceResult LLM ModelHub ModelOutput ModelRepository
        OhttpRelayClient Permit2ApprovalResult RelayError ResponseFormat SchedulerParams StreamChoice
        StreamChunk StreamDelta StreamUsage TEEEndpoint TEERegistry TEE_LLM TeeProof TextGenerationOutput
        TextGenerationStream Twins VerificationError VerifiedChatResponse agents alphasense build_inner_request
        global_client init login_chat_account types verify_response workflow_models x402SettlementMode
    """,
    "og_integrations.onchain": """
        AsyncOnchainClient CandleOrder CandleType Contracts DecimalsPolicy GasBudget Inference
        InferenceMode ModelFile ModelOutput OnchainClient OnchainTool PastInference Query
        ReceiptJudge SentTransaction Task TensorSpec ToolResult TransactionStatus WORKFLOW_MODELS WorkflowModel
        WorkflowResult contracts model_tool past_inferences workflow_tool
    """,
}


@pytest.mark.parametrize("package", SURFACE)
def test_public_names_are_the_listed_ones(package: str) -> None:
    """`__all__` of a public package is this list, no more and no less."""
    assert sorted(importlib.import_module(package).__all__) == sorted(SURFACE[package].split())
