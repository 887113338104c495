"""What can go wrong while a session plays: a name, what is done to it, and what may become of it."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise

import httpx
import psutil

from bench.proxy import Proxy, Way
from bench.watching import Watching
from cli.customer import AVATAR, Agent
from stack.process import Process, ProcessGroup
from tests.world import World

FROZEN_S = 30.0
TOKEN_S = 15.0
LEEWAY_S = 70.0
"""LiveKit takes a token for a minute longer than it says."""


@dataclass
class Scene:
    """A session that plays; `worker`: the name of the process that has it. `watched`: by somebody in the room; decoding
    all is more than one machine has left that plays them, so that others are known by what is billed of them."""

    system: World
    servers: ProcessGroup
    client: httpx.AsyncClient
    dice: random.Random
    proxy: Proxy
    watched: bool = True
    room: str = field(default_factory=lambda: f"room-{secrets.token_hex(4)}")
    session_id: str = ""
    worker: str = ""
    watcher: Watching = field(default_factory=Watching)
    agent: Agent = field(default_factory=Agent)

    @property
    def process(self) -> Process:
        return self.system.processes[self.worker]

    def children(self, module: str) -> list[psutil.Process]:
        return [c for c in psutil.Process(self.process.pid).children() if module in c.cmdline()]

    def gap_s(self, struck: float) -> float:
        """The longest between two frames, from a second before the fault on."""
        times = [at for at in self.watcher.times if at > struck - 1]
        return max((b - a for a, b in pairwise(times)), default=float("inf"))

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


async def slow_kafka(scene: Scene) -> None:
    """Half a second, both ways together."""
    scene.proxy.back.late_s = 0.5
    await asyncio.sleep(FROZEN_S)
    scene.proxy.back.heal()


async def swallowed(way: Way) -> None:
    way.swallow()
    await asyncio.sleep(FROZEN_S)
    way.heal()


async def deaf_kafka(scene: Scene) -> None:
    """What is sent to it arrives when it is over, also when its sender has given up meanwhile."""
    await swallowed(scene.proxy.there)


async def mute_kafka(scene: Scene) -> None:
    """It takes what it is sent, and nobody hears so."""
    await swallowed(scene.proxy.back)


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
    """`quality`: what plays, in `sessions` rooms. `aim_s`: for the longest gap at a watcher. `status`: what may become
    of a session. `proxied`: what clients of Kafka send goes through a network that can be broken."""

    fault: Fault
    quality: str = "mock"
    aim_s: float | None = None
    status: tuple[str, ...] = ("running",)
    token_s: float = 3600.0
    sessions: int = 1
    proxied: bool = False


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
    "Kafka killed under ten sessions, started again": Expected(killed_kafka, sessions=10),
    "Kafka half a second away, for 30 s": Expected(slow_kafka, proxied=True),
    "nothing reaches Kafka for 30 s, then all of it": Expected(deaf_kafka, proxied=True),
    "Kafka's answers do not arrive for 30 s, then all of them": Expected(mute_kafka, proxied=True),
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
