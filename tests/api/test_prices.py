"""The rate card in force: known in time, asked for by nobody who waits, and in every session that begins under it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from api.prices import Prices
from schemas.events import SessionCreated
from schemas.rates import FIRST, RateCard
from schemas.times import now_ms
from store import rates
from store.database import Pool, pool
from tests.builders import Clock
from tests.world import World

pytestmark = pytest.mark.servers

DEAR = RateCard("dear", 700, 1500, 9000)


@pytest_asyncio.fixture
async def connections(world: World) -> AsyncIterator[Pool]:
    async with pool(world.database_url, 1) as opened:
        yield opened


async def insert(world: World, card: RateCard, effective_s: float) -> None:
    """As if it had been published long ago."""
    await world.sql(
        "INSERT INTO rate_cards VALUES (%s, %s, %s, %s, to_timestamp(%s))",
        *(card.version, card.lite, card.standard, card.pro, effective_s),
    )


async def test_every_database_begins_with_the_first_card(connections: Pool) -> None:
    async with connections.connection() as connection:
        cards = await rates.every(connection)
    assert [each.card for each in cards] == [FIRST]
    assert rates.in_force(cards, 0) == FIRST


async def test_a_card_begins_on_time_and_is_known_before(world: World, connections: Pool) -> None:
    clock, soon_ms = Clock(), now_ms() + 60_000
    prices = Prices(connections, clock)
    assert await prices.in_force(soon_ms + 1) == FIRST
    await insert(world, DEAR, soon_ms / 1000)
    assert await prices.in_force(soon_ms + 1) == FIRST  # nobody looks for each create
    clock.now += rates.NOTICE_S / 2 + 1
    assert await prices.in_force(soon_ms - 1) == FIRST
    assert await prices.in_force(soon_ms) == DEAR


async def test_a_session_keeps_the_rate_that_it_began_with(world: World) -> None:
    now = RateCard("now", 100, 200, 300)
    await insert(world, now, now_ms() / 1000 - 1)
    await world.start("api")
    await world.slots_of_nobody(3, "mock", "lite")
    async with world.client() as client:
        for quality, multiplier in (("mock", 200), ("lite", 100)):
            body = world.request(quality=quality)
            price = (await client.post("/v1/sessions", params={"dry_run": True}, json=body)).json()["price"]
            assert (price["rate_card"], price["multiplier_milli"]) == ("now", multiplier)
            sid = (await client.post("/v1/sessions", json=body)).json()["id"]
            [(event, _)] = await world.log(sid)
            assert isinstance(event.data, SessionCreated)
            assert event.data.rate == now.rate(quality)
