"""The roster: gives back what ended sessions held, settles unknown creates, replaces lost workers, and sweeps.

A reactor: it never changes a session itself. It appends decisions with the seq that it saw; the fold rejects a decision
that was made on something older, and the next tick decides anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import structlog
from aiokafka.errors import KafkaError
from msgspec import structs

from events.codec import new_event
from events.offsets import end_offsets
from events.producer import EventProducer, UnknownOutcome
from events.sealing import Keyring, load_task, seal
from events.session_state import HIDDEN_REASON, State
from events.topics import ASSIGNMENTS, SESSIONS, partition_of
from projections import checkpoints, names
from projections.folding import Refusal, SessionChange, SessionsFolded
from projections.states import StoredStates
from reactors.decisions import Decision, decide
from reactors.directory import SOURCE, Directory
from reactors.prune import prune
from reactors.settings import ProjectSettings
from schemas.background import Background
from schemas.events import (
    AssignmentAssign,
    AssignmentEnd,
    SessionAssigned,
    SessionCreated,
    SessionEnded,
    SessionEndRequested,
    SessionEvent,
    SessionFailed,
    WorkerEvent,
)
from schemas.times import now_ms
from store import admissions, slots
from store.database import Connection, DatabaseUnreachable, Pool

log = structlog.get_logger()

SETTLE_AFTER_S = 15
REPEAT_TASK_MS = 5000
_SETTLE_WAIT_S = 3.0
_TICK_S = 1.0
_SETTLE_EVERY_S = 3.0
_ASKED_AGAIN_AFTER_S = 5.0
_PRUNE_EVERY_S = 3600.0
_FIRST_PRUNE_S = 60.0


_MESSAGES = {
    "start_timeout": "No worker could start the session in time; create it again.",
    "worker_lost": "The worker was lost and none could take over; create the session again.",
}


class Roster(StoredStates):
    """A projection (slots and admissions follow the log) with a clock (`run`)."""

    name = names.ROSTER

    def __init__(
        self, settings: ProjectSettings, pool: Pool, producer: EventProducer, directory: Directory, keyring: Keyring
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._producer = producer
        self._directory = directory
        self._keyring = keyring
        self._partitions: frozenset[int] = frozenset()
        self._live: dict[str, State] = {}
        self._asked: dict[tuple[str, int], float] = {}
        self._missing: dict[str, tuple[int, int]] = {}
        self._background = Background()

    # The projection

    async def assigned(self, connection: Connection, partitions: frozenset[int]) -> None:
        self._live = await self.live(connection, partitions)
        self._partitions = partitions
        self._asked.clear()
        self._missing.clear()

    async def apply(self, connection: Connection, folded: SessionsFolded) -> None:
        """Accounts before admissions before slots, as everywhere."""
        for hidden in (False, True):
            over = [sid for sid, state in folded.states.items() if state.terminal and state.hidden is hidden]
            if over:
                await admissions.release(connection, over, forget=hidden)
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
        for sid, state in folded.states.items():
            if state.terminal:
                self._live.pop(sid, None)
                self._missing.pop(sid, None)
            else:
                self._live[sid] = state
        try:
            await self._without_admission([c.event.subject for c in folded.changes if _is_created(c)])
            for change in folded.changes:
                await self._react(change)
            for refusal in folded.refusals:
                await self._correct(refusal)
        except (UnknownOutcome, DatabaseUnreachable) as failed:
            log.warning("reaction failed; the tick repeats it", error=repr(failed))

    async def _react(self, change: SessionChange) -> None:
        state = change.evolved.state
        if isinstance(change.event.data, SessionAssigned):
            await self._send_task(state)
        elif isinstance(change.event.data, SessionEndRequested) and not state.terminal:
            await self._send_end(state.worker_id, state.session_id, state.attempt, change.event.data.reason)

    async def _correct(self, refusal: Refusal[State]) -> None:
        """A worker that speaks for a session that is over or no longer its own is told to leave the room."""
        data = refusal.event.data
        if not isinstance(data, WorkerEvent) or refusal.state is None:
            return
        if refusal.rejected.reason in ("terminal", "stale_attempt"):
            reason = refusal.state.end_reason or "superseded"
            await self._send_end(data.worker_id, data.session_id, data.attempt, reason)

    async def _without_admission(self, created: Sequence[str]) -> None:
        """Creates that were given up, by an API that died before the end was appended, or by the roster just before
        they came after all: nobody was told of them, so they end here."""
        if not created:
            return
        async with self._pool.connection() as connection:
            unknown = await admissions.without(connection, created)
        for sid in created:
            if sid in self._live and sid in unknown:
                await self._append(sid, SessionEndRequested(sid, by="roster", reason=HIDDEN_REASON))

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
                    await self._settle()
                    await self._without_admission([sid for sid, s in self._live.items() if not s.end_requested])
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
                await self._send_end(state.worker_id, sid, state.attempt, state.end_requested)
            decision = decide(state, now, self._directory.gone(state.worker_id), self._dropped(state))
            if decision is not None and self._may_ask(sid, state.seq):
                await self._carry_out(state, decision)
            elif decision is None and self._silent(state, now) and self._may_ask(sid, -state.attempt):
                await self._send_task(state)  # the command may have been lost; whoever holds it does not mind

    @staticmethod
    def _silent(state: State, now: int) -> bool:
        return state.attempt_phase == "assigned" and now - state.attempt_append_ms > REPEAT_TASK_MS

    def _may_ask(self, sid: str, seq: int) -> bool:
        """Once per seq, and again only when the answer has not come back through the log for a while.

        `-attempt` stands for the task of that attempt.
        """
        now = time.monotonic()
        if now - self._asked.get((sid, seq), -_ASKED_AGAIN_AFTER_S) < _ASKED_AGAIN_AFTER_S:
            return False
        if len(self._asked) > 10_000:
            self._asked.clear()
        self._asked[sid, seq] = now
        return True

    def _dropped(self, state: State) -> bool:
        """Its worker's two latest records, both newer than the assignment, do not list it."""
        seen = self._directory.seen(state.worker_id)
        if seen is None or state.attempt_phase == "assigned" or not self._directory.at_end:
            return False
        sid = state.session_id
        if (sid, state.attempt) in seen.state.held:
            self._missing.pop(sid, None)
            return False
        count, at = self._missing.get(sid, (0, 0))
        if seen.records != at:
            count, at = count + 1, seen.records
            self._missing[sid] = (count, at)
        return count > 2  # the first may have been sent before the session began

    async def _carry_out(self, state: State, decision: Decision) -> None:
        sid, seq = state.session_id, state.seq
        if decision.kind != "assign":
            log.info("decided", session_id=sid, kind=decision.kind, reason=decision.reason, seq=seq)
        if decision.kind == "assign":
            if not await self._assign(state, decision.reason) and decision.otherwise is not None:
                await self._carry_out(state, decision.otherwise)
        elif decision.kind == "request_end":
            await self._append(sid, SessionEndRequested(sid, "roster", decision.reason, expected_seq=seq))  # type: ignore[arg-type]
        elif decision.kind == "end":
            await self._append(sid, SessionEnded(sid, state.attempt, decision.reason, expected_seq=seq))  # type: ignore[arg-type]
        else:
            message = _MESSAGES[decision.reason]
            await self._append(sid, SessionFailed(sid, state.attempt, decision.reason, message, expected_seq=seq))  # type: ignore[arg-type]

    async def _assign(self, state: State, reason: str) -> bool:
        """Choose a slot and append the decision. The command follows when it is read back as accepted."""
        created = state.created
        assert created is not None
        attempt = state.attempt + 1
        async with self._pool.connection() as connection:
            worker_id = await slots.reserve(connection, state.session_id, created.quality, attempt, state.seq)
        if worker_id is None:
            self._asked.pop((state.session_id, state.seq), None)  # nothing was asked: look again at the next tick
            return False
        log.info("decided", session_id=state.session_id, kind="assign", reason=reason, worker_id=worker_id)
        assignment = SessionAssigned(state.session_id, attempt, worker_id, reason, expected_seq=state.seq)  # type: ignore[arg-type]
        await self._append(state.session_id, assignment)
        return True

    async def _send_task(self, state: State) -> None:
        """Seal the task again, to the worker of the accepted attempt."""
        sid = state.session_id
        async with self._pool.connection() as connection:
            found = await admissions.sealed_task(connection, sid, state.worker_id)
        if found is None:
            return  # ended meanwhile, or its worker is gone: the tick sees it
        task = load_task(self._keyring.unwrap(found.key_id, found.task, sid))
        passed = now_ms() - state.started_ms if state.started_ms else 0
        task = structs.replace(
            task,
            max_duration_ms=max(1000, task.max_duration_ms - passed),
            resume_played_ms=state.segment.played_ms if state.segment else None,
        )
        command = AssignmentAssign(
            state.worker_id, sid, state.attempt, seal(task, state.attempt, state.worker_id, found.public_key)
        )
        await self._producer.send(ASSIGNMENTS, new_event(command, source=SOURCE, subject=state.worker_id))

    async def _settle(self) -> None:
        """End creates of unknown outcome: admitted, untouched for SETTLE_AFTER_S, and not in the log.

        "Not in the log" needs a reader at its end: what is not read yet may be the create. `expected_seq=0` says "there
        is no such session": should the create come just now, the fold rejects this end, and `_without_admission` sees
        it. Until the end is read back the admission stays, so a crash anywhere in here is repaired by the next pass.
        """
        async with self._pool.connection() as connection:
            await admissions.drop_over(connection)
            if leaked := await slots.sweep(connection):
                log.warning("slots freed that nobody held", slots=leaked)
            if not await self._untouched(connection):
                return
        ends = await end_offsets(self._settings, SESSIONS)
        deadline = time.monotonic() + _SETTLE_WAIT_S  # on a busy log the reader is always a little behind
        async with self._pool.connection() as connection:
            while True:
                read = await checkpoints.positions(connection, self.name, SESSIONS.name)
                if all(read.get(p, 0) >= ends[p] for p in self._partitions) or time.monotonic() > deadline:
                    break
                await asyncio.sleep(0.1)
            found = [
                (sid, account_id)
                for sid, account_id in await self._untouched(connection)
                if read.get(partition_of(sid.encode()), 0) >= ends[partition_of(sid.encode())]
            ]
            settled = [
                sid
                for sid, account_id in found
                if await admissions.abandon(connection, account_id, sid, untouched_s=SETTLE_AFTER_S)
            ]
        for sid in settled:
            log.warning("unknown create settled", session_id=sid)
            await self._append(sid, SessionEndRequested(sid, "roster", HIDDEN_REASON, expected_seq=0))

    async def _untouched(self, connection: Connection) -> list[tuple[str, str]]:
        found = await admissions.untouched(connection, self.name, SETTLE_AFTER_S)
        return [(sid, account_id) for sid, account_id in found if partition_of(sid.encode()) in self._partitions]

    async def _prune(self) -> None:
        try:
            counts = await prune(self._pool, self._settings)
        except DatabaseUnreachable as failed:
            log.warning("pruning failed; the next hour's run goes on", error=str(failed))
            return
        if any(counts.values()):
            log.info("pruned", **counts)

    async def _send_end(self, worker_id: str, sid: str, attempt: int, reason: str) -> None:
        command = AssignmentEnd(worker_id, sid, attempt, reason)  # type: ignore[arg-type]
        await self._producer.send(ASSIGNMENTS, new_event(command, source=SOURCE, subject=worker_id))

    async def _append(self, sid: str, data: SessionEvent) -> None:
        state = self._live.get(sid)
        account = state.created.account_id if state and state.created else None
        await self._producer.send(SESSIONS, new_event(data, source=SOURCE, subject=sid, account=account))


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
