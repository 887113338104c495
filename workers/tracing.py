"""The spans of one attempt, as its supervisor hears of it: accept, join, first frame, play, end, one after the other.

Each is sent when it is over, so a supervisor that dies takes one with it, and leaves none that waits for its parent.
"""

from __future__ import annotations

from msgspec import Struct

from events import tracing
from schemas.events import (
    SessionAttemptLost,
    SessionDeclined,
    SessionEnded,
    SessionEnding,
    SessionFailed,
    SessionFirstFrame,
    SessionJoined,
)
from schemas.logs import trace_fields
from workers.metrics import PHASES

ACCEPT, JOIN, FIRST_FRAME, PLAY, END = "accept", "join", "first frame", "play", "end"


class AttemptSpans:
    """`parent`: the `ce_traceparent` of the command, which may be anything. `traceparent`: of what follows from this
    attempt. Where traces are off it is None, and nothing happens."""

    def __init__(self, parent: str | None, session_id: str, attempt: int, worker_id: str) -> None:
        self._about = tracing.of_attempt(session_id, attempt, worker_id)
        self._open: tracing.Span | None = tracing.begin(ACCEPT, parent, "consumer", self._about)
        self.traceparent = self._open.traceparent
        self._error: str | None = None

    @property
    def logged(self) -> dict[str, str]:
        return trace_fields(self.traceparent)

    def given(self) -> None:
        """A warm process has the task."""
        self._next(JOIN)

    def said(self, data: Struct) -> None:
        """An event of the attempt, in the order of the log."""
        match data:
            case SessionJoined():
                self._next(FIRST_FRAME)
            case SessionFirstFrame(latencies_ms=reached):
                for phase in PHASES:
                    if phase in reached:
                        self._note(f"{phase}_ms", reached[phase])  # since the POST
                self._next(PLAY)
            case SessionEnding(reason=reason):
                self._next(END)
                self._note("reason", reason)
            case SessionEnded(meter=meter) if meter is not None:
                self._note("frames", meter.frames)
                self._note("billable_ms", meter.billable_ms)
            case SessionFailed(code=reason) | SessionAttemptLost(reason=reason) | SessionDeclined(reason=reason):
                self._error = reason

    def close(self) -> None:
        """Its last word is in the log, or never will be. May be called twice."""
        if self._open is not None:
            self._open.end(self._error)
            self._open = None

    def _next(self, name: str) -> None:
        self.close()
        self._open = tracing.begin(name, self.traceparent, "internal", self._about)

    def _note(self, name: str, value: str | int) -> None:
        if self._open is not None:
            self._open.note({f"greenroom.{name}": value})
