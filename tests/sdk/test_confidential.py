"""`ConfidentialLLM` of the published package and its relatives, on the sealed channel; and the login of its relay."""

import json
import threading
from typing import Any

import httpx
import pytest

import og_integrations.sdk as og
from og_integrations import collect_receipts
from og_integrations.devnet import Devnet
from og_integrations.errors import OpenGradientError
from og_integrations.sdk._chat_auth import DEFAULT_CHAT_APP_URL

MODEL = og.TEE_LLM.GPT_5
HI: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def net() -> Any:
    with Devnet(generation="newest") as devnet:
        yield devnet


def places(net: Devnet) -> dict[str, Any]:
    """Return where the devnet's registry is, by the names of that time."""
    network = net.environment()
    return {"rpc_url": network["OG_REGISTRY_RPC_URL"], "registry_address": network["OG_REGISTRY_ADDRESS"]}


def headers(net: Devnet) -> dict[str, str]:
    return {"Authorization": f"Bearer {net.relay_token}"}


def llm(net: Devnet, **options: Any) -> og.ConfidentialLLM:
    return og.ConfidentialLLM(str(net.relay_url), auth_headers=lambda: headers(net), **places(net), **options)


def test_documented_program(net: Devnet) -> None:
    """The relay pays, no wallet is there, and each answer has its proof and receipt."""
    mark = net.mark()
    client = llm(net)
    with collect_receipts() as receipts:
        result = client.chat(model=MODEL, messages=HI, max_tokens=200)
        streamed = client.chat(MODEL, [{"role": "user", "content": "[[tokens=3]]"}], stream=True)
        called = client.chat(MODEL, [{"role": "user", "content": 'use tool add {"a": 1}'}], tools=[TOOL])
        bare = client.chat_completion({"model": "gpt-5", "messages": HI, "max_tokens": 9, "temperature": 0.0})
    client.close()
    assert (result.content, bare.content) == ("You said: hi", "You said: hi")
    assert result.proof.tee_id == client.tee.tee_id == net.enclaves[0].tee_id
    assert result.body["choices"][0]["message"]["content"] == "You said: hi"
    assert streamed.content == "tok0 tok1 tok2"
    assert streamed.stream_frames is not None
    assert streamed.stream_frames[0].startswith("data: ")
    assert streamed.body["tee_signature"] == streamed.proof.signature
    assert json.loads(called.content)[0]["function"]["name"] == "add"
    assert receipts.verified
    assert [receipt["channel"] for receipt in receipts] == ["sealed"] * 4
    assert (result.receipt, result.payment_hash) == (receipts[0], None)
    assert client.relay_url.endswith("/api/v1/chat/ohttp")
    assert net.verdict(receipts, since=mark).clean


def test_building_blocks(net: Devnet) -> None:
    """A program that seals by itself hashes and verifies as the enclave did."""
    registry = og.TEERegistry(**places(net))
    assert registry.get_llm_tee() is not None
    found = registry.get_llm_tee_ohttp_config()
    assert found is not None
    assert found.ohttp_config is not None
    body = {"model": "gpt-5", "messages": HI, "max_tokens": 9, "temperature": 0.0}
    # A nonce would stand in the request that is sent, and not in this one.
    options: Any = {"auth_headers": lambda: headers(net), "nonce": "off"}
    answer = og.ConfidentialLLM.from_tee(str(net.relay_url), found, **options).chat_completion(body)
    wire, hashed = og.build_inner_request(body | {"tool_choice": "auto"})
    assert wire == hashed | {"tool_choice": "auto"}
    given: Any = {
        "canonical_request": hashed,
        "response_body": answer.body,
        "response_content": answer.content,
        "signing_key_pem": answer.proof.signing_key_pem,
    }
    assert og.verify_response(**given, expected_tee_id=found.tee_id, tee_host=found.endpoint) == answer.proof
    for lie in ({"response_content": "other"}, {"canonical_request": hashed | {"model": "o3"}}):
        with pytest.raises(og.VerificationError, match="signed another"):
            og.verify_response(**(given | lie))
    with pytest.raises(og.VerificationError, match="not the expected one"):
        og.verify_response(**given, expected_tee_id="0x" + "11" * 32)


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ("relay_in_clear", og.VerificationError, "not marked as sealed"),
        ("relay_asks_for_payment", og.RelayError, "HTTP 402 in clear"),
        ("bad_signature", og.VerificationError, "signature"),
    ],
)
def test_lies_raise_what_was_documented(net: Devnet, fault: str, error: type[Exception], said: str) -> None:
    net.inject(fault)
    client = llm(net)
    try:
        with pytest.raises(error, match=said) as caught:
            client.chat(MODEL, HI)
    finally:
        net.clear_faults()
        client.close()
    assert isinstance(caught.value, OpenGradientError)
    assert isinstance(caught.value, RuntimeError)
    assert caught.value.receipt is not None
    assert (getattr(caught.value, "status_code", None) == 402) == (error is og.RelayError)


def test_wrong_arguments_are_refused(net: Devnet) -> None:
    with pytest.raises(ValueError, match="session is not used"):
        llm(net, session=object())
    other = og.ConfidentialLLM(str(net.relay_url), auth_headers=lambda: {"X-Key": "k"}, **places(net))
    with pytest.raises(ValueError, match="auth_headers gave other headers"):
        other.chat(MODEL, HI)
    with pytest.raises(ValueError, match="needs a model and messages"):
        other.chat_completion({"model": "gpt-5"})
    with pytest.raises(ValueError, match="missing 'messages'"):
        og.build_inner_request({"model": "gpt-5"})


def handed_in(bundle: dict[str, Any], origin: str, answers: list[int]) -> Any:
    """Return what plays the browser: it opens the page's address and hands the session in."""

    def ready(address: str) -> None:
        target = httpx.URL(address).params["redirect_uri"]

        def post() -> None:
            for sender in (origin, DEFAULT_CHAT_APP_URL):
                said = {"Origin": sender}
                answers.append(httpx.options(target, headers=said).status_code)
                answers.append(httpx.post(target, json=bundle, headers=said).status_code)

        threading.Thread(target=post).start()

    return ready


def test_login_takes_the_session_of_its_own_page_only() -> None:
    bundle = {
        "type": "opengradient-cli-auth",
        "access_token": "secret-token",
        "user": {"email": "ada@example.com"},
        "config": {"chat_api_base_url": "https://relay.example"},
        "expires_at": 1,
    }
    answers: list[int] = []
    ready = handed_in(bundle, "https://evil.example", answers)
    auth = og.login_chat_account(open_browser=False, on_ready=ready, timeout=30)
    assert answers[:3] == [403, 403, 204]
    assert (auth.email, auth.chat_api_base_url, auth.is_expired) == ("ada@example.com", "https://relay.example", True)
    assert auth.auth_headers() == {"Authorization": "Bearer secret-token"}
    assert "secret-token" not in repr(auth)


def test_login_that_nobody_makes_ends() -> None:
    with pytest.raises(TimeoutError, match="Nobody signed in"):
        og.login_chat_account(open_browser=False, timeout=0.1)
    with pytest.raises(ValueError, match="expected one of"):
        og.login_chat_account(open_browser=False, host="0.0.0.0")
