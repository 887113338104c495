"""Reading the ledger: its entries, and what they add up to.

What belongs to a period is decided by `recorded_ms`, the log's append time: once a period is over, nothing is added to
it any more. Rounding happens here and once: per session, up to the next whole second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from events.topics import SESSIONS
from projections import names
from projections.folding import SessionChange
from projections.usage import COLUMNS, FACT_COLUMNS, row
from schemas.usage import UsageFacts
from store.database import Connection, Row

DAY_MS = 86_400_000
_CURSOR_WITHIN_MS = 900_000
"""An id tells when the event was made; nearly always it was recorded within this of that."""


@dataclass(frozen=True)
class Summary:
    """`seconds` by quality, not multiplied; `sessions` that have billed time."""

    seconds: dict[str, int]
    sessions: int


async def summary(connection: Connection, account_id: str, start_ms: int, end_ms: int) -> Summary:
    """Of a period whose end is exclusive. Whole days are read from their totals, the rest entry by entry."""
    first_day, after_last_day = -(-start_ms // DAY_MS), end_ms // DAY_MS
    edges = [(start_ms, end_ms)]
    if first_day < after_last_day:
        edges = [(start_ms, first_day * DAY_MS), (after_last_day * DAY_MS, end_ms)]
    cursor = await connection.execute(
        """
        WITH part AS (
            SELECT session_id, quality, billable_ms FROM r.session_days
            WHERE account_id = %(account)s AND day >= %(first)s AND day < %(after_last)s
            UNION ALL
            SELECT u.session_id, u.quality, u.billable_ms
            FROM unnest(%(starts)s::bigint[], %(ends)s::bigint[]) AS edge (start_ms, end_ms)
            JOIN r.usage_events u
                ON u.account_id = %(account)s AND u.recorded_ms >= edge.start_ms AND u.recorded_ms < edge.end_ms
        ), of_session AS (
            SELECT session_id, quality, sum(billable_ms) AS ms FROM part GROUP BY session_id, quality
        )
        SELECT quality, sum(ceil(ms / 1000))::bigint, count(*) FROM of_session WHERE ms > 0 GROUP BY quality
        """,
        {
            "account": account_id,
            "first": first_day,
            "after_last": max(first_day, after_last_day),
            "starts": [start for start, _ in edges],
            "ends": [end for _, end in edges],
        },
    )
    rows = await cursor.fetchall()
    return Summary({quality: seconds for quality, seconds, _ in rows}, sum(count for *_, count in rows))


@dataclass(frozen=True)
class Entry:
    """A ledger entry: the facts under its hash by name, and where it comes from."""

    facts: dict[str, object]
    prev_hash: str
    hash: str
    partition: int
    offset: int
    recorded_ms: int


@dataclass(frozen=True)
class EntryFilter:
    """`start_ms` is inclusive, `end_ms` exclusive."""

    session_id: str | None = None
    start_ms: int | None = None
    end_ms: int | None = None


class NoSuchEntry(Exception):
    """The cursor is no entry of this account."""


async def entries(
    connection: Connection, account_id: str, only: EntryFilter, before_id: str | None, before_ms: int, limit: int
) -> Sequence[Entry]:
    """The latest recorded first, from `before_id` on, which was made at `before_ms`. Raises NoSuchEntry."""
    place = (2**62, "")
    if before_id is not None:
        cursor = await connection.execute(
            """
            SELECT recorded_ms FROM r.usage_events
            WHERE account_id = %s AND recorded_ms BETWEEN %s AND %s AND id = %s
            """,
            [account_id, before_ms - _CURSOR_WITHIN_MS, before_ms + _CURSOR_WITHIN_MS, before_id],
        )
        row = await cursor.fetchone()
        if row is None:  # of a worker whose clock is off, or a log that was away: looked for among all of the account's
            cursor = await connection.execute(
                "SELECT recorded_ms FROM r.usage_events WHERE account_id = %s AND id = %s", [account_id, before_id]
            )
            row = await cursor.fetchone()
        if row is None:
            raise NoSuchEntry
        place = (row[0], before_id)
    conditions = {
        "session_id = %(session)s": only.session_id is not None,
        "recorded_ms >= %(start)s": only.start_ms is not None,
        "recorded_ms < %(end)s": only.end_ms is not None,
    }
    wanted = "".join(f" AND {condition}" for condition, asked in conditions.items() if asked)
    cursor = await connection.execute(
        f"""
        SELECT {_SELECTED} FROM r.usage_events
        WHERE account_id = %(account)s AND recorded_ms <= %(at)s AND (recorded_ms, id) < (%(at)s, %(id)s){wanted}
        ORDER BY recorded_ms DESC, id DESC LIMIT %(limit)s
        """,  # noqa: S608 - no value in it
        {
            "account": account_id,
            "session": only.session_id,
            "start": only.start_ms,
            "end": only.end_ms,
            "at": place[0],
            "id": place[1],
            "limit": limit,
        },
    )
    return [_entry(row) for row in await cursor.fetchall()]


async def entered_since(connection: Connection, offsets: Mapping[int, int], limit: int) -> list[Entry]:
    """Of each of these partitions the entries from its offset on, in order: `limit` of one at the most.

    As far as the projection has read: what somebody has put beyond that is no entry, and nobody is told of it.
    """
    cursor = await connection.execute(
        f"""
        SELECT e.* FROM unnest(%s::int[], %s::bigint[]) AS a (partition, since)
        JOIN checkpoints c ON c.name = %s AND c.topic = %s AND c.partition = a.partition, LATERAL (
            SELECT {_SELECTED} FROM r.usage_events u
            WHERE u.partition = a.partition AND u."offset" >= a.since AND u."offset" < c.next_offset
            ORDER BY u."offset" LIMIT %s) e
        """,  # noqa: S608 - names of ours
        [list(offsets), list(offsets.values()), names.USAGE, SESSIONS.name, limit],
        binary=True,
    )
    return [_entry(row) for row in await cursor.fetchall()]


async def chain_of(connection: Connection, session_id: str) -> list[UsageFacts]:
    """The facts of all entries of a session, in the order of its chain."""
    cursor = await connection.execute(
        f'SELECT {_SELECTED} FROM r.usage_events WHERE session_id = %s ORDER BY "offset"',  # noqa: S608 - names of ours
        [session_id],
        binary=True,
    )
    return [facts_of(row) for row in await cursor.fetchall()]


def facts_of(row: Row) -> UsageFacts:
    """What is under the hash of a row in the order of `COLUMNS`."""
    values = dict(zip(FACT_COLUMNS, row, strict=False))
    return UsageFacts(**{**values, "flags": tuple(filter(None, values["flags"].split(",")))})


_SELECTED = ", ".join(f'"{column}"' for column in COLUMNS)


def entry_of(change: SessionChange) -> Entry:
    """The entry that this change brings, as it will be read: of one that has `usage`."""
    return _entry(row(change))


def _entry(row: Row) -> Entry:
    *facts, prev_hash, hash_, partition, offset, recorded_ms = row
    return Entry(dict(zip(COLUMNS, facts, strict=False)), prev_hash, hash_, partition, offset, recorded_ms)
