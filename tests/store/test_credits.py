"""Credits on a real database: who pays for what, what expires, and that the history adds up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from schemas.rates import CREDIT_US
from store import credits
from store.database import Connection, pool
from tests.world import World

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture
async def connection(world: World) -> AsyncIterator[Connection]:
    async with pool(world.database_url, 1) as opened, opened.connection() as connection:
        yield connection


@pytest_asyncio.fixture
async def account(world: World) -> str:
    return (await world.new_account("credits"))[0]


async def bill(world: World, account: str, amount: float, key: str = "key_1") -> None:
    """As if the ledger had billed it just now."""
    await world.sql(
        """
        INSERT INTO usage_v1.months VALUES (%s, date_trunc('month', now() AT TIME ZONE 'UTC')::date, %s, 0, %s)
        ON CONFLICT (account_id, month, key_id) DO UPDATE SET credit_us = usage_v1.months.credit_us + excluded.credit_us
        """,
        account,
        key,
        round(amount * CREDIT_US),
    )


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def balance(connection: Connection, account: str) -> float:
    return await credits.balance_us(connection, account) / CREDIT_US


async def left(connection: Connection, account: str) -> list[float]:
    return [grant.left_us / CREDIT_US for grant in await credits.grants(connection, account)]


async def history(connection: Connection, account: str) -> list[tuple[str, float, float]]:
    """The oldest first; it must add up."""
    found = [
        (entry.kind, entry.amount_us / CREDIT_US, entry.balance_us / CREDIT_US)
        for entry in reversed(await credits.entries(connection, account, None, 100))
    ]
    total = 0.0
    for _, amount, after in found:
        total += amount
        assert total == pytest.approx(after)
    return found


async def test_what_expires_first_pays_first(world: World, connection: Connection, account: str) -> None:
    await bill(world, account, 1000)  # before the first grant: not charged to it
    await credits.grant(connection, account, 10, None, "for ever")
    await credits.grant(connection, account, 5, soon(3600))
    await credits.grant(connection, account, 3, soon(60))
    assert await left(connection, account) == [3, 5, 10]
    await bill(world, account, 4)
    assert await credits.settle(connection) >= 1
    assert await left(connection, account) == [4, 10]
    await bill(world, account, 4, "key_2")
    await credits.settle(connection)
    assert await left(connection, account) == [10]
    assert await balance(connection, account) == 10
    assert await history(connection, account) == [
        ("grant", 10, 10),
        ("grant", 5, 15),
        ("grant", 3, 18),
        ("spend", -3, 15),
        ("spend", -1, 14),
        ("spend", -4, 10),
    ]
    assert await credits.settle(connection) == 0


async def test_what_is_left_expires(world: World, connection: Connection, account: str) -> None:
    await credits.grant(connection, account, 5, soon(60))
    await credits.grant(connection, account, 2, None)
    await bill(world, account, 1)
    await world.sql(
        "UPDATE credit_grants SET expires_at = now() WHERE account_id = %s AND granted_us = 300000000", account
    )
    assert await balance(connection, account) == 2  # at once, whoever settles it later
    await credits.settle(connection)
    assert await history(connection, account) == [("grant", 5, 5), ("grant", 2, 7), ("spend", -1, 6), ("expire", -4, 2)]
    assert await left(connection, account) == [2]


async def test_what_is_overdrawn_is_paid_by_the_next_grant(world: World, connection: Connection, account: str) -> None:
    await credits.grant(connection, account, 1, None)
    await bill(world, account, 3)
    await credits.settle(connection)
    assert await balance(connection, account) == -2
    await credits.grant(connection, account, 1, None)
    assert (await balance(connection, account), await left(connection, account)) == (-1, [])
    await credits.grant(connection, account, 4, None)
    assert (await balance(connection, account), await left(connection, account)) == (3, [3])
    await history(connection, account)


async def test_a_correction_of_the_ledger_comes_back(world: World, connection: Connection, account: str) -> None:
    await credits.grant(connection, account, 10, soon(60))
    await bill(world, account, 6)
    await credits.settle(connection)
    await bill(world, account, -2)
    await credits.settle(connection)
    assert await history(connection, account) == [("grant", 10, 10), ("spend", -6, 4), ("refund", 2, 6)]
    assert await left(connection, account) == [4, 2]  # it does not expire


async def test_two_who_settle_at_once_charge_once(world: World, account: str) -> None:
    async with pool(world.database_url, 4) as connections:
        async with connections.connection() as connection:
            await credits.grant(connection, account, 100, None)

        async def settle() -> None:
            async with connections.connection() as mine:
                await credits.settle(mine)

        for _ in range(5):
            await bill(world, account, 3)
            await asyncio.gather(*(settle() for _ in range(4)))
        async with connections.connection() as connection:
            assert await balance(connection, account) == 85
            assert len(await history(connection, account)) == 6


async def test_pages_of_the_history(world: World, connection: Connection, account: str) -> None:
    for _ in range(5):
        await credits.grant(connection, account, 1, None)
    first = await credits.entries(connection, account, None, 2)
    assert [entry.n for entry in first] == [5, 4]
    assert [entry.n for entry in await credits.entries(connection, account, 4, 9)] == [3, 2, 1]
