"""A session process: waits warm for one task, holds that session, and ends with it. `python -m workers.session FD`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from livekit import rtc

from schemas.addresses import AddressPolicy
from schemas.background import Background
from schemas.events import EndReason, FailureCode
from schemas.events import Segment as OpenSegment
from schemas.logs import configure_logging
from schemas.times import now_ms
from workers import watch
from workers.agent_link import AgentLink
from workers.children import say_alive
from workers.face import FaceUnloadable, MockFace, RenderedFace, RendererLost, SessionFace
from workers.hearing import Ears
from workers.lease import boottime, phase
from workers.messages import (
    Beat,
    End,
    Ended,
    Ending,
    Expiring,
    Failed,
    FirstFrame,
    Joined,
    Lease,
    Ready,
    Start,
    SyntheticAudio,
    ToSession,
)
from workers.meter import MediaMeter
from workers.pipe import Pipe
from workers.playback import RATE, TICK_SAMPLES, Finish, Pcm, Playback, Tick, Tone
from workers.renderers import FORMATS
from workers.room import LiveRoom, RoomError
from workers.timers import Timers

log = structlog.get_logger()

_REJOIN_WITHIN_S = 10.0
_MOST_EVICTIONS = 3
_SYNTHETIC_AFTER_S = 10.0
_FLUSH_S = 0.5
_CLOSED: dict[int, EndReason] = {
    rtc.DisconnectReason.ROOM_DELETED: "room_closed",
    rtc.DisconnectReason.ROOM_CLOSED: "room_closed",
    rtc.DisconnectReason.PARTICIPANT_REMOVED: "participant_removed",
}


class SessionFailed(Exception):
    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.code: FailureCode = code


_SILENCE = (np.zeros(TICK_SAMPLES, np.int16), Tick(np.zeros(TICK_SAMPLES, np.int16), 0, (), ()))


@dataclass(frozen=True)
class _Due:
    """A finish whose last sample leaves the audio source at monotonic second `at`."""

    at: float
    finish: Finish


class Session:
    """One attempt of one session. Implements `workers.room.Listener`."""

    def __init__(self, pipe: Pipe[ToSession], start: Start) -> None:
        self._pipe = pipe
        self._task = start.task
        self._attempt = start.attempt
        self._limits = start.limits
        self._policy = AddressPolicy(start.limits.permitted_networks)
        self.renewed_at = start.renewed_at
        self._frame = FORMATS[self._task.quality]
        self._face = _face(start)
        self._playback = Playback()
        self._ahead: deque[tuple[Pcm, Tick]] = deque()
        self._held = b""
        self._meter = MediaMeter()
        self._due: list[_Due] = []
        self._room: LiveRoom | None = None
        self._link = AgentLink(lambda: self._room.room if self._room else None)
        self._timers = Timers.begin(
            time.monotonic(), self._task.idle_timeout_ms / 1000, self._task.max_duration_ms / 1000
        )
        self._end: asyncio.Future[EndReason] = asyncio.get_running_loop().create_future()
        self._gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._absent_since: float | None = None
        self._heard_anybody = False
        self._synthetic = False
        self._tone = Tone()
        self._latencies: dict[str, int] = {}
        self._tasks = Background()
        self._vital: list[asyncio.Task[None]] = []
        self._ears = Ears(self._task, self._playback, self._link, self._tasks, self)

    def request_end(self, reason: EndReason) -> None:
        if not self._end.done():
            self._end.set_result(reason)

    async def run(self) -> None:
        """From the task to the last message; raises nothing."""
        self._vital.append(self._tasks.spawn(self._link.run(), "reports to the agent"))
        failure: tuple[FailureCode, str] | None = None
        try:
            reason = await self._live()
            self._pipe.send(Ending(reason))
        except SessionFailed as failed:
            failure = failed.code, str(failed)
        except RendererLost as lost:
            failure = "renderer.crashed", str(lost)
        except Exception:
            log.exception("session crashed", session_id=self._task.session_id)
            failure = "renderer.crashed", "The session process failed."
        try:
            await self._leave()
        except Exception:
            log.exception("room not left", session_id=self._task.session_id)
        meter = self._meter.read()
        self._pipe.send(Ended(reason, meter) if failure is None else Failed(*failure, meter))
        self._face.close()
        await self._tasks.cancel()

    async def _live(self) -> EndReason:
        """Join, play, rejoin where that is right; returns why the session is to end. Raises SessionFailed."""
        await self._race_end(self._start())
        evictions = 0
        while True:
            if self._end.done():
                return self._end.result()
            reason = await self._play()
            if reason is None:
                return self._end.result()
            if reason in _CLOSED:
                return self._end.result() if self._end.done() else _CLOSED[reason]
            evictions += reason == rtc.DisconnectReason.DUPLICATE_IDENTITY
            if evictions > _MOST_EVICTIONS or (evictions and not self._lease_valid()):
                raise SessionFailed("transport.identity_taken", "Another participant has taken the worker's identity.")
            await self._race_end(self._rejoin(evicted=reason == rtc.DisconnectReason.DUPLICATE_IDENTITY))

    async def _race_end(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` unless an end is requested first."""
        doing: asyncio.Future[Any] = asyncio.create_task(work)
        both: set[asyncio.Future[Any]] = {doing, self._end}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            doing.cancel()
            with contextlib.suppress(asyncio.CancelledError, SessionFailed):
                await doing
            return
        await doing

    async def _start(self) -> None:
        try:
            async with asyncio.timeout(self._limits.start_timeout_s):
                opening = asyncio.create_task(self._face.open())
                try:
                    await self._join(self._limits.connect_timeout_s, opening)
                finally:
                    opening.cancel()
        except FaceUnloadable as failed:
            raise SessionFailed("avatar.load_failed", f"The avatar's face cannot be loaded: {failed}.") from None
        except TimeoutError:
            raise SessionFailed("start_timeout", "No frame could be published in time.") from None
        except RoomError as failed:
            raise SessionFailed(failed.code, str(failed)) from None
        now = time.monotonic()
        self._timers = Timers.begin(now, self._timers.idle_s, self._timers.duration_s)
        self._latencies["first_frame"] = self._since_accepted()
        self._pipe.send(FirstFrame(self._latencies))
        if self._attempt > 1 and self._task.resume_played_ms is not None:
            # The agent still waits for the segment that the lost attempt was playing.
            self._link.agent = self._link.agent or next(iter(self._room.others if self._room else ()), None)
            self._link.finished(Finish("lost", self._task.resume_played_ms / 1000, interrupted=True))
        self._vital.append(self._tasks.spawn(self._beats(), "heartbeats"))

    async def _join(self, timeout_s: float, opening: asyncio.Task[None] | None = None) -> None:
        """A room with both tracks and the first frame in it; the face opens while the room is joined."""
        self._gone = asyncio.get_running_loop().create_future()
        room = self._room = LiveRoom(self._task, self._frame, self, self._ears, self._policy)
        self._latencies.setdefault("received", self._since_accepted())
        await room.join(timeout_s)
        self._link.agent = room.behalf or self._link.agent
        if "joined" not in self._latencies:
            self._latencies["joined"] = self._since_accepted()
            self._pipe.send(Joined({"livekit": version("livekit"), "greenroom": version("greenroom")}))
        if opening is not None:
            await opening
        await room.publish()
        self._latencies.setdefault("published", self._since_accepted())
        await self._tick(room)

    def _since_accepted(self) -> int:
        return max(0, now_ms() - self._task.accepted_ms)

    async def _rejoin(self, evicted: bool) -> None:
        """Only with a valid lease: without one somebody else may be in the room by right."""
        self._meter.pause()
        deadline = time.monotonic() + _REJOIN_WITHIN_S
        if self._room is not None:
            await self._room.leave()
        if evicted:
            await asyncio.sleep(1)
        while time.monotonic() < deadline:
            if self._lease_valid():
                try:
                    async with asyncio.timeout_at(asyncio.get_running_loop().time() + _REJOIN_WITHIN_S):
                        await self._join(min(5.0, self._limits.connect_timeout_s))
                    return
                except (RoomError, TimeoutError):
                    if self._room is not None:
                        await self._room.leave()
            await asyncio.sleep(0.5)
        raise SessionFailed("transport.disconnected", "The connection to LiveKit was lost and did not come back.")

    def _lease_valid(self) -> bool:
        return phase(self.renewed_at, boottime()) == "valid"

    # Playing

    async def _play(self) -> int | None:
        """Tick until the end is requested (None) or the room is gone (its reason)."""
        assert self._room is not None
        while not self._end.done():
            if self._gone.done():
                return self._gone.result()
            try:
                await self._tick(self._room)
            except TimeoutError:
                return self._gone.result() if self._gone.done() else int(rtc.DisconnectReason.MEDIA_FAILURE)
            self._check_time(time.monotonic())
            for failed in (task for task in self._vital if task.done()):
                failed.result()  # raises: without heartbeats it would play on unbilled, without reports unanswered
        return None

    async def _tick(self, room: LiveRoom) -> None:
        """One frame and 40 ms of audio.

        The audio waits as long as frames trail it. The picture waits one tick more: participants hear what leaves the
        audio source's queue 30 to 90 ms after they see what is pushed with it (docs/decisions/0006-a-face.md).
        """
        heard = self._playback.tick()
        self._ahead.append((self._tone.tick() if self._synthetic and not heard.speech else heard.pcm, heard))
        frame = await self._face.show(self._ahead[-1][0])
        pcm, tick = self._ahead.popleft() if len(self._ahead) > self._face.lookahead else _SILENCE
        shown, self._held = self._held or frame, frame
        await room.push(shown, pcm)
        now = time.monotonic()
        if self._face.lost:
            self._meter.pause()  # an idle face for want of a renderer is not what the customer pays for
        else:
            self._meter.tick(now, tick.speech)
        for _ in tick.started:
            self._link.started()
        self._due.extend(_Due(now + room.queued_s, finish) for finish in tick.done)
        while self._due and self._due[0].at <= now:
            self._link.finished(self._due.pop(0).finish)
        if tick.speech:
            self._timers.active(now + room.queued_s)

    def _check_time(self, now: float) -> None:
        over = self._timers.over(now)
        if over is not None:
            self.request_end(over)  # type: ignore[arg-type]
        left = self._timers.expires_in_ms(now)
        if left is not None:
            self._pipe.send(Expiring(left))
        if self._absent_since is not None and now - self._absent_since > self._limits.agent_absence_s:
            self.request_end("agent_left")
        if (
            self._task.synthetic_audio_if_no_input
            and not self._synthetic
            and not self._heard_anybody
            and now - self._timers.started_at > _SYNTHETIC_AFTER_S
        ):
            self._synthetic = True
            self._pipe.send(SyntheticAudio(self._meter.read().billable_ms))

    async def _beats(self) -> None:
        while True:
            await asyncio.sleep(self._limits.heartbeat_s)
            current = self._playback.current
            segment = OpenSegment(current.id, current.played * 1000 // RATE) if current and current.started else None
            self._pipe.send(Beat(self._meter.read(), segment, self._meter.late_frames, self._meter.dropped_frames))

    async def _leave(self) -> None:
        """Finish what is open, so that the agent never waits for a segment of a face that has left."""
        if self._room is None:
            return
        for finish in self._interrupt(self._room):
            self._link.finished(finish)
        await self._link.flush(_FLUSH_S)
        await self._room.leave()

    def _interrupt(self, room: LiveRoom) -> list[Finish]:
        """Clear the source and all buffers; one finish per open segment, oldest first."""
        ahead = [tick for _, tick in self._ahead]
        queued_s = room.queued_s + sum(tick.speech for tick in ahead) / RATE
        room.clear()
        self._face.clear()
        self._ahead.clear()
        self._held = b""  # the mouth shuts with the next frame
        finished = [due.finish for due in self._due] + [finish for tick in ahead for finish in tick.done]
        handed = [Finish(f.segment_id, max(0.0, f.position_s - queued_s), True) for f in finished]
        self._due.clear()
        return handed + self._playback.interrupt(0.0 if handed else queued_s)

    # What the room says

    def on_heard(self) -> None:
        self._timers.active(time.monotonic())

    async def on_clear(self, identity: str) -> bool:
        """The agent was interrupted. Others may not clear; nor does a clear make anybody the agent."""
        if self._room is None or identity != self._link.agent:
            return False
        for finish in self._interrupt(self._room):
            self._link.finished(finish)
        return True

    def on_voice(self) -> None:
        self._heard_anybody = True
        self._synthetic = False

    def on_gone(self, reason: int) -> None:
        if not self._gone.done():
            self._gone.set_result(reason)

    def on_presence(self) -> None:
        """Somebody came or left: an agent that is away for long has left for good."""
        if self._room is None:
            return
        others = self._room.others
        if others:
            self.on_voice()
        if self._link.agent is None or self._link.agent in others:
            self._absent_since = None
        elif self._absent_since is None:
            self._absent_since = time.monotonic()


def _face(start: Start) -> SessionFace:
    task = start.task
    if "mock" in (task.quality, task.runtime_type):
        return MockFace(task.avatar_id, FORMATS[task.quality])
    return RenderedFace(Path(start.renderer or "no-renderer"), task.avatar_id, task.face, FORMATS[task.quality])


async def main(end: socket.socket) -> None:
    pipe: Pipe[ToSession] = await Pipe.over(end, ToSession)
    alive = asyncio.create_task(say_alive(pipe))
    pipe.send(Ready())
    first = await pipe.receive()
    while isinstance(first, Lease):  # warm, and not needed yet
        first = await pipe.receive()
    if not isinstance(first, Start):
        return
    structlog.contextvars.bind_contextvars(session_id=first.task.session_id, attempt=first.attempt)
    session = Session(pipe, first)
    watch.start(lambda: session.renewed_at)
    running = asyncio.create_task(session.run())
    commands = asyncio.create_task(_obey(pipe, session))
    await asyncio.wait([running, commands], return_when=asyncio.FIRST_COMPLETED)
    alive.cancel()
    await pipe.flush()


async def _obey(pipe: Pipe[ToSession], session: Session) -> None:
    """Until the supervisor is gone: a session without its supervisor leaves at once."""
    while (message := await pipe.receive()) is not None:
        if isinstance(message, End):
            session.request_end(message.reason)
        elif isinstance(message, Lease):
            session.renewed_at = message.renewed_at


if __name__ == "__main__":
    configure_logging()
    asyncio.run(main(socket.socket(fileno=int(sys.argv[1]))))
    os._exit(0)  # the SDK's native threads need not be taken down one by one
