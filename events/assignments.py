"""Commands to one worker, as events of `assignments.v1`. One that is lost is the roster's to repair."""

from __future__ import annotations

from events.codec import Event, new_event
from events.sealing import seal
from schemas.assignments import Task
from schemas.events import (
    AssignmentAssign,
    AssignmentDrain,
    AssignmentEnd,
    AssignmentHandOver,
    AssignmentRetire,
    EndReason,
)

WHICHEVER = 0
"""As an attempt of `end`: whichever attempt of the session the worker holds."""


def assign(
    task: Task, attempt: int, worker_id: str, public_key: str, source: str, traceparent: str | None = None
) -> Event:
    """The task, readable by this worker alone and for this attempt alone. `traceparent`: of the decision, if known."""
    sealed = seal(task, attempt, worker_id, public_key)
    data = AssignmentAssign(worker_id, task.session_id, attempt, sealed)
    follows = traceparent or task.traceparent
    return new_event(data, source=source, subject=worker_id, correlation=task.request_id, traceparent=follows)


def end(
    worker_id: str, session_id: str, attempt: int, reason: EndReason, source: str, correlation: str | None = None
) -> Event:
    """Leave the room of this attempt."""
    data = AssignmentEnd(worker_id, session_id, attempt, reason)
    return new_event(data, source=source, subject=worker_id, correlation=correlation)


def hand_over(worker_id: str, session_id: str, attempt: int, source: str) -> Event:
    """A successor is on its way into the room of this attempt."""
    return new_event(AssignmentHandOver(worker_id, session_id, attempt), source=source, subject=worker_id)


def drain(worker_id: str, source: str) -> Event:
    """Take nothing new; end when the last session is over."""
    return new_event(AssignmentDrain(worker_id), source=source, subject=worker_id)


def retire(worker_id: str, source: str) -> Event:
    """The worker's sessions are others' by now: leave all rooms at once."""
    return new_event(AssignmentRetire(worker_id), source=source, subject=worker_id)
