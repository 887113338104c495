"""The kinds of processes, and what each of them gets to know: the settings that it reads, and no secret beside them.

`greenroom up` and the tests start processes with this; docker-compose.yml says the same, and a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic_settings import BaseSettings

from api.settings import ApiSettings
from events.tracing import ENVIRONMENT
from reactors.settings import DeliverSettings, LiveSettings, ProjectSettings
from workers.children import of_this_machine
from workers.settings import BuildSettings, WorkerSettings

KINDS: dict[str, type[BaseSettings]] = {
    "api": ApiSettings,
    "project": ProjectSettings,
    "deliver": DeliverSettings,
    "live": LiveSettings,
    "worker": WorkerSettings,
    "build": BuildSettings,
}
PREFIX = "GREENROOM_"
INTERNAL_PORTS: dict[str, str] = {
    "api": "internal_port",
    "project": "metrics_port",
    "deliver": "deliver_metrics_port",
    "live": "live_metrics_port",
    "worker": "worker_metrics_port",
    "build": "build_metrics_port",
}
"""Kind of process → the setting of its internal port. The first two are older than the rule."""


TRACED = frozenset({"api", "project", "worker"})
"""Kinds that send traces: they get OpenTelemetry's own variables, too, among which may be a collector's key."""


def variables(kind: str) -> set[str]:
    """The names of all that a process of this kind reads."""
    return {PREFIX + name.upper() for name in KINDS[kind].model_fields}


def internal_port(kind: str) -> str:
    """The variable that says where this kind has /healthz, /readyz and /metrics."""
    return PREFIX + INTERNAL_PORTS[kind].upper()


def environment(kind: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Of a process of this kind: what it reads of `settings`, and what programs read of this machine."""
    wanted = variables(kind)
    return of_this_machine() | {
        name: value
        for name, value in settings.items()
        if name in wanted or (kind in TRACED and name.startswith(ENVIRONMENT))
    }
