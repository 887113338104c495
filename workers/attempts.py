"""An attempt that this worker holds, as its supervisor knows it: what it has proved, and how it ends in the log."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import msgspec

from events.codec import type_decoders
from schemas.events import (
    EndReason,
    FailureCode,
    Meter,
    SessionEnded,
    SessionEnding,
    SessionFailed,
    SessionHeartbeat,
    SessionStarting,
)
from workers.appending import EventAppender
from workers.children import Child
from workers.messages import AttemptEvent, Said


class NotAnEvent(Exception):
    """What a session process said is no event, or none that it has to say."""


def read(said: Said) -> AttemptEvent:
    """Raises NotAnEvent."""
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
    `n`, `meter`: of its last heartbeat. They are all that is left of a process that died.
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
    over: bool = False

    def started(self) -> None:
        self.appender.append(SessionStarting(self.session_id, self.number, self.worker_id))

    def hear(self, said: Said) -> AttemptEvent:
        """What its process says, appended as it is. Raises NotAnEvent, also for what is of another attempt."""
        event = read(said)
        if (event.session_id, event.attempt, event.worker_id) != (self.session_id, self.number, self.worker_id):
            raise NotAnEvent(f"{said.event_type} of another session, attempt or worker")
        if isinstance(event, SessionHeartbeat | SessionEnded | SessionFailed) and event.n != self.n + 1:
            raise NotAnEvent(f"{said.event_type} has another number than the next")
        self.appender.append(event)
        if isinstance(event, SessionHeartbeat):
            self.n, self.meter = event.n, event.meter
        self.over = self.over or isinstance(event, SessionEnded | SessionFailed)
        return event

    def ended(self, reason: EndReason) -> None:
        """Told to end before a process had it."""
        sid, worker = self.session_id, self.worker_id
        self.appender.append(SessionEnding(sid, self.number, worker, reason))
        self.appender.append(
            SessionEnded(sid, self.number, reason, worker_id=worker, n=self.n + 1, meter=self.meter),
        )
        self.over = True

    def failed(self, code: FailureCode, message: str) -> None:
        """The last word, in place of a process that is gone or never came: as much as it had proved."""
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
        self.over = True
