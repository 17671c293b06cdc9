"""One enclave with everything around it: keys, paywall, gateway and the server that shows them."""

import socket
import ssl
import time
from dataclasses import dataclass

from og_integrations.devnet.chain.chain import Chain
from og_integrations.devnet.faults.fault import FaultBoard
from og_integrations.devnet.gateway.answers import Answerer
from og_integrations.devnet.gateway.data_settlement import DataSettler
from og_integrations.devnet.gateway.enclave import EnclaveKeys, LocalEnclave, random_address
from og_integrations.devnet.gateway.gateway import Gateway
from og_integrations.devnet.gateway.server import HttpServer
from og_integrations.devnet.model.model import Model
from og_integrations.devnet.model.upstream import Upstream
from og_integrations.devnet.paywall.facilitator import Facilitator
from og_integrations.devnet.paywall.paywall import Paywall, requirement
from og_integrations.devnet.paywall.pricing import any_family, family_of
from og_integrations.devnet.verdict.journal import Encounter, Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """
    What all gateways of one devnet share.

    `cap` is what they ask to authorize, in base units; the provider's hidden retries before a 500
    take `retry_seconds`; `rule` is the hash rule of their generation.
    """

    chain: Chain
    facilitator: Facilitator
    faults: FaultBoard
    journal: Journal
    model: Model
    rule: str
    cap: int
    retry_seconds: float
    tls: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One enclave of the devnet, its paywall and its server."""

    enclave: LocalEnclave
    paywall: Paywall
    server: HttpServer


def open_site(sock: socket.socket, terms: Terms) -> Site:
    """Return a new enclave that answers on `sock` once its server is started; the chain lists it."""
    clock, keys = terms.chain.clock, EnclaveKeys()
    enclave = LocalEnclave(
        keys=keys,
        endpoint=f"{'https' if terms.tls else 'http'}://127.0.0.1:{sock.getsockname()[1]}",
        payment_address=random_address(),
        wallet_address=random_address(),
        started_at=clock.seconds(),
    )
    paywall = Paywall(
        enclave=enclave.tee_id,
        requirement=requirement(
            terms.chain.network,
            cap=terms.cap,
            pay_to=enclave.payment_address,
            facilitator=terms.facilitator.address,
        ),
        facilitator=terms.facilitator,
        clock=clock,
        journal=terms.journal,
    )
    answerer = Answerer(
        keys,
        terms.model,
        clock,
        DataSettler(terms.journal),
        retry_seconds=terms.retry_seconds,
        rule=terms.rule,
    )
    gateway = Gateway(
        enclave=enclave,
        paywall=paywall,
        answerer=answerer,
        faults=terms.faults,
        journal=terms.journal,
        clock=clock,
        family_of=any_family if isinstance(terms.model, Upstream) else family_of,
        listed=lambda: terms.chain.vouches_for(keys.certificate),
    )

    server = HttpServer(
        gateway.handle,
        sock,
        tls=keys.tls_context() if terms.tls else None,
        impostor_tls=lambda: _impostor(enclave, terms),
    )
    terms.chain.register(enclave.entry())
    return Site(enclave=enclave, paywall=paywall, server=server)


def _impostor(enclave: LocalEnclave, terms: Terms) -> ssl.SSLContext | None:
    """Return whose certificate is shown in this handshake, if not the enclave's."""
    fault = terms.faults.in_handshake(enclave.tee_id)
    if fault is None:
        return None
    now = time.monotonic()
    terms.journal.encounters.append(Encounter(fault=fault.name, began=now, ended="complete", ended_at=now))
    return terms.faults.impostor.tls_context()
