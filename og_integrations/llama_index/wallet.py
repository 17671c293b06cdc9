"""What the owner of the wallet behind an LLM can ask, allow and stop; as on `Client` and `AsyncClient`."""

from typing import Unpack

from og_integrations.client.chain.approval import Amount, Approval, ApprovalOptions
from og_integrations.llama_index.configuration import ConfiguredLLM
from og_integrations.protocol.payment.budget import BudgetTotals


class WalletLLM(ConfiguredLLM):
    """An LLM and its wallet. Errors are those of `Client`'s methods."""

    def ensure_opg_approval(
        self, min_allowance: Amount, approve_amount: Amount | None = None, **options: Unpack[ApprovalOptions]
    ) -> Approval:
        """
        Allow Permit2 to take OPG, if less than `min_allowance` is allowed; see `Client.ensure_opg_approval`.

        Raises `ConfigurationError` or `ApprovalError`.
        """
        return self._backend.client.ensure_opg_approval(min_allowance, approve_amount, **options)

    async def aensure_opg_approval(
        self, min_allowance: Amount, approve_amount: Amount | None = None, **options: Unpack[ApprovalOptions]
    ) -> Approval:
        """Do what `ensure_opg_approval` does; `on_progress` may be asynchronous, and the signer too."""
        return await self._backend.async_client.ensure_opg_approval(min_allowance, approve_amount, **options)

    def spent(self) -> BudgetTotals:
        """Return what the budget has authorized; printed, it is a report. See `Client.spent`."""
        return self._backend.client.spent()

    def stop_spending(self, reason: str = "stop_spending() was called") -> None:
        """Use the kill switch, for everybody who shares the budget. See `Client.stop_spending`."""
        self._backend.client.stop_spending(reason)

    def resume_spending(self) -> None:
        """Allow spending again."""
        self._backend.client.resume_spending()

    def reconcile_spending(self) -> BudgetTotals:
        """Ask the chain what was really taken. See `Client.reconcile_spending`. Raises `DiscoveryError`."""
        return self._backend.client.reconcile_spending()

    async def areconcile_spending(self) -> BudgetTotals:
        """Do what `reconcile_spending` does."""
        return await self._backend.async_client.reconcile_spending()
