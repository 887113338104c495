"""What the roster says: decisions into the log, commands to workers. All of it may be said twice."""

from __future__ import annotations

import contextlib

from msgspec import MsgspecError, structs

from events import assignments, tracing
from events.codec import new_event
from events.producer import EventProducer
from events.sealing import Keyring, SealError, load_task
from events.session_state import State
from events.topics import ASSIGNMENTS, SESSIONS
from schemas.events import EndReason, SessionEvent
from schemas.times import now_ms
from store import admissions
from store.database import DatabaseUnreachable, Pool

SOURCE = "greenroom/roster"
_TRACE_WITHIN_S = 1.0


class Dispatch:
    """Everything raises UnknownOutcome."""

    def __init__(self, pool: Pool, producer: EventProducer, keyring: Keyring) -> None:
        self._pool = pool
        self._producer = producer
        self._keyring = keyring

    async def append(self, data: SessionEvent, account_id: str | None, traceparent: str | None = None) -> None:
        sid = data.session_id
        event = new_event(data, source=SOURCE, subject=sid, account=account_id, traceparent=traceparent)
        await self._producer.send(SESSIONS, event)

    async def trace(self, state: State) -> str | None:
        """What a decision about this session follows from: kept in its task, so that no restart loses it.

        None where traces are off. A database that does not answer, or a task that cannot be opened, costs the decision
        its place in the trace, no more.
        """
        if not tracing.on():
            return None
        with contextlib.suppress(DatabaseUnreachable, SealError, MsgspecError):
            async with self._pool.connection(_TRACE_WITHIN_S, within_s=_TRACE_WITHIN_S) as connection:
                found = await admissions.sealed_task(connection, state.session_id, state.worker_id)
            if found is not None:
                return load_task(self._keyring.unwrap(found.key_id, found.task, state.session_id)).traceparent
        return None

    async def task(self, state: State, traceparent: str | None = None) -> None:
        """Seal the task again, to the worker of the accepted attempt. Raises DatabaseUnreachable, too.

        `traceparent`: of the decision that it follows from, if that was read just now.
        """
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
            first_frame_ms=state.first_frame_ms,
            handover=state.handed_over,
            # Who hands over has told the agent the end of all that it had.
            resume_played_ms=state.segment.played_ms if state.segment and not state.handed_over else None,
        )
        command = assignments.assign(task, state.attempt, state.worker_id, found.public_key, SOURCE, traceparent)
        await self._producer.send(ASSIGNMENTS, command)

    async def end(self, worker_id: str, session_id: str, attempt: int, reason: EndReason) -> None:
        await self._producer.send(ASSIGNMENTS, assignments.end(worker_id, session_id, attempt, reason, SOURCE))

    async def hand_over(self, worker_id: str, session_id: str, attempt: int) -> None:
        await self._producer.send(ASSIGNMENTS, assignments.hand_over(worker_id, session_id, attempt, SOURCE))

    async def retire(self, worker_id: str) -> None:
        await self._producer.send(ASSIGNMENTS, assignments.retire(worker_id, SOURCE))
