"""Sealed days: which chains closed in a day, and what was signed of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import LiteralString

from psycopg.rows import class_row

from schemas.days import BYTES, Cut, Leaf, Statement
from schemas.proofs import Seal
from store.database import Connection

_SESSIONS = "sessions.v1"
_READERS = ["usage", "history"]
"""Whose rows a day is made of."""
_ENDS = "('session.ended', 'session.failed', 'session.canceled')"
_LOCK = 7237902
_MOST_S = 600
_BATCH = 2000


@dataclass(frozen=True)
class SealedDay:
    day: date
    leaves: int
    left_out: list[str]
    offsets: list[int]
    previous: str
    root: str
    hash: str
    key_id: str
    public_key: str
    signature: str
    sealed_ms: int
    published: bool

    @property
    def statement(self) -> Statement:
        return Statement(
            cut=Cut(tuple(self.left_out), tuple(self.offsets)).hash(),
            day=f"{self.day}",
            leaves=self.leaves,
            object="usage_day",
            previous=self.previous,
            root=self.root,
        )


_COLUMNS = ", ".join(SealedDay.__dataclass_fields__)


async def every(connection: Connection) -> list[SealedDay]:
    """In order."""
    return await _some(connection, "true")


async def of(connection: Connection, session_id: str) -> list[SealedDay]:
    """Those in which the session's chain grew, in order."""
    return await _some(connection, "day IN (SELECT l.day FROM day_leaves l WHERE l.session_id = %s)", session_id)


async def unpublished(connection: Connection) -> list[SealedDay]:
    return await _some(connection, "NOT published")


async def last(connection: Connection) -> SealedDay | None:
    found = await _some(connection, "day = (SELECT max(day) FROM sealed_days)")
    return found[0] if found else None


async def _some(connection: Connection, condition: LiteralString, *values: object) -> list[SealedDay]:
    async with connection.cursor(row_factory=class_row(SealedDay)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM sealed_days WHERE {condition} ORDER BY day",  # noqa: S608 - names of ours
            values,
        )
        return await cursor.fetchall()


async def first_entry_ms(connection: Connection, partitions: int) -> int | None:
    """When the first entry of the ledger was recorded: one look for each partition of the log."""
    cursor = await connection.execute(
        """
        SELECT min(f.recorded_ms) FROM generate_series(0, %s - 1) AS p, LATERAL (
            SELECT u.recorded_ms FROM r.usage_events u WHERE u.partition = p ORDER BY u."offset" LIMIT 1) f
        """,
        [partitions],
    )
    row = await cursor.fetchone()
    return row[0] if row else None


async def now_ms(connection: Connection) -> int:
    """The database's clock."""
    cursor = await connection.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def behind(connection: Connection, offsets: Sequence[int]) -> int:
    """How many events of before `offsets` (by partition) the projections that a day is made of have not read."""
    cursor = await connection.execute(
        """
        SELECT coalesce(sum(greatest(0, o.until - coalesce(c.next_offset, 0))), 0)::bigint
        FROM unnest(%s::text[]) AS reader (name)
        CROSS JOIN unnest(%s::bigint[]) WITH ORDINALITY AS o (until, n)
        LEFT JOIN checkpoints c ON c.name = reader.name AND c.topic = %s AND c.partition = o.n - 1
        """,
        [_READERS, list(offsets), _SESSIONS],
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def begin(connection: Connection) -> bool:
    """In a transaction, as its first statement: one moment of the database for all that follows.

    False: another process seals right now.
    """
    await at_one_moment(connection)
    cursor = await connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
    row = await cursor.fetchone()
    return bool(row and row[0])


async def at_one_moment(connection: Connection) -> None:
    """In a transaction, as its first statement. `leaves` of a large day takes its time."""
    await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    # Before the first look: else a version that takes their place in between would be read as of before.
    await connection.execute("LOCK TABLE r.session_events, r.usage_events IN ACCESS SHARE MODE")
    # By the indexes: with other statistics the planner would read the whole ledger for a day.
    for name, value in (("statement_timeout", f"{_MOST_S}s"), ("enable_seqscan", "off")):
        await connection.execute("SELECT set_config(%s, %s, true)", [name, value])


async def left_out(connection: Connection, offsets: Sequence[int]) -> tuple[str, ...]:
    """Sessions that were parked before `offsets`: what the ledger has of them is not all."""
    cursor = await connection.execute(
        """
        SELECT DISTINCT p.session_id COLLATE "C" FROM parked p
        JOIN unnest(%s::bigint[]) WITH ORDINALITY AS o (until, n) ON p.partition = o.n - 1 AND p."offset" < o.until
        WHERE p.consumer = ANY(%s) AND p.topic = %s ORDER BY 1
        """,
        [list(offsets), _READERS, _SESSIONS],
    )
    return tuple(row[0] for row in await cursor.fetchall())


_LEAVES = f"""
    WITH cut AS (
        SELECT (o.n - 1)::integer AS partition, o.since, o.until
        FROM unnest(%(since)s::bigint[], %(until)s::bigint[]) WITH ORDINALITY AS o (since, until, n)
    ), grew AS (
        SELECT e.session_id FROM cut JOIN r.session_events e
            ON e.partition = cut.partition AND e."offset" >= cut.since AND e."offset" < cut.until
        WHERE e.type IN {_ENDS}
        UNION
        SELECT u.session_id FROM cut JOIN r.usage_events u
            ON u.partition = cut.partition AND u."offset" >= cut.since AND u."offset" < cut.until
        WHERE u.kind = 'adjustment'
        UNION
        SELECT unnest(%(before)s::text[])
    ), closed AS MATERIALIZED (
        SELECT g.session_id, cut.partition, cut.until
        FROM grew g
        CROSS JOIN LATERAL (
            SELECT e.partition, e."offset" FROM r.session_events e
            WHERE e.session_id = g.session_id AND e.type IN {_ENDS} LIMIT 1) ended
        JOIN cut ON cut.partition = ended.partition AND ended."offset" < cut.until
        WHERE g.session_id <> ALL (%(left_out)s::text[])
    )
    SELECT c.partition, chain.*, c.session_id
    FROM closed c
    CROSS JOIN LATERAL (
        SELECT max(u.account_id), sum(u.billable_ms)::bigint, sum(u.credit_us)::bigint, count(*)::integer AS entries,
            sum(u.frames)::bigint, (array_agg(u.hash ORDER BY u."offset" DESC))[1]
        FROM r.usage_events u WHERE u.session_id = c.session_id AND u."offset" < c.until) chain
    WHERE chain.entries > 0 ORDER BY c.session_id COLLATE "C"
"""  # noqa: S608 - constants of ours


async def leaves(
    connection: Connection, since: Sequence[int], until: Sequence[int], before: Sequence[str], left_out: Sequence[str]
) -> AsyncIterator[Sequence[tuple[int, Leaf]]]:
    """(partition, leaf) of each chain that closed by `until`, and grew from `since` on; by session id, some at a time.

    `before`: those that the day before left out. The day in which a closed chain grew, by an adjustment, has it again.
    """
    async with connection.cursor(name="leaves") as cursor:
        await cursor.execute(
            _LEAVES,
            {"since": list(since), "until": list(until), "before": list(before), "left_out": list(left_out)},
        )
        while rows := await cursor.fetchmany(_BATCH):
            yield [(partition, Leaf(*fields)) for partition, *fields in rows]


async def add_leaves(connection: Connection, day: date, first: int, found: Sequence[tuple[int, Leaf]]) -> None:
    """`first`: the index of the first of them."""
    async with connection.cursor() as cursor:
        async with cursor.copy("COPY day_leaves (session_id, day, partition, index, entries) FROM STDIN") as copy:
            for index, (partition, leaf) in enumerate(found, first):
                await copy.write_row((leaf.session_id, day, partition, index, leaf.entries))


async def add(connection: Connection, sealed: SealedDay, tree: Sequence[bytes]) -> None:
    """Raises psycopg.errors.UniqueViolation: the day is sealed already."""
    fields = SealedDay.__dataclass_fields__
    values = ", ".join(["%s"] * len(fields))
    await connection.execute(
        f"INSERT INTO sealed_days ({_COLUMNS}) VALUES ({values})",  # noqa: S608 - names of ours
        [getattr(sealed, name) for name in fields],
    )
    for level, hashes in enumerate(tree):
        await connection.execute("INSERT INTO day_levels VALUES (%s, %s, %b)", [sealed.day, level, hashes])


async def tree(connection: Connection, day: date) -> list[bytes]:
    """As it is stored, from the leaves to the root."""
    cursor = await connection.execute("SELECT hashes FROM day_levels WHERE day = %s ORDER BY level", [day], binary=True)
    return [row[0] for row in await cursor.fetchall()]


async def sessions(connection: Connection, day: date) -> list[str]:
    """Whose leaves it has, in order, as it is stored."""
    cursor = await connection.execute("SELECT session_id FROM day_leaves WHERE day = %s ORDER BY index", [day])
    return [row[0] for row in await cursor.fetchall()]


async def mark_published(connection: Connection, day: date) -> None:
    await connection.execute("UPDATE sealed_days SET published = true WHERE day = %s", [day])


async def seals(connection: Connection, session_id: str) -> list[Seal]:
    """Of all the days in which its chain grew, in order."""
    cursor = await connection.execute(
        "SELECT day, index, entries FROM day_leaves WHERE session_id = %s ORDER BY day", [session_id]
    )
    found = await cursor.fetchall()
    sealed = {each.day: each for each in await of(connection, session_id)}
    return [
        Seal(
            day=sealed[day].statement,
            entries=entries,
            index=index,
            path=await _path(connection, day, index, sealed[day].leaves),
            public_key=sealed[day].public_key,
            signature=sealed[day].signature,
        )
        for day, index, entries in found
    ]


async def _path(connection: Connection, day: date, index: int, size: int) -> tuple[str, ...]:
    wanted = []
    for level in range(size.bit_length() + 1):
        if size > 1 and (index ^ 1) < size:
            wanted.append((level, (index ^ 1) * BYTES + 1))
        index, size = index // 2, (size + 1) // 2
    cursor = await connection.execute(
        """
        SELECT substring(l.hashes FROM w.start FOR 32) FROM unnest(%s::int[], %s::int[]) AS w (level, start)
        JOIN day_levels l ON l.day = %s AND l.level = w.level ORDER BY w.level
        """,
        [[level for level, _ in wanted], [start for _, start in wanted], day],
        binary=True,
    )
    return tuple(row[0].hex() for row in await cursor.fetchall())
