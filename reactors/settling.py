"""Creates of unknown outcome: looked into once nobody works on them any more, and ended if they came to nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import structlog

from events.offsets import end_offsets
from events.session_state import HIDDEN_REASON, State
from events.settings import LogSettings
from events.topics import SESSIONS, partition_of
from projections import checkpoints, names
from reactors.dispatch import Dispatch
from schemas.events import SessionEndRequested
from store import admissions, slots
from store.database import Connection, Pool

log = structlog.get_logger()

SETTLE_AFTER_S = 15
_WAIT_S = 3.0


class Settling:
    """Everything raises UnknownOutcome, DatabaseUnreachable, KafkaError or TimeoutError; the next pass goes on."""

    def __init__(self, settings: LogSettings, pool: Pool, dispatch: Dispatch) -> None:
        self._settings = settings
        self._pool = pool
        self._dispatch = dispatch

    async def settle(self, partitions: frozenset[int]) -> None:
        """End those that are admitted, untouched for SETTLE_AFTER_S, and not in these partitions of the log.

        "Not in the log" needs a reader at its end: what is not read yet may be the create. `expected_seq=0` says "there
        is no such session": should the create come just now, the fold rejects this end, and `end_orphans` sees it.
        Until the end is read back the admission stays, so a crash anywhere in here is repaired by the next pass.
        """
        async with self._pool.connection() as connection:
            await admissions.drop_over(connection)
            if leaked := await slots.sweep(connection):
                log.warning("slots freed that nobody held", slots=leaked)
            if not await _untouched(connection, partitions):
                return
        ends = await end_offsets(self._settings, SESSIONS)
        async with self._pool.connection() as connection:
            read = await self._read_up_to(connection, ends, partitions)
            found = [
                (sid, account_id)
                for sid, account_id in await _untouched(connection, partitions)
                if read.get(_partition(sid), 0) >= ends[_partition(sid)]
            ]
            settled = [
                (sid, account_id)
                for sid, account_id in found
                if await admissions.abandon(connection, account_id, sid, untouched_s=SETTLE_AFTER_S)
            ]
        for sid, _ in settled:
            log.warning("unknown create settled", session_id=sid)
            await self._dispatch.append(SessionEndRequested(sid, "roster", HIDDEN_REASON, expected_seq=0), None)

    @staticmethod
    async def _read_up_to(
        connection: Connection, ends: Mapping[int, int], partitions: frozenset[int]
    ) -> dict[int, int]:
        """How far the roster has read; waits a while for `ends`: on a busy log it is always a little behind."""
        deadline = time.monotonic() + _WAIT_S
        while True:
            read = await checkpoints.positions(connection, names.ROSTER, SESSIONS.name)
            if all(read.get(p, 0) >= ends[p] for p in partitions) or time.monotonic() > deadline:
                return read
            await asyncio.sleep(0.1)

    async def end_orphans(self, live: Mapping[str, State], created: Sequence[str]) -> None:
        """Creates that were abandoned, by an API that died before the end was appended, or by the roster just before
        they came after all: nobody was told of them, so they end here."""
        if not created:
            return
        async with self._pool.connection() as connection:
            unknown = await admissions.without(connection, created)
        for sid in created:
            state = live.get(sid)
            if state is not None and sid in unknown:
                account_id = state.created.account_id if state.created else None
                end = SessionEndRequested(sid, by="roster", reason=HIDDEN_REASON)
                await self._dispatch.append(end, account_id)


async def _untouched(connection: Connection, partitions: frozenset[int]) -> list[tuple[str, str]]:
    found = await admissions.untouched(connection, names.ROSTER, SETTLE_AFTER_S)
    return [(sid, account_id) for sid, account_id in found if _partition(sid) in partitions]


def _partition(session_id: str) -> int:
    return partition_of(session_id.encode())
