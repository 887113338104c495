"""What `/metrics` says of a process' connections to Postgres."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from prometheus_client import CollectorRegistry, Gauge

REGISTRY = CollectorRegistry()

MOST = Gauge("greenroom_database_connections_max", "Connections that the pool may have.", registry=REGISTRY)
CONNECTIONS = Gauge(
    "greenroom_database_connections",
    "Connections of the pool: `used` by some work, or `idle`.",
    ["state"],
    registry=REGISTRY,
)
WAITING = Gauge("greenroom_database_waiting", "What waits for a connection of the pool right now.", registry=REGISTRY)


class _Pool(Protocol):
    def get_stats(self) -> Mapping[str, int]: ...


@contextmanager
def of_pool(pool: _Pool) -> Iterator[None]:
    """A process has one; of several, as tests have, the latest is told of. Looked at when somebody asks."""
    told = {
        MOST: lambda: pool.get_stats()["pool_max"],
        CONNECTIONS.labels("idle"): lambda: pool.get_stats()["pool_available"],
        CONNECTIONS.labels("used"): lambda: _used(pool.get_stats()),
        WAITING: lambda: pool.get_stats().get("requests_waiting", 0),
    }
    for gauge, look in told.items():
        gauge.set_function(look)
    try:
        yield
    finally:
        for gauge in told:
            gauge.set_function(lambda: 0)


def _used(stats: Mapping[str, int]) -> int:
    return stats["pool_size"] - stats["pool_available"]
