"""What a watcher sees of each fault: two workers, one session that plays, and something that dies, freezes or leaves.

After each fault the session is ended, and the promises that can be read off the log, the tables and the room are
checked: an equal audit, no moment billed twice, nothing billed before a first frame, an end, and nothing still held.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import httpx

from bench.common import breakable, quantile, report, run, with_args
from bench.fault_scenes import FAULTS, Expected, Scene
from bench.proxy import Proxy
from cli.customer import AVATAR, speech
from projections import audit
from schemas.events import SessionAssigned, SessionAttemptLost
from schemas.times import now_ms
from stack.process import ProcessGroup
from store.database import pool
from tests.world import World, eventually

WORKERS = ("worker", "worker-2")
LOSSES = (SessionAttemptLost, SessionAssigned)
STEADY_S = 2.0
"""Of frames without a gap: it has recovered."""
WHOLE_GAP_S = 0.25
WITHIN_S = 90.0
WATCHED = 3
"""Of the sessions of one fault."""


@dataclass
class Outcome:
    """`gap_s`: the longest between two frames at a watcher. `told_s`: until the log knew of a loss; None: of none.
    `attempts`: that a session took. `broken`: promises, as sentences."""

    gap_s: float
    told_s: float | None
    attempts: int
    statuses: set[str]
    broken: list[str]


async def one(system: World, servers: ProcessGroup, proxy: Proxy, name: str, seed: int) -> Outcome:
    expected = FAULTS[name]
    async with system.client() as client:
        scenes = [
            Scene(system, servers, client, random.Random(f"{name} {seed} {n}"), proxy, n < WATCHED)
            for n in range(expected.sessions)
        ]
        for scene in scenes:
            await begin(scene, expected)
        await asyncio.sleep(1 + scenes[0].dice.random())
        struck, struck_ms = time.monotonic(), now_ms()
        await expected.fault(scenes[0])
        statuses = await asyncio.gather(
            *(
                recovered(scene, struck, expected.status) if scene.watched else still_billed(scene, now_ms())
                for scene in scenes
            )
        )
        gap_s = max(scene.gap_s(struck) for scene in scenes if scene.watched)
        if set(statuses) - set(expected.status):
            print(f"  What was said then is in {said_so_far(system)}, of", struck_ms, flush=True)
            for scene, status in zip(scenes, statuses, strict=True):
                seen_s = f"gap {scene.gap_s(struck):.2f} s" if scene.watched else "not watched"
                print(f"    {scene.session_id} on {scene.worker}: {status}, {seen_s}", flush=True)
        await asyncio.gather(*(finish(scene) for scene in scenes))
        ids = {scene.session_id for scene in scenes}
        found = [(event, at) for event, at in await system.log() if event.subject in ids]
        losses = [at for event, at in found if isinstance(event.data, LOSSES) and at >= struck_ms]
        again = Counter(event.subject for event, _ in found if isinstance(event.data, SessionAssigned))
        told_s = (min(losses) - struck_ms) / 1000 if losses else None
        return Outcome(gap_s, told_s, 1 + max(again.values(), default=0), set(statuses), await broken_promises(scenes))


def said_so_far(system: World) -> Path:
    """A copy of what processes and watchers have logged: the world goes on with other faults, and is removed."""
    kept = Path(tempfile.mkdtemp(prefix="greenroom-faults-"))
    for log in system.folder.glob("*.log"):
        shutil.copy(log, kept)
    return kept


async def begin(scene: Scene, expected: Expected) -> None:
    system = scene.system
    for name in WORKERS:
        process = system.processes[name]
        if not process.running:
            await system.restart(name)
    room = scene.room
    await scene.agent.join(system.livekit, room)
    if scene.watched:
        await scene.watcher.join(system.livekit, room, system.folder)
    token = system.livekit.token(room, AVATAR, behalf="agent", ttl_s=expected.token_s)
    transport, quality = {"worker_token": token}, expected.quality
    session = await system.create(scene.client, room, quality=quality, transport=transport, idle_timeout_seconds=300)
    scene.session_id = session["id"]
    if scene.watched:
        await eventually(lambda: seen(scene), timeout_s=WITHIN_S, what="a first frame")
    await system.until(scene.client, scene.session_id, "running")
    (scene.worker,) = (name for name in WORKERS if scene.session_id in system.processes[name].log_path.read_text())
    if scene.dice.random() < 0.5:
        pcm, rate, _ = speech()
        await scene.agent.say(pcm, rate)


async def seen(scene: Scene) -> bool:
    return bool(scene.watcher.times)


async def recovered(scene: Scene, struck: float, expected: tuple[str, ...]) -> str:
    """Wait until frames have come without a gap for a while; returns the session's status, or what it ended as.

    `expected`: if it has to end, frames say nothing."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        await asyncio.sleep(0.2)
        times = [at for at in scene.watcher.times if at > struck]
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


async def still_billed(scene: Scene, since_ms: int) -> str:
    """The same of one that nobody watches: its frames go on where the ledger has an interval of them."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        await asyncio.sleep(0.5)
        rows = await scene.system.sql(
            "SELECT 1 FROM r.usage_events WHERE session_id = %s AND kind = 'interval' AND billable_ms > 0"
            " AND from_ms > %s",
            scene.session_id,
            since_ms,
        )
        if rows:
            return "running"
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


async def broken_promises(scenes: Sequence[Scene]) -> list[str]:
    system, broken = scenes[0].system, list[str]()
    async with pool(system.database_url, 1) as connections:
        verdict = await audit.audit(system.settings, connections, audit.Scope(), lambda _, __: None)
    if not verdict.equal:
        broken.append(f"audit: {verdict.differences[:3]}")
    for scene in scenes:
        broken += await billed_twice(scene)

    async def nothing_held() -> bool:
        return (
            await system.sql(
                "SELECT 1 FROM slots WHERE session_id = ANY(%s) UNION ALL SELECT 1 FROM admissions WHERE"
                " session_id = ANY(%s) AND state <> 'over' UNION ALL SELECT 1 FROM session_secrets WHERE"
                " session_id = ANY(%s)",
                *[[scene.session_id for scene in scenes]] * 3,
            )
            == []
        )

    await eventually(nothing_held, what="nothing held")
    return broken


async def billed_twice(scene: Scene) -> list[str]:
    rows = await scene.system.sql(
        "SELECT attempt, from_ms, to_ms FROM r.usage_events WHERE session_id = %s AND kind = 'interval' AND"
        " billable_ms > 0 ORDER BY from_ms",
        scene.session_id,
    )
    return [
        f"attempt {attempt} of {scene.session_id} bills from {start}, and what is before it to {before}"
        for (_, _, before), (attempt, start, _) in pairwise(rows)
        if start < before
    ]


async def every_seed(names: Sequence[str], seeds: int, proxied: bool, slots: int) -> dict[str, list[Outcome]]:
    """All on one system of workers with so many slots, whose Kafka is behind a proxy or is not."""
    outcomes = dict[str, list[Outcome]]()
    async with breakable(proxied) as (system, servers, proxy):
        await system.start("api", "all")
        for name in WORKERS:
            await system.start(name, GREENROOM_WORKER_RENDERER="neural", GREENROOM_WORKER_SLOTS=str(slots))
        for name in names:
            for seed in range(seeds):
                outcomes.setdefault(name, []).append(await one(system, servers, proxy, name, seed))
                print(f"  {name}, {seed}: {outcomes[name][-1]}", flush=True)
    return outcomes


async def main(seeds: int, only: str) -> None:
    names = [name for name in FAULTS if only in name]
    systems = defaultdict[tuple[bool, int], list[str]](list)
    for name in names:
        systems[FAULTS[name].proxied, max(2, FAULTS[name].sessions // len(WORKERS))].append(name)
    outcomes = dict[str, list[Outcome]]()
    for (proxied, slots), some in systems.items():
        outcomes |= await every_seed(some, seeds, proxied, slots)
    wrong = list[str]()
    for name in names:
        wrong += [sentence for outcome in outcomes[name] for sentence in outcome.broken]
        statuses = set[str]().union(*(outcome.statuses for outcome in outcomes[name]))
        if statuses - set(FAULTS[name].status):
            wrong.append(f"{name}: {', '.join(sorted(statuses))}, not {' or '.join(FAULTS[name].status)}")
    report(
        "faults",
        "Faults",
        ("fault", "seeds", "told s, median", "gap s, median", "longest", "aim", "attempts", "promises", "verdict"),
        [row(name, outcomes[name]) for name in names],
        (
            "Told: until the log knows that an attempt is lost, or who goes on, where it comes to that.",
            "Gap: the longest time between two frames at a watcher in the room, from a second before the fault on.",
            "Promises, after each: audit equal, no moment billed twice, an end, nothing still held.",
            f"Of ten sessions {WATCHED} are watched; the others go on where what is billed of them does.",
            "A session that ends, or fails, is one that has to: its room, its agent or its token is gone.",
            "A frozen session process shows nothing; a frozen or lost renderer shows the face at rest, unbilled.",
        ),
        with_args("make faults"),
    )
    if wrong:
        raise SystemExit("\n".join(wrong))


def row(name: str, outcomes: Sequence[Outcome]) -> tuple[object, ...]:
    aim = FAULTS[name].aim_s
    gaps = [outcome.gap_s for outcome in outcomes]
    told = [outcome.told_s for outcome in outcomes if outcome.told_s is not None]
    statuses = sorted(set[str]().union(*(outcome.statuses for outcome in outcomes)))
    met = "" if aim is None else f" / {'met' if max(gaps) <= aim else 'missed'}"
    return (
        name,
        len(outcomes),
        f"{quantile(told, 0.5):.2f}" if told else "",
        f"{quantile(gaps, 0.5):.2f}",
        f"{max(gaps):.2f}",
        "" if aim is None else f"{aim:g}",
        max(outcome.attempts for outcome in outcomes),
        "; ".join(sentence for outcome in outcomes for sentence in outcome.broken) or "held",
        ", ".join("goes on" if status == "running" else status for status in statuses) + met,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="Faults with this in their name.")
    asked = parser.parse_args()
    run(main(asked.seeds, asked.only))
