"""Deliveries that are asked for again: one by its id, or what the account's feed still has."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from store import feed
from store.database import Connection, Pool
from store.deliveries import delivery_id
from store.endpoints import Endpoint
from store.feed import Place

_AT_ONCE, _PARTS, _WITHIN_S = 1000, 10, 4.0
"""Events of a part, parts of one replay, and when no further part is begun: who wants more asks again."""
_PACE = timedelta(milliseconds=20)
"""Between two events of an endpoint's replays: what happens meanwhile need not wait behind thousands."""


class EndpointDisabled(Exception):
    """Nothing is sent to a disabled endpoint."""


@dataclass(frozen=True)
class Replayed:
    """`through`: the position of the feed up to which all is replayed; `more` lies behind it."""

    deliveries: int
    through: int
    more: bool


async def redeliver(connection: Connection, account_id: str, delivery: str) -> bool:
    """False when the account has none such. Raises EndpointDisabled."""
    cursor = await connection.execute("SELECT redeliver(%s, %s)", [account_id, delivery])
    row = await cursor.fetchone()
    outcome: Literal["again", "disabled"] | None = row[0] if row else None
    if outcome == "disabled":
        raise EndpointDisabled
    return outcome == "again"


async def replay(pool: Pool, endpoint: Endpoint, after: int) -> Replayed:
    """All behind this position that the endpoint wants, in parts, each with a connection of its own: a crash leaves the
    rest undone, and asking again does no harm. Raises EndpointDisabled, feed.Pruned, feed.Beyond."""
    made, until = 0, time.monotonic() + _WITHIN_S
    for _ in range(_PARTS):
        async with pool.connection() as connection:
            found, after, more = await feed.places(connection, endpoint.account_id, after, endpoint.events, _AT_ONCE)
            made += await _again(connection, endpoint, found)
        if not more or time.monotonic() > until:
            break
    return Replayed(made, after, more)


async def replay_session(connection: Connection, endpoint: Endpoint, session_id: str, after_seq: int) -> int:
    """What the endpoint wants of one session's events; returns how many. Raises EndpointDisabled."""
    found = await feed.places_of_session(
        connection, endpoint.account_id, session_id, after_seq, endpoint.events, _AT_ONCE * _PARTS
    )
    return await _again(connection, endpoint, found)


async def _again(connection: Connection, endpoint: Endpoint, found: Sequence[Place]) -> int:
    cursor = await connection.execute(
        "SELECT replay_deliveries(%s, %s, %s, %s::bigint[], %s)",
        [
            endpoint.account_id,
            endpoint.id,
            [delivery_id(each.event_id, endpoint.id) for each in found],
            [each.position for each in found],
            _PACE,
        ],
    )
    row = await cursor.fetchone()
    if row is None or row[0] is None:
        raise EndpointDisabled
    return int(row[0])
