"""The API: creates, reads and lists beside their floor, what an overload does, and a thousand idle streams."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, repeat

import psutil

from bench.common import quantile, report, run, world
from bench.create import Load, drive, requests, slots, start_floor
from events.codec import new_event
from events.producer import EventProducer
from events.topics import SESSIONS
from schemas.events import SessionStarting
from stack.process import Process
from tests.world import World, eventually

AT = (1, 8, 32)
"""Connections."""
READS = 4000
STREAMS = 1000
IDLE_S = 20
TOLD = 400
TOLD_PER_S = 100
OVERLOAD = 500
"""Connections, each asking again as soon as it is answered: some ten times what is served."""
OVERLOAD_S = 10
ANSWERED_S = 8
"""Every request is, whatever is the matter."""
SERVED = 1000


@dataclass
class Measured:
    load: Load
    cpu_us: float
    """Of the server, per request."""


async def measured(server: Process, port: int, work: list[bytes], connections: int, status: int) -> Measured:
    process = psutil.Process(server.pid)
    before = sum(process.cpu_times()[:2])
    load = await drive(port, work, connections, status)
    return Measured(load, (sum(process.cpu_times()[:2]) - before) / len(work) * 1e6)


def row(name: str, connections: int, ours: list[Measured], floors: list[Measured]) -> tuple[str, ...]:
    latencies = [ms for each in ours for ms in each.load.latencies_ms]
    ratios = [a.load.rate / b.load.rate for a, b in zip(ours, floors, strict=True)]
    return (
        name,
        str(connections),
        f"{quantile([each.load.rate for each in ours], 0.5):.0f}",
        f"{quantile([each.load.rate for each in floors], 0.5):.0f}",
        f"{quantile(ratios, 0.5):.2f}",
        f"{quantile(latencies, 0.5):.2f}",
        f"{quantile(latencies, 0.99):.2f}",
        f"{quantile([each.cpu_us for each in ours], 0.5):.0f}",
        f"{quantile([each.cpu_us for each in floors], 0.5):.0f}",
    )


def get(path: str, key: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


async def requests_of_each_kind(system: World, rounds: int, count: int) -> list[tuple[str, ...]]:
    """Creates with the API alone, reads when the projection has what they ask for."""
    keys = [(await system.new_account(f"bench-{n}"))[1] for n in range(max(AT))]
    await slots(system, count * (rounds + 1) * len(AT) + 2000)
    floor, floor_port = await start_floor(system)
    sides = Sides(system.processes["api"], system.api_port, floor, floor_port)
    rows = []
    for connections in AT:
        work = [requests(system, count, keys) for _ in range(rounds + 1)]
        rows.append(await sides.row("POST /v1/sessions", connections, work, work, 201))
    async with system.client(keys[0]) as client:
        mine = [(await system.create(client))["id"] for _ in range(100)]
    await system.start("sessions")
    known = [row[0] for row in await system.sql("SELECT id FROM floor LIMIT 100")]

    async def shown() -> bool:
        return await system.sql("SELECT count(*) FROM r.sessions WHERE session_id = ANY (%s)", mine) == [(100,)]

    await eventually(shown, 120, "the sessions in the projection")
    for name, ours, theirs in (
        ("GET /v1/sessions/{id}", [f"/v1/sessions/{sid}" for sid in mine], [f"/v1/sessions/{sid}" for sid in known]),
        ("GET /v1/sessions", ["/v1/sessions"], ["/v1/sessions"]),
    ):
        for connections in AT:
            of_ours = [get(path, keys[0]) for path, _ in zip(cycle(ours), range(READS), strict=False)]
            of_floor = [get(path, keys[0]) for path, _ in zip(cycle(theirs), range(READS), strict=False)]
            times = rounds + 1
            rows.append(await sides.row(name, connections, [of_ours] * times, [of_floor] * times, 200))
    await floor.stop()
    return rows


@dataclass
class Sides:
    """The product and its floor, asked in turn."""

    api: Process
    api_port: int
    floor: Process
    floor_port: int

    async def row(
        self, name: str, connections: int, of_ours: list[list[bytes]], of_floor: list[list[bytes]], status: int
    ) -> tuple[str, ...]:
        """One list of requests for each round; the first warms both."""
        ours, floors = list[Measured](), list[Measured]()
        for mine, theirs in zip(of_ours, of_floor, strict=True):
            floors.append(await measured(self.floor, self.floor_port, theirs, connections, status))
            ours.append(await measured(self.api, self.api_port, mine, connections, status))
        made = row(name, connections, ours[1:], floors[1:])
        print("  ", *made, flush=True)
        return made


async def overload(system: World) -> list[str]:
    """Half of them over their rate, half with a quality that no worker has: what is refused must be refused fast, and
    one who keeps to their limits must be served."""
    process = psutil.Process(system.processes["api"].pid)
    _, limited = await system.new_key(creates_per_minute=10)
    _, waiting = await system.new_account("overload")
    # of quality `pro`, which nobody offers: with the second key it waits its two seconds, or is refused at once
    each = [
        made.replace(b'"quality":"mock"', b'"quality":"pro" ')
        for made in requests(system, OVERLOAD, [limited, waiting])
    ]
    before = process.memory_info().rss
    told: dict[str, list[float]] = defaultdict(list)
    served: dict[str, list[float]] = defaultdict(list)
    async with asyncio.TaskGroup() as group:
        for made in each:
            group.create_task(_insist(system.api_port, repeat(made), told))
        group.create_task(_insist(system.api_port, iter(requests(system, SERVED, [system.key])), served))
    grown = (process.memory_info().rss - before) / 2**20
    return [
        f"{OVERLOAD} connections that ask again at once, for {OVERLOAD_S} s: {_counts(told)}; memory +{grown:.0f} MiB.",
        f"Meanwhile, one after the other, from a key within its limits: {_counts(served)}.",
    ]


async def _insist(port: int, asked: Iterator[bytes], told: dict[str, list[float]]) -> None:
    """One connection; milliseconds by status. A time-out, or a connection that is closed, ends the benchmark."""
    until = time.monotonic() + OVERLOAD_S
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer):
        for made in asked:
            sent = time.perf_counter()
            writer.write(made)
            async with asyncio.timeout(ANSWERED_S):
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            told[head[9:12].decode()].append((time.perf_counter() - sent) * 1000)
            if time.monotonic() > until:
                return


def _counts(told: dict[str, list[float]]) -> str:
    return ", ".join(
        f"{len(ms)} × {status} (p50 {quantile(ms, 0.5):.0f}, p99 {quantile(ms, 0.99):.0f} ms)"
        for status, ms in sorted(told.items())
    )


async def streams(system: World) -> list[str]:
    process = psutil.Process(system.processes["api"].pid)
    async with system.client() as client:
        made = [await system.create(client) for _ in range(STREAMS)]
    workers = dict(await system.sql("SELECT session_id, worker_id FROM admissions"))
    before = process.memory_info().rss
    arrived: dict[str, float] = {}
    opened = [await _open(system, session["id"], arrived) for session in made]
    held = (process.memory_info().rss - before) / 2**20
    cpu = sum(process.cpu_times()[:2])
    await asyncio.sleep(IDLE_S)
    idle = (sum(process.cpu_times()[:2]) - cpu) / IDLE_S * 100
    sent: dict[str, float] = {}
    async with EventProducer(system.settings) as producer:
        for n, session in enumerate(made[:TOLD]):
            sid = session["id"]
            event = new_event(SessionStarting(sid, 1, workers[sid]), source="bench", subject=sid)
            sent[sid] = time.perf_counter()
            await producer.enqueue(SESSIONS, event)
            await asyncio.sleep(max(0.0, (n + 1) / TOLD_PER_S - (time.perf_counter() - sent[made[0]["id"]])))
    async with asyncio.timeout(30):
        while len(arrived) < TOLD:
            await asyncio.sleep(0.05)
    lags = [(arrived[sid] - sent[sid]) * 1000 for sid in sent]
    for task in opened:
        task.cancel()
    await asyncio.gather(*opened, return_exceptions=True)
    return [
        f"{STREAMS} idle streams: {held:.0f} MiB, {idle:.1f} % of a core (targets: 60 MiB, 5 %).",
        f"Event → subscriber at {TOLD_PER_S}/s, from the append: p50 {quantile(lags, 0.5):.0f} ms, p99"
        f" {quantile(lags, 0.99):.0f} ms (target 100 ms).",
    ]


async def _open(system: World, sid: str, arrived: dict[str, float]) -> asyncio.Task[None]:
    """Its first event has arrived when this returns; when the second one comes is noted."""
    reader, writer = await asyncio.open_connection("127.0.0.1", system.api_port)
    asked = get(f"/v1/sessions/{sid}/events", system.key)
    writer.write(asked.removesuffix(b"\r\n") + b"Accept: text/event-stream\r\n\r\n")
    await reader.readuntil(b"id: 1\n")

    async def read() -> None:
        with contextlib.closing(writer):
            await reader.readuntil(b"id: 2\n")
            arrived[sid] = time.perf_counter()
            await reader.read()

    return asyncio.create_task(read())


async def main(rounds: int, count: int) -> None:
    async with world() as system:
        await system.start("api")
        rows = await requests_of_each_kind(system, rounds, count)
    async with world() as system:
        # no roster: it would bury the worker of the slots
        await system.start("api", "sessions", "usage", "history", "webhooks")
        await slots(system, STREAMS + SERVED + 100)
        told = [*await streams(system), *await overload(system)]
    report(
        "api",
        "The API",
        ("", "connections", "a second", "floor", "×", "p50 ms", "p99 ms", "CPU µs", "floor's"),
        rows,
        (
            f"Medians of {rounds} rounds of {count} creates or {READS} reads, floor and product in turn.",
            "Targets: create ≥ 0.55 × the floor at 8 connections, aim 0.65; GET ≥ 3,500 a second.",
            *told,
            "Load generator, Kafka and PostgreSQL run on the same cores.",
        ),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=2000)
    given = parser.parse_args()
    run(main(given.rounds, given.count))
