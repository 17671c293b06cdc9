"""What `doctor` looks at on the side of the enclaves: registry, certificates, and the price of a call."""

from collections.abc import Iterator
from itertools import islice

from og_integrations.cli.attempt import attempt
from og_integrations.client import Engine
from og_integrations.client._directory import accepted_enclaves, read_enclaves
from og_integrations.client._wallet import price_of
from og_integrations.client.chain.jsonrpc import Fetching, Reader
from og_integrations.client.channels.tls import handshake
from og_integrations.errors import OpenGradientError
from og_integrations.protocol.payment.policy import format_opg
from og_integrations.protocol.payment.x402 import PaymentRequirements
from og_integrations.protocol.proof.enclave import Enclave, EnclavePolicy
from og_integrations.protocol.proof.verification import Check

MOST_HANDSHAKES = 5


class GatewayChecks:
    """The checks in their order. `offer` is then what a gateway asks for a call, if it may be asked for."""

    def __init__(self, reader: Reader, engine: Engine, model: str) -> None:
        self.offer: PaymentRequirements | None = None
        self._reader = reader
        self._engine = engine
        self._model = model
        self._found: list[Enclave] = []
        self._good = 0
        self._bad: list[str] = []

    def checks(self) -> Iterator[Check]:
        """Make and yield one check after the other."""
        yield attempt(self._reader, "enclaves", self._read(), lambda count: f"{count} found and accepted")
        if not self._found:
            yield Check("certificate", "skip", "there is no enclave to look at")
        for enclave in islice(self._found, MOST_HANDSHAKES):
            yield self._certificate(enclave)
        yield self._price()

    def _read(self) -> Fetching[int]:
        found = yield from read_enclaves(self._engine.settings)
        self._found = list(accepted_enclaves(found, EnclavePolicy()).values())
        return len(self._found)

    def _certificate(self, enclave: Enclave) -> Check:
        if not enclave.certificate:
            return Check("certificate", "skip", f"{enclave.endpoint} is given by URL: not attested, nothing to pin")
        try:
            handshake(enclave)
        except OpenGradientError as exc:
            self._bad.append(enclave.tee_id)
            return Check("certificate", "fail", str(exc))
        self._good += 1
        return Check("certificate", "pass", f"{enclave.endpoint} shows the certificate that is pinned")

    def _price(self) -> Check:
        if not self._good:
            return Check("price", "skip", "there is no enclave with a pinned certificate to ask")
        try:
            self.offer = offer = price_of(self._engine, self._model, self._bad)
        except OpenGradientError as exc:
            return Check("price", "fail", str(exc))
        return Check(
            "price",
            "pass",
            f"at most {format_opg(offer.amount)} OPG authorized for the next calls (settled by use), payTo "
            f"{offer.pay_to}, valid {offer.max_timeout_seconds} s",
        )
