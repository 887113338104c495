"""The three servers as one thing: installed, started in parallel, described, stopped."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from platformdirs import user_cache_path

from stack import kafka, livekit, postgres
from stack.ports import free_ports
from stack.process import ProcessGroup


class SetupProgress(Protocol):
    """Where progress of long work is shown; `cli` draws it, tests may ignore it."""

    def step(self, name: str, done: int, total: int) -> None: ...


@dataclass(frozen=True)
class Servers:
    """Addresses of the running servers."""

    kafka_bootstrap: str
    database_url: str
    livekit_url: str
    livekit_api_key: str
    livekit_api_secret: str
    versions: dict[str, str]
    ports: dict[str, int]


def cache_folder() -> Path:
    """Where downloads and the LiveKit build are kept for all stacks of this user."""
    return Path(os.environ.get("GREENROOM_CACHE") or user_cache_path("greenroom", appauthor=False))


def install(report: SetupProgress) -> tuple[Path, Path]:
    """Everything that needs the network, once. Returns (Kafka's jars, LiveKit's binary)."""
    cache = cache_folder()
    with alone(cache / "install.lock"):
        jars = kafka.install(cache, lambda done, total: report.step("Kafka jars", done, total))
        if livekit.installed(cache) is None:
            report.step("LiveKit server (one build, about 100 s)", 0, 1)
        binary = livekit.install(cache)
        report.step("LiveKit server (one build, about 100 s)", 1, 1)
    return jars, binary


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Two stacks that start for the first time would both build LiveKit; whoever dies in here lets the next one in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def start(
    group: ProcessGroup, data: Path, jars: Path, binary: Path, kafka_at: tuple[int, int] | None = None
) -> Servers:
    """Start the servers below `data` and wait until all answer. Raises StackError naming the one that did not.

    `kafka_at`: the port where Kafka listens, and where clients find it.
    """
    controller_port, livekit_port, free = free_ports(3)
    kafka_port, found_at = kafka_at or (free, free)
    udp_port, turn_port = free_ports(2, socket.SOCK_DGRAM)
    kafka_spec, (postgres_spec, database_url), (livekit_spec, livekit_url) = await asyncio.gather(
        asyncio.to_thread(kafka.prepare, jars, data / "kafka", kafka_port, controller_port, found_at),
        asyncio.to_thread(postgres.prepare, data / "postgres"),
        asyncio.to_thread(livekit.prepare, binary, data / "livekit", livekit_port, udp_port, turn_port),
    )
    await asyncio.gather(*(group.add(spec) for spec in (postgres_spec, kafka_spec, livekit_spec)))
    pair = livekit.keys(data / "livekit")
    return Servers(
        kafka_bootstrap=f"127.0.0.1:{found_at}",
        database_url=database_url,
        livekit_url=livekit_url,
        livekit_api_key=pair.key,
        livekit_api_secret=pair.secret,
        versions={"kafka": kafka.VERSION, "postgres": postgres.version(), "livekit": livekit.VERSION},
        ports={"kafka": kafka_port, "livekit": livekit_port, "livekit_udp": udp_port, "livekit_turn": turn_port},
    )
