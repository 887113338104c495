"""What a session process says of its attempt: the events themselves, which its supervisor appends as they are.

If the process dies between two of them, the supervisor says the last one in its place: that the attempt is lost.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from importlib.metadata import version

from schemas.events import (
    EndReason,
    EventMark,
    FailureCode,
    LossReason,
    Meter,
    Segment,
    SessionAttemptLost,
    SessionAudioResumed,
    SessionAudioStalled,
    SessionEnded,
    SessionEnding,
    SessionExpiring,
    SessionFailed,
    SessionFirstAudio,
    SessionFirstFrame,
    SessionHeartbeat,
    SessionJoined,
    SessionSyntheticAudioStarted,
)
from schemas.times import now_ms
from workers.messages import AttemptEvent, Measure, Measured, Playing, Said, Start, ToSession
from workers.meter import MediaMeter
from workers.pipe import Pipe
from workers.stalls import Resumed, Stalled

_TELL_EVERY_S = 0.5
_MOST_CLEARS = 1000


class Reporter:
    """Makes the events of one attempt. `n` numbers its meter readings, that of the terminal event included."""

    def __init__(self, pipe: Pipe[ToSession], start: Start) -> None:
        self._pipe = pipe
        self._whose = (start.task.session_id, start.attempt, start.worker_id)
        self._accepted_ms = start.task.accepted_ms
        self._latencies_ms: dict[str, int] = {}
        self._n = 0
        self._told: Segment | None = None
        self._told_at = 0.0
        self._audible = False
        self._clears_ms: deque[int] = deque(maxlen=_MOST_CLEARS)

    def reached(self, phase: str) -> None:
        """On the way to the first frame. The first time counts: a rejoin is no start."""
        self._latencies_ms.setdefault(phase, max(0, now_ms() - self._accepted_ms))

    def joined(self) -> None:
        if "joined" not in self._latencies_ms:
            self.reached("joined")
            sdk = {"livekit": version("livekit"), "greenroom": version("greenroom")}
            self._say(SessionJoined(*self._whose, sdk=sdk))

    def first_frame(self, mark: EventMark | None = None) -> None:
        self.reached("first_frame")
        self._say(SessionFirstFrame(*self._whose, latencies_ms=self._latencies_ms, mark=mark))

    def first_audio(self) -> None:
        """At each sound; the first one counts."""
        if not self._audible:
            self._audible = True
            self._say(SessionFirstAudio(*self._whose, latency_ms=max(0, now_ms() - self._accepted_ms)))

    def noticed(self, notice: Stalled | Resumed) -> None:
        said = SessionAudioStalled if isinstance(notice, Stalled) else SessionAudioResumed
        self._say(said(*self._whose, since_ms=notice.since_ms))

    def measured(self, measure: Measure, seconds: float) -> None:
        if measure == "clear_to_silence":
            self._clears_ms.append(round(seconds * 1000))
        self._pipe.send(Measured(measure, seconds))

    @property
    def _clear_ms(self) -> int | None:
        return round(statistics.median(self._clears_ms)) if self._clears_ms else None

    def heartbeat(self, meter: MediaMeter, segment: Segment | None) -> None:
        beat = SessionHeartbeat(
            *self._whose,
            n=self._next(),
            meter=meter.read(),
            segment=segment,
            late_frames=meter.late_frames,
            dropped_frames=meter.dropped_frames,
            skew_ms=meter.skew_ms(),
        )
        self._say(beat)

    def expiring(self, ends_in_ms: int) -> None:
        self._say(SessionExpiring(*self._whose, ends_in_ms=ends_in_ms))

    def synthetic_audio(self, since_ms: int) -> None:
        self._say(SessionSyntheticAudioStarted(*self._whose, since_ms=since_ms))

    def ending(self, reason: EndReason) -> None:
        self._say(SessionEnding(*self._whose, reason=reason))

    def ended(self, reason: EndReason, meter: Meter) -> None:
        sid, attempt, worker_id = self._whose
        n, clear_ms = self._next(), self._clear_ms
        self._say(
            SessionEnded(sid, attempt, reason, worker_id=worker_id, n=n, meter=meter, clear_to_silence_ms=clear_ms)
        )

    def failed(self, code: FailureCode, message: str, meter: Meter) -> None:
        sid, attempt, worker_id = self._whose
        n, clear_ms = self._next(), self._clear_ms
        self._say(
            SessionFailed(
                sid, attempt, code, message, worker_id=worker_id, n=n, meter=meter, clear_to_silence_ms=clear_ms
            )
        )

    def lost(self, reason: LossReason) -> None:
        """The agent was told the end of every utterance, and the room was left: nothing is open."""
        self._say(SessionAttemptLost(*self._whose, reason=reason, segment=None))

    def playing(self, segment: Segment | None) -> None:
        """At each tick. What the next attempt has to know, should this process die in the next moment."""
        told, now = self._told, time.monotonic()
        if (segment and segment.id) != (told and told.id) or (segment and now - self._told_at > _TELL_EVERY_S):
            self._told, self._told_at = segment, now
            self._pipe.send(Playing(segment))

    def _next(self) -> int:
        self._n += 1
        return self._n

    def _say(self, event: AttemptEvent) -> None:
        self._pipe.send(Said.of(event))
