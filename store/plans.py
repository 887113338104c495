"""Plans: what an account may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql
from psycopg.rows import class_row

from store.database import Connection


@dataclass(frozen=True)
class Plan:
    """`creates_per_minute`: of each key that has no limit of its own."""

    key: str
    name: str
    monthly_price_cents: int
    included_credits: int
    extra_credit_unit_micros: int
    max_concurrency: int
    custom_avatar_slots: int
    extra_avatar_slot_cents: int
    session_time_limit_seconds: int
    creates_per_minute: int


FIELDS = tuple(Plan.__dataclass_fields__)
LIMITS = FIELDS[2:]
"""Those that are numbers."""


async def every(connection: Connection) -> list[Plan]:
    """The cheapest first."""
    async with connection.cursor(row_factory=class_row(Plan)) as cursor:
        await cursor.execute(
            """
            SELECT key, name, monthly_price_cents, included_credits, extra_credit_unit_micros, max_concurrency,
                custom_avatar_slots, extra_avatar_slot_cents, session_time_limit_seconds, creates_per_minute
            FROM plans ORDER BY monthly_price_cents, key
            """
        )
        return await cursor.fetchall()


async def find(connection: Connection, key: str) -> Plan | None:
    return next((plan for plan in await every(connection) if plan.key == key), None)


async def put(connection: Connection, key: str, changes: Mapping[str, str | int]) -> bool:
    """Change these fields of a plan, or make it, with what the others are when nobody says. False: it was made.

    Sessions that run keep what they were created with. Raises psycopg.errors.CheckViolation for what no plan can be.
    """
    fields = {**_USUAL, "name": key, **changes}
    assert set(fields) <= set(FIELDS)
    columns = sql.SQL(", ").join(map(sql.Identifier, fields))
    values = sql.SQL(", ").join(sql.Placeholder() * len(fields))
    told = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in ("key", *changes))
    cursor = await connection.execute(
        sql.SQL(
            "INSERT INTO plans (key, {}) VALUES (%s, {}) ON CONFLICT (key) DO UPDATE SET {} RETURNING xmax <> 0"
        ).format(columns, values, told),
        [key, *fields.values()],
    )
    row = await cursor.fetchone()
    return bool(row and row[0])


_USUAL: dict[str, str | int] = {
    "monthly_price_cents": 0,
    "included_credits": 0,
    "extra_credit_unit_micros": 0,
    "max_concurrency": 2,
    "custom_avatar_slots": 1,
    "extra_avatar_slot_cents": 0,
    "session_time_limit_seconds": 600,
    "creates_per_minute": 10,
}
