"""Whom we accept."""

from dataclasses import replace
from typing import Any

import pytest

from og_integrations.errors import ConfigurationError, DiscoveryError, EnclaveRejectedError
from og_integrations.protocol.chain._keccak import keccak
from og_integrations.protocol.proof._enclave import (
    DEBUG_PCR_HASH,
    KNOWN_PCR_HASH,
    Enclave,
    EnclavePolicy,
    UnsafeAcceptAnyEnclave,
    check_endpoint,
    normalize_hash,
    tee_id_of,
)
from tests.protocol.captures import ENCLAVE

GOOD = replace(ENCLAVE, pcr_hash=KNOWN_PCR_HASH)
PCRS = (
    "f2945c350e80c9431649dd691cb4ecebc11174c0201e22c151b0b11c0aa41074174b57cc17343444380f212baaf5752c"
    "4b4d5b3661b3efc12920900c80e126e4ce783c522de6c02a2a5bf7af3a2b9327b86776f188e4be1c1c404a129dbda493"
    "01d8b4615e5dc0417d57713b6d8d2c3b0ab3ec3e1848658c116a2986da35b47c04001c8acbea57858446d0bf0a35de68"
)


def refused(policy: EnclavePolicy, enclave: Enclave, said: str) -> None:
    with pytest.raises(EnclaveRejectedError, match=said) as caught:
        policy.check(enclave)
    assert isinstance(caught.value, DiscoveryError)
    assert enclave.tee_id in str(caught.value)


def test_tee_id_is_the_hash_of_the_key() -> None:
    """The captured gateway says the same of itself."""
    assert tee_id_of(ENCLAVE.public_key) == ENCLAVE.tee_id


@pytest.mark.parametrize("spelling", ["0xABcd", "0XABCD", "abcd", "ABCD"])
def test_tee_id_is_normalized(spelling: str) -> None:
    assert normalize_hash(spelling) == "0xabcd"


def test_known_measurements_are_the_hashes_of_the_pcrs() -> None:
    """docs/protocol.md §1: keccak256(PCR0 ‖ PCR1 ‖ PCR2), raw; all zero is a debug enclave."""
    assert "0x" + keccak(bytes.fromhex(PCRS)).hex() == KNOWN_PCR_HASH
    assert "0x" + keccak(bytes(3 * 48)).hex() == DEBUG_PCR_HASH


@pytest.mark.parametrize(
    "policy",
    [
        EnclavePolicy(),
        EnclavePolicy(allowed_pcr_hashes=["0x" + "00" * 32, KNOWN_PCR_HASH.upper()]),
        EnclavePolicy(allowed_pcr_hashes=iter([KNOWN_PCR_HASH])),
        EnclavePolicy(allowed_tee_ids={ENCLAVE.tee_id.upper().removeprefix("0X")}),
        EnclavePolicy(allowed_pcr_hashes=[KNOWN_PCR_HASH], allowed_tee_ids=[ENCLAVE.tee_id]),
    ],
)
def test_enclave_that_fits_is_accepted(policy: EnclavePolicy) -> None:
    """As often as it is asked, whatever the spelling of the lists."""
    policy.check(GOOD)
    policy.check(GOOD)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (EnclavePolicy(allowed_pcr_hashes=[]), f"pcr_hash {KNOWN_PCR_HASH}, expected one of 0 in Encl"),
        (EnclavePolicy(allowed_tee_ids=[]), "is not one of 0 in EnclavePolicy.allowed_tee_ids"),
        (EnclavePolicy(allowed_pcr_hashes=["0x" + "11" * 32]), "expected one of 1 in EnclavePolicy.allowed_pcr_hashes"),
        (EnclavePolicy(allowed_tee_ids=["0x" + "11" * 32]), "is not one of 1 in EnclavePolicy.allowed_tee_ids"),
        (EnclavePolicy(allowed_tee_ids=[ENCLAVE.tee_id], allowed_pcr_hashes=[]), "expected one of 0"),
    ],
)  # fmt: skip
def test_enclave_that_is_not_listed_is_refused(policy: EnclavePolicy, said: str) -> None:
    """An empty list accepts nobody; all rules that are given must hold."""
    refused(policy, GOOD, said)


@pytest.mark.parametrize("name", ["allowed_pcr_hashes", "allowed_tee_ids"])
def test_list_that_is_a_text_is_refused(name: str) -> None:
    """It accepted nobody: "not one of 13", which were its letters."""
    options: dict[str, Any] = {name: "0x" + "11" * 32}
    with pytest.raises(ConfigurationError, match=rf"EnclavePolicy\.{name} is a text, expected a list of texts"):
        EnclavePolicy(**options)
    with pytest.raises(ConfigurationError, match=rf"EnclavePolicy\.{name} is a text"):
        EnclavePolicy.of(options)


@pytest.mark.parametrize(
    ("enclave", "said"),
    [
        (replace(GOOD, enabled=False), "is disabled in the registry"),
        (replace(GOOD, pcr_hash=DEBUG_PCR_HASH), r"debug mode \(all-zero PCRs\): its operator can read prompts"),
        (replace(GOOD, pcr_hash=DEBUG_PCR_HASH[2:].upper()), "debug mode"),
        (replace(GOOD, tee_type=1), "is of type 1, expected 0: it serves no models"),
        (replace(GOOD, public_key=b"other"), f"with a signing key whose id is {tee_id_of(b'other')}"),
    ],
)
def test_enclave_that_nobody_should_use_is_refused(enclave: Enclave, said: str) -> None:
    refused(EnclavePolicy(), enclave, said)


def test_unknown_measurement_is_not_a_listed_one() -> None:
    refused(
        EnclavePolicy(allowed_pcr_hashes=[KNOWN_PCR_HASH]), replace(GOOD, pcr_hash=""), "pcr_hash unknown, expected"
    )


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "https://",
        "http://1.2.3.4",
        "HTTPS://1.2.3.4",
        "https://[bad",
        "https://[::::]",
        "https://[fe80::1%eth0]",
        "https://a..b",
        "https://a℀b",
        "https://a b",
        "https://a\0b",
        "https://1.2.3.4\n",
        "https://1.2.3.4\nERROR forged log line",
        "https://user@1.2.3.4",
        "https://1.2.3.4?x",
        "https://1.2.3.4#x",
        "https://1.2.3.4\\@x",
        "https://1.2.3.4:0",
        "https://1.2.3.4:65536",
        "https://1.2.3.4:٣",
        "https://-a.com",
        "https://" + "a" * 64 + ".com",
        "https://" + "a." * 40 + "com",
    ],
)
def test_endpoint_that_cannot_be_connected_to_safely_is_refused(endpoint: str) -> None:
    """Whatever the policy; what is said of it is on one line."""
    with pytest.raises(EnclaveRejectedError, match=r"expected https://host\[:port\]") as caught:
        check_endpoint(replace(GOOD, endpoint=endpoint))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://1.2.3.4",
        "https://1.2.3.4:8443/",
        "https://gateway_1.example.com./v2/llm",
        "https://[2001:db8::1]:443",
        "https://" + "a" * 63 + ".com:65535",
    ],
)
def test_endpoint_that_can_be_connected_to_is_accepted(endpoint: str) -> None:
    check_endpoint(replace(GOOD, endpoint=endpoint))


def test_endpoint_of_a_developer_need_not_be_https() -> None:
    check_endpoint(replace(GOOD, endpoint="http://127.0.0.1:8080", source="endpoint"))


@pytest.mark.parametrize(
    ("endpoint", "certificate", "pinned"),
    [("https://a", b"c", True), ("http://a", b"c", False), ("https://a", b"", False)],
)
def test_pinned_is_what_tls_with_a_certificate_is(endpoint: str, certificate: bytes, pinned: bool) -> None:
    assert replace(GOOD, endpoint=endpoint, certificate=certificate).pinned is pinned


def test_escape_hatch_warns() -> None:
    with pytest.warns(UserWarning, match=f"Enclave {ENCLAVE.tee_id} is accepted without any check"):
        UnsafeAcceptAnyEnclave().check(replace(GOOD, pcr_hash=DEBUG_PCR_HASH, enabled=False))


def test_policy_is_a_value() -> None:
    assert EnclavePolicy(allowed_tee_ids=("a",)) == EnclavePolicy(allowed_tee_ids=("a",))
    with pytest.raises(AttributeError):
        EnclavePolicy().allowed_tee_ids = None  # type: ignore[misc]
