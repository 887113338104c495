"""The feed of an account: everything that its customer is told of, in one order, numbered without gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

from store.database import Connection, Pool, Row, delete_by_batches

CHANNEL = "account_events"
"""NOTIFY: the account whose feed has grown."""
_MOST_LOOKED_AT = 10_000
"""Events that one page is chosen from: a filter may let none of a month's through."""


@dataclass(frozen=True)
class New:
    """`body`: JSON, as a webhook of the event carries it. `session_id` is empty for what is of no session."""

    account_id: str
    event_id: str
    type: str
    session_id: str
    seq: int
    body: bytes


@dataclass(frozen=True)
class FeedEvent:
    position: int
    event_id: str
    type: str
    body: bytes


@dataclass(frozen=True)
class Part:
    """`through`: the position up to which the feed was looked at. `head`: that of its last event."""

    events: list[FeedEvent]
    through: int
    head: int


class Pruned(Exception):
    """What comes next there was deleted: `oldest` is the position of the oldest event that is kept."""

    def __init__(self, oldest: int) -> None:
        super().__init__(oldest)
        self.oldest = oldest


class Beyond(Exception):
    """No event has this position yet, so nobody can have been told of it."""


async def append(connection: Connection, new: Sequence[New]) -> None:
    """In the caller's transaction, which should be short: until it ends, nobody else appends to these accounts'."""
    if new:
        columns = [list(column) for column in zip(*map(astuple, new), strict=True)]
        await connection.execute("SELECT append_to_feeds(%s, %s, %s, %s, %s::int[], %b::bytea[])", columns)


async def head(connection: Connection, account_id: str) -> int:
    """The position of its last event; 0 when there was none."""
    cursor = await connection.execute("SELECT position FROM feeds WHERE account_id = %s", [account_id])
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def _oldest(connection: Connection, account_id: str, last: int) -> int:
    """The position of the oldest that is kept; behind `last` when none is."""
    cursor = await connection.execute("SELECT min(position) FROM feed_events WHERE account_id = %s", [account_id])
    row = await cursor.fetchone()
    return int(row[0]) if row and row[0] is not None else last + 1


async def part(connection: Connection, account_id: str, after: int, types: Sequence[str], limit: int) -> Part:
    """The events behind `after`, of these types (`*`, a prefix such as `session.*`, or exactly; none: all), in order.

    From 0 on it begins with the oldest that is kept. Raises Pruned, Beyond.
    """
    rows, through, last = await _behind(connection, account_id, after, types, limit, "position, event_id, type, body")
    return Part([FeedEvent(*row) for row in rows], through, last)


async def _behind(
    connection: Connection, account_id: str, after: int, types: Sequence[str], limit: int, columns: str
) -> tuple[Sequence[Row], int, int]:
    """(rows whose first column is the position, that up to which was looked, that of the last event)."""
    last = await head(connection, account_id)
    oldest = await _oldest(connection, account_id, last)
    if after == 0:
        after = oldest - 1
    if after > last:
        raise Beyond(last)
    if after + 1 < oldest:
        raise Pruned(oldest)
    until = min(last, after + _MOST_LOOKED_AT)
    cursor = await connection.execute(
        f"""
        SELECT {columns} FROM feed_events
        WHERE account_id = %(account)s AND position > %(after)s AND position <= %(until)s AND {_OF_TYPES}
        ORDER BY position LIMIT %(limit)s
        """,  # noqa: S608 - constants
        {"account": account_id, "after": after, "until": until, "limit": limit, **_types(types)},
        binary=True,
    )
    rows = await cursor.fetchall()
    return rows, rows[-1][0] if len(rows) == limit else until, last


_OF_TYPES = "(%(all)s OR type = ANY (%(exact)s) OR type LIKE ANY (%(prefixes)s))"


def _types(types: Sequence[str]) -> dict[str, object]:
    return {
        "all": not types or "*" in types,
        "exact": list(types),
        "prefixes": [f"{each[:-1].replace('_', chr(92) + '_')}%" for each in types if each.endswith(".*")],
    }


async def since(connection: Connection, account_id: str, at_ms: int) -> int:
    """The position behind which all is that was appended at this moment or later. Times grow with the positions."""
    high = await head(connection, account_id)
    low = await _oldest(connection, account_id, high)
    while low <= high:
        middle = (low + high) // 2
        cursor = await connection.execute(
            "SELECT at < to_timestamp(%s / 1000.0) FROM feed_events WHERE account_id = %s AND position = %s",
            [at_ms, account_id, middle],
        )
        row = await cursor.fetchone()
        if row is None or row[0]:  # none: pruned meanwhile, so it was older
            low = middle + 1
        else:
            high = middle - 1
    return high


@dataclass(frozen=True)
class Place:
    position: int
    event_id: str


async def places(
    connection: Connection, account_id: str, after: int, types: Sequence[str], limit: int
) -> tuple[list[Place], int, bool]:
    """(events of these types behind `after`, the position looked through, whether more may follow). Raises Pruned,
    Beyond."""
    rows, through, last = await _behind(connection, account_id, after, types, limit, "position, event_id")
    return [Place(*row) for row in rows], through, through < last


async def places_of_session(
    connection: Connection, account_id: str, session_id: str, after_seq: int, types: Sequence[str], limit: int
) -> list[Place]:
    """A session's events behind `after_seq`, of these types, in order."""
    cursor = await connection.execute(
        f"""
        SELECT position, event_id FROM feed_events
        WHERE account_id = %(account)s AND session_id = %(session)s AND seq > %(seq)s AND {_OF_TYPES}
        ORDER BY seq LIMIT %(limit)s
        """,  # noqa: S608 - a constant
        {"account": account_id, "session": session_id, "seq": after_seq, "limit": limit, **_types(types)},
    )
    return [Place(*row) for row in await cursor.fetchall()]


async def of_session(
    connection: Connection, account_id: str, session_id: str, after: int, limit: int
) -> Sequence[tuple[int, bytes]]:
    """(position, body) of the session's events behind `after`, in order."""
    cursor = await connection.execute(
        """
        SELECT position, body FROM feed_events
        WHERE account_id = %s AND session_id = %s AND position > %s ORDER BY position LIMIT %s
        """,
        [account_id, session_id, after, limit],
        binary=True,
    )
    return await cursor.fetchall()


async def rewrite(connection: Connection, account_id: str, bodies: Mapping[int, bytes]) -> None:
    """Position → what its event says from now on."""
    await connection.execute(
        """
        UPDATE feed_events f SET body = x.body FROM unnest(%s::bigint[], %b::bytea[]) AS x (position, body)
        WHERE f.account_id = %s AND f.position = x.position
        """,
        [list(bodies), list(bodies.values()), account_id],
    )


async def erase(pool: Pool, account_id: str) -> int:
    """Delete all of the account's; returns how many. The numbers go on."""
    return await delete_by_batches(
        pool, "feed_events", "account_id, position", "account_id = %(account)s", account=account_id
    )


async def prune(pool: Pool, older_s: float) -> int:
    """Delete old events; returns how many. The numbers go on."""
    condition = "at < now() - make_interval(secs => %(older_s)s)"
    return await delete_by_batches(pool, "feed_events", "account_id, position", condition, older_s)
