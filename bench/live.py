"""Live windows: faust's rate for them beside a bare aiokafka loop that computes the same, in turns; then ten minutes at
a steady rate: processor time, memory, how far behind.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import NamedTuple

import psutil

from bench.common import quantile, report, run, world
from bench.project import backlog
from events.codec import new_event
from events.consumer import LogConsumer
from events.producer import EventProducer
from events.topics import SESSIONS
from projections.handling import FoldingHandler
from projections.live import FOLD, LiveProjection
from reactors.live import begin
from reactors.processes import until_stopped
from reactors.settings import LiveSettings
from schemas.events import SessionEvent, SessionFirstFrame, SessionStarting
from stack.process import Process, ProcessSpec
from store.database import pool
from tests.builders import beat, created, session_id
from tests.world import World

STEADY_PER_S = 2000
ACCOUNTS = 50


class Pace(NamedTuple):
    """`cpu_us`: of the process, per event."""

    per_s: float
    cpu_us: float


async def bare() -> None:
    """The same windows without faust: our own consumer loop, to the same rows. It publishes nothing."""
    settings = LiveSettings()
    async with pool(settings.database_url, 4) as connections:
        await begin(settings, connections)
        handler = FoldingHandler(connections, FOLD, [LiveProjection()])
        await until_stopped([LogConsumer(settings, SESSIONS, "bench-live", handler).run()])


async def read(system: World) -> int:
    [(offsets,)] = await system.sql("SELECT coalesce(sum(next_offset), 0) FROM checkpoints WHERE name = 'live'")
    return int(offsets)


async def catch_up(system: World, total: int, args: list[str]) -> Pace:
    """From the first committed batch to the last."""
    await system.sql("DELETE FROM checkpoints; DELETE FROM fold_states; TRUNCATE live_v1.counts")
    process = Process(ProcessSpec("live", [sys.executable, "-m", *args], env=system.env), system.folder)
    await process.start()
    try:
        first: tuple[float, int, float] | None = None
        while True:
            now, at, cpu_s = time.monotonic(), await read(system), sum(psutil.Process(process.pid).cpu_times()[:2])
            if at and first is None:
                first = (now, at, cpu_s)
            if at >= total:
                assert first is not None
                events = max(1, at - first[1])
                return Pace(events / (now - first[0]), (cpu_s - first[2]) / events * 1e6)
            await asyncio.sleep(0.05)
    finally:
        await process.stop()


class Steady(NamedTuple):
    """`cpu` in cores; `memory` in MiB, once a minute; `behind` in events, once a second."""

    cpu: float
    memory: list[int]
    behind: list[int]


async def steady(system: World, minutes: int) -> Steady:
    """Heartbeats of so many sessions of ACCOUNTS accounts that they make STEADY_PER_S, each every five seconds."""
    ids = [session_id() for _ in range(STEADY_PER_S * 5)]
    await system.start("live")
    sent = len(await system.records(SESSIONS))
    async with EventProducer(system.settings) as producer:

        async def put(data: SessionEvent) -> None:
            nonlocal sent
            await producer.enqueue(SESSIONS, new_event(data, source="bench", subject=data.session_id))
            sent += 1

        for n, sid in enumerate(ids):
            await put(created(sid, account=f"acct_{n % ACCOUNTS}"))
            await put(SessionStarting(sid, 1, "wrk_1"))
            await put(SessionFirstFrame(sid, 1, "wrk_1", {}))
        while await read(system) < sent:
            await asyncio.sleep(0.2)
        process = psutil.Process(system.processes["live"].pid)
        began, cpu_s = time.monotonic(), sum(process.cpu_times()[:2])
        memory, behind = [process.memory_info().rss // 2**20], list[int]()
        for n in range(STEADY_PER_S * 60 * minutes):
            ahead = began + n / STEADY_PER_S - time.monotonic()
            if ahead > 0.005:
                await asyncio.sleep(ahead)
            await put(beat(ids[n % len(ids)], n // len(ids) + 1, n // len(ids) * 5000))
            if n % STEADY_PER_S == 0:
                behind.append(sent - await read(system))
            if n and n % (STEADY_PER_S * 60) == 0:
                memory.append(process.memory_info().rss // 2**20)
        used = (sum(process.cpu_times()[:2]) - cpu_s) / (time.monotonic() - began)
        memory.append(process.memory_info().rss // 2**20)
    await system.stop("live")
    return Steady(used, memory, behind)


async def main(events: int, rounds: int, minutes: int) -> None:
    with_faust, without = list[Pace](), list[Pace]()
    for n in range(rounds):
        async with world() as system:
            total = await backlog(system, events)
            for which in (0, 1) if n % 2 else (1, 0):
                if which:
                    with_faust.append(await catch_up(system, total, ["cli.main", "live"]))
                else:
                    without.append(await catch_up(system, total, ["bench.live", "--bare"]))
            print(f"  round {n + 1}: faust {with_faust[-1]}, bare {without[-1]}", flush=True)
    async with world() as system:
        found = await steady(system, minutes)
    ratio = quantile([f.per_s / b.per_s for f, b in zip(with_faust, without, strict=True)], 0.5)
    report(
        "live",
        "Live windows",
        ("", "greenroom live (faust)", "the same on the bare loop"),
        [
            ("catching up, events/s, median", *(f"{_median(paces, 0):.0f}" for paces in (with_faust, without))),
            ("processor time per event, µs", *(f"{_median(paces, 1):.0f}" for paces in (with_faust, without))),
            ("× the bare loop, median of rounds", f"{ratio:.2f}", "1"),
            (f"cores at {STEADY_PER_S} events/s (target 0.5)", f"{found.cpu:.2f}", ""),
            ("memory each minute, MiB", " ".join(map(str, found.memory)), ""),
            (
                "behind, events, p50 / p99 of seconds",
                f"{quantile(found.behind, 0.5):.0f} / {quantile(found.behind, 0.99):.0f}",
                "",
            ),
        ],
        (
            f"{rounds} rounds, in turns, on a backlog of {total} events; then {minutes} minutes of heartbeats of"
            f" {STEADY_PER_S * 5} sessions of {ACCOUNTS} accounts.",
            "Batches are gathered for half a second: a thousand events at that rate are no lag.",
            "Kafka, PostgreSQL and the generator run on the same cores. The bare loop publishes nothing in `live.v1`.",
        ),
    )


def _median(paces: list[Pace], field: int) -> float:
    return quantile([pace[field] for pace in paces], 0.5)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.bare:
        asyncio.run(bare())
    else:
        run(main(given.events, given.rounds, given.minutes))
