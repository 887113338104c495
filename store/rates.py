"""Published rate cards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg

from schemas.rates import RateCard
from schemas.times import from_datetime
from store.database import Connection

NOTICE_S = 60
"""Between a card's publication and its begin, at least: within it every API process has looked."""


class NotPublished(Exception):
    """Nothing was changed. The message is a sentence to the operator."""


@dataclass(frozen=True)
class Published:
    card: RateCard
    effective_from: datetime
    published_at: datetime


async def every(connection: Connection) -> list[Published]:
    """In the order in which they take effect."""
    cursor = await connection.execute(
        "SELECT version, lite, standard, pro, effective_from, published_at FROM rate_cards ORDER BY effective_from"
    )
    return [Published(RateCard(*row[:4]), *row[4:]) for row in await cursor.fetchall()]


def in_force(cards: Sequence[Published], at_ms: int) -> RateCard:
    """That which is in force at this time. `cards`: as `every` returns them; the first one has always been."""
    return max(
        (each for each in cards if from_datetime(each.effective_from) <= at_ms), key=lambda each: each.effective_from
    ).card


async def publish(connection: Connection, card: RateCard, effective_from: datetime | None) -> Published:
    """From `effective_from` on, or from as soon as may be. Publishing the same again is done already.

    Raises NotPublished.
    """
    try:
        await connection.execute(
            """
            INSERT INTO rate_cards (version, lite, standard, pro, effective_from)
            SELECT %(version)s, %(lite)s, %(standard)s, %(pro)s,
                coalesce(%(from)s, date_trunc('second', now()) + make_interval(secs => %(notice)s + 1))
            WHERE %(from)s::timestamptz IS NULL OR %(from)s >= now() + make_interval(secs => %(notice)s)
            ON CONFLICT (version) DO NOTHING
            """,
            {
                "version": card.version,
                "lite": card.lite,
                "standard": card.standard,
                "pro": card.pro,
                "from": effective_from,
                "notice": NOTICE_S,
            },
        )
    except psycopg.errors.UniqueViolation:
        raise NotPublished("Another card takes effect at that very time: give another --from.") from None
    found = next((each for each in await every(connection) if each.card.version == card.version), None)
    if found is None:
        raise NotPublished(f"A card takes effect {NOTICE_S} s after it is published, or later: give a later --from.")
    if found.card != card or effective_from not in (None, found.effective_from):
        raise NotPublished(f"There is a card {card.version} already, and it is another one: give yours another name.")
    return found
