"""Logs and metrics of what happens: each event once, under its name, and nothing secret in any of it."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from og_integrations.client import AsyncClient, Client, _telemetry
from og_integrations.devnet import Devnet
from og_integrations.errors import OpenGradientError, PaymentInDoubtError
from tests.client.ways_to_ask import MODEL, user


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryMetricReader]:
    """Metrics of a provider of this test's own: a process can set its global one once."""
    made = InMemoryMetricReader()
    provider = MeterProvider([made])
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    _telemetry._instruments.cache_clear()
    yield made
    _telemetry._instruments.cache_clear()
    provider.shutdown()


def points(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    """Return what was measured, by the metric's name."""
    data = reader.get_metrics_data()
    scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
    return {metric.name: list(metric.data.data_points) for scope in scopes for metric in scope.metrics}


def events(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (record.levelname, record.__dict__["og_event"]) for record in caplog.records if "og_event" in record.__dict__
    ]


def test_paid_call_is_logged_once(net: Devnet, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """One authorization for many calls is one line."""
    caplog.set_level(logging.INFO, "og_integrations")
    for _ in range(3):
        client.chat(MODEL, user("hi"))
    assert events(caplog) == [("INFO", "authorized")]
    assert "A wallet authorized 0.1 OPG at most." in caplog.text
    (record,) = [each for each in caplog.records if "og_event" in each.__dict__]
    assert (record.name, record.__dict__["og_amount"]) == ("og_integrations.payment", str(10**17))


def test_limit_that_is_near_is_logged_once(net: Devnet, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "og_integrations")
    with Client(private_key=net.private_key, network=net.network, spend_policy={"total": "0.11"}) as client:
        client.chat(MODEL, user("hi"))
        client.chat(MODEL, user("hi"))
    assert events(caplog) == [("INFO", "authorized"), ("INFO", "limit_near")]
    assert "at 80 per cent or more of SpendPolicy.total: 0.1 of 0.11 OPG." in caplog.text


def test_doubt_is_a_warning(net: Devnet, caplog: pytest.LogCaptureFixture, reader: InMemoryMetricReader) -> None:
    net.inject("cut_body")
    with (
        Client(private_key=net.new_wallet().private_key, network=net.network) as client,
        pytest.raises(PaymentInDoubtError),
    ):
        client.chat(MODEL, user("canary-7f3a"))
    assert ("WARNING", "in_doubt") in events(caplog)
    assert "may have been charged" in caplog.text
    measured = points(reader)
    assert measured["opengradient.payments.in_doubt"][0].value == 1
    assert measured["opengradient.calls"][0].attributes["outcome"] == "in_doubt"


def test_failover_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "og_integrations")
    with Devnet(enclaves=2) as net:
        net.inject("dead_endpoint", enclave=net.enclaves[0])
        # Which one a client begins with is a matter of chance: no session of another one leads it.
        for number in range(30):
            policy = {"account": f"number {number}"}
            with Client(private_key=net.private_key, network=net.network, spend_policy=policy) as client:
                client.chat(MODEL, user("hi"))
            if ("INFO", "failover") in events(caplog):
                break
    assert {("INFO", "failover"), ("INFO", "enclave_left")} <= {*events(caplog)}


async def test_metrics_tell_of_calls(net: Devnet, reader: InMemoryMetricReader) -> None:
    policy = {"total": "1", "account": "measured"}
    async with AsyncClient(private_key=net.private_key, network=net.network, spend_policy=policy) as client:
        await client.chat(MODEL, user("hi"))
        measured = points(reader)
        (calls,) = measured["opengradient.calls"]
        assert (calls.value, dict(calls.attributes)) == (1, {"outcome": "verified", "model": MODEL, "error": ""})
        assert measured["opengradient.opg.authorized"][0].value == pytest.approx(0.1)
        assert measured["opengradient.call.duration"][0].count == 1
        assert [point.value for point in measured["opengradient.calls.active"]] == [0]
        assert [point.value for point in measured["opengradient.calls.waiting"]] == [0]
        left = [p for p in measured["opengradient.budget.left"] if p.attributes["account"] == "measured"]
        assert [(point.value, point.attributes["limit"]) for point in left] == [(pytest.approx(0.9), "total")]
        net.inject("bad_signature", times=1)
        with pytest.raises(OpenGradientError):
            await client.chat(MODEL, user("hi"))
        assert points(reader)["opengradient.verification.failures"][0].attributes["step"] == "signature"


def test_every_metric_is_made(reader: InMemoryMetricReader) -> None:
    assert set(_telemetry._instruments()) == set(_telemetry.METRICS)


def test_nothing_secret_is_told(
    net: Devnet, client: Client, caplog: pytest.LogCaptureFixture, reader: InMemoryMetricReader
) -> None:
    """The key, payments, session ids and prompts are in no log line, attribute or measurement."""
    caplog.set_level(logging.DEBUG)
    client.chat(MODEL, user("canary-prompt-7f3a"))
    list(client.stream(MODEL, user("canary-prompt-7f3a")))
    for fault in ("bad_signature", "cut_body", "server_error_after_payment"):
        net.inject(fault, times=1)
        with (
            Client(private_key=net.new_wallet().private_key, network=net.network) as other,
            pytest.raises(OpenGradientError),
        ):
            other.chat(MODEL, user("canary-prompt-7f3a"))
    told = "\n".join(
        [caplog.text, *(str(record.__dict__) for record in caplog.records), str(reader.get_metrics_data())]
    )
    assert "og_event" in told
    secrets = ["canary-prompt-7f3a", *net.secrets()]
    assert [number for number, secret in enumerate(secrets) if secret in told] == []


def test_program_without_logging_sees_nothing(net: Devnet, client: Client, capfd: pytest.CaptureFixture[str]) -> None:
    """The NullHandler: Python's last resort would print warnings to standard error."""
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("og_integrations").handlers)
