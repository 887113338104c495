"""The sessions and usage projections in one process: catching up with a backlog, memory, and lag at a steady rate.

Beside the floor of the same run: a bare loop that reads the same backlog, decodes it and copies a row per event; and
beside a faust-streaming app that fills the same two tables.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time

import psutil
import uvloop
from aiokafka import AIOKafkaConsumer

from bench.common import quantile, report, run, world
from bench.fausted import SESSIONS_OF_FAUST, USAGE_OF_FAUST
from events.codec import decode, new_event
from events.consumer import BATCH
from events.producer import EventProducer
from events.topics import SESSIONS
from projections.versions import FIRST
from reactors.processes import project
from reactors.settings import ProjectSettings
from schemas.events import SessionEvent, SessionFirstFrame, SessionStarting
from stack.process import Process, ProcessSpec
from store.database import pool
from store.settings import StoreSettings
from tests.builders import beat, created, life, session_id
from tests.world import World

BEATS = 60
TOGETHER = 300
STEADY_PER_S = 2000
STEADY_S = 15


async def backlog(system: World, events: int) -> int:
    """Whole sessions of five minutes, TOGETHER at a time, interleaved as in life. Returns how many events."""
    sent = 0
    async with EventProducer(system.settings, linger_ms=5) as producer:
        while sent < events:
            lives = [life(session_id(), beats=BEATS) for _ in range(TOGETHER)]
            pending = []
            for step in zip(*lives, strict=True):
                for data in step:
                    event = new_event(data, source="bench", subject=data.session_id, account="acct_1")
                    pending.append(await producer.enqueue(SESSIONS, event))
            await asyncio.gather(*pending)
            sent += len(pending)
    return sent


async def floor(total: int) -> tuple[float, float]:
    """Events/s, and CPU µs an event, of reading, decoding and copying alone: no fold, no hash, no checkpoint."""
    settings = StoreSettings()
    topic = settings.topic_prefix + SESSIONS.name
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=settings.kafka_bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    async with pool(settings.database_url, 1) as connections, connections.connection() as connection:
        await connection.execute("CREATE TABLE floor (session_id text, at bigint, value bytea)")
        began, burnt, count = time.monotonic(), time.process_time(), 0
        while count < total:
            batches = await consumer.getmany(timeout_ms=1000, max_records=BATCH)
            async with (
                connection.transaction(),
                connection.cursor() as cursor,
                cursor.copy("COPY floor FROM STDIN (FORMAT binary)") as copy,
            ):
                copy.set_types(["text", "int8", "bytea"])
                for records in batches.values():
                    for record in records:
                        event = decode(record)
                        await copy.write_row((event.subject, event.time_ms, record.value))
                        count += 1
        rate = count / (time.monotonic() - began)
        cpu_us = (time.process_time() - burnt) / count * 1e6
        await connection.execute("DROP TABLE floor")
    await consumer.stop()
    return rate, cpu_us


async def done(system: World) -> int:
    rows = await system.sql(
        "SELECT name, sum(next_offset) FROM checkpoints WHERE name IN ('sessions', 'usage') GROUP BY name"
    )
    return min((int(n) for _, n in rows), default=0) if len(rows) == 2 else 0


async def catch_up(system: World, total: int, process: Process) -> tuple[float, float, int, int]:
    """(events/s and CPU µs an event from the first committed batch to the last, RSS in MiB half way and at the end)."""
    first: tuple[float, int, float] | None = None
    half = 0
    while True:
        now, at = time.monotonic(), await done(system)
        child = psutil.Process(process.pid)
        memory, burnt = child.memory_info().rss // 2**20, sum(child.cpu_times()[:2])
        if at and first is None:
            first = (now, at, burnt)
        if not half and at > total / 2:
            half = memory
        if at >= total:
            assert first is not None
            count = at - first[1]
            return count / (now - first[0]), (burnt - first[2]) / count * 1e6, half, memory
        await asyncio.sleep(0.02)


async def steady(system: World) -> list[float]:
    """Append heartbeats at STEADY_PER_S; how many ms after its append each one's row was committed."""
    count = STEADY_PER_S * 5  # each session beats every 5 s
    ids = [session_id() for _ in range(count)]
    async with EventProducer(system.settings) as producer:

        async def put(data: SessionEvent) -> None:
            event = new_event(data, source="bench", subject=data.session_id, account="acct_1")
            await producer.enqueue(SESSIONS, event)

        for sid in ids:
            for data in (created(sid), SessionStarting(sid, 1, "wrk_1"), SessionFirstFrame(sid, 1, "wrk_1", {})):
                await put(data)
        before = len(await system.records(SESSIONS))
        while await done(system) < before:
            await asyncio.sleep(0.1)
        [(since,)] = await system.sql("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        started = time.monotonic()
        for n in range(STEADY_PER_S * STEADY_S):
            ahead = started + n / STEADY_PER_S - time.monotonic()
            if ahead > 0.002:
                await asyncio.sleep(ahead)
            await put(beat(ids[n % count], n // count + 1, n // count * 1000))
    total = len(await system.records(SESSIONS))
    while await done(system) < total:
        await asyncio.sleep(0.1)
    rows = await system.sql(
        """
        SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000 - recorded_ms FROM usage_v1.usage_events
        WHERE recorded_ms > %s
        """,
        since,
    )
    return [float(row[0]) for row in rows]


async def _floor_apart(system: World, total: int) -> tuple[float, float]:
    """In a process of its own, as the projections are."""
    command = [sys.executable, "-m", "bench.project", "--floor", str(total)]
    child = await asyncio.create_subprocess_exec(*command, env=os.environ | system.env, stdout=asyncio.subprocess.PIPE)
    said, _ = await asyncio.wait_for(child.communicate(), 300)
    rate, cpu_us = said.split()
    return float(rate), float(cpu_us)


async def fausted(system: World, total: int) -> tuple[float, float]:
    """Events/s, and CPU µs an event, of bench/fausted.py, from its first committed batch to the last."""
    for version in (SESSIONS_OF_FAUST, USAGE_OF_FAUST):
        await system.sql("SELECT clone_schema(%s, %s)", FIRST[version.name].schema, version.schema)
    await system.sql("CREATE TABLE fausted (events integer)")
    process = Process(ProcessSpec("fausted", [sys.executable, "-m", "bench.fausted"], env=system.env), system.folder)
    await process.start()
    first: tuple[float, int, float] | None = None
    while True:
        [(at,)] = await system.sql("SELECT coalesce(sum(events), 0)::int FROM fausted")
        now, burnt = time.monotonic(), sum(psutil.Process(process.pid).cpu_times()[:2])
        if at and first is None:
            first = (now, at, burnt)
        if at >= total:
            await process.stop()
            assert first is not None
            count = max(1, at - first[1])
            return count / (now - first[0]), (burnt - first[2]) / count * 1e6
        await asyncio.sleep(0.02)


async def main(events: int, rounds: int) -> None:
    rates, floors, cpu, floor_cpu = list[float](), list[float](), list[float](), list[float]()
    by_faust = list[tuple[float, float]]()
    memory = [0, 0]
    for n in range(rounds):
        async with world() as system:
            total = await backlog(system, events)
            for found, list_ in zip(await _floor_apart(system, total), (floors, floor_cpu), strict=True):
                list_.append(found)
            by_faust.append(await fausted(system, total))
            process = Process(
                ProcessSpec("project", [sys.executable, "-m", "bench.project", "--child"], env=system.env),
                system.folder,
            )
            await process.start()
            rate, cpu_us, *memory = await catch_up(system, total, process)
            rates.append(rate)
            cpu.append(cpu_us)
            said = f"{rate:.0f} events/s, {cpu_us:.1f} µs; floor {floors[-1]:.0f}, {floor_cpu[-1]:.1f} µs"
            said += f"; faust {by_faust[-1][0]:.0f}, {by_faust[-1][1]:.1f} µs"
            print(f"  round {n + 1}: {said}; {rate / floors[-1]:.2f} × the floor", flush=True)
            lags = await steady(system) if n == rounds - 1 else []
            await process.stop()
    report(
        "project",
        "Projections",
        ("sessions and usage in one process", ""),
        [
            ("catching up, events/s, median", f"{statistics.median(rates):.0f} ({min(rates):.0f}–{max(rates):.0f})"),
            ("floor of the same rounds: read, decode, copy", f"{statistics.median(floors):.0f}"),
            (
                "× the floor, median of rounds",
                f"{statistics.median([r / f for r, f in zip(rates, floors, strict=True)]):.2f}",
            ),
            (
                "CPU µs an event, median; of the floor",
                f"{statistics.median(cpu):.1f}; {statistics.median(floor_cpu):.1f}",
            ),
            (
                "a faust-streaming app on the same rounds, events/s; CPU µs an event",
                "; ".join(f"{statistics.median([each[n] for each in by_faust]):.{n}f}" for n in (0, 1)),
            ),
            (
                "× the faust app, median of rounds",
                f"{statistics.median([r / f for r, (f, _) in zip(rates, by_faust, strict=True)]):.2f}",
            ),
            ("memory half way / at the end, MiB", f"{memory[0]} / {memory[1]}"),
            (
                f"event → committed row at {STEADY_PER_S}/s, ms, p50 / p99",
                f"{quantile(lags, 0.5):.0f} / {quantile(lags, 0.99):.0f}",
            ),
        ],
        (
            f"{rounds} rounds on a backlog of {total} events: sessions of {BEATS} heartbeats, {TOGETHER} at a time.",
            f"Rate from the first committed batch to the last; targets: 40,000/s, p99 < 50 ms ({len(lags)} rows).",
            "The faust app has the same decoding, fold, rows and SQL, states in memory, and no checkpoint of ours.",
            "Kafka, PostgreSQL and the generator of the steady load run on the same cores.",
        ),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--floor", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.floor:
        print(*asyncio.run(floor(given.floor)))
    elif given.child:
        uvloop.run(project(ProjectSettings(), ("sessions", "usage")))
    else:
        run(main(given.events, given.rounds))
