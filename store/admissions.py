"""Admissions: one row per live session, from before its first event until the sessions projection has its last.

A create is worked on by one request at a time, for `HELD_S` from its latest touch; a request that finds it untouched
for longer goes on with the same ids, and from then on only that one may abandon it. Lock order: account, admission,
slot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg.rows import class_row

from store.database import Connection, Pool, delete_by_batches

HELD_S = 6
"""The same number stands in `admit_session()`."""


@dataclass(frozen=True)
class SealedTask:
    """A task under master key `key_id`, and the key of the worker that is to have it."""

    key_id: str
    task: bytes
    public_key: str


async def earlier(
    connection: Connection, account_id: str, body_hmac: bytes, idempotency_key: str | None, since_ms: int
) -> tuple[str, str | None] | None:
    """(session id, stored 201) of an earlier request with this key, or without a key this body since `since_ms`.

    The 201 is None while that request's outcome is open.
    """
    if idempotency_key is not None:
        cursor = await connection.execute(
            """
            SELECT i.session_id, CASE WHEN i.done OR a.session_id IS NULL OR a.acknowledged OR a.state <> 'live'
                OR EXISTS (SELECT 1 FROM r.all_sessions s WHERE s.session_id = i.session_id)
                THEN i.response END
            FROM idempotency_keys i LEFT JOIN admissions a USING (session_id)
            WHERE i.account_id = %s AND i.key = %s AND i.body_hmac = %b AND i.created_at > now() - interval '24 hours'
            """,
            [account_id, idempotency_key, body_hmac],
        )
    else:
        cursor = await connection.execute(
            """
            SELECT session_id, CASE WHEN acknowledged
                OR EXISTS (SELECT 1 FROM r.all_sessions s WHERE s.session_id = admissions.session_id)
                THEN resource END FROM admissions
            WHERE account_id = %s AND body_hmac = %b AND state = 'live' AND created_ms > %s
            ORDER BY created_ms DESC LIMIT 1
            """,
            [account_id, body_hmac, since_ms],
        )
    return await cursor.fetchone()


async def mark_acknowledged(connection: Connection, session_ids: Sequence[str], keyed: Sequence[str]) -> None:
    """These creates are in the log; `keyed` of them have an idempotency key.

    No transaction, which would take three round trips instead of one: a key whose admission is acknowledged counts as
    done, and if this fails halfway, the caller marks all of them again.
    """
    await connection.execute(
        "UPDATE admissions SET acknowledged = true WHERE session_id = ANY(%s)", [list(session_ids)]
    )
    if keyed:
        await connection.execute("UPDATE idempotency_keys SET done = true WHERE session_id = ANY(%s)", [list(keyed)])


async def mark_ending(connection: Connection, session_id: str) -> str | None:
    """Its end is in the log; returns the worker that must be told, or None when the session is over already."""
    cursor = await connection.execute(
        "UPDATE admissions SET state = 'ending' WHERE session_id = %s AND state <> 'over' RETURNING worker_id",
        [session_id],
    )
    row = await cursor.fetchone()
    return str(row[0]) if row else None


async def in_the_log(connection: Connection, session_id: str) -> bool:
    """Whether the session's create is known to be in the log: only then may its end be appended."""
    cursor = await connection.execute(
        """
        SELECT EXISTS (SELECT 1 FROM r.all_sessions WHERE session_id = %(id)s)
            OR EXISTS (SELECT 1 FROM admissions WHERE session_id = %(id)s AND acknowledged)
        """,
        {"id": session_id},
    )
    row = await cursor.fetchone()
    return bool(row and row[0])


async def is_over(connection: Connection, session_id: str) -> bool:
    """Whether it holds nothing any more."""
    cursor = await connection.execute(
        "SELECT 1 FROM admissions WHERE session_id = %s AND state <> 'over'", [session_id]
    )
    return await cursor.fetchone() is None


async def stands(connection: Connection, session_id: str) -> bool:
    """Mark that the create is in the log, unless it was abandoned; from then on nobody abandons it."""
    await connection.execute("UPDATE admissions SET acknowledged = true WHERE session_id = %s", [session_id])
    cursor = await connection.execute("SELECT 1 FROM abandoned WHERE session_id = %s", [session_id])
    return await cursor.fetchone() is None


async def abandon(
    connection: Connection, account_id: str, session_id: str, *, tries: int | None = None, untouched_s: float = 0
) -> bool:
    """Abandon a create, before its end is appended: no retry may go on with its ids from here on.

    `tries`: what the caller's own admission said. One transaction under the same locks that a retry takes. Returns
    False when a retry has taken over, or when the create turns out to be in the log.
    """
    async with connection.transaction():
        await connection.execute("SELECT 1 FROM accounts WHERE id = %s FOR UPDATE", [account_id])
        cursor = await connection.execute(
            """
            UPDATE admissions SET state = 'ending'
            WHERE session_id = %(id)s AND state <> 'over' AND NOT acknowledged
              AND (%(tries)s::int IS NULL OR tries = %(tries)s)
              AND touched_at <= clock_timestamp() - make_interval(secs => %(untouched)s)
              -- an earlier request may have been answered: then what is in the log stays
              AND (tries = 1 AND %(tries)s::int IS NOT NULL OR NOT EXISTS (
                  SELECT 1 FROM r.all_sessions s WHERE s.session_id = %(id)s))
            RETURNING 1
            """,
            {"id": session_id, "tries": tries, "untouched": untouched_s},
        )
        if await cursor.fetchone() is None:
            return False
        await connection.execute("DELETE FROM idempotency_keys WHERE session_id = %s", [session_id])
        await connection.execute("INSERT INTO abandoned (session_id) VALUES (%s) ON CONFLICT DO NOTHING", [session_id])
    return True


async def abandoned(connection: Connection, session_ids: Sequence[str]) -> set[str]:
    """Of these, the ones that were abandoned: their create may be in the log before the end that hides it."""
    cursor = await connection.execute(
        "SELECT session_id FROM abandoned WHERE session_id = ANY(%s)", [list(session_ids)]
    )
    return {row[0] for row in await cursor.fetchall()}


async def moved(connection: Connection, workers: Mapping[str, str]) -> None:
    """Session → the worker that the log has accepted it to be moved to."""
    await connection.execute(
        """
        UPDATE admissions a SET worker_id = m.worker_id
        FROM unnest(%s::text[], %s::text[]) AS m (session_id, worker_id) WHERE a.session_id = m.session_id
        """,
        [list(workers), list(workers.values())],
    )


async def sealed_task(connection: Connection, session_id: str, worker_id: str) -> SealedTask | None:
    """For sending it again; None when the session is over, or its worker unknown."""
    async with connection.cursor(row_factory=class_row(SealedTask)) as cursor:
        await cursor.execute(
            """
            SELECT x.key_id, x.task, w.public_key FROM session_secrets x, workers w
            WHERE x.session_id = %s AND w.worker_id = %s
            """,
            [session_id, worker_id],
        )
        return await cursor.fetchone()


async def release(connection: Connection, session_ids: Sequence[str], *, hidden: Sequence[str] = ()) -> None:
    """Give back all that these ended sessions hold. `hidden` of them nobody may see, or be told of by a retry.

    One call for all: the rows are locked in one order, so that two rosters wait for each other and not in a circle.
    """
    await connection.execute("SELECT release(%s::text[], %s::text[])", [list(session_ids), list(hidden)])


async def drop_over(connection: Connection) -> None:
    """Admissions of ended sessions whose end the sessions projection has got by now."""
    await connection.execute(
        """
        DELETE FROM admissions a WHERE a.state = 'over' AND EXISTS (
            SELECT 1 FROM r.all_sessions s
            WHERE s.session_id = a.session_id AND s.status IN ('ended', 'failed', 'canceled'))
        """
    )


async def untouched(connection: Connection, consumer: str, after_s: float) -> list[tuple[str, str]]:
    """(session, account) of creates whose outcome nobody knows: `consumer` has not read them in the log either."""
    cursor = await connection.execute(
        """
        SELECT a.session_id, a.account_id FROM admissions a
        WHERE a.state <> 'over' AND NOT a.acknowledged
          AND a.touched_at < clock_timestamp() - make_interval(secs => %s)
          AND NOT EXISTS (SELECT 1 FROM fold_states f WHERE f.consumer = %s AND f.session_id = a.session_id)
        """,
        [after_s, consumer],
    )
    return await cursor.fetchall()


async def not_shown(connection: Connection, before_ms: int) -> bool:
    """Whether some session was in the log before then, and the sessions projection does not have it."""
    cursor = await connection.execute(
        """
        SELECT EXISTS (
            SELECT 1 FROM admissions a WHERE a.acknowledged AND a.state <> 'over' AND a.created_ms < %s
                AND NOT EXISTS (SELECT 1 FROM r.all_sessions s WHERE s.session_id = a.session_id))
        """,
        [before_ms],
    )
    row = await cursor.fetchone()
    return bool(row and row[0])


async def without(connection: Connection, session_ids: Sequence[str]) -> set[str]:
    """Those that no admission stands behind: nobody was told of them, or will be."""
    cursor = await connection.execute(
        """
        SELECT x.id FROM unnest(%s::text[]) AS x (id)
        WHERE NOT EXISTS (SELECT 1 FROM admissions a WHERE a.session_id = x.id)
           OR EXISTS (SELECT 1 FROM abandoned b WHERE b.session_id = x.id)
        """,
        [list(session_ids)],
    )
    return {row[0] for row in await cursor.fetchall()}


@dataclass(frozen=True)
class Held:
    """What an account still holds of a session. `in_the_log`: its create is known to be."""

    session_id: str
    state: Literal["live", "ending", "over"]
    in_the_log: bool


async def held(connection: Connection, account_id: str) -> Sequence[Held]:
    """The account's admissions."""
    async with connection.cursor(row_factory=class_row(Held)) as cursor:
        await cursor.execute(
            """
            SELECT a.session_id, a.state, a.acknowledged OR EXISTS (
                SELECT 1 FROM r.all_sessions s WHERE s.session_id = a.session_id) AS in_the_log
            FROM admissions a WHERE a.account_id = %s ORDER BY a.session_id
            """,
            [account_id],
        )
        return await cursor.fetchall()


async def forget_answers(pool: Pool, *, account_id: str = "", session_id: str = "") -> int:
    """Delete idempotency keys with the answers that they keep, of a session or an account; returns how many."""
    condition = "account_id = %(account)s OR session_id = %(session)s"
    return await delete_by_batches(
        pool, "idempotency_keys", "account_id, key", condition, account=account_id, session=session_id
    )


async def prune_keys(pool: Pool, older_s: float) -> int:
    """Delete idempotency keys; while its admission stays, one may not be answered yet. Returns how many."""
    condition = """
        created_at < now() - make_interval(secs => %(older_s)s) AND NOT EXISTS (
            SELECT 1 FROM admissions a WHERE a.session_id = t.session_id AND a.state <> 'over')
    """
    return await delete_by_batches(pool, "idempotency_keys", "account_id, key", condition, older_s)


async def prune_abandoned(pool: Pool, older_s: float) -> int:
    """Delete what is known of abandoned creates; returns how many."""
    condition = "at < now() - make_interval(secs => %(older_s)s)"
    return await delete_by_batches(pool, "abandoned", "session_id", condition, older_s)
