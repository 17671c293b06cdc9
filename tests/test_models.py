"""The catalogue of models: complete, true to the gateways' own list, and asked by everything that needs it."""

import json
import re
import subprocess
import warnings
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from og_integrations import TEE_LLM, _warnings
from og_integrations.client import Client
from og_integrations.devnet import Devnet
from og_integrations.errors import InvalidRequestError
from og_integrations.models import MODELS, ModelInfo, model_info, wire_name

PUBLISHED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors/models.json").read_text())["models"]
"""The gateways' own registry of September 2026, what later lists add, and what April's had alone."""
NAMES = [model["wire_name"] for model in PUBLISHED]


def test_every_published_name_is_listed_and_nothing_else() -> None:
    assert list(NAMES) != []
    assert set(MODELS) == set(NAMES)
    assert set(NAMES) <= {wire_name(member) for member in TEE_LLM}


@pytest.mark.parametrize("published", PUBLISHED, ids=NAMES)
def test_what_is_known_is_what_was_published(published: dict[str, Any]) -> None:
    info = MODELS[published["wire_name"]]
    prices = (info.usd_in, info.usd_out, info.usd_image_out, info.usd_per_image)
    names = ("usd_per_mtok_in", "usd_per_mtok_out", "usd_per_mtok_image_out", "usd_per_image")
    assert [None if price is None else str(price) for price in prices] == [published[name] for name in names]
    assert (info.kind, info.tools, info.april) == (
        published["kind"], published["function_tools"], published["listed_in_april"],
    )  # fmt: skip
    assert info.aspect_ratios == () or set(info.aspect_ratios) == set(published["aspect_ratios"])
    assert info.kind == "image endpoint" or info.temperature == (published["temperature"] == "used")
    for name, own in (("image_inputs_profile", info.image_inputs), ("pdf_inputs_profile", info.pdf_inputs)):
        assert published[name] in (None, own), name
    assert all(_same(model_info(alias), info) for alias in published["aliases"])
    alive = published["status"] == "offered" or "still offers it" in published["status"]
    assert (info.retirement is None) == (alive and info.name != "claude-sonnet-4-0")


def _same(one: ModelInfo, other: ModelInfo) -> bool:
    return (one.usd_in, one.usd_per_image, one.kind, one.listed) == (
        other.usd_in,
        other.usd_per_image,
        other.kind,
        True,
    )


def test_the_name_decides_and_not_the_provider_before_it() -> None:
    """Gateways never see the provider."""
    assert model_info("mine/claude-haiku-4-5").json_object is False
    assert model_info("mine/claude-haiku-4-5").provider == "mine"
    assert model_info("GPT-5.2").usd_in == model_info("openai/gpt-5.2").usd_in


@pytest.mark.parametrize("before", ["", "google/", "Google/", "vertex_ai/", "models/", "openrouter/google/"])
@pytest.mark.parametrize("name", ["gemini-2.5-flash", "gemini-99-ultra"])
def test_tools_of_googles_models_are_never_streamed_under_any_spelling(before: str, name: str) -> None:
    """The gateway merges two calls of one stream under one signature, by the bare name and whoever stands before it."""
    assert not model_info(before + name).tool_streams


def test_unknown_names_pass_and_their_family_is_guessed() -> None:
    newer = model_info("anthropic/claude-opus-9")
    assert (newer.listed, newer.json_object, newer.usd_in, newer.ending(date(2030, 1, 1))) == (False, False, None, None)
    assert model_info("somebody/thing").context_window is None


@pytest.mark.parametrize(
    ("name", "today", "said"),
    [
        ("openai/gpt-5-mini", date(2026, 9, 1), None),
        ("openai/gpt-5-mini", date(2026, 11, 28), "retires the snapshot behind it on 2026-12-11. Use openai/gpt-5.4-m"),
        ("x-ai/grok-4", date(2026, 11, 28), "serves and bills grok-4.3 in its place on 2026-05-15. Use x-ai/grok-4.3"),
        ("nous/hermes-4-70b", date(2026, 11, 28), "newer gateways no longer list it. Use nous/hermes-4-405b"),
        ("openai/o3", date(2026, 11, 28), "Choose another model"),
        ("openai/gpt-5.2", date(2026, 11, 28), None),
    ],
)
def test_a_name_that_dies_is_told_of(name: str, today: date, said: str | None) -> None:
    told = model_info(name).ending(today)
    assert told == said or (said is not None and told is not None and said in told)


def test_users_are_warned_once_at_their_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_warnings, "_warned", set())
    with Devnet() as net, Client(network=net.network, private_key=net.private_key) as client:
        with pytest.warns(UserWarning, match=r"openai/gpt-4.1-nano comes to its end.*Use openai/gpt-5.6-luna") as told:
            client.chat("openai/gpt-4.1-nano", [{"role": "user", "content": "hi"}])
        assert [Path(warning.filename).name for warning in told] == [Path(__file__).name]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            client.chat("openai/gpt-4.1-nano", [{"role": "user", "content": "hi"}])


@pytest.mark.parametrize(
    ("model", "extra", "said"),
    [
        ("openai/gpt-image-2", {"aspect_ratio": "7:1"}, "aspect_ratio is '7:1', expected one of 16:9"),
        ("bytedance/seedance-5.0", {"resolution": "8K"}, "resolution is '8K', expected one of 1.5K, 2K"),
        ("bytedance/seedance-5.0", {"n": 2}, "this model makes one picture"),
        ("openai/gpt-image-2", {"n": 0}, "n is 0, expected a whole number from 1 to 128"),
    ],
)
def test_pictures_that_a_model_does_not_make_cost_nothing(model: str, extra: dict[str, Any], said: str) -> None:
    with Devnet(generation="newest") as net, Client(network=net.network, private_key=net.private_key) as client:
        with pytest.raises(InvalidRequestError, match=said):
            client.chat(model, [{"role": "user", "content": "a cat"}], extra=extra)
        assert net.stats().requests == 0


def test_how_many_pictures_is_named_as_unsigned() -> None:
    """It multiplies the price, and no rule hashes it."""
    with Devnet(generation="newest") as net, Client(network=net.network, private_key=net.private_key) as client:
        answer = client.chat("openai/gpt-image-2", [{"role": "user", "content": "a cat"}], extra={"n": 2})
    assert answer.images
    assert {"images", "n"} <= set(answer.receipt["unsigned"])


ABOUT_NAMES = ("docs/migrating.md", "og_integrations/models/")
"""These are about the names themselves."""


def test_no_page_and_no_program_of_ours_asks_a_model_that_dies() -> None:
    """Whoever copies an example would be warned at once, or refused a few weeks later."""
    ending = sorted(
        (re.escape(f"{info.provider}/{info.name}") for info in MODELS.values() if info.retirement),
        key=len,
        reverse=True,
    )
    named = re.compile(rf"(?:{'|'.join(ending)})(?![\w.-])")
    root = Path(__file__).parent.parent
    listed = subprocess.run(
        ["git", "ls-files", "README.md", "docs", "cookbook", "og_integrations", "benchmarks", "deploy"],
        cwd=root, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    found = {
        f"{name}: {match[0]}"
        for name in listed
        if not name.startswith(ABOUT_NAMES)
        for match in named.finditer((root / name).read_text("utf-8", "replace"))
    }
    assert found == set()
    assert named.search('model="openai/gpt-5-mini"') and not named.search("openai/gpt-5.2")  # noqa: PT018
