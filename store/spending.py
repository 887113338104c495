"""What accounts and keys may spend in a month, which thresholds they have reached, and who has nothing left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from store.database import Connection

OF_ACCOUNT = ""
"""In the place of a key: the whole account."""


@dataclass(frozen=True)
class Limits:
    """Of a UTC month, in credit_us. `cap_us`: creates are refused there, and what runs is ended; None: no cap."""

    cap_us: int | None
    thresholds_us: tuple[int, ...]


@dataclass(frozen=True)
class Spending:
    """`reached_us`: thresholds of this month that were told of."""

    limits: Limits
    spent_us: int
    reached_us: tuple[int, ...]


async def put(connection: Connection, account_id: str, key_id: str, limits: Limits) -> bool:
    """False: the account has no such key."""
    cursor = await connection.execute(
        """
        INSERT INTO spending_limits (account_id, key_id, cap_us, thresholds_us)
        SELECT %(account)s, %(key)s, %(cap)s, %(thresholds)s
        WHERE %(key)s = '' OR EXISTS (SELECT 1 FROM api_keys k WHERE k.id = %(key)s AND k.account_id = %(account)s)
        ON CONFLICT (account_id, key_id) DO UPDATE
            SET cap_us = excluded.cap_us, thresholds_us = excluded.thresholds_us
        """,
        {"account": account_id, "key": key_id, "cap": limits.cap_us, "thresholds": list(limits.thresholds_us)},
    )
    return cursor.rowcount == 1


async def of_account(connection: Connection, account_id: str) -> Mapping[str, Spending]:
    """Key → its limits and what it has spent this month, of all that have any; always of OF_ACCOUNT."""
    cursor = await connection.execute(
        """
        SELECT l.key_id, l.cap_us, l.thresholds_us, clamped(spent_us(%(account)s, l.key_id)), ARRAY(
            SELECT t.threshold_us FROM thresholds_reached t
            WHERE t.account_id = %(account)s AND t.key_id = l.key_id
              AND t.month = date_trunc('month', now() AT TIME ZONE 'UTC')::date ORDER BY 1)
        FROM (
            SELECT key_id, cap_us, thresholds_us FROM spending_limits WHERE account_id = %(account)s
            UNION ALL
            SELECT '', NULL, '{}' WHERE NOT EXISTS (
                SELECT 1 FROM spending_limits WHERE account_id = %(account)s AND key_id = '')
        ) l ORDER BY l.key_id
        """,
        {"account": account_id},
    )
    return {
        key_id: Spending(Limits(cap, tuple(thresholds)), spent, tuple(reached))
        for key_id, cap, thresholds, spent, reached in await cursor.fetchall()
    }


@dataclass(frozen=True)
class Reached:
    """A threshold that was passed in `month`, and what has been spent by now."""

    account_id: str
    key_id: str
    month: date
    threshold_us: int
    spent_us: int


async def newly_reached(connection: Connection) -> Sequence[Reached]:
    """Marked in the caller's transaction: told of with it, once, or not at all."""
    cursor = await connection.execute(
        """
        WITH passed AS (
            SELECT l.account_id, l.key_id, date_trunc('month', now() AT TIME ZONE 'UTC')::date AS month, t.threshold_us,
                spent.us
            FROM spending_limits l
            CROSS JOIN LATERAL (SELECT clamped(spent_us(l.account_id, l.key_id)) AS us) spent
            CROSS JOIN LATERAL unnest(l.thresholds_us) AS t (threshold_us)
            WHERE l.thresholds_us <> '{}' AND t.threshold_us <= spent.us
        ), marked AS (
            INSERT INTO thresholds_reached (account_id, key_id, month, threshold_us)
            SELECT account_id, key_id, month, threshold_us FROM passed ORDER BY 1, 2, 3, 4
            ON CONFLICT DO NOTHING RETURNING account_id, key_id, month, threshold_us
        )
        SELECT m.account_id, m.key_id, m.month, m.threshold_us, p.us
        FROM marked m JOIN passed p USING (account_id, key_id, month, threshold_us) ORDER BY 1, 2, 4
        """
    )
    return [Reached(*row) for row in await cursor.fetchall()]


async def exhausted(connection: Connection) -> frozenset[str]:
    """Ids of accounts and keys that may spend nothing more."""
    cursor = await connection.execute(
        """
        SELECT CASE l.key_id WHEN '' THEN l.account_id ELSE l.key_id END FROM spending_limits l
        WHERE l.cap_us <= spent_us(l.account_id, l.key_id)
        UNION
        SELECT a.id FROM accounts a WHERE a.credit_gated AND credit_balance(a.id) <= 0
        """
    )
    return frozenset(row[0] for row in await cursor.fetchall())
