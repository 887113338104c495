"""Session processes: pipes, and the actor that stands for what runs in one: joins, shows, tells, leaves.

What it says is said by the real `Reporter`, and heard by the real `Child`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

from schemas.events import EndReason, Meter, Segment
from tests.simulation.timeline import Process
from workers.lease import phase
from workers.messages import Alive, Draining, End, HandedOver, Lease, Start
from workers.reporting import Reporter
from workers.watch import must_leave

if TYPE_CHECKING:
    from tests.simulation.world import World

ALIVE_EVERY_S = 0.4
"""A bit less often than the product's 0.25, and often enough for each look: fewer steps."""
# As in workers/session.py, which would import the SDK.
_DRAINING_BEAT_S, _DRAINING_BEATS = 0.5, 10
_SUCCESSOR_S = 5.0
_MOST_EVICTIONS = 3


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

    def skew_ms(self) -> None:
        """Nothing is drawn here."""

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
        self._evicted = self._draining = self._handed_over = False
        self._stirred = asyncio.Event()
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
            if isinstance(message, End):
                self._request_end(message.reason)
            elif isinstance(message, Draining):
                self._draining = True
                self._stirred.set()
            elif isinstance(message, HandedOver) and not self._handed_over:
                self._handed_over = True
                self._process.loop.call_later(_SUCCESSOR_S, self._request_end, "worker_drained")
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
        if not await self._ends_within(min(joining, start.limits.start_timeout_s)):
            if joining >= start.limits.start_timeout_s:
                reporter.failed("start_timeout", "No frame could be published in time.", clock.read())
                return
            reporter.joined()
            self._enter(task.session_id)
            if not await self._ends_within(0.02 + 0.1 * chance.random()):
                clock.begin()
                reporter.first_frame()
                await self._beat(start, reporter, clock)
        clock.end()
        await self._leave(reporter, clock)

    async def _ends_within(self, seconds: float) -> bool:
        until = asyncio.get_running_loop().time() + seconds
        while not self._end.done() and (left := until - asyncio.get_running_loop().time()) > 0:
            await self._within(left)
        return self._end.done()

    async def _within(self, seconds: float) -> bool:
        """Whether the end comes before that; nothing else ends the wait but what concerns the room."""
        self._stirred.clear()
        if not self._end.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stirred.wait()
        return self._end.done()

    async def _beat(self, start: Start, reporter: Reporter, clock: MediaClock) -> None:
        loop, chance, weather = asyncio.get_running_loop(), self._world.random, self._world.weather
        until = loop.time() + start.task.max_duration_ms / 1000
        own = self._world.own_end(start.task.session_id)
        evictions, hasty = 0, _DRAINING_BEATS
        while not self._end.done():
            hasty -= self._draining
            pace = _DRAINING_BEAT_S if self._draining and hasty >= 0 else start.limits.heartbeat_s
            if not self._evicted and await self._within(max(0.0, min(until - loop.time(), pace))):
                return
            if self._evicted:
                evictions += 1
                if self._draining:
                    self._end.set_result("worker_drained")  # the successor is there
                elif evictions > _MOST_EVICTIONS or phase(self._renewed_at, loop.time()) != "valid":
                    clock.end()
                    reporter.failed("transport.identity_taken", "Another participant has it.", clock.read())
                    return
                elif not await self._within(1):
                    self._enter(start.task.session_id)
            elif loop.time() >= until:
                self._end.set_result("max_duration")
            elif own is not None and loop.time() >= own[0]:
                self._end.set_result(own[1])
            elif chance.random() < weather.lost_renderers:
                clock.end()
                reporter.lost("renderer_lost")
                return
            else:
                speaks = chance.random() < 0.5
                segment = Segment("s", clock.read().audio_ms) if speaks else None
                reporter.heartbeat(clock, segment)  # type: ignore[arg-type]

    def _enter(self, sid: str) -> None:
        """The room lets in one of an identity: whoever was there is thrown out."""
        self._evicted = False
        other = self._world.rooms.get(sid)
        self._world.rooms[sid] = self
        if other is not None and other is not self and other._process.alive:
            other._process.loop.call_soon(other._thrown_out)

    def _thrown_out(self) -> None:
        self._evicted = True
        self._stirred.set()

    def _request_end(self, reason: EndReason) -> None:
        if not self._end.done():
            self._end.set_result(reason)
        self._stirred.set()

    async def _leave(self, reporter: Reporter, clock: MediaClock) -> None:
        if not self._end.done():
            return
        await asyncio.sleep(0.02 + 0.2 * self._world.random.random())
        reporter.ending(self._end.result())
        reporter.ended(self._end.result(), clock.read())
