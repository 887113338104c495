"""What a watcher sees of each fault: two workers, one session that plays, and something that dies, freezes or leaves.

After each fault the session is ended, and the promises that can be read off the log, the tables and the room are
checked: an equal audit, no moment billed twice, nothing billed before a first frame, an end, and nothing still held.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import secrets
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise

import httpx
import psutil

from bench.common import breakable, quantile, report, run
from cli.customer import AVATAR, Agent, Watcher, speech
from projections import audit
from schemas.events import SessionAssigned
from stack.process import Process, ProcessGroup
from store.database import pool
from tests.world import World, eventually

WORKERS = ("worker", "worker-2")
STEADY_S = 2.0
"""Of frames without a gap: it has recovered."""
WHOLE_GAP_S = 0.25
FROZEN_S = 30.0
DOWN_S = 10.0
WITHIN_S = 90.0
TOKEN_S = 15.0
LEEWAY_S = 70.0
"""LiveKit takes a token for a minute longer than it says."""


@dataclass
class Scene:
    """A session that plays; `worker`: the name of the process that has it."""

    system: World
    servers: ProcessGroup
    client: httpx.AsyncClient
    dice: random.Random
    room: str = field(default_factory=lambda: f"room-{secrets.token_hex(4)}")
    session_id: str = ""
    worker: str = ""
    watcher: Watcher = field(default_factory=Watcher)
    agent: Agent = field(default_factory=Agent)

    @property
    def process(self) -> Process:
        return self.system.processes[self.worker]

    def children(self, module: str) -> list[psutil.Process]:
        return [c for c in psutil.Process(self.process.pid).children() if module in c.cmdline()]

    @property
    def player(self) -> psutil.Process:
        """The session's process: the one that works."""
        return max(self.children("workers.session_process"), key=lambda child: sum(child.cpu_times()[:2]))

    @property
    def renderer(self) -> psutil.Process:
        (found,) = self.children("workers.render_server")
        return found

    def everything(self) -> list[psutil.Process]:
        """Of the worker: children first, so that none of them sees another one's end."""
        whole = psutil.Process(self.process.pid)
        return [*whole.children(), whole]


Fault = Callable[[Scene], Awaitable[None]]


async def freeze(scene: Scene, processes: list[psutil.Process]) -> None:
    """For longer than any patience, then let go: zombies wake up."""
    for process in processes:
        process.suspend()
    await asyncio.sleep(FROZEN_S)
    for process in processes:
        if process.is_running():
            process.resume()


async def frozen_player(scene: Scene) -> None:
    scene.player.suspend()


async def killed_player(scene: Scene) -> None:
    scene.player.kill()


async def killed_renderer(scene: Scene) -> None:
    scene.renderer.kill()


async def frozen_renderer(scene: Scene) -> None:
    scene.renderer.suspend()


async def killed_supervisor(scene: Scene) -> None:
    scene.process.kill()


async def frozen_supervisor(scene: Scene) -> None:
    await freeze(scene, [psutil.Process(scene.process.pid)])


async def lost_machine(scene: Scene) -> None:
    for process in scene.everything():
        process.kill()


async def frozen_machine(scene: Scene) -> None:
    await freeze(scene, scene.everything())


async def stopped_worker(scene: Scene) -> None:
    os.kill(scene.process.pid, signal.SIGTERM)


async def killed_kafka(scene: Scene) -> None:
    scene.servers.processes["kafka"].kill()  # its group starts it again


async def frozen_kafka(scene: Scene) -> None:
    await freeze(scene, [psutil.Process(scene.servers.processes["kafka"].pid)])


async def killed_postgres(scene: Scene) -> None:
    scene.servers.processes["postgres"].kill()


async def killed_livekit(scene: Scene) -> None:
    scene.servers.processes["livekit"].kill()


async def killed_roster(scene: Scene) -> None:
    await scene.system.kill("all")
    await scene.system.restart("all")


async def restarted_machine(scene: Scene) -> None:
    """As a container is: the witness dies with its worker, and what is started in their place tells of them."""
    await lost_machine(scene)
    await scene.system.restart(scene.worker)


async def deleted_room(scene: Scene) -> None:
    await scene.system.livekit.delete_room(scene.room)


async def removed_participant(scene: Scene) -> None:
    await scene.system.livekit.remove(scene.room, AVATAR)


async def left_by_the_agent(scene: Scene) -> None:
    await scene.agent.leave()


async def expired_token(scene: Scene) -> None:
    """Nobody is thrown out for it; who joins within LiveKit's leeway of a minute still may."""
    await asyncio.sleep(TOKEN_S)
    scene.player.kill()


async def long_expired_token(scene: Scene) -> None:
    """Plays on; an attempt that is lost after the leeway cannot come back."""
    await asyncio.sleep(TOKEN_S + LEEWAY_S)
    scene.player.kill()


@dataclass(frozen=True)
class Expected:
    """`quality`: what plays. `aim_s`: for the longest gap at a watcher. `status`: what may become of the session."""

    fault: Fault
    quality: str = "mock"
    aim_s: float | None = None
    status: tuple[str, ...] = ("running",)
    token_s: float = 3600.0


FAULTS: dict[str, Expected] = {
    "session process killed": Expected(killed_player, aim_s=2.0),
    "session process frozen": Expected(frozen_player, aim_s=2.0),
    "renderer killed": Expected(killed_renderer, "standard"),
    "renderer frozen": Expected(frozen_renderer, "standard"),
    "supervisor killed": Expected(killed_supervisor, aim_s=4.0),
    "supervisor frozen for 30 s": Expected(frozen_supervisor),
    "all of a worker killed at once": Expected(lost_machine, aim_s=13.0),
    "all of a worker killed at once, started again": Expected(restarted_machine),
    "all of a worker frozen for 30 s": Expected(frozen_machine, aim_s=13.0),
    "SIGTERM, another worker free": Expected(stopped_worker, aim_s=0.3),
    "Kafka killed, started again": Expected(killed_kafka),
    "Kafka frozen for 30 s": Expected(frozen_kafka),
    "PostgreSQL killed, started again": Expected(killed_postgres),
    "LiveKit killed, started again": Expected(killed_livekit, status=("running", "ended", "failed")),
    "projections and roster killed": Expected(killed_roster),
    "room deleted": Expected(deleted_room, status=("ended",)),
    "participant removed": Expected(removed_participant, status=("ended",)),
    "agent leaves": Expected(left_by_the_agent, status=("ended",)),
    "token expires, then a session process is killed": Expected(expired_token, token_s=TOKEN_S),
    "token long expired, then a session process is killed": Expected(
        long_expired_token, status=("failed",), token_s=TOKEN_S
    ),
}


@dataclass
class Outcome:
    """`gap_s`: the longest between two frames. `attempts`: that it took. `broken`: promises, as sentences."""

    gap_s: float
    attempts: int
    status: str
    broken: list[str]


async def one(system: World, servers: ProcessGroup, name: str, seed: int) -> Outcome:
    expected = FAULTS[name]
    async with system.client() as client:
        scene = Scene(system, servers, client, random.Random(f"{name} {seed}"))
        await begin(scene, expected)
        await asyncio.sleep(1 + scene.dice.random())
        struck = time.monotonic()
        await expected.fault(scene)
        status = await recovered(scene, struck, expected.status)
        times = [frame.at for frame in scene.watcher.frames if frame.at > struck - 1]
        gap = max((b - a for a, b in pairwise(times)), default=float("inf"))
        await finish(scene)
        found = [event.data for event, _ in await system.log(scene.session_id)]
        attempts = 1 + sum(isinstance(data, SessionAssigned) for data in found)
        return Outcome(gap, attempts, status, await broken_promises(scene))


async def begin(scene: Scene, expected: Expected) -> None:
    system = scene.system
    for name in WORKERS:
        process = system.processes[name]
        if not process.running:
            await system.restart(name)
    room = scene.room
    await asyncio.gather(scene.agent.join(system.livekit, room), scene.watcher.join(system.livekit, room))
    token = system.livekit.token(room, AVATAR, behalf="agent", ttl_s=expected.token_s)
    transport, quality = {"worker_token": token}, expected.quality
    session = await system.create(scene.client, room, quality=quality, transport=transport, idle_timeout_seconds=300)
    scene.session_id = session["id"]
    async with asyncio.timeout(WITHIN_S):
        await scene.watcher.first_frame.wait()
    await system.until(scene.client, scene.session_id, "running")
    (scene.worker,) = (name for name in WORKERS if scene.session_id in system.processes[name].log_path.read_text())
    if scene.dice.random() < 0.5:
        pcm, rate, _ = speech()
        await scene.agent.say(pcm, rate)


async def recovered(scene: Scene, struck: float, expected: tuple[str, ...]) -> str:
    """Wait until frames have come without a gap for a while; returns the session's status, or what it ended as.

    `expected`: if it has to end, frames say nothing."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        await asyncio.sleep(0.2)
        times = [frame.at for frame in scene.watcher.frames if frame.at > struck]
        now = time.monotonic()
        recent = [at for at in times if at > now - STEADY_S]
        steady = len(recent) > 25 * STEADY_S * 0.6 and all(b - a < WHOLE_GAP_S for a, b in pairwise(recent))
        if "running" in expected and steady and now - struck > STEADY_S + 4:
            return "running"
        try:
            status = (await scene.system.status(scene.client, scene.session_id))["status"]
        except (httpx.HTTPError, AssertionError, KeyError):
            continue  # what it reads from is away
        if status in ("ended", "failed"):
            return str(status)
    return "dark"


async def finish(scene: Scene) -> None:
    async def asked() -> bool:
        try:
            answer = await scene.client.post(f"/v1/sessions/{scene.session_id}/end")
        except httpx.HTTPError:
            return False
        return answer.status_code in (200, 202, 409)

    await eventually(asked)
    await scene.system.until(scene.client, scene.session_id, "ended", "failed", timeout_s=WITHIN_S)
    await asyncio.gather(scene.agent.leave(), scene.watcher.leave())


async def broken_promises(scene: Scene) -> list[str]:
    system, broken = scene.system, list[str]()
    async with pool(system.database_url, 1) as connections:
        verdict = await audit.audit(system.settings, connections, audit.Scope(), lambda _, __: None)
    if not verdict.equal:
        broken.append(f"audit: {verdict.differences[:3]}")
    rows = await system.sql(
        "SELECT attempt, from_ms, to_ms FROM r.usage_events WHERE session_id = %s AND kind = 'interval' AND"
        " billable_ms > 0 ORDER BY from_ms",
        scene.session_id,
    )
    for (_, _, before), (attempt, start, _) in pairwise(rows):
        if start < before:
            broken.append(f"attempt {attempt} bills from {start}, and what is before it to {before}")

    async def nothing_held() -> bool:
        return (
            await system.sql(
                "SELECT 1 FROM slots WHERE session_id = %s UNION ALL SELECT 1 FROM admissions WHERE session_id = %s"
                " AND state <> 'over' UNION ALL SELECT 1 FROM session_secrets WHERE session_id = %s",
                *[scene.session_id] * 3,
            )
            == []
        )

    await eventually(nothing_held, what="nothing held")
    return broken


async def main(seeds: int, only: str) -> None:
    rows, wrong = [], list[str]()
    async with breakable() as (system, servers):
        await system.start("api", "all")
        for name in WORKERS:
            await system.start(name, GREENROOM_WORKER_RENDERER="neural")
        for name, expected in FAULTS.items():
            if only not in name:
                continue
            aim = expected.aim_s
            outcomes = []
            for seed in range(seeds):
                outcomes.append(await one(system, servers, name, seed))
                print(f"  {name}, {seed}: {outcomes[-1]}", flush=True)
            gaps = [outcome.gap_s for outcome in outcomes]
            broken = [sentence for outcome in outcomes for sentence in outcome.broken]
            wrong += broken
            statuses = {outcome.status for outcome in outcomes}
            if statuses - set(expected.status):
                wrong.append(f"{name}: {', '.join(sorted(statuses))}, not {' or '.join(expected.status)}")
            met = "" if aim is None else f" / {'met' if max(gaps) <= aim else 'missed'}"
            rows.append(
                (
                    name,
                    seeds,
                    f"{quantile(gaps, 0.5):.2f}",
                    f"{max(gaps):.2f}",
                    "" if aim is None else f"{aim:g}",
                    f"{max(outcome.attempts for outcome in outcomes)}",
                    "; ".join(broken) or "held",
                    ", ".join("goes on" if status == "running" else status for status in sorted(statuses)) + met,
                )
            )
    header = ("fault", "seeds", "gap s, median", "longest", "aim", "attempts", "promises", "verdict")
    report(
        "faults",
        "Faults",
        header,
        rows,
        (
            "Gap: the longest time between two frames at a watcher in the room, from a second before the fault on.",
            "Promises, after each: audit equal, no moment billed twice, an end, nothing still held.",
            "A session that ends, or fails, is one that has to: its room, its agent or its token is gone.",
            "A frozen session process shows nothing; a frozen or lost renderer shows the face at rest, unbilled.",
        ),
        "make faults",
    )
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="Faults with this in their name.")
    asked = parser.parse_args()
    run(main(asked.seeds, asked.only))
