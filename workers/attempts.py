"""An attempt that this worker holds, as its supervisor knows it: what it has proved, and how it ends in the log."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import msgspec

from events.codec import type_decoders
from schemas.events import (
    EndReason,
    EventMark,
    FailureCode,
    LossReason,
    Meter,
    Segment,
    SessionAttemptLost,
    SessionAudioStalled,
    SessionEnded,
    SessionEnding,
    SessionFailed,
    SessionFirstAudio,
    SessionFirstFrame,
    SessionHeartbeat,
    SessionStarting,
)
from workers import metrics
from workers.appending import EventAppender
from workers.children import Child
from workers.mark import MarkMaker
from workers.messages import SEGMENT_CHARS, AttemptEvent, FromSession, Lease, Measured, Playing, Said


class NotAnEvent(Exception):
    """What a session process said is no event, or none that it has to say."""


_MOST_BYTES = 64 * 1024
"""Of an event: none of ours comes near, and Kafka takes a megabyte."""
_LONGEST_S = 24 * 3600.0


def read(said: Said) -> AttemptEvent:
    """Raises NotAnEvent."""
    if len(said.data) > _MOST_BYTES:
        raise NotAnEvent(f"an event of {len(said.data)} bytes")
    try:
        event = type_decoders[said.event_type].decode(said.data)
    except KeyError:
        raise NotAnEvent("no such type") from None
    except (msgspec.MsgspecError, ValueError, RecursionError) as wrong:
        raise NotAnEvent(f"{said.event_type}: {wrong}") from None
    if not isinstance(event, AttemptEvent):
        raise NotAnEvent(f"{said.event_type} is not for a session process to say")
    return event


@dataclass
class HeldAttempt:
    """`child` is None until a warm one is there; `over`: only its last events are on their way.

    `deadline`: loop time of the first frame at the latest. `patience`: the wait for a child, while there is one.
    `n`, `meter`: of its last heartbeat; `segment`: the utterance that the agent waits for. They are all that is left of
    a process that died. `late`, `dropped`: frames. `mark`: None where its frames have none.
    """

    session_id: str
    number: int
    worker_id: str
    appender: EventAppender
    deadline: float
    child: Child | None = None
    patience: asyncio.Timeout | None = None
    end: EndReason | None = None
    n: int = 0
    meter: Meter = field(default_factory=lambda: Meter(0, 0, 0))
    segment: Segment | None = None
    late: int = 0
    dropped: int = 0
    over: bool = False
    mark: MarkMaker | None = None

    def renew(self, renewed_at: float) -> None:
        """The lease holds from then on; and what it marks frames with in the next minutes."""
        if self.child is not None:
            self.child.pipe.send(Lease(renewed_at))
            if self.mark is not None and (more := self.mark.more()) is not None:
                self.child.pipe.send(more)

    def started(self) -> None:
        self.appender.append(SessionStarting(self.session_id, self.number, self.worker_id))

    def hear(self, said: Said) -> AttemptEvent:
        """What its process says, appended as it is. Raises NotAnEvent, also for what is of another attempt."""
        event = read(said)
        if (event.session_id, event.attempt, event.worker_id) != (self.session_id, self.number, self.worker_id):
            raise NotAnEvent(f"{said.event_type} of another session, attempt or worker")
        if isinstance(event, SessionHeartbeat | SessionEnded | SessionFailed) and event.n != self.n + 1:
            raise NotAnEvent(f"{said.event_type} has another number than the next")
        if isinstance(event, SessionFirstFrame) and not self._marked_so(event.mark):
            raise NotAnEvent(f"{said.event_type} has another mark than was told")
        self.appender.append(event)
        self._measure(event)
        if isinstance(event, SessionHeartbeat):
            self.n, self.meter = event.n, event.meter
            self.late, self.dropped = event.late_frames, event.dropped_frames
        self.over = self.over or isinstance(event, SessionEnded | SessionFailed | SessionAttemptLost)
        return event

    def _marked_so(self, said: EventMark | None) -> bool:
        told = (self.mark.key_id, self.mark.tag) if self.mark is not None else None
        return told == ((said.key_id, said.tag) if said is not None else None)

    def note(self, said: FromSession) -> None:
        """What its process says beside events. Raises NotAnEvent for what no log should hold, and no metric."""
        if isinstance(said, Playing):
            segment = said.segment
            if segment is not None and not (len(segment.id) <= SEGMENT_CHARS and segment.played_ms >= 0):
                raise NotAnEvent("an utterance whose id or position is none")
            self.segment = segment
        elif isinstance(said, Measured):
            if not 0 <= said.seconds <= _LONGEST_S:
                raise NotAnEvent(f"{said.measure} of {said.seconds} s")
            metrics.MEASURES[said.measure].observe(said.seconds)

    def _measure(self, event: AttemptEvent) -> None:
        """What a session process says is no truth to build on: no label is of its making, no counter goes back."""
        if isinstance(event, SessionHeartbeat):
            metrics.FRAMES.inc(max(0, event.meter.frames - self.meter.frames))
            metrics.BILLABLE.inc(max(0, event.meter.billable_ms - self.meter.billable_ms) / 1000)
            metrics.LATE.inc(max(0, event.late_frames - self.late))
            metrics.DROPPED.inc(max(0, event.dropped_frames - self.dropped))
        elif isinstance(event, SessionFirstFrame) and self.number == 1:
            for phase in metrics.PHASES:
                if phase in event.latencies_ms:
                    metrics.FIRST_FRAME.labels(phase).observe(event.latencies_ms[phase] / 1000)
            if "published" in event.latencies_ms:
                metrics.JOIN_LATENCY.observe(event.latencies_ms["published"] / 1000)
        elif isinstance(event, SessionFirstAudio) and self.number == 1:
            metrics.FIRST_AUDIO.observe(max(0, event.latency_ms) / 1000)
        elif isinstance(event, SessionAudioStalled):
            metrics.STALLS.inc()
        elif isinstance(event, SessionEnded) and not self.over:
            metrics.ATTEMPTS.labels("ended", event.reason).inc()
        elif isinstance(event, SessionFailed) and not self.over:
            metrics.ATTEMPTS.labels("failed", event.code).inc()
        elif isinstance(event, SessionAttemptLost) and not self.over:
            metrics.ATTEMPTS.labels("lost", event.reason).inc()

    def ended(self, reason: EndReason) -> None:
        """Told to end before a process had it, or when it had died of something else."""
        sid, worker = self.session_id, self.worker_id
        self.appender.append(SessionEnding(sid, self.number, worker, reason))
        self.appender.append(
            SessionEnded(sid, self.number, reason, worker_id=worker, n=self.n + 1, meter=self.meter),
        )
        metrics.ATTEMPTS.labels("ended", reason).inc()
        self.over = True

    def lost(self, reason: LossReason) -> None:
        """In place of a process that is gone: the roster has another one go on, here or elsewhere."""
        self.appender.append(SessionAttemptLost(self.session_id, self.number, self.worker_id, reason, self.segment))
        metrics.ATTEMPTS.labels("lost", reason).inc()
        self.over = True

    def failed(self, code: FailureCode, message: str) -> None:
        """The last word, in place of a process that never came."""
        self.appender.append(
            SessionFailed(
                self.session_id,
                self.number,
                code,
                message,
                worker_id=self.worker_id,
                n=self.n + 1,
                meter=self.meter,
            )
        )
        metrics.ATTEMPTS.labels("failed", code).inc()
        self.over = True
