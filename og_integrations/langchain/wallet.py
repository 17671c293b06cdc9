"""What the owner of the wallet behind a model can ask, allow and stop; as on `Client` and `AsyncClient`."""

from typing import TYPE_CHECKING, Unpack

from og_integrations.langchain.errors import model_errors
from og_integrations.langchain.params import ModelParams

if TYPE_CHECKING:
    from og_integrations.client.chain.approval import Amount, Approval, ApprovalOptions
    from og_integrations.protocol.payment.budget import BudgetTotals


class WalletModel(ModelParams):
    """A model and its wallet. Errors are those of `Client`'s methods, each as a `ModelError` too."""

    def ensure_opg_approval(
        self, min_allowance: "Amount", approve_amount: "Amount | None" = None, **options: "Unpack[ApprovalOptions]"
    ) -> "Approval":
        """
        Allow Permit2 to take OPG, if less than `min_allowance` is allowed; see `Client.ensure_opg_approval`.

        Raises `ConfigurationError` or `ApprovalError`.
        """
        with model_errors():
            return self.clients.sync.ensure_opg_approval(min_allowance, approve_amount, **options)

    async def aensure_opg_approval(
        self, min_allowance: "Amount", approve_amount: "Amount | None" = None, **options: "Unpack[ApprovalOptions]"
    ) -> "Approval":
        """Do what `ensure_opg_approval` does; `on_progress` may be asynchronous, and the signer too."""
        with model_errors():
            return await self.clients.asynchronous.ensure_opg_approval(min_allowance, approve_amount, **options)

    def spent(self) -> "BudgetTotals":
        """Return what the budget has authorized; printed, it is a report. See `Client.spent`."""
        with model_errors():
            return self.clients.sync.spent()

    def stop_spending(self, reason: str = "stop_spending() was called") -> None:
        """Use the kill switch, for everybody who shares the budget. See `Client.stop_spending`."""
        with model_errors():
            self.clients.sync.stop_spending(reason)

    def resume_spending(self) -> None:
        """Allow spending again."""
        with model_errors():
            self.clients.sync.resume_spending()

    def reconcile_spending(self) -> "BudgetTotals":
        """Ask the chain what was really taken. See `Client.reconcile_spending`. Raises `DiscoveryError`."""
        with model_errors():
            return self.clients.sync.reconcile_spending()

    async def areconcile_spending(self) -> "BudgetTotals":
        """Do what `reconcile_spending` does."""
        with model_errors():
            return await self.clients.asynchronous.reconcile_spending()
