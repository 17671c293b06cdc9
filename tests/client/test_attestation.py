"""The enclave's own document: asked for before anything leaves, once an hour, and refused in the words of this page."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from og_integrations.client import AsyncClient, Client
from og_integrations.client._directory import ATTESTED_FOR
from og_integrations.devnet import Devnet, Fault
from og_integrations.errors import AttestationError, ConfigurationError, EnclaveRejectedError
from og_integrations.protocol.payment._flow import Fetch
from og_integrations.protocol.proof._enclave import KNOWN_PCR_HASH, EnclavePolicy
from tests.client.ways_to_ask import MODEL, WAYS, user

each_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def net() -> Iterator[Devnet]:
    with Devnet(enclaves=1) as devnet:
        yield devnet


@pytest.fixture(scope="module")
def untouched() -> Iterator[Devnet]:
    """A network of which no gateway ever sees a request; starting it for each cell would cost more than the cell."""
    with Devnet() as devnet:
        yield devnet
        assert devnet.journal.exchanges == []
        assert devnet.stats().signatures == 0


def checks_of(receipt: dict[str, Any]) -> dict[str, str]:
    return {check["id"]: check["result"] for check in receipt["checks"]}


@each_way
def test_measured_answer(net: Devnet, way: str) -> None:
    receipt = WAYS[way](net, f"by {way}", enclave_policy=net.enclave_policy()).receipt
    assert (receipt["status"], receipt["trust"], receipt["enclave"]["source"]) == ("verified", "measured", "registry")
    assert checks_of(receipt)["attestation"] == checks_of(receipt)["enclave-trusted"] == "pass"
    (detail,) = [check["detail"] for check in receipt["checks"] if check["id"] == "attestation"]
    assert "are of a pinned build" in detail
    assert net.verdict([receipt]).clean


def test_attested_says_that_anybody_can_be(net: Devnet) -> None:
    policy = EnclavePolicy(attestation="require", attestation_roots=[net.authority.root_sha256])
    receipt = WAYS["chat"](net, "hi", enclave_policy=policy).receipt
    assert receipt["trust"] == "attested"
    (detail,) = [check["detail"] for check in receipt["checks"] if check["id"] == "attestation"]
    assert "any AWS customer can make such a document" in detail


def test_nobody_is_asked_by_default(net: Devnet) -> None:
    receipt = WAYS["chat"](net, "hi").receipt
    assert (receipt["trust"], checks_of(receipt)["attestation"]) == ("registry", "skip")
    assert net.stats().attestations == 0


REFUSED: dict[str, tuple[str, str]] = {
    "no_attestation": ("encoding", "shows no attestation document: https://.* answered HTTP 503"),
    "stale_attestation": ("time", "3600 s ago, expected at most 300"),
    "attestation_replayed": ("nonce", "the document answers another question"),
    "attacker_root_in_bundle": ("chain", "none of the 1 pinned roots"),
    "debug_attestation": ("debug", "the enclave runs in debug mode, and its operator can read it"),
    "other_build": ("measurements", f"but the registry lists {KNOWN_PCR_HASH}"),
    "certificate_not_attested": ("binding", "made for another TLS certificate: someone may be in between"),
    "lying_node": ("measurements", f"but the registry lists {KNOWN_PCR_HASH}"),
    "swapped_endpoint": ("binding", "made for another TLS certificate: someone may be in between"),
}


@each_way
@pytest.mark.parametrize("fault", REFUSED)
def test_refused_before_a_byte_of_the_prompt_leaves(untouched: Devnet, fault: str, way: str) -> None:
    """In every way to ask: the error names enclave, step and reason, and no gateway has seen a request."""
    step, said = REFUSED[fault]
    untouched.inject(fault)
    try:
        with pytest.raises(AttestationError, match=said) as caught:
            WAYS[way](untouched, "a secret", enclave_policy=untouched.enclave_policy())
    finally:
        untouched.clear_faults()
    error = caught.value
    assert (error.step, error.is_retryable) == (step, False)
    assert str(error).startswith("Enclave 0x")
    assert error.receipt is not None
    assert (error.receipt["status"], error.receipt["payment"]) == ("unverified", None)
    assert checks_of(error.receipt) == {"attestation": "fail"}
    assert untouched.journal.exchanges == []
    assert untouched.stats().signatures == 0


@each_way
def test_owner_of_the_registry_who_lists_a_build_of_his_own(net: Devnet, way: str) -> None:
    """Everything about it is consistent, so that only the pinned builds tell; it is not even connected to."""
    net.inject("lying_registry")
    with pytest.raises(EnclaveRejectedError, match=r"expected that of one of 1 in EnclavePolicy\.measurements"):
        WAYS[way](net, "a secret", enclave_policy=net.enclave_policy())
    assert net.journal.exchanges == []
    assert net.stats().attestations == 0


def test_what_a_lying_node_and_owner_do_without_a_pinned_build(net: Devnet) -> None:
    """This is why it is there: the published pcr hash is accepted, and even a genuine document proves nothing."""
    net.inject("lying_node")
    receipt = WAYS["chat"](net, "hi", enclave_policy=EnclavePolicy(allowed_pcr_hashes=[KNOWN_PCR_HASH])).receipt
    assert (receipt["status"], receipt["trust"]) == ("verified", "registry")
    assert receipt["tee_id"] != net.enclaves[0].tee_id
    net.clear_faults()
    net.inject("lying_registry")
    anybody = EnclavePolicy(attestation="require", attestation_roots=[net.authority.root_sha256])
    assert WAYS["chat"](net, "hi again", enclave_policy=anybody).receipt["trust"] == "attested"


def test_relay_reads_the_prompt_without_a_document(net: Devnet) -> None:
    """The enclave's own signature is handed on, so that the answer is proven, and was read by somebody else."""
    net.inject("swapped_endpoint")
    receipt = WAYS["chat"](net, "hi").receipt
    assert (receipt["status"], receipt["tee_id"]) == ("verified", net.enclaves[0].tee_id)


def test_real_enclave_is_no_devnet_and_the_other_way_round(net: Devnet) -> None:
    """AWS's root is the default: a devnet's document is refused unless its root was named."""
    with pytest.raises(AttestationError, match="none of the 1 pinned roots") as caught:
        WAYS["chat"](net, "hi", enclave_policy=EnclavePolicy(attestation="require"))
    assert caught.value.step == "chain"
    assert net.journal.exchanges == []


@pytest.mark.parametrize("relayed", [False, True], ids=["direct", "through a relay"])
def test_sealed_channel_leads_to_a_measured_enclave(relayed: bool) -> None:
    """What a prompt is sealed to is a key that the attested key signed; an enclave that was invented gets nothing."""
    with Devnet(generation="newest") as net:
        relay = {"relay_url": net.relay_url, "relay_token": net.relay_token} if relayed else {}
        options: dict[str, Any] = {
            "private_key": net.private_key,
            "network": net.network,
            "enclave_policy": net.enclave_policy(),
            "channel": "ohttp",
            **relay,
        }
        with Client(**options) as client:
            receipt = client.chat(MODEL, user("hi")).receipt
        assert (receipt["trust"], receipt["channel"]) == ("measured", "sealed")
        net.inject("lying_node")
        seen = len(net.journal.exchanges)
        with Client(**options) as client, pytest.raises(AttestationError, match="but the registry lists"):
            client.chat(MODEL, user("a secret"))
        assert len(net.journal.exchanges) == seen


def test_another_enclave_is_asked_where_one_shows_nothing() -> None:
    with Devnet(enclaves=3) as net:
        good = net.enclaves[1]
        for enclave in net.enclaves:
            if enclave is not good:
                net.inject("other_build", enclave=enclave)
        receipt = WAYS["chat"](net, "hi", enclave_policy=net.enclave_policy()).receipt
        assert receipt["tee_id"] == good.tee_id
        assert {exchange.enclave for exchange in net.journal.exchanges} == {good.tee_id}


def test_refusal_is_repeated_while_there_is_no_other(net: Devnet, make_client: Callable[..., Client]) -> None:
    """The next call hears why, too, and the enclave is not asked again within its cool-down."""
    client = make_client(enclave_policy=net.enclave_policy())
    net.inject("other_build")
    for _ in range(2):
        with pytest.raises(AttestationError, match="but the registry lists"):
            client.chat(MODEL, user("hi"))
    assert net.stats().attestations == 1


def test_warm_call_asks_for_nothing_more(net: Devnet, make_client: Callable[..., Client]) -> None:
    """One document over the connection that carries the prompt; then as many requests as without it."""
    client = make_client(enclave_policy=net.enclave_policy())
    client.chat(MODEL, user("one"))
    cold = net.stats()
    assert (cold.attestations, cold.handshakes, cold.connections, cold.requests) == (1, 1, 1, 2)
    client.chat(MODEL, user("two"))
    client.complete(MODEL, "three")
    warm = net.stats()
    assert (warm.attestations, warm.handshakes) == (1, 1)
    assert warm.rpc_calls == cold.rpc_calls


@pytest.mark.parametrize("answered", [True, False], ids=["answered", "refused"])
def test_one_thread_asks_for_all(net: Devnet, make_client: Callable[..., Client], answered: bool) -> None:
    client = make_client(enclave_policy=net.enclave_policy())
    if not answered:
        net.inject("stale_attestation")

    def ask(number: int) -> str:
        try:
            return str(client.chat(MODEL, user(f"question {number}")).receipt["trust"])
        except AttestationError as exc:
            return exc.step

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, range(8))) == {"measured" if answered else "time"}
    assert net.stats().attestations == 1


def test_one_task_asks_for_all_and_may_be_cancelled(net: Devnet) -> None:
    """Whoever asked is cancelled while the document is on its way: another call asks anew."""

    async def main() -> None:
        async with AsyncClient(
            private_key=net.private_key, network=net.network, enclave_policy=net.enclave_policy()
        ) as client:
            calls = [asyncio.create_task(client.chat(MODEL, user(f"question {number}"))) for number in range(6)]
            while not net.journal.rpc_calls:
                await asyncio.sleep(0.001)
            calls[0].cancel()
            answers = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(answers[0], asyncio.CancelledError)
        trusts = {answer.receipt["trust"] for answer in answers[1:] if not isinstance(answer, BaseException)}
        assert trusts == {"measured"}

    asyncio.run(main())
    assert net.stats().attestations <= 2


def test_asked_again_after_an_hour(net: Devnet, make_client: Callable[..., Client]) -> None:
    """The result belongs to the certificate, for an hour; what is refused then is refused, whatever was before."""
    directory = make_client(enclave_policy=net.enclave_policy()).engine.directory
    entry = net.enclaves[0].entry()

    def asks_at(seconds: float) -> bool:
        flow = directory.attest(entry, seconds)
        try:
            effect = next(flow)
        except StopIteration:
            return False
        assert isinstance(effect, Fetch)
        assert effect.enclave == entry
        enclave, nonce = net.enclaves[0], bytes.fromhex(effect.url.rpartition("=")[2])
        from og_integrations.devnet._attestation import body_of

        with pytest.raises(StopIteration):
            flow.send(body_of(net.authority.document(enclave.claims(nonce, net.clock))))
        return True

    assert [asks_at(at) for at in (0, 1, ATTESTED_FOR - 1, ATTESTED_FOR, ATTESTED_FOR + 1)] == [
        True, False, False, True, False,
    ]  # fmt: skip


def test_known_certificate_with_another_key_has_shown_nothing(net: Devnet, make_client: Callable[..., Client]) -> None:
    """A node may list the certificate of a measured enclave beside a key of its own."""
    client = make_client(enclave_policy=net.enclave_policy())
    client.chat(MODEL, user("hi"))
    net.inject("registry_other_key")
    client.engine.directory.leave(net.enclaves[0].entry(), 0)
    client.engine.directory._refresh_at = 0
    with pytest.raises(AttestationError, match="made for another signing key"):
        client.chat(MODEL, user("a secret"))
    assert "a secret" not in net.journal.prompts()


@pytest.mark.parametrize("body", [b"", b"!", b"x" * 70_000, b"\xd2\x84"], ids=["nothing", "junk", "large", "raw"])
def test_garbage_instead_of_a_document(net: Devnet, body: bytes, make_client: Callable[..., Client]) -> None:
    """Whatever comes, it is an error of ours, and nothing has left."""
    directory = make_client(enclave_policy=net.enclave_policy()).engine.directory
    flow = directory.attest(net.enclaves[0].entry(), 0)
    next(flow)
    with pytest.raises(AttestationError) as caught:
        flow.send(body)
    assert caught.value.step == "encoding"


def test_fault_of_ones_own(net: Devnet) -> None:
    """The document is made anew for each question, so that a test can change what it says."""
    from dataclasses import replace

    net.inject(Fault(name="no_key", about="of no key", attestation=lambda claims: replace(claims, signing_key=b"")))
    with pytest.raises(AttestationError, match="made for another signing key"):
        WAYS["chat"](net, "hi", enclave_policy=net.enclave_policy())


def test_gateway_by_url_cannot_be_attested(net: Devnet) -> None:
    """Nothing is pinned there, so that no document could be about its connection."""
    with (
        Devnet(tls=False) as plain,
        Client(
            private_key=plain.private_key,
            network=plain.network,
            gateway_url=plain.enclaves[0].endpoint,
            enclave_policy=EnclavePolicy(attestation="require"),
        ) as client,
        pytest.raises(EnclaveRejectedError, match="has no certificate to pin"),
    ):
        client.chat(MODEL, user("a secret"))
    assert plain.journal.exchanges == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"attestation": "required"}, "attestation is 'required', expected"),
        ({"attestation": "registry", "measurements": []}, "asks for no attestation"),
        ({"attestation_roots": ["ab" * 32]}, "asks for no attestation"),
        ({"attestation": "require", "attestation_roots": "ab" * 32}, "is a text"),
        ({"measurements": "ab" * 48}, "measurements is no list"),
        ({"measurements": {"PCR0": "ab"}}, "measurements is no list"),
        ({"measurements": [("ab",)]}, "is not of the form"),
        ({"measurements": [{"PCR0": "ab" * 48}]}, "PCR1 holds"),
        ({"measurements": 5}, "measurements is no list"),
    ],
)
def test_policy_that_means_nothing(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        EnclavePolicy.of(given)


def test_empty_list_of_builds_accepts_nobody(net: Devnet) -> None:
    with pytest.raises(EnclaveRejectedError, match="expected that of one of 0"):
        WAYS["chat"](net, "hi", enclave_policy=EnclavePolicy(measurements=[]))
