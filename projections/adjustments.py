"""What an adjustment changes, as the ledger has it. It reads only: `usage.adjusted` is appended by the CLI."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal

from events.offsets import end_offsets
from events.settings import LogSettings
from events.topics import SESSIONS, partition_of
from projections import checkpoints, names
from schemas.rates import CREDIT_US
from store.database import Connection

MOST_CREDITS = 1_000_000
"""Of one adjustment: more is a slip of the finger."""
_LOOK_EVERY_S = 0.05


class NotExact(Exception):
    """The amount is no whole number of credit_us."""


@dataclass(frozen=True)
class Bill:
    """What a session's entries add up to."""

    account_id: str
    credit_us: int


@dataclass(frozen=True)
class Entry:
    id: str
    kind: str
    credit_us: int


def credit_us(credits: Decimal) -> int:
    """Exactly. Raises NotExact, also for what is no number, 0, or more than MOST_CREDITS."""
    if not credits.is_finite() or not credits or abs(credits) > MOST_CREDITS:
        raise NotExact(f"An adjustment is between -{MOST_CREDITS:,} and {MOST_CREDITS:,} credits, and not 0.")
    numerator, denominator = credits.as_integer_ratio()
    amount, rest = divmod(numerator * CREDIT_US, denominator)
    if rest:
        raise NotExact(f"{credits} credits are no whole number of credit_us, of which a credit has {CREDIT_US:,}.")
    return amount


async def bill(connection: Connection, session_id: str) -> Bill | None:
    """None: there is no such session, or not yet."""
    cursor = await connection.execute(
        """
        SELECT s.account_id, coalesce(sum(u.credit_us), 0)
        FROM r.sessions s LEFT JOIN r.usage_events u USING (session_id) WHERE s.session_id = %s GROUP BY s.account_id
        """,
        [session_id],
    )
    row = await cursor.fetchone()
    return Bill(row[0], int(row[1])) if row else None


async def entry(connection: Connection, session_id: str, event_id: str) -> Entry | None:
    """That which this event made."""
    cursor = await connection.execute(
        "SELECT id, kind, credit_us FROM r.usage_events WHERE session_id = %s AND event_id = %s", [session_id, event_id]
    )
    row = await cursor.fetchone()
    return Entry(*row) if row else None


async def awaited(
    settings: LogSettings, connection: Connection, session_id: str, event_id: str, within_s: float
) -> Entry | None:
    """The entry of an event that is in the log; None once the ledger has gone past it without one.

    Raises TimeoutError, KafkaError.
    """
    place = partition_of(session_id.encode())
    async with asyncio.timeout(within_s):
        end = (await end_offsets(settings, SESSIONS, [place]))[place]
        while True:
            done = (await checkpoints.positions(connection, names.USAGE, SESSIONS.name)).get(place, 0)
            found = await entry(connection, session_id, event_id)  # after the look at how far it is
            if found is not None or done >= end:
                return found
            await asyncio.sleep(_LOOK_EVERY_S)
