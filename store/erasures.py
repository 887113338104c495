"""Erasures: that one was asked for, whether it is done, and what it will find. The steps: `reactors/erasing.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row, dict_row

from events.sealing import data_key_id
from events.session_state import TERMINAL, load_state
from schemas.ids import EVENT, new_id
from store.database import Connection, Pool

_LOCK = 7237908
_LONGEST_S = 7 * 86_400.0


class Busy(Exception):
    """Another process erases it right now."""


@dataclass(frozen=True)
class Erasure:
    """`event_id`: of the event that tells of it, however often it is told."""

    subject: str
    account_id: str
    event_id: str
    asked_at: datetime
    done_at: datetime | None


_SELECT = f"SELECT {', '.join(Erasure.__dataclass_fields__)} FROM erasures"  # noqa: S608 - names of ours


@asynccontextmanager
async def alone(pool: Pool, subject: str) -> AsyncIterator[None]:
    """Nobody else is within this for that subject. Whoever dies leaves it. Raises Busy."""
    async with pool.connection(within_s=_LONGEST_S) as connection:
        key = [_LOCK, subject]
        cursor = await connection.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", key)
        row = await cursor.fetchone()
        if row is None or not row[0]:
            raise Busy(subject)
        try:
            yield
        finally:
            await connection.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", key)


async def begin(connection: Connection, subject: str, account_id: str, event_id: str | None = None) -> Erasure:
    """Write it down, or find it written: it is never forgotten from here on. `event_id`: that it is told with."""
    await connection.execute(
        "INSERT INTO erasures (subject, account_id, event_id) VALUES (%s, %s, %s) ON CONFLICT (subject) DO NOTHING",
        [subject, account_id, event_id or new_id(EVENT)],
    )
    found = await find(connection, subject)
    assert found is not None
    return found


async def find(connection: Connection, subject: str) -> Erasure | None:
    async with connection.cursor(row_factory=class_row(Erasure)) as cursor:
        await cursor.execute(f"{_SELECT} WHERE subject = %s", [subject])
        return await cursor.fetchone()


async def every(connection: Connection) -> list[Erasure]:
    """The latest first."""
    async with connection.cursor(row_factory=class_row(Erasure)) as cursor:
        await cursor.execute(f"{_SELECT} ORDER BY asked_at DESC")
        return await cursor.fetchall()


async def done(connection: Connection, subject: str) -> None:
    await connection.execute("UPDATE erasures SET done_at = coalesce(done_at, now()) WHERE subject = %s", [subject])


@dataclass(frozen=True)
class Session:
    """A session, whoever's it is, as the log has told of it. `own_key`: its fields are under a data key of its own."""

    account_id: str
    status: str
    own_key: bool

    @property
    def over(self) -> bool:
        return self.status in TERMINAL


async def session(connection: Connection, session_id: str) -> Session | None:
    cursor = await connection.execute(
        "SELECT status, state FROM r.all_sessions WHERE session_id = %s", [session_id], binary=True
    )
    row = await cursor.fetchone()
    created = load_state(row[1]).created if row is not None else None
    if row is None or created is None:
        return None
    return Session(created.account_id, row[0], created.metadata.key_id == data_key_id(session_id))


async def found_of_session(connection: Connection, session_id: str) -> Mapping[str, int]:
    """Kind → how many rows there are of the session, in the order in which they are erased."""
    return await _counts(
        connection,
        """
        SELECT (SELECT count(*) FROM session_keys WHERE session_id = %(of)s AND key IS NOT NULL) AS data_keys,
            (SELECT count(*) FROM idempotency_keys WHERE session_id = %(of)s) AS idempotency_keys,
            (SELECT count(*) FROM feed_events WHERE session_id = %(of)s) AS feed_events,
            (SELECT count(*) FROM deliveries WHERE session_id = %(of)s) AS deliveries,
            (SELECT count(*) FROM r.usage_events WHERE session_id = %(of)s) AS ledger_entries
        """,
        session_id,
    )


async def found_of_account(connection: Connection, account_id: str) -> Mapping[str, int]:
    """Kind → how many rows there are of the account, in the order in which they are erased."""
    return await _counts(
        connection,
        """
        SELECT (SELECT count(*) FROM api_keys WHERE account_id = %(of)s AND revoked_at IS NULL) AS api_keys,
            (SELECT count(*) FROM admissions WHERE account_id = %(of)s AND state <> 'over') AS live_sessions,
            (SELECT count(*) FROM r.all_sessions WHERE account_id = %(of)s) AS sessions,
            (SELECT count(*) FROM r.all_avatars WHERE account_id = %(of)s AND status <> 'deleted') AS avatars,
            (SELECT count(*) FROM webhook_endpoints WHERE account_id = %(of)s) AS endpoints,
            (SELECT count(*) FROM deliveries WHERE account_id = %(of)s) AS deliveries,
            (SELECT count(*) FROM feed_events WHERE account_id = %(of)s) AS feed_events,
            (SELECT count(*) FROM idempotency_keys WHERE account_id = %(of)s) AS idempotency_keys,
            (SELECT count(*) FROM credit_entries WHERE account_id = %(of)s AND note <> '') AS credit_notes
        """,
        account_id,
    )


async def _counts(connection: Connection, query: str, subject: str) -> Mapping[str, int]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, {"of": subject})
        row = await cursor.fetchone()
    assert row is not None
    return row
