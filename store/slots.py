"""Slots: one row per slot of a worker.

A session holds the slot of its accepted attempt, and while the roster moves it, a second one that is reserved for the
next attempt until the log has accepted or refused the move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, LiteralString

from store.database import Connection, Pool, delete_by_batches

OwnSlot = Literal["first", "last"]

RESERVED_S = 60
"""A reservation without an answer in the log is given back after this; should it be accepted later, the worker itself
declines what it has no slot for."""


@dataclass(frozen=True)
class Move:
    """A `session.assigned` as the log has it."""

    session_id: str
    attempt: int
    worker_id: str
    expected_seq: int


async def offer(connection: Connection, worker_id: str, qualities: Sequence[str], count: int) -> None:
    """Those of a worker that is ready."""
    await connection.execute(
        """
        INSERT INTO slots (worker_id, slot, qualities) SELECT %s, n, %s FROM generate_series(0, %s - 1) n
        ON CONFLICT (worker_id, slot) DO NOTHING
        """,
        [worker_id, list(qualities), count],
    )
    await connection.execute("SELECT pg_notify('slot_free', '')")


async def close(connection: Connection, worker_id: str) -> None:
    """None of the worker's is given out any more; held ones stay held."""
    await connection.execute("UPDATE slots SET open = false WHERE worker_id = %s AND open", [worker_id])


async def withdraw(connection: Connection, worker_id: str) -> None:
    """Those of the worker that nobody holds are gone."""
    await connection.execute("DELETE FROM slots WHERE worker_id = %s AND session_id IS NULL", [worker_id])


async def reserve(
    connection: Connection, session_id: str, quality: str, attempt: int, expected_seq: int, own: OwnSlot | None = None
) -> str | None:
    """The worker of a slot for this attempt; None when there is no free one, the session is over, or its move is done.

    `own`: whether the slot of the attempt before counts as free, and is looked at before those of other workers, or
    after them. None: no, that worker is gone. A decision that is made again gets the slot that it has. Admission before
    slot, as everywhere: a session that ends meanwhile gives back both of its slots afterwards, or has none reserved.
    """
    asked = {"session": session_id, "quality": quality, "attempt": attempt, "seq": expected_seq}
    async with connection.transaction():
        cursor = await connection.execute(
            "SELECT worker_id FROM admissions WHERE session_id = %(session)s AND state <> 'over' FOR UPDATE", asked
        )
        admission = await cursor.fetchone()
        if admission is None:
            return None
        asked["worker"] = admission[0]
        if await _worker(connection, _HELD, asked) is not None:
            return None
        chosen = await _worker(connection, _KEEP, asked)
        if chosen is None:
            await connection.execute(
                f"UPDATE slots SET {_FREE} WHERE session_id = %(session)s AND attempt = %(attempt)s",  # noqa: S608
                asked,
            )
            ways = {None: [_TAKE], "first": [_TAKE_OWN, _TAKE], "last": [_TAKE, _TAKE_OWN]}[own]
            for way in ways:
                chosen = chosen or await _worker(connection, way, asked)
        return chosen


async def _worker(connection: Connection, query: LiteralString, asked: Mapping[str, object]) -> str | None:
    cursor = await connection.execute(query, asked)
    row = await cursor.fetchone()
    return str(row[0]) if row else None


_HELD = """
    SELECT worker_id FROM slots
    WHERE session_id = %(session)s AND attempt >= %(attempt)s AND reserved_at IS NULL LIMIT 1
"""
"""The log has accepted this move, or a later one, meanwhile."""
_KEEP = """
    UPDATE slots SET expected_seq = %(seq)s, reserved_at = now()
    WHERE session_id = %(session)s AND attempt = %(attempt)s AND open RETURNING worker_id
"""
_TAKE = """
    UPDATE slots
    SET session_id = %(session)s, attempt = %(attempt)s, expected_seq = %(seq)s, reserved_at = now()
    WHERE (worker_id, slot) = (
        SELECT s.worker_id, s.slot FROM slots s
        WHERE s.session_id IS NULL AND s.open AND %(quality)s = ANY (s.qualities) AND s.worker_id <> %(worker)s
        ORDER BY s.slot, s.worker_id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING worker_id
"""
_TAKE_OWN = """
    UPDATE slots SET attempt = %(attempt)s, expected_seq = %(seq)s, reserved_at = now()
    WHERE session_id = %(session)s AND worker_id = %(worker)s AND attempt < %(attempt)s AND open RETURNING worker_id
"""


async def accepted(connection: Connection, moves: Sequence[Move]) -> None:
    """The log has accepted them: the reserved slots are held now; what earlier attempts held is free."""
    columns = [[m.session_id for m in moves], [m.attempt for m in moves]]
    await connection.execute(
        """
        UPDATE slots s SET expected_seq = NULL, reserved_at = NULL
        FROM unnest(%s::text[], %s::int[]) AS m (session_id, attempt)
        WHERE s.session_id = m.session_id AND s.attempt = m.attempt
        """,
        columns,
    )
    await connection.execute(
        f"""
        UPDATE slots s SET {_FREE} FROM unnest(%s::text[], %s::int[]) AS m (session_id, attempt)
        WHERE s.session_id = m.session_id AND s.attempt < m.attempt
        """,  # noqa: S608 - a constant
        columns,
    )
    await connection.execute("SELECT pg_notify('slot_free', '')")


async def refused(connection: Connection, moves: Sequence[Move]) -> None:
    """The log changed before the decision: its reservation goes, unless a newer decision has taken it over."""
    await connection.execute(
        f"""
        UPDATE slots s SET {_FREE}
        FROM unnest(%s::text[], %s::int[], %s::text[], %s::int[]) AS m (session_id, attempt, worker_id, expected_seq)
        WHERE s.session_id = m.session_id AND s.attempt = m.attempt AND s.worker_id = m.worker_id
          AND s.expected_seq = m.expected_seq
        """,  # noqa: S608 - a constant
        [
            [m.session_id for m in moves],
            [m.attempt for m in moves],
            [m.worker_id for m in moves],
            [m.expected_seq for m in moves],
        ],
    )
    await connection.execute("SELECT pg_notify('slot_free', '')")


@dataclass(frozen=True)
class Free:
    """Slots that are given out, and those of them that nobody holds."""

    slots: int
    free: int


async def total(connection: Connection) -> Free:
    cursor = await connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE session_id IS NULL) FROM slots WHERE open"
    )
    row = await cursor.fetchone()
    assert row is not None
    return Free(*row)


async def by_quality(connection: Connection) -> dict[str, Free]:
    """A slot that offers several qualities counts for each of them."""
    cursor = await connection.execute(
        """
        SELECT quality, count(*), count(*) FILTER (WHERE session_id IS NULL)
        FROM slots, unnest(qualities) AS quality WHERE open GROUP BY quality ORDER BY quality
        """
    )
    return {quality: Free(*counts) for quality, *counts in await cursor.fetchall()}


async def sweep(connection: Connection) -> int:
    """Free what no admission holds any more, and reservations that were never answered; returns how many.

    A slot that was given to another session since the look is left alone.
    """
    cursor = await connection.execute(
        f"""
        UPDATE slots s SET {_FREE} FROM (
            SELECT l.worker_id, l.slot, l.session_id, l.attempt FROM slots l
            WHERE l.session_id IS NOT NULL AND (
                l.reserved_at < now() - make_interval(secs => %s)
                OR NOT EXISTS (SELECT 1 FROM admissions a WHERE a.session_id = l.session_id AND a.state <> 'over'))
        ) leaked
        WHERE s.worker_id = leaked.worker_id AND s.slot = leaked.slot
          AND s.session_id = leaked.session_id AND s.attempt = leaked.attempt
        """,  # noqa: S608 - a constant
        [RESERVED_S],
    )
    return cursor.rowcount


async def prune(pool: Pool) -> int:
    """Delete the free ones of workers that are gone; returns how many."""
    condition = """
        session_id IS NULL AND NOT open
        AND EXISTS (SELECT 1 FROM workers w WHERE w.worker_id = t.worker_id AND w.phase = 'gone')
    """
    return await delete_by_batches(pool, "slots", "worker_id, slot", condition)


_FREE = "session_id = NULL, attempt = NULL, expected_seq = NULL, reserved_at = NULL"
