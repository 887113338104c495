"""A worker's machine: the real `Supervisor` over session processes that are played by actors, and its witness.

`Child`, `WarmPool`, `HeldAttempt`, `EventAppender`, `Reporter` and the lease are the product's own; pipes, process
starts and the room are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import random as randoms
import signal
from typing import TYPE_CHECKING, Any

from events.producer import UnknownOutcome
from events.topics import WORKERS
from tests.simulation.broker import Producer
from tests.simulation.children import Attempt, Pipe, Started
from tests.simulation.timeline import Process
from workers.children import SESSION_SILENT_S, Child
from workers.lease import OVER_S, phase
from workers.settings import WorkerSettings
from workers.supervisor import Supervisor
from workers.watch import must_leave

if TYPE_CHECKING:
    from tests.simulation.world import World

_WATCH_EVERY_S = 1.0


class Witness:
    """In the place of `workers.witness.Witness`: a process of the machine that tells that the supervisor is dead."""

    def __init__(self, world: World, supervisor: Process, worker_id: str) -> None:
        self._world = world
        self._worker_id = worker_id
        self._left = False
        self._lives = world.random.random() < world.weather.witnesses
        self.process = world.process(f"witness of {supervisor.name}")
        supervisor.on_exit.append(self._dies)

    async def keep(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def dismiss(self) -> None:
        self._left = True

    def _dies(self) -> None:
        if self._lives and not self._left and self.process.alive:
            self.process.start(self._tell())

    async def _tell(self) -> None:
        loop, producer = asyncio.get_running_loop(), Producer(self._world.broker, self.process)
        deadline = loop.time() + OVER_S
        await asyncio.sleep(0.05)
        while loop.time() < deadline:
            with contextlib.suppress(UnknownOutcome):
                await producer.send_tombstone(WORKERS, self._worker_id)
                return
            await asyncio.sleep(1)


class Machine:
    """Runs one supervisor after the other, each with a new worker id."""

    def __init__(self, world: World, name: str, settings: WorkerSettings) -> None:
        self._world = world
        self.name = name
        self._settings = settings
        self.process: Process | None = None
        self.supervisor: Supervisor | None = None
        self.witness: Witness | None = None
        self.children: list[Process] = []
        self.cut = False
        self.stays_dead = False

    def start(self) -> None:
        world = self._world
        if self.stays_dead or (self.process is not None and self.process.alive):
            return
        process = self.process = world.process(f"{self.name}.{len(world.processes)}", world.skew(self.name))
        process.cut = self.cut
        process.on_exit.append(self._ended)
        process.start(self._run(process))

    async def _run(self, process: Process) -> None:
        world = self._world
        self.children = []
        self.supervisor = supervisor = Supervisor(self._settings, Producer(world.broker, process))  # type: ignore[arg-type]
        world.supervisors[supervisor.worker_id] = (process, supervisor)
        world.story.tell(self.name, f"starts as {world.short(supervisor.worker_id)}")
        self.witness = Witness(world, process, supervisor.worker_id)
        self.witness.process.cut = self.cut
        supervisor._witness = self.witness  # type: ignore[assignment]
        await supervisor.run()

    def watch(self, process: Process, renewed_at: Any) -> None:
        """What the watch thread of the supervisor does."""

        def woke(pause_s: float) -> None:
            if must_leave(pause_s, phase(renewed_at(), process.timeline.now)):
                process.exit()

        def look() -> None:
            woke(0.0)
            process.loop.call_later(_WATCH_EVERY_S, look)

        process.on_waking.append(woke)
        process.loop.call_later(_WATCH_EVERY_S, look)

    def spawn(self) -> Child:
        """A warm session process."""
        assert self.process is not None
        world = self._world
        process = world.process(f"{self.name}.child{len(world.processes)}", world.skew(self.name))
        ours, theirs = Pipe.pair(self.process, process)
        started = Started(process, self.process)
        process.on_exit.append(theirs.close)
        self.process.on_exit.append(ours.close)
        self.children.append(process)
        process.start(Attempt(world, process, theirs).run())
        return Child("workers.session_process", started, ours, SESSION_SILENT_S)  # type: ignore[arg-type]

    @property
    def holds(self) -> bool:
        """Whether it has a session."""
        lives = self.supervisor is not None and self.process is not None and self.process.alive
        return lives and bool(self.supervisor._held)  # type: ignore[union-attr]

    def all(self) -> list[Process]:
        """Every process of the machine."""
        found = [*self.children, *([self.process] if self.process else [])]
        return [*found, *([self.witness.process] if self.witness else [])]

    def cut_off(self, cut: bool) -> None:
        self.cut = cut
        for process in self.all():
            process.cut = cut

    def _ended(self) -> None:
        world, process = self._world, self.process
        assert process is not None
        world.story.tell(self.name, f"ends{f': {process.crash!r}' if process.crash else ''}")
        world.crashed(process)
        if not self.stays_dead:
            world.timeline.after(1.0 + 4.0 * world.random.random(), self.start)

    def terminate(self) -> None:
        if self.process is not None and self.process.alive:
            self.process.signal(signal.SIGTERM)

    def playing(self, chance: randoms.Random) -> Process | None:
        """A session process that has a task."""
        assert self.supervisor is None or self.process is not None
        held = self.supervisor._held.values() if self.supervisor else ()
        found = [h.child._process._process for h in held if h.child is not None]  # type: ignore[attr-defined]
        return chance.choice(found) if found else None
