"""docker-compose.yml gives each service what its kind reads, as `greenroom up` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.processes import INTERNAL_PORTS, KINDS, PREFIX, TRACED, internal_port, variables
from events.settings import LogSettings
from events.tracing import ENVIRONMENT
from store.settings import DatabaseSettings

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]

# What has no default that works in containers.
NEEDED = {
    PREFIX + name
    for name in (
        *("KAFKA_BOOTSTRAP", "DATABASE_URL", "MASTER_KEYS", "KEY_PEPPER", "JOIN_SECRET", "SIGNING_KEY", "MARK_KEYS"),
        "ASSETS",
        "LIVEKIT_PERMITTED_NETWORKS",  # the LiveKit beside them has a private address
    )
}
OTHERS = {
    "migrate": {PREFIX + name.upper() for name in DatabaseSettings.model_fields},
    "topics": {PREFIX + name.upper() for name in LogSettings.model_fields},
}
SERVERS = {"kafka", "postgres", "livekit"}
OBSERVERS = {"prometheus", "grafana"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    found: dict[str, Any] = document["services"]
    return found


def test_every_kind_has_its_service(services: dict[str, Any]) -> None:
    assert services.keys() == KINDS.keys() | OTHERS.keys() | SERVERS | OBSERVERS
    for kind in KINDS:
        assert services[kind]["command"][0] == kind


def test_every_kind_has_an_internal_port_of_its_own() -> None:
    """By a setting of its own, since `greenroom up` tells all kinds theirs together."""
    assert INTERNAL_PORTS.keys() == KINDS.keys()
    assert len(set(INTERNAL_PORTS.values())) == len(KINDS)
    for kind, settings in KINDS.items():
        known = settings.model_fields
        assert (known[INTERNAL_PORTS[kind]].default, known["metrics_host"].default) == (0, "127.0.0.1")


@pytest.mark.parametrize("kind", [*KINDS, *OTHERS])
def test_a_service_is_told_what_it_reads_and_nothing_else(services: dict[str, Any], kind: str) -> None:
    told, read = services[kind]["environment"].keys(), OTHERS.get(kind) or variables(kind)
    traces = {name for name in told if name.startswith(ENVIRONMENT)}
    assert told - traces <= read
    assert bool(traces) is (kind in TRACED)
    assert read & NEEDED <= told


@pytest.mark.parametrize("kind", KINDS)
def test_only_who_reads_the_assets_sees_them(services: dict[str, Any], kind: str) -> None:
    assert ("assets:/assets" in services[kind].get("volumes", [])) is (PREFIX + "ASSETS" in variables(kind))


def test_nothing_that_waits_for_the_set_up_starts_before_it(services: dict[str, Any]) -> None:
    for kind in KINDS:
        needed = set(services[kind]["depends_on"])
        assert ("migrate" in needed) is (PREFIX + "DATABASE_URL" in variables(kind))
        assert ("topics" in needed) is (PREFIX + "KAFKA_BOOTSTRAP" in variables(kind))


def test_prometheus_reaches_every_kind_and_nobody_else_does(services: dict[str, Any]) -> None:
    """Each has its port where deploy/prometheus looks for it, and publishes it nowhere."""
    scraped = {
        job["job_name"]: job["dns_sd_configs"][0]
        for job in yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
        if "dns_sd_configs" in job
    }
    assert scraped.keys() == KINDS.keys()
    for kind, where in scraped.items():
        told = services[kind]["environment"]
        assert (where["names"], str(where["port"])) == ([kind], told[internal_port(kind)])
        assert told[PREFIX + "METRICS_HOST"] == "0.0.0.0"
        assert not any(port.endswith(f":{where['port']}") for port in services[kind].get("ports", ()))


def test_observers_are_there_when_they_are_asked_for_and_for_this_machine_alone(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service.get("profiles", []) == (["observability"] if name in OBSERVERS else [])
        if name in OBSERVERS:
            image, _, version = service["image"].partition(":")
            assert version.count(".") == 2, image
            assert all(port.startswith("127.0.0.1:") for port in service["ports"])
            assert set(service["depends_on"]) <= services.keys()
            mounted = [volume.split(":")[0] for volume in service["volumes"] if volume.startswith("./")]
            assert mounted
            assert all((ROOT / path).exists() for path in mounted)
    assert set(services["prometheus"]["depends_on"]) == KINDS.keys()
