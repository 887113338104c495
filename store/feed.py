"""The feed of an account: everything that its customer is told of, in one order, numbered without gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from store.database import Connection, Pool, delete_by_batches

CHANNEL = "account_events"
"""NOTIFY: the account whose feed has grown."""
_MOST_LOOKED_AT = 10_000
"""Events that one page is chosen from: a filter may let none of a month's through."""


@dataclass(frozen=True)
class New:
    """`body`: JSON, as a webhook of the event carries it."""

    account_id: str
    event_id: str
    type: str
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
    await connection.execute(
        "SELECT append_to_feeds(%s, %s, %s, %b::bytea[])",
        [
            [each.account_id for each in new],
            [each.event_id for each in new],
            [each.type for each in new],
            [each.body for each in new],
        ],
    )


async def head(connection: Connection, account_id: str) -> int:
    """The position of its last event; 0 when there was none."""
    cursor = await connection.execute("SELECT position FROM feeds WHERE account_id = %s", [account_id])
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def part(connection: Connection, account_id: str, after: int, types: Sequence[str], limit: int) -> Part:
    """The events behind `after`, of these types (`*`, a prefix such as `session.*`, or exactly; none: all), in order.

    From 0 on it begins with the oldest that is kept. Raises Pruned, Beyond.
    """
    last = await head(connection, account_id)
    cursor = await connection.execute("SELECT min(position) FROM feed_events WHERE account_id = %s", [account_id])
    row = await cursor.fetchone()
    oldest = int(row[0]) if row and row[0] is not None else last + 1
    if after == 0:
        after = oldest - 1
    if after > last:
        raise Beyond(last)
    if after + 1 < oldest:
        raise Pruned(oldest)
    until = min(last, after + _MOST_LOOKED_AT)
    cursor = await connection.execute(
        """
        SELECT position, event_id, type, body FROM feed_events
        WHERE account_id = %(account)s AND position > %(after)s AND position <= %(until)s
          AND (%(all)s OR type = ANY (%(exact)s) OR type LIKE ANY (%(prefixes)s))
        ORDER BY position LIMIT %(limit)s
        """,
        {
            "account": account_id,
            "after": after,
            "until": until,
            "all": not types or "*" in types,
            "exact": list(types),
            "prefixes": [f"{each[:-1].replace('_', chr(92) + '_')}%" for each in types if each.endswith(".*")],
            "limit": limit,
        },
        binary=True,
    )
    found = [FeedEvent(*row) for row in await cursor.fetchall()]
    return Part(found, found[-1].position if len(found) == limit else until, last)


async def prune(pool: Pool, older_s: float) -> int:
    """Delete old events; returns how many. The numbers go on."""
    condition = "at < now() - make_interval(secs => %(older_s)s)"
    return await delete_by_batches(pool, "feed_events", "account_id, position", condition, older_s)
