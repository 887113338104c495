"""Which entries of the ledger were sent as meter events, to which destination, and whether that was acknowledged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from store.database import Connection

_LOCK = 7237904
_KEEP_DAYS = 45
"""Nothing that was recorded longer ago than 35 days is taken any more, so nothing can be sent twice after that."""


@dataclass(frozen=True)
class Sent:
    """`age_s`: since it was sent for the first time."""

    acknowledged: bool
    age_s: float


async def begin(connection: Connection, destination: str) -> bool:
    """Until the connection is closed nobody else sends there. False when somebody does. Forgets what is old."""
    cursor = await connection.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", [_LOCK, destination])
    row = await cursor.fetchone()
    if row is None or not row[0]:
        return False
    await connection.execute("DELETE FROM meter_events WHERE sent_at < now() - make_interval(days => %s)", [_KEEP_DAYS])
    return True


async def sending(connection: Connection, destination: str, identifiers: Sequence[str]) -> dict[str, Sent]:
    """Write down that these are about to be sent. Returns those that were before."""
    cursor = await connection.execute(
        """
        WITH made AS (
            INSERT INTO meter_events (destination, identifier) SELECT %(destination)s, unnest(%(identifiers)s::text[])
            ON CONFLICT DO NOTHING)
        SELECT identifier, acknowledged_at IS NOT NULL, extract(epoch FROM now() - sent_at)::float
        FROM meter_events WHERE destination = %(destination)s AND identifier = ANY(%(identifiers)s)
        """,
        {"destination": destination, "identifiers": list(identifiers)},
    )
    return {identifier: Sent(acknowledged, age) for identifier, acknowledged, age in await cursor.fetchall()}


async def settle(
    connection: Connection, destination: str, acknowledged: Sequence[str], forgotten: Sequence[str]
) -> None:
    """`forgotten`: those of which it is certain that they were not taken."""
    async with connection.transaction():
        await connection.execute(
            "UPDATE meter_events SET acknowledged_at = now() WHERE destination = %s AND identifier = ANY(%s)",
            [destination, list(acknowledged)],
        )
        await connection.execute(
            "DELETE FROM meter_events WHERE destination = %s AND identifier = ANY(%s) AND acknowledged_at IS NULL",
            [destination, list(forgotten)],
        )
