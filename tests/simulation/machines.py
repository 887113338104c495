"""A worker's machine: the real `Supervisor` over session processes that are played by actors, and its witness.

`Child`, `WarmPool`, `HeldAttempt`, `EventAppender`, `Reporter` and the lease are the product's own; pipes, process
starts and the room are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import random as randoms
import signal
from collections import deque
from typing import TYPE_CHECKING, Any

from events.producer import UnknownOutcome
from events.topics import WORKERS
from schemas.events import EndReason, Meter, Segment
from tests.simulation.broker import Producer
from tests.simulation.timeline import Process
from workers.children import SESSION_SILENT_S, Child
from workers.lease import OVER_S, phase
from workers.messages import Alive, End, Lease, Start
from workers.reporting import Reporter
from workers.settings import WorkerSettings
from workers.supervisor import Supervisor
from workers.watch import must_leave

if TYPE_CHECKING:
    from tests.simulation.world import World

ALIVE_EVERY_S = 0.4
"""A bit less often than the product's 0.25, and often enough for each look: fewer steps."""
_WATCH_EVERY_S = 1.0


class Pipe:
    """One end; what is sent is received at once, in order, by whoever runs."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.other: Pipe | None = None
        self.broken = False
        self.ended = False
        self._inbox: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None

    @classmethod
    def pair(cls, one: Process, two: Process) -> tuple[Pipe, Pipe]:
        ours, theirs = cls(one), cls(two)
        ours.other, theirs.other = theirs, ours
        return ours, theirs

    def send(self, message: Any) -> None:
        if self.other is not None and not self.ended and self.process.alive:
            self.other._comes(message)

    def _comes(self, message: Any) -> None:
        self._inbox.append(message)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and self.process.alive:
            waiter, self._waiter = self._waiter, None
            self.process.loop.call_soon(lambda: None if waiter.done() else waiter.set_result(None))

    async def receive(self) -> Any:
        while not self._inbox:
            if self.ended:
                return None
            self._waiter = self.process.loop.create_future()
            await self._waiter
        return self._inbox.popleft()

    async def flush(self) -> None:
        """Nothing is ever under way."""

    def close(self) -> None:
        self.ended = True
        self._wake()
        if self.other is not None and not self.other.ended:
            self.other.ended = True
            self.other._wake()


class Started:
    """In the place of `asyncio.subprocess.Process`."""

    def __init__(self, process: Process, parent: Process) -> None:
        self.pid = 0
        self.returncode: int | None = None
        self._gone = parent.loop.create_future()
        self._process, self._parent = process, parent
        process.on_exit.append(self._reaped)

    def _reaped(self) -> None:
        if self._parent.alive:
            self._parent.loop.call_soon(self._reap)

    def _reap(self) -> None:
        self.returncode = 0
        if not self._gone.done():
            self._gone.set_result(None)

    def kill(self) -> None:
        self._process.exits()

    async def wait(self) -> None:
        await asyncio.shield(self._gone)


class MediaClock:
    """The meter of an attempt: the time since its first frame in which its process was not stopped."""

    def __init__(self, process: Process, rate: float) -> None:
        self._process = process
        self._rate = rate
        self._began: float | None = None
        self._stalled = 0.0
        self._ended_ms: int | None = None
        self.late_frames = self.dropped_frames = 0

    def begin(self) -> None:
        self._began, self._stalled = self._process.timeline.now, self._process.stalled_s

    def end(self) -> None:
        if self._ended_ms is None:
            self._ended_ms = self.played_ms()

    def read(self) -> Meter:
        ms = self.played_ms() or 0
        return Meter(ms, ms // 40, ms)

    def played_ms(self) -> int | None:
        if self._began is None or self._ended_ms is not None:
            return self._ended_ms
        return int(
            (self._process.timeline.now - self._began - self._process.stalled_s + self._stalled) * 1000 * self._rate
        )


class Attempt:
    """A session process: joins, shows, tells, leaves; what it says is said by the real `Reporter`."""

    def __init__(self, world: World, process: Process, pipe: Pipe) -> None:
        self._world = world
        self._process = process
        self._pipe = pipe
        self._renewed_at = 0.0
        self._end: asyncio.Future[EndReason] = process.loop.create_future()
        self._evicted = asyncio.Event()
        process.on_waking.append(self._woke)

    def _woke(self, pause_s: float) -> None:
        if self._renewed_at and must_leave(pause_s, phase(self._renewed_at, self._process.timeline.now)):
            self._process.exit()

    async def run(self) -> None:
        start = await self._pipe.receive()
        while start is not None and not isinstance(start, Start):
            start = await self._pipe.receive()
        if start is None:
            return
        self._renewed_at = start.renewed_at
        alive = asyncio.create_task(self._say_alive())
        listening = asyncio.create_task(self._listen())
        await self._play(start)
        alive.cancel()
        listening.cancel()

    async def _say_alive(self) -> None:
        while True:
            self._pipe.send(Alive())
            await asyncio.sleep(ALIVE_EVERY_S)

    async def _listen(self) -> None:
        while (message := await self._pipe.receive()) is not None:
            if isinstance(message, End) and not self._end.done():
                self._end.set_result(message.reason)
            elif isinstance(message, Lease):
                self._renewed_at = message.renewed_at
        self._process.exit()

    async def _play(self, start: Start) -> None:
        chance, task = self._world.random, start.task
        reporter, clock = Reporter(self._pipe, start), MediaClock(self._process, self._world.weather.wild)  # type: ignore[arg-type]
        whose = (task.session_id, start.attempt, start.worker_id)
        self._world.clocks[whose] = clock
        slow = chance.random() < self._world.weather.slow_starts
        joining = 0.05 + 0.3 * chance.random() + (30 * chance.random() if slow else 0)
        if not await self._within(min(joining, start.limits.start_timeout_s)):
            if joining >= start.limits.start_timeout_s:
                reporter.failed("start_timeout", "No frame could be published in time.", clock.read())
                return
            reporter.joined()
            self._enter(task.session_id)
            if not await self._within(0.02 + 0.1 * chance.random()):
                clock.begin()
                reporter.first_frame()
                await self._beat(start, reporter, clock)
        clock.end()
        await self._leave(reporter, clock)

    async def _within(self, seconds: float) -> bool:
        """Whether the end comes before that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._end)
        return self._end.done()

    async def _beat(self, start: Start, reporter: Reporter, clock: MediaClock) -> None:
        until = asyncio.get_running_loop().time() + start.task.max_duration_ms / 1000
        own = self._world.own_end(start.task.session_id)
        while not self._end.done():
            left = until - asyncio.get_running_loop().time()
            if await self._within(max(0.0, min(left, start.limits.heartbeat_s))):
                return
            now = asyncio.get_running_loop().time()
            if self._evicted.is_set():
                if phase(self._renewed_at, now) != "valid":
                    clock.end()
                    reporter.failed("transport.identity_taken", "Another participant has it.", clock.read())
                    return
                self._enter(start.task.session_id)
            if now >= until:
                self._end.set_result("max_duration")
            elif own is not None and now >= own[0]:
                self._end.set_result(own[1])
            elif self._world.random.random() < self._world.weather.lost_renderers:
                clock.end()
                reporter.lost("renderer_lost")
                return
            else:
                reporter.heartbeat(clock, Segment("s", clock.read().audio_ms))  # type: ignore[arg-type]

    def _enter(self, sid: str) -> None:
        """The room lets in one of an identity: whoever was there is thrown out."""
        self._evicted.clear()
        other = self._world.rooms.get(sid)
        self._world.rooms[sid] = self
        if other is not None and other is not self and other._process.alive:
            other._process.loop.call_soon(other._evicted.set)

    async def _leave(self, reporter: Reporter, clock: MediaClock) -> None:
        if not self._end.done():
            return
        await asyncio.sleep(0.02 + 0.2 * self._world.random.random())
        reporter.ending(self._end.result())
        reporter.ended(self._end.result(), clock.read())


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
