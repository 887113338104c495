"""Workers as they were registered. A worker id is one process life: one that is gone stays so for ever."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.events import WorkerState
from store import slots
from store.database import Connection, Pool, delete_by_batches


async def register(connection: Connection, state: WorkerState) -> str:
    """Make the worker's row and slots, or bring its phase up to date; returns the phase that now holds."""
    async with connection.transaction():
        cursor = await connection.execute(
            """
            INSERT INTO workers (worker_id, partition, public_key, qualities, phase) VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT (worker_id) DO UPDATE
                SET phase = CASE WHEN workers.phase = 'gone' THEN 'gone' ELSE excluded.phase END
            RETURNING phase
            """,
            [state.worker_id, state.partition, state.public_key, state.qualities, state.phase],
        )
        row = await cursor.fetchone()
        assert row is not None
        phase = str(row[0])
        if phase == "ready":
            await slots.offer(connection, state.worker_id, state.qualities, state.slots)
        else:
            await slots.close(connection, state.worker_id)
    return phase


async def bury(connection: Connection, worker_id: str) -> bool:
    """The worker is gone for ever: none of its slots is given out again. False: it was never registered."""
    async with connection.transaction():
        cursor = await connection.execute(
            "UPDATE workers SET phase = 'gone', gone_at = coalesce(gone_at, now()) WHERE worker_id = %s", [worker_id]
        )
        await slots.withdraw(connection, worker_id)
        await slots.close(connection, worker_id)
        return cursor.rowcount > 0


@dataclass(frozen=True)
class Known:
    """`slots`: that it has or had rows of; `held` of them by a session. Times are epoch ms."""

    worker_id: str
    phase: str
    qualities: list[str]
    registered_ms: int
    gone_ms: int | None
    slots: int
    held: int


async def known(connection: Connection, gone: bool, worker_id: str | None = None) -> list[Known]:
    """The newest first. `gone`: those that are gone, too. `worker_id`: that one alone."""
    cursor = await connection.execute(
        """
        SELECT w.worker_id, w.phase, w.qualities, (extract(epoch FROM w.registered_at) * 1000)::bigint,
            (extract(epoch FROM w.gone_at) * 1000)::bigint, count(s.slot), count(s.session_id)
        FROM workers w LEFT JOIN slots s USING (worker_id)
        WHERE (w.phase <> 'gone' OR %(gone)s) AND (%(worker)s::text IS NULL OR w.worker_id = %(worker)s)
        GROUP BY w.worker_id ORDER BY w.worker_id DESC
        """,
        {"gone": gone, "worker": worker_id},
    )
    return [Known(*row) for row in await cursor.fetchall()]


async def phases(connection: Connection) -> dict[str, str]:
    """Worker → ready, draining or gone; of all that are not pruned yet."""
    cursor = await connection.execute("SELECT worker_id, phase FROM workers")
    return dict(await cursor.fetchall())


async def present(connection: Connection, since_s: float) -> list[str]:
    """Those that were registered more than `since_s` ago and are not gone."""
    cursor = await connection.execute(
        """
        SELECT worker_id FROM workers
        WHERE phase <> 'gone' AND registered_at < clock_timestamp() - make_interval(secs => %s)
        """,
        [since_s],
    )
    return [row[0] for row in await cursor.fetchall()]


async def prune(pool: Pool, older_s: float) -> int:
    """Delete those that are gone and have no slot left; returns how many."""
    condition = """
        phase = 'gone' AND gone_at < now() - make_interval(secs => %(older_s)s)
        AND NOT EXISTS (SELECT 1 FROM slots s WHERE s.worker_id = t.worker_id)
    """
    return await delete_by_batches(pool, "workers", "worker_id", condition, older_s)
