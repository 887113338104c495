"""The roster: gives back what ended sessions held, replaces lost workers, and sweeps.

A reactor: it never changes a session itself. It appends decisions with the seq that it saw; the fold rejects a decision
that was made on something older, and the next tick decides anew.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import assert_never

import structlog
from aiokafka.errors import KafkaError

from events import tracing
from events.producer import UnknownOutcome
from events.session_state import State, Status
from events.tracing import Span
from projections import names
from projections.folding import Refusal, SessionChange, SessionsFolded
from projections.states import SessionStates
from reactors import roster_metrics as metrics
from reactors.decisions import Assign, Close, Decision, Fail, RequestEnd, decide, own_slot, silent
from reactors.directory import Directory
from reactors.dispatch import Dispatch
from reactors.noticed import Asked, Dropped
from reactors.prune import prune
from reactors.settings import ProjectSettings
from reactors.settling import Settling
from reactors.spending import Spending
from schemas.background import Background
from schemas.events import (
    TYPE_OF,
    AssignReason,
    SessionAssigned,
    SessionAttemptLost,
    SessionCreated,
    SessionDeclined,
    SessionEnded,
    SessionEndRequested,
    SessionEvent,
    SessionFailed,
    WorkerEvent,
)
from schemas.logs import trace_fields
from schemas.times import now_ms
from store import admissions, slots
from store.database import Connection, DatabaseUnreachable, Pool

log = structlog.get_logger()

_TICK_S = 1.0
_SETTLE_EVERY_S = 3.0
_PRUNE_EVERY_S = 3600.0
_FIRST_PRUNE_S = 60.0

_SPANS = {Assign: "assign", RequestEnd: "request end", Close: "close", Fail: "fail"}
"""Decisions, as a session's trace has them."""
_MESSAGES = {
    "renderer.crashed": "Each process that played the session ended unexpectedly; create the session again.",
    "start_timeout": "No worker could start the session in time; create it again.",
    "worker_lost": "The worker was lost and none could take over; create the session again.",
}


class Roster(SessionStates):
    """A projection (slots and admissions follow the log) with a clock (`run`)."""

    name = names.ROSTER

    def __init__(
        self, settings: ProjectSettings, pool: Pool, directory: Directory, dispatch: Dispatch, spending: Spending
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._directory = directory
        self._dispatch = dispatch
        self._settling = Settling(settings, pool, dispatch)
        self._spending = spending
        self._partitions: frozenset[int] = frozenset()
        self._live: dict[str, State] = {}
        self._asked = Asked()
        self._missing = Dropped()
        self._background = Background()
        self._tell()

    def _tell(self) -> None:
        for status in metrics.STATUSES:
            metrics.SESSIONS.labels(status).set_function(partial(self._count, status))
        for phase in metrics.PHASES:
            metrics.WORKERS.labels(phase).set_function(partial(self._directory.count, phase))
        metrics.AT_END_AGE.set_function(lambda: self._directory.unread_s)

    def _count(self, status: Status) -> int:
        return sum(state.status == status for state in self._live.values())

    # The projection

    async def assigned(self, connection: Connection, partitions: frozenset[int]) -> None:
        self._live = await self.live(connection, partitions)
        self._partitions = partitions
        self._asked.clear()
        self._missing.clear()

    async def apply(self, connection: Connection, folded: SessionsFolded) -> None:
        """Accounts before admissions before slots, as everywhere."""
        over = [sid for sid, state in folded.states.items() if state.terminal]
        if over:
            await admissions.release(connection, over, hidden=[sid for sid in over if folded.states[sid].hidden])
        assigned = (c.event.data for c in folded.changes if isinstance(c.event.data, SessionAssigned))
        moved = {data.session_id: _move(data) for data in assigned}  # of two in one batch the latest counts
        if moved:
            await admissions.moved(connection, {move.session_id: move.worker_id for move in moved.values()})
            await slots.accepted(connection, list(moved.values()))
        refused = [_move(r.event.data) for r in folded.refusals if _is_refused_move(r)]
        if refused:
            await slots.refused(connection, refused)
        await self.save(connection, folded)

    async def committed(self, folded: SessionsFolded) -> None:
        """Sends follow from what is stored now. If the process dies in here, `run` finds the same work again."""
        before = {sid: self._live[sid] for sid in folded.states if sid in self._live}
        for sid, state in folded.states.items():
            if state.terminal:
                self._live.pop(sid, None)
                self._missing.forget(sid)
            else:
                self._live[sid] = state
        try:
            await self._settling.end_orphans(self._live, [c.event.subject for c in folded.changes if _is_created(c)])
            for change in folded.changes:
                await self._react(change, before.get(change.event.subject))
            for refusal in folded.refusals:
                await self._correct(refusal)
        except (UnknownOutcome, DatabaseUnreachable) as failed:
            log.warning("reaction failed; the tick repeats it", error=repr(failed))

    async def _react(self, change: SessionChange, before: State | None) -> None:
        state = change.evolved.state
        if isinstance(change.event.data, SessionAssigned):
            if state.handed_over and before is not None and before.attempt_phase == "playing":
                await self._dispatch.hand_over(before.worker_id, state.session_id, before.attempt)
            await self._dispatch.task(state, change.event.traceparent)
        elif isinstance(change.event.data, SessionAttemptLost | SessionDeclined):
            await self._consider(state, now_ms())  # somebody waits for a face
        elif isinstance(change.event.data, SessionEndRequested) and not state.terminal:
            await self._dispatch.end(state.worker_id, state.session_id, state.attempt, change.event.data.reason)

    async def _correct(self, refusal: Refusal[State]) -> None:
        """A worker that speaks for a session that is over or no longer its own is told to leave the room."""
        data = refusal.event.data
        if not isinstance(data, WorkerEvent) or refusal.state is None:
            return
        if refusal.rejected.reason == "stale_attempt" and refusal.state.handed_over:
            await self._dispatch.hand_over(data.worker_id, data.session_id, data.attempt)
        elif refusal.rejected.reason in ("terminal", "stale_attempt"):
            reason = refusal.state.end_reason or "superseded"
            await self._dispatch.end(data.worker_id, data.session_id, data.attempt, reason)

    # The clock

    async def run(self) -> None:
        """Tick for ever: what a missed or failed reaction left undone is found again here."""
        settled = time.monotonic()
        pruned = settled - _PRUNE_EVERY_S + _FIRST_PRUNE_S
        while True:
            await asyncio.sleep(_TICK_S)
            try:
                await self._tick()
                if time.monotonic() - settled > _SETTLE_EVERY_S:
                    await self._settling.settle(self._partitions)
                    going = [sid for sid, state in self._live.items() if not state.end_requested]
                    await self._settling.end_orphans(self._live, going)
                    settled = time.monotonic()
                if time.monotonic() - pruned > _PRUNE_EVERY_S:
                    pruned = time.monotonic()
                    self._background.spawn(self._prune(), "prune")
            except (UnknownOutcome, DatabaseUnreachable, KafkaError, TimeoutError) as failed:
                log.warning("tick failed", error=repr(failed))

    async def _tick(self) -> None:
        now = now_ms()
        for sid, state in list(self._live.items()):
            if self._live.get(sid) is not state:
                continue  # changed while an earlier one was worked on
            if state.end_requested and not self._directory.gone(state.worker_id):
                await self._dispatch.end(state.worker_id, sid, state.attempt, state.end_requested)
            decision = await self._consider(state, now)
            if decision is None and silent(state, now) and self._asked.may_send_task(sid, state.attempt):
                await self._dispatch.task(state)  # the command may have been lost; whoever holds it does not mind

    async def _consider(self, state: State, now: int) -> Decision | None:
        """Decide what it needs, and do that, unless it was done just now."""
        gone = self._directory.gone(state.worker_id)
        draining_since = self._directory.draining_since(state.worker_id)
        decision = decide(state, now, gone, self._dropped(state), self._exhausted(state), draining_since)
        if decision is not None and self._asked.may_ask(state.session_id, state.seq):
            await self._carry_out(state, decision)
        return decision

    def _dropped(self, state: State) -> bool:
        seen = self._directory.seen(state.worker_id)
        return seen is not None and self._directory.at_end and self._missing.dropped(state, seen.state, seen.records)

    def _exhausted(self, state: State) -> bool:
        created = state.created
        return created is not None and self._spending.exhausted(created.account_id, created.api_key_id)

    async def _carry_out(self, state: State, decision: Decision) -> None:
        sid, seq = state.session_id, state.seq
        span = tracing.begin(_SPANS[type(decision)], await self._dispatch.trace(state))
        match decision:
            case Assign(reason, otherwise):
                if not await self._assign(state, reason, span) and otherwise is not None:
                    await self._carry_out(state, otherwise)
            case RequestEnd(reason):
                await self._append(state, SessionEndRequested(sid, "roster", reason, expected_seq=seq), reason, span)
            case Close(reason):
                await self._append(state, SessionEnded(sid, state.attempt, reason, expected_seq=seq), reason, span)
            case Fail(code):
                failed = SessionFailed(sid, state.attempt, code, _MESSAGES[code], expected_seq=seq)
                await self._append(state, failed, code, span)
            case _:
                assert_never(decision)

    async def _assign(self, state: State, reason: AssignReason, span: Span) -> bool:
        """Choose a slot and append the decision. The command follows when it is read back as accepted."""
        assert state.created is not None
        sid, attempt, seq = state.session_id, state.attempt + 1, state.seq
        async with self._pool.connection() as connection:
            worker_id = await slots.reserve(connection, sid, state.created.quality, attempt, seq, own_slot(state))
        if worker_id is None:
            self._asked.take_back(sid, seq)  # nothing was asked: look again at the next tick
            return False
        await self._append(state, SessionAssigned(sid, attempt, worker_id, reason, expected_seq=seq), reason, span)
        return True

    async def _append(self, state: State, data: SessionEvent, reason: str, span: Span) -> None:
        """`span`: of the decision. One that comes to nothing, for want of a slot, is never ended, and so not told."""
        kind, sid = TYPE_OF[type(data)], state.session_id
        whose = data if isinstance(data, SessionAssigned) else state
        trace = trace_fields(span.traceparent)
        log.info("decided", session_id=sid, attempt=whose.attempt, type=kind, seq=state.seq, **trace)
        metrics.DECISIONS.labels(kind, reason).inc()
        with span:
            span.note({**tracing.of_attempt(sid, whose.attempt, whose.worker_id), "greenroom.reason": reason})
            await self._dispatch.append(data, state.created.account_id if state.created else None, span.traceparent)

    async def _prune(self) -> None:
        try:
            counts = await prune(self._pool, self._settings)
        except DatabaseUnreachable as failed:
            log.warning("pruning failed; the next hour's run goes on", error=str(failed))
            return
        if any(counts.values()):
            log.info("pruned", **counts)


def _move(data: object) -> slots.Move:
    assert isinstance(data, SessionAssigned)
    return slots.Move(data.session_id, data.attempt, data.worker_id, data.expected_seq)


def _is_refused_move(refusal: Refusal[State]) -> bool:
    """Not when it says again what was accepted: two rosters that decided the same."""
    data, state = refusal.event.data, refusal.state
    if not isinstance(data, SessionAssigned):
        return False
    return state is None or (state.attempt, state.worker_id) != (data.attempt, data.worker_id)


def _is_created(change: SessionChange) -> bool:
    return isinstance(change.event.data, SessionCreated)
