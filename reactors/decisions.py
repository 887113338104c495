"""What a session needs of the roster: pure."""

from __future__ import annotations

from dataclasses import dataclass

from events.session_state import State
from schemas.events import AssignReason, EndReason, FailureCode, RequestReason
from store.slots import OwnSlot

MAX_ATTEMPTS = 3
MAX_DECLINES = 10
"""Two full workers would hand a session to and fro without end."""
SILENT_MS = 20_000
REPEAT_TASK_MS = 5000
START_DEADLINE_MS = 45_000
REPLACE_WITHIN_MS = 45_000
"""Of silence in the log: a face that was gone for longer is not brought back."""
OVERTIME_MS = 15_000
"""The worker ends the session itself; this is for one that does not."""
ENDING_MS = 30_000
PATIENCE_MS = 4_000
"""For the end of an utterance. A worker's grace is longer by the time that a start takes."""
HANDOVER_RULES = 2
"""Sessions of older rules may be read by software that does not know the reason."""


@dataclass(frozen=True)
class RequestEnd:
    reason: RequestReason


@dataclass(frozen=True)
class Close:
    """In the place of a worker that will not say it any more."""

    reason: EndReason


@dataclass(frozen=True)
class Fail:
    code: FailureCode


@dataclass(frozen=True)
class Assign:
    """To another worker, or another process of the same.

    `otherwise`: what to do when no slot is free (None: try again at the next tick).
    """

    reason: AssignReason
    otherwise: Fail | None = None


Decision = RequestEnd | Close | Fail | Assign


def decide(
    state: State,
    now: int,
    worker_gone: bool,
    dropped: bool,
    exhausted: bool = False,
    draining_since: int | None = None,
) -> Decision | None:
    """The next step for a live session at epoch ms `now`.

    `worker_gone`: its worker stopped or is lost. `dropped`: its worker lives and does not hold it any more.
    `exhausted`: its account or key may spend nothing more. `draining_since`: epoch ms since when its worker lets go.
    """
    created = state.created
    if created is None or state.terminal:
        return None
    dead = state.attempt_phase == "lost"
    lost = dead or worker_gone or (dropped and state.attempt_phase in ("started", "playing"))
    if state.status == "ending":
        overdue = now - state.last_ms > ENDING_MS
        return Close(state.end_requested or state.ending_reason or "worker_lost") if lost or overdue else None
    if exhausted:
        return RequestEnd("credit_exhausted")
    if state.started_ms is not None and now - state.started_ms > created.max_duration_seconds * 1000 + OVERTIME_MS:
        return RequestEnd("max_duration")
    if not state.started and now - state.created_ms > START_DEADLINE_MS:
        return Fail("start_timeout")
    too_late = state.started and now - state.last_append_ms > REPLACE_WITHIN_MS
    if state.attempt_phase == "declined":
        fail = Fail("worker_lost" if state.started else "start_timeout")
        return fail if state.declines >= MAX_DECLINES else Assign("declined", otherwise=fail if too_late else None)
    used_up = _tries(state) >= MAX_ATTEMPTS
    if lost:
        fail = Fail("renderer.crashed" if dead else "worker_lost")
        return fail if used_up else Assign("worker_lost", otherwise=fail if too_late else None)
    if state.attempt_phase == "assigned" and now - state.attempt_append_ms > SILENT_MS:
        return Fail("start_timeout") if used_up else Assign("start_timeout")
    if draining_since is not None and _may_move(state, now, draining_since):
        return Assign("worker_draining")
    return None


def _may_move(state: State, now: int, draining_since: int) -> bool:
    """Whether another worker may take over what plays: between two utterances, if there is time to wait for that.

    A draining worker says twice a second how it is; what it said before is too old to go by.
    """
    if state.attempt_phase != "playing" or state.created is None or state.created.rules < HANDOVER_RULES:
        return False
    silent = state.segment is None and state.last_append_ms > draining_since
    return silent or now - draining_since > PATIENCE_MS


def own_slot(state: State) -> OwnSlot | None:
    """Whether the slot that a lost attempt leaves is taken for the next one: its worker lives, and has the face.

    A second loss, or one of the renderer, may be that machine's fault: others are tried first then.
    """
    if state.attempt_phase != "lost":
        return None
    return "first" if _tries(state) == 1 and state.loss != "renderer_lost" else "last"


def _tries(state: State) -> int:
    """Attempts, the present one included, that were neither declined nor begun to take over from one that played."""
    return state.attempt - state.declines - state.handovers


def silent(state: State, now: int) -> bool:
    """Whether the command to its worker may have been lost: it is to be sent again."""
    return state.attempt_phase == "assigned" and now - state.attempt_append_ms > REPEAT_TASK_MS
