"""What a consumer leaves alone because only a newer version of this software can read it: all of a subject, from some
offset on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import structlog

from store.database import Connection

log = structlog.get_logger()


class Parking(NamedTuple):
    """`subject`: the record's key, a session or an avatar."""

    subject: str
    partition: int
    offset: int
    reason: str


async def since(connection: Connection, consumers: Sequence[str]) -> dict[str, int]:
    """Subject → the first offset that one of these consumers has left alone."""
    cursor = await connection.execute(
        'SELECT session_id, min("offset") FROM parked WHERE consumer = ANY(%s) GROUP BY 1', [list(consumers)]
    )
    return dict(await cursor.fetchall())


async def park(connection: Connection, consumer: str, topic: str, parkings: Sequence[Parking]) -> None:
    """In the transaction of the batch."""
    for parking in parkings:
        log.warning("parked", consumer=consumer, subject=parking.subject, offset=parking.offset, reason=parking.reason)
        await connection.execute(
            """
            INSERT INTO parked (consumer, topic, partition, session_id, "offset", reason)
            VALUES (%s, %s, %s, %s, %s, %s)
            ON CONFLICT DO NOTHING
            """,
            [consumer, topic, parking.partition, parking.subject, parking.offset, parking.reason],
        )


async def forget(connection: Connection, consumer: str) -> None:
    """All that this consumer has left alone."""
    await connection.execute("DELETE FROM parked WHERE consumer = %s", [consumer])


async def count(connection: Connection, consumer: str) -> int:
    """How many subjects this consumer has left alone."""
    cursor = await connection.execute("SELECT count(*) FROM parked WHERE consumer = %s", [consumer])
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def everything(connection: Connection) -> list[tuple[str, Parking]]:
    """(consumer, what it left alone), by consumer."""
    cursor = await connection.execute(
        'SELECT consumer, session_id, partition, "offset", reason FROM parked ORDER BY 1, 2'
    )
    return [(consumer, Parking(*rest)) for consumer, *rest in await cursor.fetchall()]
