"""The audit and the rebuild of a long log: events a second, CPU an event, memory, also at a quarter of the log.

Beside them, in the same run, a loop that only reads the same log, and the Python `eventsourcing` library that rebuilds
the same sessions from its own memory.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import orjson
import psutil
import uvloop

from bench.common import peers_python, report, run, world
from bench.project import backlog
from events.codec import Record, decode
from events.reader import LogReader
from events.topics import SESSIONS
from projections import names
from stack.process import Process, ProcessSpec
from store.settings import StoreSettings
from tests.world import World, eventually


async def raw() -> int:
    """Read all of the log, and do nothing with it."""
    count = 0
    async with LogReader(StoreSettings(), SESSIONS) as log:
        for partition, end in (await log.ends()).items():
            async for records in log.read(partition, 0, end):
                count += len(records)
    return count


def timed(env: dict[str, str], *command: str) -> tuple[float, float, int]:
    """(seconds, CPU seconds of it and of its children, peak MiB of the largest) of a process of its own."""
    began, peak = time.monotonic(), 0
    child = subprocess.Popen([sys.executable, "-m", *command], env=os.environ | env, stdout=subprocess.DEVNULL)
    while not (found := os.wait4(child.pid, os.WNOHANG))[0]:
        with contextlib.suppress(psutil.Error):  # one of them has just ended
            top = psutil.Process(child.pid)
            peak = max(peak, *(each.memory_info().rss >> 20 for each in (top, *top.children(recursive=True))))
        time.sleep(0.1)
    _, status, used = found
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, command
    return time.monotonic() - began, used.ru_utime + used.ru_stime, peak


async def projected(system: World, total: int) -> None:
    spec = ProcessSpec("usage", [sys.executable, "-m", "cli.main", "project", "usage"], env=system.env)
    process = Process(spec, system.folder)
    await process.start()

    async def done() -> bool:
        rows = await system.sql("SELECT sum(next_offset) FROM checkpoints WHERE name = %s", names.USAGE)
        return bool((rows[0][0] or 0) >= total)

    await eventually(done, 1200, "the ledger")
    await process.stop()


WORK = {
    "reading alone": ("bench.replay", "--raw"),
    "audit, one process": ("cli.main", "audit"),
    "audit, two processes": ("cli.main", "audit", "--processes", "2"),
    "rebuild of `usage`": ("cli.main", "replay", "usage"),
    "rebuild of all, in one fold": ("cli.main", "replay", "all"),
}
PEER = "`eventsourcing`: sessions from its memory"
PEER_EVENTS = 100_000


async def peer(system: World) -> tuple[float, float]:
    """(events/s, CPU µs an event) of the library: bench/peers/eventsourced.py."""
    told = system.folder / "events.jsonl"
    count = 0
    with told.open("wb") as lines:
        async with LogReader(system.settings, SESSIONS) as log:
            for partition, end in (await log.ends()).items():
                if count > PEER_EVENTS:
                    break
                async for records in log.read(partition, 0, end):
                    lines.writelines(map(line_of, records))
                    count += len(records)
    command = [await asyncio.to_thread(peers_python), Path(__file__).parent / "peers" / "eventsourced.py", told]
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said_, _ = await asyncio.wait_for(child.communicate(), 600)
    _, rate, cpu_us = said_.split()
    return float(rate), float(cpu_us)


def line_of(record: Record) -> bytes:
    event = decode(record)
    data = orjson.Fragment(record.value or b"")
    return orjson.dumps({"session": event.subject, "type": event.type, "data": data}) + b"\n"


async def all_of_it(system: World, total: int) -> dict[str, tuple[float, float, int]]:
    """What → (events/s, CPU µs an event, peak MiB), each in a process of its own, its start included."""
    found = {}
    for name, command in WORK.items():
        took, burnt, memory = await asyncio.to_thread(timed, system.env, *command)
        found[name] = (total / took, burnt / total * 1e6, memory)
        print(f"  {name}: {total / took:.0f}/s, {burnt / total * 1e6:.1f} µs, {memory} MiB", flush=True)
    return found


async def main(events: int, rounds: int) -> None:
    async with world() as system:
        quarter = await backlog(system, events // 4)
        await projected(system, quarter)
        small = await all_of_it(system, quarter)
        total = quarter + await backlog(system, events - quarter)
        await projected(system, total)
        found = [await all_of_it(system, total) for _ in range(rounds)]
        peers = [await peer(system) for _ in range(rounds)]
    rows = [
        (
            name,
            f"{statistics.median(each[name][0] for each in found):.0f}",
            f"{statistics.median(each[name][1] for each in found):.1f}",
            small[name][2],
            max(each[name][2] for each in found),
        )
        for name in WORK
    ]
    rate, cpu = (statistics.median(each[n] for each in peers) for n in (0, 1))
    report(
        "replay",
        "The audit and the rebuild",
        ("", "events/s, median", "CPU µs an event, median", "peak MiB of a process, a quarter of the log", "all of it"),
        [*rows, (PEER, f"{rate:.0f}", f"{cpu:.1f}", "", "")],
        (
            f"{rounds} rounds over {total} events, the start of each process included.",
            "A rebuild folds, chains and stores: its rate is PostgreSQL's, too. `all` fills three projections at once.",
            "The library gets its events from a recorder in its own memory, and has no chain, hash, row or checkpoint.",
            "Kafka and PostgreSQL run on the same cores. Targets: audit 70,000/s, one process, 130,000/s, two.",
        ),
        f"python -m bench.replay --events {events} --rounds {rounds}",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--raw", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.raw:
        print(uvloop.run(raw()))
    else:
        run(main(given.events, given.rounds))
