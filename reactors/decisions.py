"""What a session needs of the roster: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from events.session_state import State

MAX_ATTEMPTS = 3
MAX_DECLINES = 10
"""Two full workers would hand a session to and fro without end."""
SILENT_MS = 20_000
START_DEADLINE_MS = 45_000
REPLACE_WITHIN_MS = 30_000
OVERTIME_MS = 15_000
ENDING_MS = 30_000


@dataclass(frozen=True)
class Decision:
    """What the roster wants of a session: `assign` to another worker, or one of the ends."""

    kind: Literal["assign", "end", "fail", "request_end"]
    reason: str = ""
    otherwise: Decision | None = None
    """For `assign`: what to do when no slot is free (None: try again at the next tick)."""


def decide(state: State, now: int, worker_gone: bool, dropped: bool) -> Decision | None:
    """The next step for a live session at epoch ms `now`. Pure.

    `worker_gone`: its worker stopped or is lost. `dropped`: its worker lives and does not hold it any more.
    """
    created = state.created
    if created is None or state.terminal:
        return None
    lost = worker_gone or (dropped and state.attempt_phase in ("started", "playing"))
    if state.status == "ending":
        overdue = now - state.last_ms > ENDING_MS
        return Decision("end", state.end_requested or state.ending_reason or "worker_lost") if lost or overdue else None
    if state.started_ms is not None and now - state.started_ms > created.max_duration_seconds * 1000 + OVERTIME_MS:
        return Decision("request_end", "max_duration")
    if not state.started and now - state.created_ms > START_DEADLINE_MS:
        return Decision("fail", "start_timeout")
    fail = Decision("fail", "worker_lost" if state.started else "start_timeout")
    if state.attempt_phase == "declined":
        if state.declines >= MAX_DECLINES:
            return fail
        too_late = state.started and now - state.last_append_ms > REPLACE_WITHIN_MS + 15_000
        return Decision("assign", "declined", otherwise=fail if too_late else None)
    if lost:
        fail = Decision("fail", "worker_lost")
        if state.attempt - state.declines >= MAX_ATTEMPTS:
            return fail
        too_late = state.started and now - state.last_append_ms > REPLACE_WITHIN_MS + 15_000
        return Decision("assign", "worker_lost", otherwise=fail if too_late else None)
    if state.attempt_phase == "assigned" and now - state.attempt_append_ms > SILENT_MS:
        if state.attempt - state.declines >= MAX_ATTEMPTS:
            return Decision("fail", "start_timeout")
        return Decision("assign", "start_timeout")
    return None
