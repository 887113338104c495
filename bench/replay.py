"""The audit of a long log: events a second, in one process and in two, CPU an event, and memory.

Beside it a loop that only reads the same log in the same run.
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

import psutil
import uvloop

from bench.common import report, run, world
from bench.project import backlog
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


async def main(events: int, rounds: int) -> None:
    work = {
        "reading alone": ("bench.replay", "--raw"),
        "audit, one process": ("cli.main", "audit"),
        "audit, two processes": ("cli.main", "audit", "--processes", "2"),
    }
    found: dict[str, list[tuple[float, float, int]]] = {name: [] for name in work}
    async with world() as system:
        total = await backlog(system, events)
        await projected(system, total)
        for n in range(rounds):
            for name, command in work.items():
                took, burnt, memory = await asyncio.to_thread(timed, system.env, *command)
                found[name].append((total / took, burnt / total * 1e6, memory))
                print(f"  round {n + 1}, {name}: {total / took:.0f}/s, {burnt / total * 1e6:.1f} µs", flush=True)
    report(
        "replay",
        "The audit",
        ("", "events/s, median", "CPU µs an event, median", "peak MiB of a process"),
        [
            (
                name,
                f"{statistics.median(rate for rate, _, _ in each):.0f}",
                f"{statistics.median(cpu for _, cpu, _ in each):.1f}",
                max(memory for _, _, memory in each),
            )
            for name, each in found.items()
        ],
        (
            f"{rounds} rounds over {total} events, the start of each process included.",
            "Kafka and PostgreSQL run on the same cores.",
        ),
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
