"""What a live session costs the control plane while nothing happens to it: CPU and memory of API, projections and
roster with thousands of sessions of simulated workers, which say a heartbeat each five seconds and their state each
second, as real ones do.

Rests are measured in one run: the control plane alone, with its workers, with more and more of their sessions. What
one has beyond another is what workers, and sessions, cost. Several sizes, since it is fetches and batches that cost,
and where more is said each holds more: one session of many costs less than one of few.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import psutil
from msgspec import structs

from bench.common import breakable, own_memory, report, run, with_args
from events.codec import new_event
from events.producer import EventProducer
from events.sealing import new_worker_key, public_text, sign_state
from events.topics import SESSIONS, WORKERS
from schemas.background import until_one_ends
from schemas.events import SessionEvent, SessionFirstFrame, SessionJoined, SessionStarting, WorkerState
from schemas.ids import WORKER, new_id
from stack.process import ProcessGroup
from tests.builders import beat, worker_state
from tests.world import World, eventually

OURS = ("api", "all")
SERVERS = ("kafka", "postgres")
HEARTBEAT_S = 5.0
ACCOUNTS = 20
AT_ONCE = 8
SETTLE_S = 20.0
GOAL_CORE, GOAL_KB, GOAL_OF = 0.001, 50.0, 2000


class Fleet:
    """The workers: one process says what all of them would."""

    def __init__(self, system: World, producer: EventProducer, workers: int, slots: int) -> None:
        self._system, self._producer = system, producer
        self._states = {worker.worker_id: worker for worker in (_state(slots) for _ in range(workers))}
        self._held: dict[str, list[tuple[str, int]]] = {worker_id: [] for worker_id in self._states}
        self._playing: dict[str, tuple[str, float]] = {}

    async def say_states(self) -> None:
        """Each worker's, once a second, spread over it."""
        secret = self._system.settings.join_secret.get_secret_value()
        while True:
            async for worker_id in _spread(list(self._states), 1.0):
                state = structs.replace(self._states[worker_id], held=self._held[worker_id])
                state = sign_state(state, secret)
                await self._producer.enqueue(WORKERS, new_event(state, source="bench", subject=worker_id))

    async def take_up(self) -> None:
        """First frames of all that is created, soon after it was: the roster would replace a silent worker."""
        while True:
            # A slot is taken before the create is in the log: what is said before that would count for nothing.
            rows = await self._system.sql(
                "SELECT session_id, slots.worker_id FROM slots JOIN r.sessions USING (session_id)"
            )
            for sid, worker in rows:
                if sid not in self._playing:
                    self._held[worker].append((sid, 1))
                    start = (SessionStarting(sid, 1, worker), SessionJoined(sid, 1, worker, {}))
                    for data in (*start, SessionFirstFrame(sid, 1, worker, {})):
                        await self._append(data)
                    self._playing[sid] = (worker, time.monotonic())
            await asyncio.sleep(0.5)

    async def beat(self) -> None:
        """Of each session once in five seconds, spread over them."""
        said: Counter[str] = Counter()
        while True:
            async for sid in _spread(list(self._playing), HEARTBEAT_S):
                worker, since = self._playing[sid]
                said[sid] += 1
                played_ms = int((time.monotonic() - since) * 1000)
                await self._append(beat(sid, said[sid], played_ms, worker=worker))

    async def _append(self, data: SessionEvent) -> None:
        await self._producer.enqueue(SESSIONS, new_event(data, source="bench", subject=data.session_id))


async def _spread(items: Sequence[str], over_s: float) -> AsyncIterator[str]:
    """Them all, evenly over this time; a loop that is late does not wait."""
    began = time.monotonic()
    for n, item in enumerate(items):
        wait = began + over_s * n / len(items) - time.monotonic()
        if wait > 0.001:
            await asyncio.sleep(wait)
        yield item
    await asyncio.sleep(max(0.0, began + over_s - time.monotonic()))


def _state(slots: int) -> WorkerState:
    state = worker_state(new_id(WORKER), slots, public_key=public_text(new_worker_key()))
    return structs.replace(state, avatars=["av_demo"])


@dataclass(frozen=True)
class Rest:
    """`cores`: of each process, on average; `mib`: its memory at the end (unique set size)."""

    cores: dict[str, float]
    mib: dict[str, float]

    @property
    def control_cores(self) -> float:
        return sum(self.cores[name] for name in OURS)

    @property
    def control_mib(self) -> float:
        return sum(self.mib[name] for name in OURS)


def _family(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def _burnt(pid: int) -> float:
    """CPU seconds, those of children that have ended included."""
    return sum(sum(process.cpu_times()[:4]) for process in _family(pid))


async def rest(system: World, servers: ProcessGroup, seconds: float) -> Rest:
    pids = {name: system.processes[name].pid for name in OURS} | {n: servers.processes[n].pid for n in SERVERS}
    began, before = time.monotonic(), {name: _burnt(pid) for name, pid in pids.items()}
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    cores = {name: (_burnt(pid) - before[name]) / took for name, pid in pids.items()}
    mib = {name: sum(own_memory(p) for p in _family(pids[name])) / 2**20 for name in OURS}
    return Rest(cores, mib)


async def create(system: World, sessions: int) -> None:
    keys = [(await system.new_account(f"idle-{n}"))[1] for n in range(ACCOUNTS)]
    turns = iter(range(sessions))

    async def customer() -> None:
        for n in turns:
            async with system.client(keys[n % ACCOUNTS]) as client:
                await system.create(client)
            if n % 500 == 499:
                print(f"  {n + 1} sessions", flush=True)

    await asyncio.gather(*(customer() for _ in range(AT_ONCE)))


def log_bytes(system: World, topic: str) -> int:
    folders = system.folder.parent.rglob(f"{system.prefix}{topic}-*")
    return sum(path.stat().st_size for folder in folders for path in folder.glob("*.log"))


async def main(sizes: Sequence[int], slots: int, seconds: float) -> None:
    workers = -(-sizes[-1] // slots)
    async with (
        breakable() as (system, servers, _),
        EventProducer(system.settings) as producer,
        asyncio.TaskGroup() as tasks,
    ):
        await system.start(*OURS)
        fleet = Fleet(system, producer, workers, slots)
        await asyncio.sleep(SETTLE_S)
        rests = [await rest(system, servers, seconds)]
        print(f"  alone: {rests[-1]}", flush=True)
        saying = tasks.create_task(fleet.say_states())

        async def registered() -> bool:
            return bool((await system.sql("SELECT count(*) = %s FROM slots", workers * slots))[0][0])

        await eventually(registered, what="registration of all workers")
        await asyncio.sleep(SETTLE_S)
        rests.append(await rest(system, servers, seconds))
        print(f"  with {workers} workers: {rests[-1]}", flush=True)
        beating = tasks.create_task(fleet.beat())
        grown = 0
        for size in sizes:
            await fill(system, fleet, size)
            await asyncio.sleep(SETTLE_S)
            before = log_bytes(system, SESSIONS.name)
            rests.append(await rest(system, servers, seconds))
            grown = log_bytes(system, SESSIONS.name) - before
            assert await running(system) == size, "a session was lost meanwhile: what was measured is no rest"
            print(f"  with {size} sessions: {rests[-1]}", flush=True)
        saying.cancel()
        beating.cancel()
    show(sizes, workers, slots, seconds, rests, grown)


async def fill(system: World, fleet: Fleet, size: int) -> None:
    """So many sessions in all, and wait until all of them run."""

    async def all_run() -> bool:
        return await running(system) == size

    async def created() -> None:
        await create(system, size - await running(system))
        await eventually(all_run, what="all sessions run")

    await until_one_ends(created(), fleet.take_up())


async def running(system: World) -> int:
    return int((await system.sql("SELECT count(*) FROM r.sessions WHERE status = 'running'"))[0][0])


def show(sizes: Sequence[int], workers: int, slots: int, seconds: float, rests: Sequence[Rest], grown: int) -> None:
    alone, staffed, *busy = rests
    of_worker = (staffed.control_cores - alone.control_cores) / workers
    judged = [
        _core(at, staffed, n) <= GOAL_CORE and _kb(at, staffed, n) <= GOAL_KB
        for at, n in zip(busy, sizes, strict=True)
        if n >= GOAL_OF
    ]
    verdict = "not judged" if not judged else "met" if all(judged) else "missed"
    rows = [_row("alone", alone), _row(f"{workers} workers", staffed)]
    for size, at in zip(sizes, busy, strict=True):
        servers = sum(at.cores[name] - staffed.cores[name] for name in SERVERS) / size
        each = (f"{_core(at, staffed, size) * 100:.4f} %", f"{servers * 100:.4f} %", f"{_kb(at, staffed, size):.1f} KB")
        rows.append(_row(f"and {size:,} sessions", at, each))
    report(
        "idle",
        "A live session at rest",
        (
            "at rest",
            *(f"{name}, cores" for name in (*OURS, *SERVERS)),
            *(f"{name}, MiB" for name in OURS),
            *("a session: ours", "servers", "memory"),
        ),
        rows,
        (
            f"A session, beyond the workers': API, projections and roster (goals, of {GOAL_OF:,} at once:"
            f" {GOAL_CORE * 100} % of a core and {GOAL_KB:.0f} KB: {verdict}); then of Kafka and"
            " PostgreSQL.",
            f"A worker: {of_worker * 100:.4f} % of a core of API, projections and roster. Its state each second.",
            f"The log grows by {grown / sizes[-1] / seconds * 3600 / 1024:.0f} KiB an hour and session.",
            f"Sessions of {ACCOUNTS} accounts on {workers} workers of {slots} slots, a heartbeat each"
            f" {HEARTBEAT_S:.0f} s; each rest {seconds:.0f} s long. `all`: projections, roster and fan-out.",
            "MiB: memory that is the process' own, at the end of a rest; what creates left behind is in it.",
            "The simulated workers run on the same cores.",
        ),
        with_args("make bench-idle"),
    )


def _row(name: str, at: Rest, each: tuple[str, str, str] = ("", "", "")) -> tuple[str, ...]:
    """`each`: what one session has of it."""
    cores = (f"{at.cores[process]:.3f}" for process in (*OURS, *SERVERS))
    return (name, *cores, *(f"{at.mib[process]:.0f}" for process in OURS), *each)


def _core(at: Rest, staffed: Rest, sessions: int) -> float:
    return (at.control_cores - staffed.control_cores) / sessions


def _kb(at: Rest, staffed: Rest, sessions: int) -> float:
    return (at.control_mib - staffed.control_mib) * 1024 / sessions


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, nargs="+", default=[500, 2000, 6000], help="At once, ascending.")
    parser.add_argument("--slots", type=int, default=60, help="Of each simulated worker.")
    parser.add_argument("--seconds", type=float, default=60.0, help="Of each rest.")
    asked = parser.parse_args()
    run(main(asked.sessions, asked.slots, asked.seconds))
