"""What a consumer leaves alone because only a newer version of this software can read it: all of a subject, from some
offset on, until it is asked to try again."""

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


class Parked(NamedTuple):
    """A row: what `consumer` has left alone in `topic`, and whether somebody waits for it to be tried again."""

    consumer: str
    topic: str
    parking: Parking
    asked: bool


_COLUMNS = 'consumer, topic, session_id, partition, "offset", reason, retry_asked IS NOT NULL'


async def of(
    connection: Connection, consumers: Sequence[str], subject: str | None = None, partition: int | None = None
) -> list[Parked]:
    """What these consumers have left alone: of one subject, of one partition, or all.

    Of one subject by the key's index, however many there are: each that is read again asks.
    """
    wanted = {"session_id": subject, "partition": partition}
    wanted = {column: value for column, value in wanted.items() if value is not None}
    only = "".join(f" AND {column} = %s" for column in wanted)
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM parked WHERE consumer = ANY(%s){only}",  # noqa: S608 - names of ours
        [list(consumers), *wanted.values()],
    )
    return [_parked(*row) for row in await cursor.fetchall()]


async def count(connection: Connection, consumer: str) -> int:
    """How many subjects this consumer has left alone."""
    cursor = await connection.execute("SELECT count(*) FROM parked WHERE consumer = %s", [consumer])
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def asked(
    connection: Connection, consumers: Sequence[str], topic: str, partitions: Sequence[int], limit: int
) -> list[Parked]:
    """Of what these have left alone in these partitions the first that somebody waits for, in the log's order.

    Looked at each second while anything is parked, which anybody can have done to any number of subjects.
    """
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM parked WHERE retry_asked IS NOT NULL AND topic = %s AND partition = ANY(%s)"  # noqa: S608
        ' AND consumer = ANY(%s) ORDER BY topic, partition, "offset" LIMIT %s',
        [topic, list(partitions), list(consumers), limit],
    )
    return [_parked(*row) for row in await cursor.fetchall()]


async def waiting(connection: Connection, subject: str | None, consumer: str | None) -> bool:
    """Whether anything that `ask` has asked for has no answer yet."""
    cursor = await connection.execute(
        "SELECT 1 FROM parked WHERE retry_asked IS NOT NULL"
        " AND coalesce(session_id = %s, true) AND coalesce(consumer = %s, true) LIMIT 1",
        [subject, consumer],
    )
    return await cursor.fetchone() is not None


def _parked(consumer: str, topic: str, subject: str, partition: int, offset: int, reason: str, asked: bool) -> Parked:
    return Parked(consumer, topic, Parking(subject, partition, offset, reason), asked)


async def park(connection: Connection, consumer: str, topic: str, parkings: Sequence[Parking]) -> None:
    """In the transaction of the batch. What is parked already stays where it is."""
    for parking in parkings:
        cursor = await connection.execute(
            """
            INSERT INTO parked (consumer, topic, partition, session_id, "offset", reason)
            VALUES (%s, %s, %s, %s, %s, %s)
            ON CONFLICT DO NOTHING
            """,
            [consumer, topic, parking.partition, parking.subject, parking.offset, parking.reason],
        )
        if cursor.rowcount:
            _tell(consumer, parking)


async def forget(connection: Connection, consumer: str) -> None:
    """All that this consumer has left alone."""
    await connection.execute("DELETE FROM parked WHERE consumer = %s", [consumer])


async def succeed(connection: Connection, consumer: str, by: str) -> None:
    """What `by` has left alone is what `consumer` has from now on."""
    await forget(connection, consumer)
    await connection.execute("UPDATE parked SET consumer = %s WHERE consumer = %s", [consumer, by])


async def only_of(connection: Connection, consumer: str, other: str) -> list[Parked]:
    """What `consumer` has left alone and `other` has not, or only from further on."""
    cursor = await connection.execute(
        f"""
        SELECT {_COLUMNS} FROM parked p WHERE consumer = %s AND NOT EXISTS (
            SELECT 1 FROM parked o WHERE o.consumer = %s AND o.session_id = p.session_id AND o."offset" <= p."offset")
        """,  # noqa: S608 - names of ours
        [consumer, other],
    )
    return [_parked(*row) for row in await cursor.fetchall()]


async def ask(
    connection: Connection, subject: str | None, consumer: str | None, limit: int | None = None
) -> list[tuple[str, str]]:
    """Ask the owners to try again; of all subjects, or consumers, where None is said. Returns (consumer, subject).

    `limit`: of those that nobody has asked for yet, the first; anybody can have made any number.
    """
    cursor = await connection.execute(
        """
        UPDATE parked SET retry_asked = now() WHERE (consumer, session_id) IN (
            SELECT consumer, session_id FROM parked
            WHERE coalesce(session_id = %s, true) AND coalesce(consumer = %s, true)
            AND (%s::int IS NULL OR retry_asked IS NULL) LIMIT %s)
        RETURNING consumer, session_id
        """,
        [subject, consumer, limit, limit],
    )
    return sorted(await cursor.fetchall())


async def settle(connection: Connection, consumer: str, subject: str, still: Parking | None) -> None:
    """In the transaction of what was folded: it is parked no more, or from another offset on."""
    if still is None:
        await connection.execute("DELETE FROM parked WHERE consumer = %s AND session_id = %s", [consumer, subject])
        log.info("read again", consumer=consumer, subject=subject)
        return
    await connection.execute(
        'UPDATE parked SET "offset" = %s, reason = %s, retry_asked = NULL WHERE consumer = %s AND session_id = %s',
        [still.offset, still.reason, consumer, subject],
    )
    _tell(consumer, still)


async def refuse(connection: Connection, consumers: Sequence[str], subject: str, reason: str) -> None:
    """It stays as it is, and nobody waits any more."""
    await connection.execute(
        "UPDATE parked SET reason = %s, retry_asked = NULL WHERE consumer = ANY(%s) AND session_id = %s",
        [reason, list(consumers), subject],
    )


def _tell(consumer: str, parking: Parking) -> None:
    log.warning("parked", consumer=consumer, subject=parking.subject, offset=parking.offset, reason=parking.reason)


async def everything(connection: Connection, subject: str | None = None, limit: int | None = None) -> list[Parked]:
    """Of all consumers, by consumer; `limit` None: all rows, of which anybody can have made any number."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM parked WHERE coalesce(session_id = %s, true)"  # noqa: S608
        " ORDER BY consumer, session_id LIMIT %s",
        [subject, limit],
    )
    return [_parked(*row) for row in await cursor.fetchall()]
