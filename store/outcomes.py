"""Reading what became of deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from store.database import Connection
from store.deliveries import Reason

_MOST_LOOKED_AT = 10_000
"""Deliveries that one page is chosen from: a filter may let none of a month's through."""

_COLUMNS = """
    id, endpoint_id, session_id, event_id, type, state, reason, attempts, next_at, claimed_until, created_at,
    finished_at
"""


@dataclass(frozen=True)
class Delivery:
    id: str
    endpoint_id: str
    session_id: str
    event_id: str
    type: str
    state: Literal["pending", "delivered", "given_up"]
    reason: Reason | None
    attempts: int
    next_at: datetime
    claimed_until: datetime | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class Tried:
    """An attempt, as it is stored."""

    n: int
    at: datetime
    status: int | None
    latency_ms: int
    error: str | None
    answer: str | None


@dataclass(frozen=True)
class DeliveryFilter:
    endpoint_id: str | None = None
    session_id: str | None = None
    type: str | None = None
    state: str | None = None


async def page(
    connection: Connection, account_id: str, only: DeliveryFilter, before: str | None, limit: int
) -> tuple[Sequence[Delivery], str | None]:
    """(up to `limit`, newest event first, from `before` on; where to go on looking, when these are fewer for having
    looked at so many others)."""
    looked = f"""
        SELECT {_COLUMNS} FROM deliveries
        WHERE account_id = %(account)s {"" if only.session_id is None else "AND session_id = %(session)s"}
            {"" if before is None else "AND id < %(before)s"}
        ORDER BY id DESC
    """  # noqa: S608 - no value in it
    conditions = {
        "endpoint_id = %(endpoint)s": only.endpoint_id is not None,
        "type = %(type)s": only.type is not None,
        "state = %(state)s": only.state is not None,
    }
    wanted = "".join(f" AND {condition}" for condition, asked in conditions.items() if asked)
    values = {
        "account": account_id,
        "session": only.session_id,
        "before": before,
        "endpoint": only.endpoint_id,
        "type": only.type,
        "state": only.state,
        "limit": limit,
        "most": _MOST_LOOKED_AT,
    }
    cursor = await connection.execute(
        f"SELECT * FROM ({looked} LIMIT %(most)s) d WHERE true{wanted} ORDER BY id DESC LIMIT %(limit)s",  # noqa: S608
        values,
    )
    found = [Delivery(*row) for row in await cursor.fetchall()]
    if len(found) == limit or not wanted:
        return found, None
    cursor = await connection.execute(f"{looked} OFFSET %(most)s - 1 LIMIT 1", values)
    last = await cursor.fetchone()
    return found, str(last[0]) if last else None


async def find(connection: Connection, account_id: str, delivery_id: str) -> tuple[Delivery, bytes] | None:
    """(the delivery, its body)."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS}, body FROM deliveries WHERE id = %s AND account_id = %s",  # noqa: S608 - constants
        [delivery_id, account_id],
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    *columns, body = row
    return Delivery(*columns), body


async def tried(connection: Connection, delivery_id: str) -> Sequence[Tried]:
    """All attempts, in order."""
    cursor = await connection.execute(
        "SELECT n, at, status, latency_ms, error, answer FROM delivery_attempts WHERE delivery_id = %s ORDER BY n",
        [delivery_id],
    )
    return [Tried(*row) for row in await cursor.fetchall()]


async def of_session(
    connection: Connection, session_id: str, after: str, limit: int
) -> Sequence[tuple[str, bytes, bool]]:
    """(delivery, body, whether it is being sent right now) of each behind `after`, in order."""
    cursor = await connection.execute(
        f"""
        SELECT id, body, {_UNDER_WAY} FROM deliveries WHERE session_id = %s AND id > %s ORDER BY id LIMIT %s
        """,  # noqa: S608 - a constant
        [session_id, after, limit],
        binary=True,
    )
    return await cursor.fetchall()


_UNDER_WAY = "(state = 'pending' AND coalesce(claimed_until > clock_timestamp(), false))"


async def under_way(connection: Connection, ids: Sequence[str]) -> list[str]:
    """Those of these deliveries that are being sent right now."""
    cursor = await connection.execute(
        f"SELECT id FROM deliveries WHERE id = ANY (%s) AND {_UNDER_WAY}",  # noqa: S608 - a constant
        [list(ids)],
    )
    return [row[0] for row in await cursor.fetchall()]


async def pending_test(connection: Connection, endpoint_id: str, kind: str) -> str | None:
    """The delivery of a test that is still to be sent."""
    cursor = await connection.execute(
        """
        SELECT id FROM deliveries WHERE endpoint_id = %s AND session_id = '' AND state = 'pending' AND type = %s LIMIT 1
        """,
        [endpoint_id, kind],
    )
    row = await cursor.fetchone()
    return str(row[0]) if row else None
