"""Credits: grants with an expiry, what was taken from them, and the balance after each change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from schemas.ids import CREDIT_GRANT, new_id
from schemas.rates import CREDIT_US
from store.database import Connection

_SETTLED_AT_ONCE = 500
"""Accounts: the others' turn comes with the next look."""


@dataclass(frozen=True)
class Grant:
    """Amounts in credit_us; `expires_at` None: never."""

    id: str
    granted_us: int
    left_us: int
    expires_at: datetime | None
    note: str
    created_at: datetime


@dataclass(frozen=True)
class Entry:
    """A change of the balance. `amount_us` is signed; `kind`: grant, spend, expire or refund."""

    n: int
    at: datetime
    kind: str
    grant_id: str | None
    amount_us: int
    balance_us: int
    note: str


async def grant(
    connection: Connection, account_id: str, credits: int, expires_at: datetime | None, note: str = ""
) -> str:
    """Give credits, and return the grant's id. What was used before the first grant is not charged to it."""
    grant_id = new_id(CREDIT_GRANT)
    async with connection.transaction():
        await connection.execute(
            """
            INSERT INTO credit_accounts (account_id, settled_us)
            SELECT %(account)s, coalesce((SELECT sum(credit_us) FROM r.usage_months WHERE account_id = %(account)s), 0)
            ON CONFLICT DO NOTHING
            """,
            {"account": account_id},
        )
        await connection.execute("SELECT settle_credits(%s)", [account_id])
        await connection.execute(
            "SELECT add_credit(%s, %s, %s, %s, 'grant', %s)",
            [account_id, grant_id, credits * CREDIT_US, expires_at, note],
        )
    return grant_id


async def settle(connection: Connection) -> int:
    """Take what was billed since the last time from the grants of everybody who has any. Returns how many had changed.

    Several at once, and a crash anywhere, do no harm: each account is settled in a transaction of its own.
    """
    cursor = await connection.execute(
        """
        SELECT c.account_id FROM credit_accounts c WHERE c.settled_us <> (
                SELECT coalesce(sum(m.credit_us), 0) FROM r.usage_months m WHERE m.account_id = c.account_id
            ) OR EXISTS (
                SELECT 1 FROM credit_grants g
                WHERE g.account_id = c.account_id AND g.left_us > 0 AND g.expires_at <= now())
        LIMIT %s
        """,
        [_SETTLED_AT_ONCE],
    )
    changed = [row[0] for row in await cursor.fetchall()]
    for account_id in changed:
        await connection.execute("SELECT settle_credits(%s)", [account_id])
    return len(changed)


async def forget_notes(connection: Connection, account_id: str) -> None:
    """What operators have written beside its grants. Amounts and times stay."""
    for table in ("credit_grants", "credit_entries"):
        await connection.execute(
            f"UPDATE {table} SET note = '' WHERE account_id = %s AND note <> ''",  # noqa: S608 - constants
            [account_id],
        )


async def balance_us(connection: Connection, account_id: str) -> int:
    cursor = await connection.execute("SELECT clamped(credit_balance(%s))", [account_id])
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def grants(connection: Connection, account_id: str) -> Sequence[Grant]:
    """Those that pay first, first; those that are used up or have expired are left out."""
    async with connection.cursor(row_factory=class_row(Grant)) as cursor:
        await cursor.execute(
            """
            SELECT id, clamped(granted_us) AS granted_us, clamped(left_us) AS left_us, expires_at, note, created_at
            FROM credit_grants
            WHERE account_id = %s AND credit_grants.left_us > 0 AND (expires_at IS NULL OR expires_at > now())
            ORDER BY expires_at NULLS LAST, created_at, id
            """,
            [account_id],
        )
        return await cursor.fetchall()


async def entries(connection: Connection, account_id: str, before: int | None, limit: int) -> Sequence[Entry]:
    """The latest first, from number `before` on."""
    async with connection.cursor(row_factory=class_row(Entry)) as cursor:
        await cursor.execute(
            """
            SELECT n, at, kind, grant_id, clamped(amount_us) AS amount_us, clamped(balance_us) AS balance_us, note
            FROM credit_entries
            WHERE account_id = %s AND (%s::int IS NULL OR n < %s) ORDER BY n DESC LIMIT %s
            """,
            [account_id, before, before, limit],
        )
        return await cursor.fetchall()
