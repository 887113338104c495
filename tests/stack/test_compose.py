"""docker-compose.yml gives each service what its kind reads, as `greenroom up` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.processes import KINDS, PREFIX, variables
from events.settings import LogSettings
from store.settings import DatabaseSettings

pytestmark = pytest.mark.unit

# What has no default that works in containers.
NEEDED = {
    PREFIX + name
    for name in (
        *("KAFKA_BOOTSTRAP", "DATABASE_URL", "MASTER_KEYS", "KEY_PEPPER", "JOIN_SECRET", "SIGNING_KEY", "ASSETS"),
        "LIVEKIT_PERMITTED_NETWORKS",  # the LiveKit beside them has a private address
    )
}
OTHERS = {
    "migrate": {PREFIX + name.upper() for name in DatabaseSettings.model_fields},
    "topics": {PREFIX + name.upper() for name in LogSettings.model_fields},
}
SERVERS = {"kafka", "postgres", "livekit"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    document = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text())
    found: dict[str, Any] = document["services"]
    return found


def test_every_kind_has_its_service(services: dict[str, Any]) -> None:
    assert services.keys() == KINDS.keys() | OTHERS.keys() | SERVERS
    for kind in KINDS:
        assert services[kind]["command"][0] == kind


@pytest.mark.parametrize("kind", [*KINDS, *OTHERS])
def test_a_service_is_told_what_it_reads_and_nothing_else(services: dict[str, Any], kind: str) -> None:
    told, read = services[kind]["environment"].keys(), OTHERS.get(kind) or variables(kind)
    assert told <= read
    assert read & NEEDED <= told


@pytest.mark.parametrize("kind", KINDS)
def test_only_who_reads_the_assets_sees_them(services: dict[str, Any], kind: str) -> None:
    assert ("assets:/assets" in services[kind].get("volumes", [])) is (PREFIX + "ASSETS" in variables(kind))


def test_nothing_that_waits_for_the_set_up_starts_before_it(services: dict[str, Any]) -> None:
    for kind in KINDS:
        needed = set(services[kind]["depends_on"])
        assert ("migrate" in needed) is (PREFIX + "DATABASE_URL" in variables(kind))
        assert ("topics" in needed) is (PREFIX + "KAFKA_BOOTSTRAP" in variables(kind))
