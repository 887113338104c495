"""The ledger under load: five minutes at a steady rate, a burst, and ten times as many sessions.

From event to ledger row is from the log's append time to the commit of the row. What was sent must be there, and the
audit equal, whatever the rate was.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import NamedTuple

import psutil

from bench.common import quantile, report, run, world
from events.codec import Event, new_event
from events.producer import EventProducer
from events.topics import SESSIONS
from projections import audit
from schemas.events import SessionEvent, SessionFirstFrame, SessionStarting
from store.database import pool
from tests.builders import beat, created, session_id
from tests.world import World

PER_S = 2000
BURST_PER_S = 10_000
FEW = 10_000
"""Sessions that beat every 5 s at PER_S."""
MANY = 10 * FEW
_SETTLE_S = 900.0
_SEND_S = 60.0
_AT_ONCE = 1000
"""Of a burst: one by one, the generator would not come to its rate."""


class Load:
    """Sessions that have begun, and their next readings."""

    def __init__(self, producer: EventProducer, sessions: int) -> None:
        self._producer = producer
        self._ids = [session_id() for _ in range(sessions)]
        self._n = 0

    async def begin(self) -> int:
        """Returns how many events it took."""
        for at in range(0, len(self._ids), _AT_ONCE):
            ids = self._ids[at : at + _AT_ONCE]
            for of in (created, _starting, _first_frame):
                await self._send([new_event(of(sid), source="bench", subject=sid) for sid in ids])
        return 3 * len(self._ids)

    async def _send(self, events: list[Event]) -> None:
        if len(events) == 1:
            self._last = await self._producer.enqueue(SESSIONS, events[0], _SEND_S)
        else:
            await self._producer.send_all(SESSIONS, events, _SEND_S)

    async def beat(self, count: int, per_s: float, at_once: int) -> float:
        """So many readings at this rate, each by itself or some together; returns the rate that it was."""
        began = time.monotonic()
        for n in range(0, count, at_once):
            ahead = began + n / per_s - time.monotonic()
            if ahead > 0.002 or n % 200 == 0:
                await asyncio.sleep(max(0.0, ahead))
            await self._send([self._next() for _ in range(at_once)])
        if at_once == 1:
            await self._last
        return count / (time.monotonic() - began)

    def _next(self) -> Event:
        at, number = self._n % len(self._ids), self._n // len(self._ids) + 1
        self._n += 1
        sid = self._ids[at]
        return new_event(beat(sid, number, number * 1000), source="bench", subject=sid)


def _starting(sid: str) -> SessionEvent:
    return SessionStarting(sid, 1, "wrk_1")


def _first_frame(sid: str) -> SessionEvent:
    return SessionFirstFrame(sid, 1, "wrk_1", {})


class Found(NamedTuple):
    """`drained_s`: from the last reading until its row was there. `lags`: ms, of each row."""

    sent: int
    rate: float
    drained_s: float
    cpu_us: float
    lags: list[float]
    rows: int


async def entries(system: World) -> int:
    [(count,)] = await system.sql("SELECT count(*) FROM r.usage_events")
    return int(count)


async def read(system: World) -> int:
    [(at,)] = await system.sql("SELECT coalesce(sum(next_offset), 0) FROM checkpoints WHERE name = 'usage'")
    return int(at)


async def until_read(system: World, total: int) -> None:
    deadline = time.monotonic() + _SETTLE_S
    while (at := await read(system)) < total:
        assert time.monotonic() < deadline, f"{total - at} events behind"
        await asyncio.sleep(0.02)


async def one(system: World, load: Load, sent: int, count: int, per_s: float, at_once: int = 1) -> Found:
    """`sent`: how many events the log has before."""
    [(since,)] = await system.sql("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
    process, before = psutil.Process(system.processes["usage"].pid), await entries(system)
    burnt = sum(process.cpu_times()[:2])
    rate = await load.beat(count, per_s, at_once)
    ended = time.monotonic()
    await until_read(system, sent + count)
    drained = time.monotonic() - ended
    cpu_us = (sum(process.cpu_times()[:2]) - burnt) / count * 1e6
    lags = await system.sql(
        "SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000 - recorded_ms FROM usage_v1.usage_events"
        " WHERE recorded_ms > %s",
        since,
    )
    return Found(count, rate, drained, cpu_us, [float(lag) for (lag,) in lags], await entries(system) - before)


async def judged(system: World) -> bool:
    async with pool(system.database_url, 1) as connections:
        return (await audit.audit(system.settings, connections, audit.Scope(), lambda _, __: None)).equal


async def measured(seconds: int, burst_s: int, minute_s: int) -> tuple[dict[str, Found], bool]:
    found: dict[str, Found] = {}
    async with world() as system, EventProducer(system.settings, linger_ms=2) as producer:
        await system.start("usage")
        few = Load(producer, FEW)
        sent = await few.begin()
        await until_read(system, sent)
        for name, count, per_s, at_once in (
            (f"{seconds} s at {PER_S}/s, {FEW} sessions", PER_S * seconds, PER_S, 1),
            (f"{burst_s} s at {BURST_PER_S}/s", BURST_PER_S * burst_s, BURST_PER_S, _AT_ONCE),
        ):
            found[name] = await one(system, few, sent, count, per_s, at_once)
            sent += count
            print(f"  {name}: {found[name]._replace(lags=[])}", flush=True)
        many = Load(producer, MANY)
        sent += await many.begin()
        await until_read(system, sent)
        name = f"{minute_s} s at {PER_S}/s, {MANY} sessions"
        found[name] = await one(system, many, sent, PER_S * minute_s, PER_S)
        return found, await judged(system)


async def main(seconds: int, burst_s: int, minute_s: int) -> None:
    command = f"python -m bench.ledger --seconds {seconds} --burst {burst_s} --minute {minute_s}"
    found, equal = await measured(seconds, burst_s, minute_s)
    rows = [
        (
            name,
            f"{each.rate:.0f}",
            f"{quantile(each.lags, 0.5):.0f} / {quantile(each.lags, 0.99):.0f}",
            f"{each.drained_s:.1f}",
            f"{each.cpu_us:.0f}",
            each.sent - each.rows,
        )
        for name, each in found.items()
    ]
    first, _, last = found.values()
    report(
        "ledger",
        "The ledger under load",
        ("", "entries/s sent", "event → row, ms, p50 / p99", "drained after, s", "CPU µs an entry", "lost"),
        rows,
        (
            f"The audit after all of it: {'equal' if equal else 'DIFFERS'}.",
            f"Ten times as many sessions: {last.cpu_us / first.cpu_us:.2f} × the CPU an entry. The states of 10,000"
            " sessions are kept in memory; of more they are read again.",
            "CPU is that of the usage process: reading, fold, chain, row, totals, states, `usage.v1`.",
            "Kafka, PostgreSQL and the generator run on the same cores.",
            "Targets: p99 ≤ 1 s at the steady rate, none lost.",
        ),
        command,
    )
    if not equal or any(each.sent != each.rows for each in found.values()):
        sys.exit("It did not hold.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--burst", type=int, default=60)
    parser.add_argument("--minute", type=int, default=60)
    given = parser.parse_args()
    run(main(given.seconds, given.burst, given.minute))
