"""What of a gateway's reason may be repeated: its own words, and nothing that it was given."""

import base64
import copy
import json
import pickle

import pytest

from og_integrations.errors import ConfigurationError
from og_integrations.protocol._redact import KNOWN, Secret, quotable, texts_of

PROMPT = 'It\'s a "test":\nJohn Doe has HIV & <caf\u00e9>'
SESSION = "1f0c2b7e-5e55-4d1a-9a52-0d5a3b1e7c11"
SIGNATURE = "0x" + "5a" * 65


@pytest.mark.parametrize("reason", [*KNOWN, "Model 'gpt-99' is not supported", "maximum context length exceeded"])
def test_words_of_the_gateway_are_kept(reason: str) -> None:
    """Also while the prompt is about them."""
    assert quotable(reason, [PROMPT, f"What does {reason[:30]} mean?" if reason in KNOWN else "hi"]) == reason


@pytest.mark.parametrize(
    "reason",
    [
        PROMPT,
        PROMPT.upper(),
        repr(PROMPT),
        json.dumps(PROMPT),
        json.dumps(json.dumps(PROMPT)),
        f"'{PROMPT}' is too long",
        "invalid content near: John Doe has HIV",
        "invalid content near: JOHN  DOE HAS\\tHIV",
        "content_policy: john%20doe%20has%20hiv",
        "\\u004aohn \\x44oe\\u0020has HIV",
        "".join(f"\\u{ord(c):04X}" for c in "John Doe has HIV"),
        "".join(f"\\x{ord(c):02x}" for c in "John Doe has HIV"),
        "".join(f"%{ord(c):02x}" for c in "John Doe has HIV"),
        "\\n".join("John Doe has HIV"),
        "content is not supportedJohn Doe has HIVis not supported",
    ],
)
def test_prompt_is_not_quoted(reason: str) -> None:
    """However it is escaped, spelled and surrounded."""
    assert quotable(reason, ["ok", PROMPT]) == ""


@pytest.mark.parametrize(
    "reason",
    [
        SIGNATURE,
        f"bad signature {SIGNATURE}",
        f"session {SESSION} is bad",
        base64.b64encode(PROMPT.encode()).decode(),
        '{"error": "x"}',
        "[1]",
        {"message": "x"},
        ["x"],
        None,
        7,
        "",
    ],
)
def test_tokens_and_structures_are_not_quoted(reason: object) -> None:
    """Whoever is asked without knowing the secrets says nothing of what looks like one."""
    assert quotable(reason) == ""


def test_short_secret_is_looked_for_as_a_whole() -> None:
    assert quotable("wrong password HunTer2", ["hunter2"]) == ""
    assert quotable("wrong session abcd-short-id", ["abcd-short-id"]) == ""
    assert quotable("wrong password", ["hi", "ok?"]) == "wrong password"


@pytest.mark.parametrize(
    ("reason", "secret", "kept"),
    [
        ("you said efghijkl", "abcdefghijkl", False),
        ("you said fghijkl", "abcdefghijkl", True),
        ("this is busy", "busy", False),
        ("this is busy", "is", True),
    ],
)
def test_how_much_is_a_quotation(reason: str, secret: str, kept: bool) -> None:
    """Eight characters in a row, to the last one; of a shorter text all of it, if it is one to be told from words."""
    assert quotable(reason, [secret]) == (reason if kept else "")


def test_what_is_quoted_is_short_and_on_one_line() -> None:
    assert quotable("\x1b(2J\nso " + "so " * 10**6).startswith(
        "\N{REPLACEMENT CHARACTER}(2J\N{REPLACEMENT CHARACTER}so so"
    )
    assert len(quotable("so " * 10**6)) == 200


def test_texts_of_a_request_are_all_that_its_user_wrote() -> None:
    request = {
        "model": "gpt-5-mini",
        "messages": [{"role": "user", "type": "x", "content": [{"type": "text", "text": "one"}]}],
        "tools": [{"type": "function", "function": {"name": "two", "parameters": {"enum": ["three"]}}}],
        "stop": ["four"],
        "response_format": {"json_schema": {"description": "five"}},
        "temperature": 1,
    }
    assert sorted(texts_of(request)) == ["five", "four", "one", "three", "two"]


def test_secret_is_shown_by_nothing() -> None:
    """Whatever a debugger, an error reporter or a log does with it."""
    secret = Secret("canary-7")
    shown = [repr(secret), str(secret), f"{secret} {secret!r}", repr({"header": secret}), repr([secret])]
    assert [text for text in shown if "canary" in text] == []
    assert (secret == Secret("canary-7"), secret == Secret("other"), secret == "canary-7") == (True, False, False)
    assert {secret: 1}[Secret("canary-7")] == 1
    assert secret.reveal() == "canary-7"
    assert copy.deepcopy(secret) is copy.copy(secret) is secret
    with pytest.raises(ConfigurationError, match="not pickled"):
        pickle.dumps(secret)
