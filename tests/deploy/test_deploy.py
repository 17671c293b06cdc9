"""What `deploy/` names is there: metrics that the code emits, commands with their flags, a user who is not root."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from og_integrations.cli import _batch, _devnet
from og_integrations.cli._entry import parser_of
from og_integrations.client._telemetry import METRICS

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
METRIC = re.compile(r"\bopengradient_\w+")
OF_KIND = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}


def prometheus_names() -> set[str]:
    """Return the names that Prometheus has for our metrics, by the rules of OpenTelemetry's exporter."""
    found = set()
    for name, (kind, unit, _) in METRICS.items():
        plain = name.replace(".", "_") + {"s": "_seconds"}.get(unit, "")
        found |= {plain + ending for ending in OF_KIND.get(kind, ("",))}
    return found


@pytest.mark.parametrize("file", ["grafana-dashboard.json", "prometheus-rules.yml"])
def test_named_metrics_are_emitted(file: str) -> None:
    named = set(METRIC.findall((DEPLOY / file).read_text()))
    assert len(named) >= 6
    assert named - prometheus_names() == set()


def test_dashboard_shows_every_metric() -> None:
    shown = set(METRIC.findall((DEPLOY / "grafana-dashboard.json").read_text()))
    assert {name for name in METRICS if not any(each.startswith(name.replace(".", "_")) for each in shown)} == set()


def test_dashboard_is_one_that_grafana_reads() -> None:
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    assert dashboard["schemaVersion"] >= 36
    assert [panel["id"] for panel in dashboard["panels"]] == list(range(1, len(dashboard["panels"]) + 1))
    for panel in dashboard["panels"]:
        assert panel["title"]
        for target in panel["targets"]:
            assert target["expr"].count("(") == target["expr"].count(")")


def test_rules_are_rules() -> None:
    groups = yaml.safe_load((DEPLOY / "prometheus-rules.yml").read_text())["groups"]
    for rule in groups[0]["rules"]:
        assert rule.keys() >= {"alert", "expr", "labels", "annotations"}


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text())
    return found


def test_compose_runs_commands_that_exist() -> None:
    """Their flags are parsed by the commands themselves."""
    services = compose()["services"]
    devnet = parser_of({"devnet": _devnet}).parse_args(services["devnet"]["command"])
    assert (devnet.host, devnet.advertise, devnet.port) == ("0.0.0.0", "devnet", 8545)
    environment, _, command = services["job"]["command"][0].partition(" && ")
    words = shlex.split(command)
    assert environment == f". {devnet.env_file}"
    assert words[:2] == ["og-integrations", "batch"]
    job = parser_of({"batch": _batch}).parse_args(words[1:])
    assert (job.ledger, job.store) == ("$$OG_DATABASE", "$$OG_DATABASE")


def test_compose_waits_for_what_it_needs() -> None:
    services = compose()["services"]
    for name in services["job"]["depends_on"]:
        assert "healthcheck" in services[name]
    assert "ports" not in services["devnet"], "a devnet's wallets are open to whoever reaches it"


def test_container_is_not_roots() -> None:
    """The last user that the Dockerfile sets is a number, as Kubernetes' runAsNonRoot needs it."""
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users
    assert users[-1].isdecimal()
    assert int(users[-1]) > 0
    assert not [line for line in lines if "OG_PRIVATE_KEY" in line]


def test_dockerfile_copies_what_is_there() -> None:
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY") and "--from" not in line:
            for name in line.split()[1:-1]:
                assert (ROOT / name).exists()
