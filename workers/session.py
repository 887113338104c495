"""One attempt of one session: its start, its rejoins, its end. What it plays is `media_clock.py`.

If its process dies, the supervisor says so in the log, and the session goes on in another.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Set
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from livekit import rtc

from faces.life import seed_of
from schemas.addresses import AddressPolicy
from schemas.background import Background
from schemas.events import EndReason, FailureCode, LossReason, Meter
from schemas.moods import Mood
from workers.agent_link import AgentLink
from workers.attributes import Attributes
from workers.cues import Cues
from workers.ears import Ears
from workers.face import FaceUnloadable, LabelledFace, MockFace, RenderedFace, RendererLost, SessionFace
from workers.lease import boottime, phase
from workers.mark import FrameMark
from workers.media_clock import MediaClock
from workers.messages import Marks, Start, ToSession
from workers.pipe import Pipe
from workers.playback import Finish, Playback
from workers.renderers import Format, format_of
from workers.reporting import Reporter
from workers.room import LiveRoom, RoomError
from workers.stalls import Stalled
from workers.timers import Timers

log = structlog.get_logger()

_REJOIN_WITHIN_S = 10.0
_MOST_EVICTIONS = 3
_SYNTHETIC_AFTER_S = 10.0
_FLUSH_S = 2.0
_DRAINING_BEAT_S = 0.5
_DRAINING_BEATS = 10
"""As long as the roster waits for a silence. Who is not moved by then stays for as long as a drain by command takes,
or is moved whatever it says."""
_SUCCESSOR_S = 5.0
_CLOSED: dict[int, EndReason] = {
    rtc.DisconnectReason.ROOM_DELETED: "room_closed",
    rtc.DisconnectReason.ROOM_CLOSED: "room_closed",
    rtc.DisconnectReason.PARTICIPANT_REMOVED: "participant_removed",
}


class AttemptFailed(Exception):
    """With the code and the sentence that the customer gets to read."""

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.code: FailureCode = code


class Session:
    """One attempt of one session. Implements `workers.room.Listener`."""

    def __init__(self, pipe: Pipe[ToSession], start: Start) -> None:
        self._reporter = Reporter(pipe, start)
        self._task = start.task
        self._attempt = start.attempt
        self._limits = start.limits
        self.renewed_at = start.renewed_at
        self._frame = format_of(start.task.quality, start.task.shape)
        self._face = _face(start, self._frame)
        self._cues = Cues(self._face, self._task.mood)
        playback = Playback()
        self._mark = FrameMark(start.mark, start.task, self._frame) if start.mark is not None else None
        self._media = MediaClock(self._face, playback, mark=self._mark.on if self._mark is not None else None)
        self._room: LiveRoom | None = None
        self._link = AgentLink(lambda: self._room.room if self._room else None)
        self._timers = Timers.begin(
            time.monotonic(),
            self._task.idle_timeout_ms / 1000,
            self._task.max_duration_ms / 1000,
            self._limits.agent_absence_s,
        )
        self._end: asyncio.Future[EndReason] = asyncio.get_running_loop().create_future()
        self._gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._heard_anybody = False
        self._draining = asyncio.Event()
        self._tasks = Background()
        self._vital: list[asyncio.Task[None]] = []
        self._attributes = Attributes(self._task.session_id, self._tasks)
        self._ears = Ears(self._task, playback, self._link, self._tasks, self)

    def request_end(self, reason: EndReason) -> None:
        if not self._end.done():
            self._end.set_result(reason)

    def take_marks(self, marks: Marks) -> None:
        """What the frames of the next minutes are marked with."""
        if self._mark is not None:
            self._mark.take(marks)

    def drain(self) -> None:
        """From now on another worker may take over at any moment."""
        self._draining.set()

    def hand_over(self) -> None:
        """It has been decided. The successor throws this one out when it joins, and is the one to speak.

        The agent is told now how far its open utterances came: from out of the room nothing can be told.
        """
        self._draining.set()
        if not self._ears.closed:
            self._ears.closed = True
            if self._room is not None:
                self._interrupt(self._room)
            asyncio.get_running_loop().call_later(_SUCCESSOR_S, self.request_end, "worker_drained")

    async def run(self) -> None:
        """From the task to the last message; raises nothing."""
        self._vital.append(self._tasks.spawn(self._link.run(), "reports to the agent"))
        last: Callable[[Meter], None]
        try:
            reason = await self._live()
            self._reporter.ending(reason)
            last = partial(self._reporter.ended, reason)
        except AttemptFailed as failed:
            last = partial(self._reporter.failed, failed.code, str(failed))
        except RendererLost as lost:
            log.error("renderer lost", session_id=self._task.session_id, reason=str(lost))
            last = partial(self._lost, "renderer_lost")
        except Exception:
            log.exception("session crashed", session_id=self._task.session_id)
            last = partial(self._lost, "process_crashed")
        try:
            await self._leave()
        except Exception:
            log.exception("room not left", session_id=self._task.session_id)
        last(self._media.meter.read())
        self._face.close()
        await self._tasks.cancel()

    def _lost(self, reason: LossReason, proven: Meter) -> None:
        """Another attempt goes on, unless the session was to end anyway. What no heartbeat has told is not billed."""
        if self._end.done():
            self._reporter.ending(self._end.result())
            self._reporter.ended(self._end.result(), proven)
        else:
            self._reporter.lost(reason)

    async def _live(self) -> EndReason:
        """Join, play, rejoin where that is right; returns why the session is to end. Raises AttemptFailed."""
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
            if self._ears.closed or (reason == rtc.DisconnectReason.DUPLICATE_IDENTITY and self._draining.is_set()):
                return "worker_drained"  # the successor is there, or on its way
            evictions += reason == rtc.DisconnectReason.DUPLICATE_IDENTITY
            if evictions > _MOST_EVICTIONS or (evictions and not self._lease_valid()):
                raise AttemptFailed("transport.identity_taken", "Another participant has taken the worker's identity.")
            await self._race_end(self._rejoin(evicted=reason == rtc.DisconnectReason.DUPLICATE_IDENTITY))

    async def _race_end(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` unless an end is requested first."""
        doing: asyncio.Future[Any] = asyncio.create_task(work)
        both: set[asyncio.Future[Any]] = {doing, self._end}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            doing.cancel()
            with contextlib.suppress(asyncio.CancelledError, AttemptFailed):
                await doing
            return
        await doing

    async def _start(self) -> None:
        try:
            async with asyncio.timeout(self._limits.start_timeout_s):
                opening = asyncio.create_task(self._face.open())
                try:
                    if self._task.handover:
                        await opening  # joining throws the other one out
                    await self._join(self._limits.connect_timeout_s, opening)
                finally:
                    opening.cancel()
        except FaceUnloadable as failed:
            raise AttemptFailed("avatar.load_failed", f"The avatar's face cannot be loaded: {failed}.") from None
        except TimeoutError:
            raise AttemptFailed("start_timeout", "No frame could be published in time.") from None
        except RoomError as failed:
            raise AttemptFailed(failed.code, str(failed)) from None
        self._timers.first_frame(time.monotonic())
        self._reporter.first_frame(self._mark.facts if self._mark is not None else None)
        if self._attempt > 1 and self._task.resume_played_ms is not None:
            # The agent still waits for the segment that the lost attempt was playing.
            self._link.agent = self._link.agent or next(iter(self._room.others if self._room else ()), None)
            self._link.finished(Finish("lost", self._task.resume_played_ms / 1000, interrupted=True))
        self._vital.append(self._tasks.spawn(self._beats(), "heartbeats"))

    async def _join(self, timeout_s: float, opening: asyncio.Task[None] | None = None) -> None:
        """A room with both tracks and the first frame in it; the face opens while the room is joined."""
        self._gone = asyncio.get_running_loop().create_future()
        policy = AddressPolicy(self._limits.permitted_networks)
        room = self._room = LiveRoom(self._task, self._frame, self, self._ears, policy)
        self._reporter.reached("received")
        await room.join(timeout_s)
        self._link.agent = room.behalf or self._link.agent
        self._attributes.joined(room.participant)
        self.on_speakers(set())  # whoever spoke on a connection before: this one tells of its own
        self._reporter.joined()
        if opening is not None:
            await opening
        await room.publish()
        self._reporter.reached("published")
        await self._tick(room)

    async def _rejoin(self, evicted: bool) -> None:
        """Only with a valid lease: without one somebody else may be in the room by right."""
        self._media.meter.pause()
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
        raise AttemptFailed("transport.disconnected", "The connection to LiveKit was lost and did not come back.")

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
        played = await self._media.tick(room)
        for _ in played.started:
            self._link.started()
        for finish in played.finishes:
            self._link.finished(finish)
        if played.heard_at is not None:
            self._timers.active(played.heard_at)
        if played.audible:
            self._reporter.first_audio()
        for measure, seconds in played.measured:
            self._reporter.measured(measure, seconds)
        if played.notice is not None:
            log.warning("audio stalled" if isinstance(played.notice, Stalled) else "audio resumed")
            self._reporter.noticed(played.notice)
        self._reporter.playing(self._media.open_segment)
        self._attributes.show("degraded" if self._face.lost or self._media.stalled else "running")

    def _check_time(self, now: float) -> None:
        over = self._timers.over(now)
        if over is not None:
            self.request_end(over)
        left = self._timers.expires_in_ms(now)
        if left is not None:
            self._reporter.expiring(left)
        if (
            self._task.synthetic_audio_if_no_input
            and not self._media.tone
            and not self._heard_anybody
            and now - self._timers.started_at > _SYNTHETIC_AFTER_S
        ):
            self._media.tone = True
            self._reporter.synthetic_audio(self._media.meter.read().billable_ms)

    async def _beats(self) -> None:
        """Each few seconds. When the worker begins to leave, more often, so that the roster sees a silence at once."""
        hasty = _DRAINING_BEATS
        while True:
            if not self._draining.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._limits.heartbeat_s):
                        await self._draining.wait()
            elif hasty:
                hasty -= 1
                await asyncio.sleep(min(_DRAINING_BEAT_S, self._limits.heartbeat_s))
            else:
                await asyncio.sleep(self._limits.heartbeat_s)
            self._reporter.heartbeat(self._media.meter, self._media.open_segment)

    async def _leave(self) -> None:
        """Finish what is open, so that the agent never waits for a segment of a face that has left."""
        if self._room is None:
            return
        self._attributes.show("ending")
        self._interrupt(self._room)
        await self._link.flush(_FLUSH_S)
        await self._room.leave()

    def _interrupt(self, room: LiveRoom) -> None:
        for finish in self._media.interrupt(room):
            self._link.finished(finish)

    # What the room says

    def on_heard(self) -> None:
        self._timers.active(time.monotonic())

    def on_speakers(self, identities: Set[str]) -> None:
        if identities:
            self.on_heard()
        voices = {self._task.worker_identity, self._link.agent, self._ears.choice.speaker}
        self._cues.speakers(identities, {voice for voice in voices if voice is not None})

    def on_mood(self, identity: str, mood: Mood) -> bool:
        """The agent's, as `on_clear`."""
        if identity != self._link.agent:
            return False
        self._cues.mood(mood)
        return True

    async def on_clear(self, identity: str) -> bool:
        """The agent was interrupted. Others may not clear; nor does a clear make anybody the agent."""
        if self._room is None or identity != self._link.agent:
            return False
        for finish in self._media.clear(self._room):
            self._link.finished(finish)
        return True

    def on_voice(self) -> None:
        self._heard_anybody = True
        self._media.tone = False

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
        self._timers.agent(self._link.agent is None or self._link.agent in others, time.monotonic())


def _face(start: Start, frame: Format) -> SessionFace:
    task = start.task
    face: SessionFace
    if "mock" in (task.quality, task.runtime_type):
        face = MockFace(task.avatar_id, frame)
    else:
        path = Path(start.renderer or "no-renderer")
        face = RenderedFace(path, task.avatar_id, task.face, frame, seed_of(task.session_id))
    return face if task.label is None else LabelledFace(face, task.label, frame)
