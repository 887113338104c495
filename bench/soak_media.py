"""Six faces on one worker for half an hour: four `mock`, two `standard`. All speak, are interrupted, and watched by
people who come and go. Two of them live all the time; the others lose their processes, end, and make room for the next,
as the seed says. At the end: is memory flat, do lips fit the sound, is anything left behind?
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import psutil
from livekit import rtc

from bench.common import own_memory, quantile, report, run, world
from bench.lips import Lips, lips
from cli.customer import AVATAR, Agent, Watcher, speech
from tests.system.stage import FINISHED, audit_holds
from tests.world import World, eventually

SEATS = ("mock", "mock", "mock", "mock", "standard", "standard")
STEADY = (0, 4)
"""Seats whose session is one and the same all the time: what grows, grows there."""
LIVES_S = (60.0, 240.0)
LOOK_EVERY_S = 10.0
WARM_UP = 0.25
"""Of the run: what processes have by then is what they need."""
GROWTH_MIB = 24.0
LIPS_MS = 40.0


@dataclass
class Face:
    """A session, its agent and who watches it."""

    system: World
    client: httpx.AsyncClient
    quality: str
    room: str = field(default_factory=lambda: f"soak-{secrets.token_hex(4)}")
    id: str = ""
    agent: Agent = field(default_factory=Agent)
    watcher: Watcher = field(default_factory=Watcher)

    async def begin(self) -> None:
        await asyncio.gather(
            self.agent.join(self.system.livekit, self.room), self.watcher.join(self.system.livekit, self.room)
        )
        token = self.system.livekit.token(self.room, AVATAR, behalf="agent")
        session = await self.system.create(
            self.client, self.room, quality=self.quality, transport={"worker_token": token}, idle_timeout_seconds=600
        )
        self.id = session["id"]
        async with asyncio.timeout(90):
            await self.watcher.first_frame.wait()

    async def end(self) -> str:
        await self.client.post(f"/v1/sessions/{self.id}/end")
        status = (await self.system.until(self.client, self.id, "ended", "failed"))["status"]
        await asyncio.gather(self.agent.leave(), self.watcher.leave())
        return str(status)

    async def say(self, pcm: bytes, rate: int, within_s: float) -> None:
        """And wait for its end. What was reported of utterances before is forgotten: it may be that of a clear."""
        while not self.agent.heard.empty():
            self.agent.heard.get_nowait()
        await self.agent.say(pcm, rate)
        await self.agent.report(FINISHED, within_s)

    async def lives(self) -> bool:
        return (await self.system.status(self.client, self.id))["status"] not in ("ended", "failed")

    async def somebody_else_watches(self) -> None:
        await self.watcher.leave()
        self.watcher = Watcher()
        await self.watcher.join(self.system.livekit, self.room)

    def forget(self) -> None:
        """What was seen and heard is ours to keep: it would be the only thing that grows."""
        del self.watcher.frames[:-50], self.watcher.sound[:-50]


@dataclass
class Soak:
    system: World
    client: httpx.AsyncClient
    until: float
    dice: random.Random
    done: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    rooms: list[str] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    """Processes of the sessions that are left alone."""
    seen: set[int] = field(default_factory=set)
    memory: dict[str, list[float]] = field(default_factory=dict)

    @property
    def worker(self) -> psutil.Process:
        return psutil.Process(self.system.processes["worker"].pid)

    def players(self) -> list[psutil.Process]:
        """Session processes that are in a room."""
        return [
            child
            for child in self.worker.children()
            if "workers.session_process" in child.cmdline() and child.net_connections("inet")
        ]

    async def sit(self, number: int) -> Face:
        """Sessions one after the other until the time is over; the last one goes on."""
        dice = random.Random(f"{number} {self.dice.random()}")
        while True:
            face = Face(self.system, self.client, SEATS[number])
            self.rooms.append(face.room)
            await face.begin()
            self.done["joins"] += 1
            end = self.until if number in STEADY else min(self.until, time.monotonic() + dice.uniform(*LIVES_S))
            if self.until - end < LIVES_S[0]:
                end = self.until
            while time.monotonic() < end and await face.lives():
                await asyncio.sleep(dice.uniform(1.0, 4.0))
                await self.act(face, dice, alone=number in STEADY)
                face.forget()
            if time.monotonic() >= self.until and await face.lives():
                return face
            self.ends[await face.end()] += 1  # killed three times, it has failed

    async def act(self, face: Face, dice: random.Random, alone: bool) -> None:
        pcm, rate, seconds = speech()
        picked = dice.choices(("say", "clear", "reconnect", "kill"), (6, 3, 1, 0 if alone else 0.25))[0]
        self.done[picked] += 1
        with contextlib.suppress(TimeoutError, rtc.RpcError):  # whom it talks to may have been killed
            if picked == "say":
                await face.say(pcm, rate, seconds + 10)
            elif picked == "clear":
                await face.agent.say(pcm, rate)
                await asyncio.sleep(dice.uniform(0.2, 1.0))
                await face.agent.interrupt()
                await face.agent.report(FINISHED, seconds)
            elif picked == "reconnect":
                await face.somebody_else_watches()
            elif picked == "kill":
                await self.kill_one(dice)

    async def kill_one(self, dice: random.Random) -> None:
        others = [process for process in self.players() if process.pid not in self.kept]
        if others:
            dice.choice(others).kill()

    async def look(self) -> None:
        """At the memory of each process that stays."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            known = {"api": self.system.processes["api"].pid, "project all": self.system.processes["all"].pid}
            known["supervisor"] = self.worker.pid
            for child in self.worker.children():
                self.seen.add(child.pid)
                if "workers.render_server" in child.cmdline():
                    known["renderer"] = child.pid
                elif child.pid in self.kept:
                    known[f"session left alone {1 + self.kept.index(child.pid)}"] = child.pid
            for name, pid in known.items():
                with contextlib.suppress(psutil.Error):
                    self.memory.setdefault(name, []).append(own_memory(psutil.Process(pid)) / 2**20)


async def left_behind(soak: Soak) -> list[str]:
    """What is still there after every session has ended, as sentences."""
    system, found = soak.system, list[str]()

    async def nothing_held() -> bool:
        held = await system.sql(
            "SELECT 1 FROM slots WHERE session_id IS NOT NULL UNION ALL SELECT 1 FROM admissions WHERE state <> 'over'"
            " UNION ALL SELECT 1 FROM session_secrets"
        )
        return held == []

    try:
        await eventually(nothing_held)
    except AssertionError:
        found.append("slots, admissions or secrets are held")
    found += [f"{room} has an avatar in it" for room in soak.rooms if await system.livekit.present(room, AVATAR)]
    if players := soak.players():
        found.append(f"{len(players)} session processes are in rooms")
    await system.stop("worker")
    if orphans := [pid for pid in soak.seen if psutil.pid_exists(pid)]:
        found.append(f"{len(orphans)} processes of the worker outlive it")
    return found


def grown(samples: list[float]) -> float:
    """MiB from what it had when it was warm to the end; of both the median of some looks."""
    some = max(1, len(samples) // 10)
    warm = int(len(samples) * WARM_UP)
    return quantile(samples[-some:], 0.5) - quantile(samples[warm : warm + some], 0.5)


async def main(minutes: float, seed: int) -> None:
    async with world() as system, system.client() as client:
        await system.start("api", "all")
        await system.start("worker", GREENROOM_WORKER_RENDERER="neural", GREENROOM_WORKER_SLOTS=str(len(SEATS)))
        soak = Soak(system, client, time.monotonic() + minutes * 60, random.Random(seed))
        sitting = {number: asyncio.create_task(soak.sit(number)) for number in STEADY}

        async def both() -> bool:
            return len(soak.players()) == len(STEADY)

        await eventually(both)
        soak.kept = [process.pid for process in soak.players()]
        sitting |= {n: asyncio.create_task(soak.sit(n)) for n in range(len(SEATS)) if n not in STEADY}
        looking = asyncio.create_task(soak.look())
        faces = [await sitting[n] for n in range(len(SEATS))]
        looking.cancel()
        # Those who watched leave: decoding six pictures starves who is to judge one, and buffers what it hears.
        await asyncio.gather(*(face.watcher.leave() for face in faces))
        late = [(face.quality, await lips(system.livekit, face.room, face.quality, face.say)) for face in faces]
        for face in faces:
            soak.ends[await face.end()] += 1
        wrong = await left_behind(soak)
        await audit_holds(system)
    show(minutes, seed, soak, late, wrong)


def show(minutes: float, seed: int, soak: Soak, late: list[tuple[str, Lips]], wrong: list[str]) -> None:
    growths = {name: grown(samples) for name, samples in soak.memory.items()}
    rows: list[tuple[object, ...]] = [
        (f"memory of {name}, MiB", f"{samples[0]:.0f}", f"{max(samples):.0f}", f"{samples[-1]:.0f}", f"{grew:+.1f}")
        for (name, samples), grew in zip(soak.memory.items(), growths.values(), strict=True)
    ]
    rows += [
        (f"lips of seat {n + 1}, {quality}, ms", "", "", f"{found.late_ms:+.0f}", "")
        for n, (quality, found) in enumerate(late)
    ]
    wrong += [f"{name} grows: {grew:+.0f} MiB" for name, grew in growths.items() if grew > GROWTH_MIB]
    wrong += [f"lips are {found.late_ms:+.0f} ms late" for _, found in late if not abs(found.late_ms) <= LIPS_MS]
    buffered = ", ".join(f"{found.buffered_ms:+.0f}" for _, found in late)
    done = ", ".join(f"{count} {what}" for what, count in sorted(soak.done.items()))
    ends = ", ".join(f"{count} {what}" for what, count in sorted(soak.ends.items()))
    report(
        "soak-media",
        "Six faces, all the time",
        ("", "first", "most", "last", "grown since warm"),
        rows,
        (
            f"{minutes:g} minutes, seed {seed}: {done}. Sessions: {ends}. The audit is equal.",
            f"Wrong: {'; '.join(wrong) or 'nothing'}. Looked for: growth over {GROWTH_MIB:.0f} MiB, lips beyond"
            f" ±{LIPS_MS:.0f} ms, processes, rooms, slots, admissions and secrets that are left.",
            "No process of two sessions is killed: those are in the table. Lips: how much later the picture is than the"
            " sound, at its only watcher; of `mock` at beginnings of tones, of `standard` over a speech, both"
            " from the middle of an utterance on. The watcher's own buffers kept sound longer than pictures by"
            f" {buffered} ms.",
            "Agents, watchers, LiveKit, Kafka and PostgreSQL run on the same cores.",
        ),
        f"make soak-media MINUTES={minutes:g}",
    )
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    run(main(asked.minutes, asked.seed))
