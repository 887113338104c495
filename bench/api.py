"""The API: creates, reads and lists beside their floor, what an overload does, and a thousand idle streams."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass
from itertools import cycle

import httpx
import psutil

from bench.common import quantile, report, run, world
from bench.create import Load, drive, requests, slots, start_floor
from events.codec import new_event
from events.producer import EventProducer
from events.topics import SESSIONS
from schemas.events import SessionStarting
from tests.world import World

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


@dataclass
class Measured:
    load: Load
    cpu_us: float
    """Of the server, per request."""


async def measured(pid: int, port: int, work: list[bytes], connections: int, status: int) -> Measured:
    process = psutil.Process(pid)
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
    keys = [(await system.new_account(f"bench-{n}"))[1] for n in range(max(AT))]
    await slots(system, count * (rounds + 1) * len(AT) + 2000)
    floor, floor_port = await start_floor(system)
    pid, floor_pid = system.processes["api"].pid, floor.pid
    assert pid is not None
    assert floor_pid is not None
    rows = []
    for connections in AT:
        ours, floors = list[Measured](), list[Measured]()
        for n in range(rounds + 1):
            work = requests(system, count, keys)
            one = await measured(floor_pid, floor_port, work, connections, 201)
            other = await measured(pid, system.api_port, work, connections, 201)
            if n:  # the first round warms both
                floors.append(one)
                ours.append(other)
        rows.append(row("POST /v1/sessions", connections, ours, floors))
        print("  ", *rows[-1], flush=True)
    known = [row[0] for row in await system.sql("SELECT id FROM floor LIMIT 500")]
    async with system.client(keys[0]) as client:
        mine = [(await system.create(client))["id"] for _ in range(100)]
        last = mine[-1]

        async def shown() -> bool:
            return bool(await system.sql("SELECT 1 FROM r.sessions WHERE session_id = %s", last))

        while not await shown():
            await asyncio.sleep(0.05)
    for name, ours_path, floor_paths in (
        ("GET /v1/sessions/{id}", [f"/v1/sessions/{sid}" for sid in mine], [f"/v1/sessions/{sid}" for sid in known]),
        ("GET /v1/sessions", ["/v1/sessions"], ["/v1/sessions"]),
    ):
        for connections in AT:
            ours, floors = [], []
            for _ in range(rounds):
                of_ours = [get(path, keys[0]) for path, _ in zip(cycle(ours_path), range(READS), strict=False)]
                of_floor = [get(path, keys[0]) for path, _ in zip(cycle(floor_paths), range(READS), strict=False)]
                floors.append(await measured(floor_pid, floor_port, of_floor, connections, 200))
                ours.append(await measured(pid, system.api_port, of_ours, connections, 200))
            rows.append(row(name, connections, ours, floors))
            print("  ", *rows[-1], flush=True)
    await floor.stop()
    return rows


async def overload(system: World) -> str:
    """Half of them over their rate, half with a quality that no worker has."""
    pid = system.processes["api"].pid
    process = psutil.Process(pid)
    _, limited = await system.new_key(creates_per_minute=10)
    _, key = await system.new_account("overload")
    outcomes: Counter[str] = Counter()
    latencies: list[float] = []
    before = process.memory_info().rss
    until = time.monotonic() + OVERLOAD_S

    async def one(n: int, client: httpx.AsyncClient) -> None:
        headers = {"Authorization": f"Bearer {limited if n % 2 else key}"}
        while time.monotonic() < until:
            body = system.request(quality="mock" if n % 2 else "pro")
            sent = time.perf_counter()
            answer = await client.post("/v1/sessions", json=body, headers=headers)
            latencies.append((time.perf_counter() - sent) * 1000)
            outcomes[str(answer.status_code)] += 1

    limits = httpx.Limits(max_connections=OVERLOAD)
    async with httpx.AsyncClient(base_url=system.api_url, timeout=30, limits=limits, trust_env=False) as client:
        await asyncio.gather(*(one(n, client) for n in range(OVERLOAD)))
    grown = (process.memory_info().rss - before) / 2**20
    counts = ", ".join(f"{count} × {status}" for status, count in sorted(outcomes.items()))
    return (
        f"{OVERLOAD} connections that ask again at once, for {OVERLOAD_S} s: {counts};"
        f" p50 {quantile(latencies, 0.5):.0f} ms, p99 {quantile(latencies, 0.99):.0f} ms; memory +{grown:.0f} MiB."
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
        # no roster: it would bury the worker of the slots
        await system.start("api", "sessions", "usage", "history", "webhooks")
        told = await streams_and_overload(system)
        rows = await requests_of_each_kind(system, rounds, count)
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


async def streams_and_overload(system: World) -> list[str]:
    await slots(system, STREAMS + 100)
    told = await streams(system)
    print("  ", *told, sep="\n  ", flush=True)
    told.append(await overload(system))
    print("  ", told[-1], flush=True)
    return told


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=2000)
    given = parser.parse_args()
    run(main(given.rounds, given.count))
