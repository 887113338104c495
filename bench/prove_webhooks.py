"""Kill anything: every delivery that the log implies arrives, whatever dies or stands still meanwhile.

Sessions live and end while deliverers, projections and PostgreSQL are killed or stopped at random; receivers fail one
in three of the first requests. What must have arrived is computed from the log, by folding it here.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import httpx

from bench.common import breakable, report, run
from bench.receivers import Arrival, Receivers, receivers
from events.codec import new_event
from events.fold import Evolved
from events.producer import EventProducer, UnknownOutcome
from events.session_state import State
from events.sessions import evolve
from events.topics import SESSIONS
from reactors.telling import Told, delivery
from schemas.events import (
    PUBLIC,
    Meter,
    SessionEnded,
    SessionEnding,
    SessionEvent,
    SessionFirstFrame,
    SessionStarting,
)
from stack import postgres
from stack.process import Process, ProcessGroup
from tests.world import World, eventually

ACCOUNTS = 6
EACH = 2
PACE_S = 0.5
"""Between two steps of a session."""
SETTLE_S = 240.0
DELIVERERS = ("deliver", "deliver-2")


@dataclass
class Stage:
    system: World
    servers: ProcessGroup
    receivers: Receivers
    worker_id: str
    keys: dict[str, str] = field(default_factory=dict)
    """Account → key."""
    endpoints: dict[str, list[str]] = field(default_factory=dict)
    """Account → endpoints."""
    done: Counter[str] = field(default_factory=Counter)
    """What was done to whom, how often."""
    arrived: list[Arrival] = field(default_factory=list)


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    async with breakable() as (system, servers, _), receivers(ACCOUNTS * EACH) as there:
        await system.start("api", "all", *DELIVERERS)
        made = Stage(system, servers, there, await system.fake_worker(2000))
        ports = iter(there.ports)
        for n in range(ACCOUNTS):
            account, made.keys[account] = await system.new_account(f"proof {n}")
            async with system.client(made.keys[account]) as client:
                made.endpoints[account] = [await subscribe(client, next(ports)) for _ in range(EACH)]
        yield made


async def subscribe(client: httpx.AsyncClient, port: int) -> str:
    answer = await client.post("/v1/webhook_endpoints", json={"url": f"http://127.0.0.1:{port}/moody", "events": ["*"]})
    answer.raise_for_status()
    return str(answer.json()["id"])


# Sessions


async def customer(at: Stage, producer: EventProducer, key: str, until: float) -> None:
    """One session after the other. What fails, fails: the log says what has come of it."""
    async with at.system.client(key) as client:
        while time.monotonic() < until:
            try:
                answer = await client.post("/v1/sessions", json=at.system.request())
            except httpx.HTTPError:
                continue
            if answer.status_code != 201:
                await asyncio.sleep(PACE_S)
                continue
            for step in life(answer.json()["id"], at.worker_id):
                await asyncio.sleep(random.uniform(0, 2 * PACE_S))
                await append(producer, step)


def life(sid: str, worker: str) -> list[SessionEvent]:
    return [
        SessionStarting(sid, 1, worker),
        SessionFirstFrame(sid, 1, worker, {}),
        SessionEnding(sid, 1, worker, "agent_left"),
        SessionEnded(sid, 1, "agent_left", worker, 1, Meter(0, 0, 0)),
    ]


async def append(producer: EventProducer, data: SessionEvent) -> None:
    event = new_event(data, source="proof", subject=data.session_id)
    while True:
        with contextlib.suppress(UnknownOutcome):
            await producer.send(SESSIONS, event)
            return


# Harm


async def harm(at: Stage, until: float) -> None:
    while time.monotonic() < until:
        await asyncio.sleep(random.uniform(2, 5))
        name = random.choice((*DELIVERERS, *DELIVERERS, "all", "postgres"))
        process = at.servers.processes[name] if name == "postgres" else at.system.processes[name]
        if name == "postgres" or random.random() < 0.6:
            process.kill()
            at.done[f"{name} killed"] += 1
        else:
            seconds = random.choice((1, 4, 35))  # the last one is longer than a lease
            await stand_still(process, min(seconds, max(1.0, until - time.monotonic())))
            at.done[f"{name} stopped"] += 1


async def stand_still(process: Process, seconds: float) -> None:
    os.kill(process.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        os.kill(process.pid, signal.SIGCONT)


async def keep(at: Stage) -> None:
    """Start again what has ended, as `greenroom up` does. PostgreSQL has a keeper of its own."""
    while True:
        await asyncio.sleep(0.5)
        for name, process in at.system.processes.items():
            if not process.running:
                at.done[f"{name} started again"] += 1
                await process.start()


async def collect(at: Stage) -> None:
    while True:
        await asyncio.sleep(0.5)
        at.arrived += await at.receivers.take()


@contextmanager
def beside(*work: asyncio.Task[None]) -> Iterator[None]:
    try:
        yield
    finally:
        for task in work:
            task.cancel()


# The proof


async def implied(at: Stage) -> dict[str, str]:
    """Delivery → type, of all that the log says customers must be told of."""
    unknown = {row[0] for row in await at.system.sql("SELECT session_id FROM abandoned")}
    states: dict[str, State] = {}
    found: dict[str, str] = {}
    for event, append_ms in await at.system.log():
        outcome = evolve(states.get(event.subject), event, append_ms)
        if not isinstance(outcome, Evolved):
            continue
        state = states[event.subject] = outcome.state
        if outcome.transition not in PUBLIC or state.hidden or event.subject in unknown:
            continue
        assert state.created is not None
        account = state.created.account_id
        told = Told(account, event.id, outcome.transition, b"", event.subject, state.seq)
        found |= {delivery(endpoint, told).id: told.type for endpoint in at.endpoints.get(account, ())}
    return found


async def settled(at: Stage) -> dict[str, str]:
    """All that is implied, once it was taken and nothing is pending, or the time for it is over."""
    deadline = time.monotonic() + SETTLE_S
    await eventually(lambda: postgres.is_ready(at.system.database_url), what="PostgreSQL")
    while True:
        wanted = await implied(at)
        (pending,) = (await at.system.sql("SELECT count(*) FROM deliveries WHERE state = 'pending'"))[0]
        if (not pending and wanted.keys() <= taken(at).keys()) or time.monotonic() > deadline:
            return wanted
        await asyncio.sleep(2)


def taken(at: Stage) -> Counter[str]:
    """Delivery → how often it was answered with 204."""
    return Counter(each.id for each in at.arrived if each.done)


def judge(at: Stage, wanted: dict[str, str]) -> tuple[list[tuple[str, object]], bool]:
    bodies: defaultdict[str, set[str]] = defaultdict(set)
    for each in at.arrived:
        bodies[each.id].add(each.body)
    lost = len(wanted.keys() - taken(at).keys())
    more = len(bodies.keys() - wanted.keys())
    changed = sum(len(seen) > 1 for seen in bodies.values())
    rows: list[tuple[str, object]] = [
        ("deliveries that the log implies", len(wanted)),
        ("of these lost", lost),
        ("arrived that the log does not imply", more),
        ("requests in all", len(at.arrived)),
        ("deliveries that came again after a 204", sum(times > 1 for times in taken(at).values())),
        ("that came with two bodies", changed),
        *sorted(at.done.items()),
    ]
    return rows, not (lost or more or changed)


async def main(minutes: float) -> None:
    async with stage() as at, EventProducer(at.system.settings) as producer:
        until = time.monotonic() + minutes * 60
        with beside(asyncio.create_task(keep(at)), asyncio.create_task(collect(at))):
            customers = [customer(at, producer, key, until) for key in at.keys.values() for _ in range(2)]
            await asyncio.gather(harm(at, until), *customers)
            wanted = await settled(at)
    rows, held = judge(at, wanted)
    report(
        "prove-webhooks",
        "Webhooks while anything is killed",
        ("", ""),
        rows,
        (
            f"{minutes:g} minutes, {ACCOUNTS} accounts of {EACH} endpoints, two deliverers, one `project all`.",
            "Of first requests of a delivery one in three is answered with 500, or never, or closed amidst the answer.",
            f"Every 2 to 5 s something is killed, or stopped for 1, 4 or 35 s; then {SETTLE_S:g} s at most to settle.",
        ),
        "make prove-webhooks",
    )
    if not held:
        sys.exit("It did not hold.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    run(main(parser.parse_args(sys.argv[1:]).minutes))
