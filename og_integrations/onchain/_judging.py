"""The verdict on a saved receipt of a model on chain: everything that it claims is read again from the chain."""

from pathlib import Path

from og_integrations.errors import (
    ConfigurationError,
    ConnectionFailedError,
    ConnectionLostError,
    DiscoveryError,
    OpenGradientError,
)
from og_integrations.networks import Network
from og_integrations.onchain._clients import OnchainClient
from og_integrations.protocol._strict_json import JsonObject
from og_integrations.receipt import BY_CHAIN, Check, Receipt
from og_integrations.verify import Verdict
from og_integrations.verify._verdict import malformed

_UNASKED = (DiscoveryError, ConnectionFailedError, ConnectionLostError)
_WAIT_SECONDS = 5.0


class ReceiptJudge:
    """
    A judge of receipts of kind `onchain`, which asks a node of the chain; needs no wallet.

    With the model's file (extra `onnx`) the model is run again. Without `network` and `rpc_url` the environment says
    whom to ask.

    ```python
    Verifier.registry().with_onchain(ReceiptJudge()).verify("receipt-001.json")
    ```
    """

    def __init__(
        self,
        network: str | Network | None = None,
        *,
        rpc_url: str | None = None,
        model_file: bytes | str | Path | None = None,
    ) -> None:
        self._network, self._rpc_url, self._model_file = network, rpc_url, model_file

    def __call__(self, receipt: JsonObject) -> Verdict:
        """
        Return the verdict on a receipt as plain JSON.

        "undecided" if the node cannot be asked, "failed" if the chain has something else, or no event proves the result
        and it was not computed again. Never raises for what the receipt holds.
        """
        try:
            said = Receipt(receipt)
            if said.transaction_hash is None:
                raise ConfigurationError("the receipt names no transaction: nothing was sent")
        except ConfigurationError as exc:
            return malformed(exc)
        options = {"network": self._network, "rpc_url": self._rpc_url}
        with OnchainClient(timeout=_WAIT_SECONDS, result_timeout=_WAIT_SECONDS, **options) as client:  # type: ignore[arg-type]
            try:
                found = client.verify(receipt, model_file=self._model_file)
            except _UNASKED as exc:
                return Verdict("undecided", BY_CHAIN, (Check(BY_CHAIN, "skip", str(exc)),))
            except OpenGradientError as exc:
                return _failed(exc)
        read = Receipt(found.receipt)
        if found.verified and said.verified:
            return Verdict("verified", None, read.checks)
        step = "not_simulated" if not found.verified else BY_CHAIN
        detail = "no event proves this result" if not found.verified else "the receipt itself says: not verified"
        checks = tuple(Check(step, "fail", detail) if check.id == step else check for check in read.checks)
        return Verdict("failed", step, checks)


def _failed(exc: OpenGradientError) -> Verdict:
    checks = Receipt(exc.receipt).checks if exc.receipt is not None else ()
    step = next((check.id for check in checks if check.result == "fail"), None)
    if step is None:
        return Verdict("failed", BY_CHAIN, (Check(BY_CHAIN, "fail", str(exc)),))
    return Verdict("failed", step, checks)
