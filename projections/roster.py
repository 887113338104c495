"""The roster: gives back what ended sessions held, settles unknown creates, replaces lost workers, and sweeps.

A reactor: it never changes a session itself. It appends decisions with the seq that it saw; the fold rejects a decision
that was made on something older, and the next tick decides anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import structlog
from aiokafka.partitioner import murmur2
from msgspec import structs

from events.codec import new_event
from events.producer import EventProducer, UnknownOutcome
from events.sealing import Keyring, load_task, seal
from events.sessions import HIDDEN_REASON, State, load_state
from events.topics import ASSIGNMENTS, SESSIONS
from projections.database import Connection, DatabaseUnreachable, Pool
from projections.folding import Change, Folded, Refusal, StoredStates
from projections.workers import SOURCE, Directory, move_slot
from schemas import events as e
from schemas.times import now_ms

log = structlog.get_logger()

MAX_ATTEMPTS = 3
SILENT_MS = 20_000
START_DEADLINE_MS = 45_000
REPLACE_WITHIN_MS = 30_000
OVERTIME_MS = 15_000
ENDING_MS = 30_000
SETTLE_AFTER_S = 15
_TICK_S = 1.0
_SETTLE_EVERY_S = 3.0
_ASKED_AGAIN_AFTER_S = 5.0


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
    if state.attempt_phase == "declined":
        return Decision("assign", "declined")
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


_FORGET_OVER = """
    DELETE FROM admissions a WHERE a.state = 'over'
        AND EXISTS (SELECT 1 FROM sessions_v1.sessions s WHERE s.session_id = a.session_id)
"""

_MESSAGES = {
    "start_timeout": "No worker could start the session in time; create it again.",
    "worker_lost": "The worker was lost and none could take over; create the session again.",
}


class Roster(StoredStates):
    """A projection (slots and admissions follow the log) with a clock (`run`)."""

    name = "roster"

    def __init__(self, pool: Pool, producer: EventProducer, directory: Directory, keyring: Keyring) -> None:
        self._pool = pool
        self._producer = producer
        self._directory = directory
        self._keyring = keyring
        self._partitions: frozenset[int] = frozenset()
        self._live: dict[str, State] = {}
        self._asked: dict[tuple[str, int], float] = {}
        self._missing: dict[str, tuple[int, int]] = {}

    # The projection

    async def assigned(self, connection: Connection, partitions: frozenset[int]) -> None:
        cursor = await connection.execute(
            "SELECT session_id, state FROM fold_states WHERE consumer = %s AND partition = ANY(%s) AND live",
            [self.name, list(partitions)],
            binary=True,
        )
        self._live = {sid: load_state(state) for sid, state in await cursor.fetchall()}
        self._partitions = partitions
        self._asked.clear()
        self._missing.clear()

    async def apply(self, connection: Connection, folded: Folded) -> None:
        for hidden in (False, True):
            over = [sid for sid, state in folded.states.items() if state.terminal and state.hidden is hidden]
            if over:
                await connection.execute("SELECT release(%s, %s)", [over, hidden])
        await self.save(connection, folded)

    async def committed(self, folded: Folded) -> None:
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

    async def _react(self, change: Change) -> None:
        state = change.evolved.state
        if isinstance(change.event.data, e.SessionAssigned):
            await self._send_task(state)
        elif isinstance(change.event.data, e.SessionEndRequested) and not state.terminal:
            await self._send_end(state.worker_id, state.session_id, state.attempt, change.event.data.reason)

    async def _correct(self, refusal: Refusal) -> None:
        """A worker that speaks for a session that is over or no longer its own is told to leave the room."""
        data = refusal.event.data
        if not isinstance(data, e.WorkerEvent) or refusal.state is None:
            return
        if refusal.rejected.reason in ("terminal", "stale_attempt"):
            reason = refusal.state.end_reason or "superseded"
            await self._send_end(data.worker_id, data.session_id, data.attempt, reason)

    async def _without_admission(self, created: Sequence[str]) -> None:
        """A create whose API died before the admission's end: nobody was told of it, so it ends here."""
        if not created:
            return
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT session_id FROM admissions WHERE session_id = ANY(%s)", [list(created)]
            )
            admitted = {row[0] for row in await cursor.fetchall()}
        for sid in created:
            if sid in self._live and sid not in admitted:
                await self._append(sid, e.SessionEndRequested(sid, by="roster", reason=HIDDEN_REASON))

    # The clock

    async def run(self) -> None:
        """Tick for ever: what a missed or failed reaction left undone is found again here."""
        settled = time.monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            try:
                await self._tick()
                if time.monotonic() - settled > _SETTLE_EVERY_S:
                    await self._settle()
                    await self._without_admission([sid for sid, s in self._live.items() if s.status == "queued"])
                    settled = time.monotonic()
            except (UnknownOutcome, DatabaseUnreachable) as failed:
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

    def _may_ask(self, sid: str, seq: int) -> bool:
        """Once per seq, and again only when the answer has not come back through the log for a while."""
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
        if seen is None or state.attempt_phase == "assigned":
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
            await self._append(sid, e.SessionEndRequested(sid, "roster", decision.reason, expected_seq=seq))  # type: ignore[arg-type]
        elif decision.kind == "end":
            await self._append(sid, e.SessionEnded(sid, state.attempt, decision.reason, expected_seq=seq))  # type: ignore[arg-type]
        else:
            message = _MESSAGES[decision.reason]
            await self._append(sid, e.SessionFailed(sid, state.attempt, decision.reason, message, expected_seq=seq))  # type: ignore[arg-type]

    async def _assign(self, state: State, reason: str) -> bool:
        """Choose a slot and append the decision. The command follows when it is read back as accepted."""
        created = state.created
        assert created is not None
        async with self._pool.connection() as connection:
            chosen = await move_slot(connection, state.session_id, created.quality)
        if chosen is None:
            self._asked.pop((state.session_id, state.seq), None)  # nothing was asked: look again at the next tick
            return False
        log.info("decided", session_id=state.session_id, kind="assign", reason=reason, worker_id=chosen[0])
        assignment = e.SessionAssigned(state.session_id, state.attempt + 1, chosen[0], reason, expected_seq=state.seq)  # type: ignore[arg-type]
        await self._append(state.session_id, assignment)
        return True

    async def _send_task(self, state: State) -> None:
        """Seal the task again, to the worker of the accepted attempt."""
        sid = state.session_id
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                """
                SELECT x.key_id, x.task, w.public_key FROM session_secrets x, workers w
                WHERE x.session_id = %s AND w.worker_id = %s
                """,
                [sid, state.worker_id],
            )
            row = await cursor.fetchone()
        if row is None:
            return  # ended meanwhile, or its worker is gone: the tick sees it
        task = load_task(self._keyring.unwrap(row[0], row[1], sid))
        passed = now_ms() - state.started_ms if state.started_ms else 0
        task = structs.replace(
            task,
            max_duration_ms=max(1000, task.max_duration_ms - passed),
            resume_played_ms=state.segment.played_ms if state.segment else None,
        )
        command = e.AssignmentAssign(
            state.worker_id, sid, state.attempt, seal(task, state.attempt, state.worker_id, row[2])
        )
        await self._producer.send(ASSIGNMENTS, new_event(command, source=SOURCE, subject=state.worker_id))

    async def _settle(self) -> None:
        """End creates of unknown outcome: admitted, untouched for SETTLE_AFTER_S, and not in the log.

        `expected_seq=0` says "there is no such session": should the create be in the log after all, the fold rejects
        this. Until this is read back the admission stays, so a crash anywhere in here is repaired by the next pass.
        """
        async with self._pool.connection() as connection:
            await connection.execute(_FORGET_OVER)
            cursor = await connection.execute(
                """
                SELECT a.session_id, a.account_id FROM admissions a
                WHERE a.state <> 'over' AND NOT a.acknowledged
                  AND a.touched_at < clock_timestamp() - make_interval(secs => %s)
                  AND NOT EXISTS (SELECT 1 FROM fold_states f WHERE f.consumer = %s AND f.session_id = a.session_id)
                """,
                [SETTLE_AFTER_S, self.name],
            )
            untouched = [row for row in await cursor.fetchall() if _partition(row[0]) in self._partitions]
            for sid, account_id in untouched:
                if await abandon(connection, sid, account_id, SETTLE_AFTER_S):
                    log.warning("unknown create settled", session_id=sid)
                    await self._append(sid, e.SessionEndRequested(sid, "roster", HIDDEN_REASON, expected_seq=0))

    async def _send_end(self, worker_id: str, sid: str, attempt: int, reason: str) -> None:
        command = e.AssignmentEnd(worker_id, sid, attempt, reason)  # type: ignore[arg-type]
        await self._producer.send(ASSIGNMENTS, new_event(command, source=SOURCE, subject=worker_id))

    async def _append(self, sid: str, data: e.SessionEvent) -> None:
        state = self._live.get(sid)
        account = state.created.account_id if state and state.created else None
        await self._producer.send(SESSIONS, new_event(data, source=SOURCE, subject=sid, account=account))


def _is_created(change: Change) -> bool:
    return isinstance(change.event.data, e.SessionCreated)


def _partition(session_id: str) -> int:
    """Kafka's own partitioner: murmur2 of the key, sign bit cleared."""
    return int(murmur2(session_id.encode()) & 0x7FFFFFFF) % SESSIONS.partitions


async def abandon(connection: Connection, session_id: str, account_id: str, untouched_s: float = 0) -> bool:
    """Give a create up, before its end is appended: no retry may go on with its ids from here on.

    One transaction under the same locks that a retry takes. Returns False when a retry was faster.
    """
    async with connection.transaction():
        await connection.execute("SELECT 1 FROM accounts WHERE id = %s FOR UPDATE", [account_id])
        cursor = await connection.execute(
            """
            UPDATE admissions SET state = 'ending'
            WHERE session_id = %s AND touched_at <= clock_timestamp() - make_interval(secs => %s) RETURNING 1
            """,
            [session_id, untouched_s],
        )
        if await cursor.fetchone() is None:
            return False
        await connection.execute("DELETE FROM idempotency_keys WHERE session_id = %s", [session_id])
        await connection.execute("INSERT INTO abandoned (session_id) VALUES (%s) ON CONFLICT DO NOTHING", [session_id])
    return True
