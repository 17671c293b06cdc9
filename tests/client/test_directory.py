"""Choosing an enclave, driven by hand: the directory asks for bytes, the test answers."""

import json
from collections.abc import Generator
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from og_integrations.client._directory import COOL_DOWN, MAX_AGE, REFRESH_AFTER, Directory
from og_integrations.client._settings import resolve_settings
from og_integrations.devnet._enclave import EnclaveKeys
from og_integrations.errors import (
    ConnectionFailedError,
    ConnectionLostError,
    DiscoveryError,
    EnclaveRejectedError,
    HostRefusedError,
)
from og_integrations.protocol.payment._flow import Fetch, Pause
from og_integrations.protocol.proof._enclave import (
    DEBUG_PCR_HASH,
    KNOWN_PCR_HASH,
    Enclave,
    EnclavePolicy,
    UnsafeAcceptAnyEnclave,
)
from og_integrations.protocol.proof._registry import encode_enclaves

T = TypeVar("T")


def _enclave(number: int) -> Enclave:
    keys = EnclaveKeys()
    return Enclave(
        tee_id=keys.tee_id,
        endpoint=f"https://10.0.0.{number}",
        public_key=keys.public_key,
        certificate=keys.certificate,
        pcr_hash=KNOWN_PCR_HASH,
    )


ONE, TWO, THREE = _enclave(1), _enclave(2), _enclave(3)
ANYBODY = UnsafeAcceptAnyEnclave()


def _directory(policy: EnclavePolicy | None = None, **options: Any) -> Directory:
    settings = resolve_settings(network="devnet", environment={})
    return Directory(settings, policy or EnclavePolicy(), pick=lambda found: found[0], **options)


def _listing(*enclaves: Enclave) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"result":"0x' + encode_enclaves(enclaves).hex().encode() + b'"}'


def _run(flow: Generator[Fetch | Pause, Any, T], *answers: bytes | Exception) -> T:
    waiting, answer = list(answers), answers[0] if answers else b""
    try:
        effect = next(flow)
        while True:
            if isinstance(effect, Pause):
                # A node that failed is asked once more: it says the same, unless the test says otherwise.
                waiting[:0] = [] if waiting else [answer]
                effect = flow.send(None)
                continue
            answer = waiting.pop(0)
            effect = flow.throw(answer) if isinstance(answer, Exception) else flow.send(answer)
    except StopIteration as stop:
        assert not waiting, "the registry was read less often than expected"
        result: T = stop.value
        return result


def test_enclave_is_remembered_until_refresh() -> None:
    directory = _directory()
    assert _run(directory.choose(0), _listing(ONE, TWO)) == ONE
    assert _run(directory.choose(REFRESH_AFTER - 1)) == ONE
    assert _run(directory.choose(REFRESH_AFTER), _listing(TWO)) == TWO


def test_retired_enclave_is_left_but_known_to_calls_under_way() -> None:
    directory = _directory()
    _run(directory.choose(0), _listing(ONE))
    _run(directory.choose(REFRESH_AFTER), _listing(TWO))
    assert directory.target(ONE, "/v1/chat/completions").route.tee_id == ONE.tee_id


def test_left_enclave_is_chosen_again_only_after_cool_down() -> None:
    directory = _directory()
    _run(directory.choose(0), _listing(ONE, TWO))
    directory.leave(ONE, 1)
    assert _run(directory.choose(2), _listing(ONE, TWO)) == TWO
    directory.leave(TWO, 3)
    with pytest.raises(DiscoveryError, match=r"All 2 enclaves known were tried .* Nothing was sent"):
        _run(directory.choose(4), _listing(ONE, TWO))
    assert _run(directory.choose(1 + COOL_DOWN)) == ONE


@pytest.mark.parametrize("change", [{"certificate": TWO.certificate}, {"endpoint": TWO.endpoint}])
def test_left_enclave_that_was_renewed_is_chosen_at_once(change: dict[str, Any]) -> None:
    """The registry tells of a new certificate or place before the cool-down is over."""
    directory, renewed = _directory(), replace(ONE, **change)
    _run(directory.choose(0), _listing(ONE))
    directory.leave(ONE, 1)
    assert _run(directory.choose(2), _listing(renewed)) == renewed


def test_left_enclave_with_another_heartbeat_is_as_far_away_as_before() -> None:
    directory = _directory()
    _run(directory.choose(0), _listing(ONE))
    directory.leave(ONE, 1)
    with pytest.raises(DiscoveryError):
        _run(directory.choose(2), _listing(replace(ONE, last_heartbeat_at=2)))
    assert _run(directory.choose(1 + COOL_DOWN)).last_heartbeat_at == 2


def test_one_that_lied_is_left_if_any_other_is_there() -> None:
    """And one that is not in use is left without a loss for the one that is, whose session is paid for."""
    directory, listing = _directory(), _listing(ONE, TWO, THREE)
    assert _run(directory.choose(0), listing) == ONE
    directory.leave(TWO, 0)
    assert _run(directory.choose(1), listing) == ONE
    directory.distrust(ONE, 1)
    assert _run(directory.choose(2), listing) == THREE


def test_enclave_that_a_call_has_tried_is_not_given_to_it_again() -> None:
    directory = _directory()
    _run(directory.choose(0), _listing(ONE, TWO))
    assert _run(directory.choose(1, avoid=[ONE.tee_id])) == TWO
    with pytest.raises(DiscoveryError, match="All 2 enclaves known were tried"):
        _run(directory.choose(1, avoid=[ONE.tee_id, TWO.tee_id]))


def test_payees_are_those_listed_in_lower_case() -> None:
    directory, mine, other = _directory(), "0x" + "AB" * 20, "0x" + "CD" * 20
    _run(directory.choose(0), _listing(ONE, replace(TWO, payment_address=other)))
    assert directory.payees(replace(ONE, payment_address=mine)) >= {mine.lower(), other.lower()}
    assert mine.lower() not in directory.payees(replace(ONE, payment_address=mine, source="endpoint"))


def test_new_enclave_gets_its_turn_and_not_all_turns() -> None:
    directory = _directory(spread=True)
    chosen = [_run(directory.choose(0), _listing(ONE, TWO))]
    chosen += [_run(directory.choose(1)) for _ in range(5)]
    assert chosen == [ONE, TWO] * 3
    chosen = [_run(directory.choose(REFRESH_AFTER), _listing(ONE, TWO, THREE))]
    chosen += [_run(directory.choose(REFRESH_AFTER)) for _ in range(5)]
    assert chosen == [THREE, ONE, TWO] * 2


def test_left_enclave_takes_turns_again_after_its_cool_down() -> None:
    directory = _directory(spread=True)
    _run(directory.choose(0), _listing(ONE, TWO))
    directory.leave(ONE, 1)
    assert [_run(directory.choose(1), _listing(ONE, TWO)), _run(directory.choose(1))] == [TWO, TWO]
    assert [_run(directory.choose(1 + COOL_DOWN)) for _ in range(3)] == [ONE, TWO, ONE]


def test_registry_away_keeps_what_is_known() -> None:
    directory = _directory()
    _run(directory.choose(0), _listing(ONE))
    assert _run(directory.choose(REFRESH_AFTER), ConnectionFailedError("No connection to the node.")) == ONE


def test_registry_away_for_long_is_an_error_until_it_is_back() -> None:
    """Otherwise whoever blocks the registry keeps revoked enclaves in use."""
    directory, away = _directory(), ConnectionFailedError("No connection to the node.")
    _run(directory.choose(0), _listing(ONE))
    for now in range(REFRESH_AFTER, MAX_AGE, REFRESH_AFTER):
        assert _run(directory.choose(now), away) == ONE
    for now in (MAX_AGE, MAX_AGE + 1):
        with pytest.raises(DiscoveryError, match="No connection to the node"):
            _run(directory.choose(now), away)
    assert _run(directory.choose(MAX_AGE + 2), _listing(ONE)) == ONE
    assert _run(directory.choose(MAX_AGE + 3)) == ONE


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ([], DiscoveryError),
        ([replace(ONE, pcr_hash=DEBUG_PCR_HASH)], EnclaveRejectedError),
        ([TWO], HostRefusedError),
    ],
    ids=["nobody", "debug", "other-host"],
)
def test_revoked_enclave_is_not_used_any_more(answer: list[Enclave], error: type[DiscoveryError]) -> None:
    """That nobody is listed, or nobody acceptable, is an answer: it is believed at once and for good."""
    directory = _directory(hosts={"10.0.0.1"})
    _run(directory.choose(0), _listing(ONE))
    for now in (REFRESH_AFTER, REFRESH_AFTER + 1):
        with pytest.raises(error) as caught:
            _run(directory.choose(now), _listing(*answer))
        assert type(caught.value) is error
        assert not directory.has_other([])
    # Not even while the registry is away.
    with pytest.raises(DiscoveryError):
        _run(directory.choose(REFRESH_AFTER + 2), ConnectionFailedError("No connection to the node."))
    assert _run(directory.choose(REFRESH_AFTER + 3), _listing(ONE)) == ONE


def test_registry_away_at_first_is_an_error_and_asked_again() -> None:
    directory = _directory()
    with pytest.raises(DiscoveryError, match=r"No connection to the node\. Check the address"):
        _run(directory.choose(0), ConnectionFailedError("No connection to the node."))
    assert _run(directory.choose(1), _listing(ONE)) == ONE


def test_empty_registry_says_where_to_look() -> None:
    with pytest.raises(DiscoveryError, match=r"lists no usable enclave .* OG_REGISTRY_ADDRESS"):
        _run(_directory().choose(0), _listing())


@pytest.mark.parametrize(
    ("enclave", "policy", "says"),
    [
        (replace(ONE, pcr_hash=DEBUG_PCR_HASH), EnclavePolicy(), "debug mode"),
        (replace(ONE, enabled=False), EnclavePolicy(), "disabled in the registry"),
        (replace(ONE, endpoint="http://10.0.0.1"), EnclavePolicy(), "expected https"),
        (replace(ONE, endpoint="http://10.0.0.1"), ANYBODY, "expected https"),
        (replace(ONE, certificate=b"\x30\x03garbage"), EnclavePolicy(), "certificate .* cannot be read"),
        (replace(ONE, certificate=b"\x30\x03garbage"), ANYBODY, "certificate .* cannot be read"),
        (replace(ONE, tee_type=1), EnclavePolicy(), "is of type 1"),
        (ONE, EnclavePolicy(allowed_pcr_hashes=["0x" + "11" * 32]), "expected one of 1 in EnclavePolicy"),
        (ONE, EnclavePolicy(allowed_tee_ids=[TWO.tee_id]), "not one of 1 in EnclavePolicy.allowed_tee_ids"),
        (ONE, EnclavePolicy(allowed_pcr_hashes=[]), "expected one of 0"),
        (ONE, EnclavePolicy(allowed_tee_ids=[]), "not one of 0"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*accepted without any check")
def test_policy_refuses_enclave(enclave: Enclave, policy: EnclavePolicy, says: str) -> None:
    with pytest.raises(EnclaveRejectedError, match=says):
        _run(_directory(policy).choose(0), _listing(enclave))


def test_policy_picks_the_acceptable_one() -> None:
    policy = EnclavePolicy(allowed_tee_ids=[TWO.tee_id.upper().replace("0X", "")])
    assert _run(_directory(policy).choose(0), _listing(ONE, TWO)) == TWO


def test_unsafe_policy_accepts_and_warns() -> None:
    debug = replace(ONE, pcr_hash=DEBUG_PCR_HASH)
    with pytest.warns(UserWarning, match="accepted without any check"):
        assert _run(_directory(ANYBODY).choose(0), _listing(debug)) == debug


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b'{"error": {"message": "no such method"}}',
        b'{"result": 7}',
        b'{"result": "0xzz"}',
        b'{"result":"0x"}',
    ],
)
def test_node_answering_nonsense_is_a_discovery_error(answer: bytes) -> None:
    with pytest.raises(DiscoveryError):
        _run(_directory().choose(0), answer)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"public_key": 7}',
        b'{"public_key": "-----BEGIN PUBLIC KEY-----"}',
        b'{"public_key": "-----BEGIN PUBLIC KEY-----\\nMAowBQYDKgMEAwEA\\n-----END PUBLIC KEY-----"}',
    ],
    ids=["nothing", "number", "cut", "unknown-algorithm"],
)
def test_gateway_without_key_is_a_discovery_error(body: bytes) -> None:
    settings = resolve_settings(gateway_url="http://127.0.0.1:1", environment={})
    directory = Directory(settings, EnclavePolicy())
    with pytest.raises(DiscoveryError, match="no PEM public key"):
        _run(directory.choose(0), body)


@pytest.mark.parametrize(("said", "address"), [("0x" + "12" * 20, "0x" + "12" * 20), (7, "")])
def test_gateway_that_was_named_is_never_left(said: object, address: str) -> None:
    """There is no other one, and whoever names it restarts it while developing."""
    key = load_der_public_key(ONE.public_key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    settings = resolve_settings(gateway_url="http://127.0.0.1:1/", environment={})
    directory = Directory(settings, EnclavePolicy())
    body = json.dumps({"public_key": key, "wallet_address": said}).encode()
    enclave = _run(directory.choose(0), body)
    assert (enclave.tee_id, enclave.endpoint, enclave.payment_address) == (ONE.tee_id, "http://127.0.0.1:1", address)
    directory.leave(enclave, 0)
    assert _run(directory.choose(1)) == enclave


def test_node_that_fails_once_costs_no_call() -> None:
    """Public nodes answer 429, or reset a connection, now and then; a cold start asks once more."""
    reset = ConnectionFailedError("No connection to the node.")
    assert _run(_directory().choose(0), reset, _listing(ONE)) == ONE


def test_node_that_stalls_is_not_waited_for_twice() -> None:
    stalled = ConnectionLostError("It did not answer in time.")
    stalled.timed_out = True
    with pytest.raises(DiscoveryError, match="did not answer in time"):
        _run(_directory().choose(0), stalled)


def _step(flow: Generator[Fetch | Pause, Any, T], answer: bytes | Exception | None = None) -> object:
    return flow.throw(answer) if isinstance(answer, Exception) else flow.send(answer)


def test_cold_calls_wait_for_one_read() -> None:
    """A batch that starts cold would read the registry once per call, and public nodes refuse that."""
    directory = _directory()
    first, others = directory.choose(0), [directory.choose(0) for _ in range(3)]
    assert isinstance(_step(first), Fetch)
    assert [type(_step(other)) for other in others] == [Pause] * 3
    with pytest.raises(StopIteration) as ended:
        _step(first, _listing(ONE))
    assert ended.value.value == ONE
    for other in others:
        with pytest.raises(StopIteration) as ended:
            _step(other)
        assert ended.value.value == ONE


def test_calls_that_waited_share_the_failure() -> None:
    """Each would wait for a dead node in its turn."""
    directory = _directory(policy=EnclavePolicy(allowed_tee_ids=[]))
    first, other = directory.choose(0), directory.choose(0)
    assert isinstance(_step(first), Fetch)
    assert isinstance(_step(other), Pause)
    for flow, answer in ((first, _listing(ONE)), (other, None)):
        with pytest.raises(EnclaveRejectedError, match="the policy accepts none of them"):
            _step(flow, answer)


def test_cancelled_reader_leaves_the_read_to_another() -> None:
    directory = _directory()
    first, other = directory.choose(0), directory.choose(0)
    assert isinstance(_step(first), Fetch)
    assert isinstance(_step(other), Pause)
    first.close()
    assert isinstance(_step(other), Fetch)
    with pytest.raises(StopIteration) as ended:
        _step(other, _listing(ONE))
    assert ended.value.value == ONE
