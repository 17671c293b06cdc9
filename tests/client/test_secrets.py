"""No key, payment header, session id or prompt where it could be read by others."""

import json
import logging
import pickle
import traceback
from collections.abc import Callable

import httpx
import pytest

from og_integrations import errors
from og_integrations.client import AsyncClient, Client, LocalSigner, collect_receipts
from og_integrations.devnet import Devnet
from tests.client.ways_to_ask import MODEL, user

PROMPT = "canary-prompt-7f3a"
FAULTS = (
    "bad_signature",
    "altered_text",
    "second_402",
    "server_error_after_payment",
    "other_asset",
    "wrong_certificate",
    "stall_after_payment",
)


def _secrets(net: Devnet) -> list[str]:
    """Everything that must not show; the devnet knows the headers and session ids it saw."""
    assert len(net.journal.secrets) >= 2
    return [PROMPT, *sorted(net.secrets())]


async def test_nothing_secret_shows_anywhere(
    net: Devnet,
    client: Client,
    async_client: AsyncClient,
    make_client: Callable[..., Client],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    with collect_receipts() as receipts:
        answer = client.chat(MODEL, user(f"[[tokens=3]] {PROMPT}"))
        list(client.stream(MODEL, user(f"[[tokens=3]] {PROMPT}")))
        await async_client.chat(MODEL, user(f"[[tokens=3]] {PROMPT}"))
        _ = [item async for item in async_client.stream(MODEL, user(f"[[tokens=3]] {PROMPT}"))]
        with make_client(http_client=lambda context: httpx.Client(verify=context or True)) as other:
            other.chat(MODEL, user(f"[[tokens=3]] {PROMPT}"))
        for fault in FAULTS:
            shown += _failing(net, fault)
    shown += [json.dumps(receipts), repr(receipts), repr(answer), repr(pickle.dumps(answer))]
    for thing in (client, async_client):
        shown += [repr(thing), repr(vars(thing)), repr(vars(thing.engine)), repr(thing.engine.settings)]
        shown += [repr(vars(part)) for part in (thing.engine.sessions, thing.engine.directory, thing.engine.budget)]
    shown += [caplog.text, *(str(record.__dict__) for record in caplog.records)]
    assert any("receive_response_headers" in text for text in shown), (
        "the DEBUG lines of a user's own client are part of the test"
    )
    everything = "\n".join(shown)
    for number, secret in enumerate(_secrets(net)):
        assert secret not in everything, f"secret {number} shows"


def _failing(net: Devnet, fault: str) -> list[str]:
    # A wallet of its own has no session yet, so that the faults of paying happen.
    wallet = net.new_wallet()
    net.inject(fault)
    try:
        with (
            Client(private_key=wallet.private_key, network=net.network) as client,
            pytest.raises(errors.OpenGradientError) as caught,
        ):
            client.chat(MODEL, user(PROMPT), timeout=0.5)
    finally:
        net.clear_faults()
    error = caught.value
    return [
        str(error),
        repr(error),
        repr(vars(error)),
        repr(pickle.loads(pickle.dumps(error))),
        # Source lines of this very test name the prompt's constant, never its value.
        "".join(traceback.format_exception(error)),
    ]


def test_local_signer_is_never_pickled(net: Devnet) -> None:
    signer = LocalSigner(net.private_key)
    assert repr(signer) == f"LocalSigner({signer.address})"
    with pytest.raises(errors.ConfigurationError, match="key would be"):
        pickle.dumps(signer)


@pytest.mark.parametrize("key", ["", "0x12", "z" * 64, "0x" + "0" * 64, "f" * 64])
def test_malformed_key_is_refused_without_being_shown(key: str, make_client: Callable[..., Client]) -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        LocalSigner(key)
    assert not key or key not in str(caught.value)


def test_saved_receipts_hold_no_secret_but_the_prompt(net: Devnet, client: Client, tmp_path: object) -> None:
    """The exchange is what `verify` needs, so it holds prompt and answer; the wallet's secrets never."""
    with collect_receipts(keep_exchanges=True) as receipts:
        client.chat(MODEL, user(PROMPT))
    (file,) = receipts.save(str(tmp_path))
    text = file.read_text()
    assert PROMPT in text
    assert not [secret for secret in _secrets(net) if secret != PROMPT and secret in text]
