"""Sealed days, tampered with behind the system's back by a superuser: each way is named."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date

import pytest
import pytest_asyncio

from events.producer import EventProducer
from events.signing import SigningKey
from events.topics import USAGE
from reactors.days import Sealer, event_of
from schemas.events import UsageAdjusted
from store import days, sealed
from store.database import Pool, pool
from tests.builders import life, session_id
from tests.cli.test_admin import greenroom
from tests.reactors.test_days import Clock, caught_up
from tests.world import World

pytestmark = pytest.mark.servers

KEY = SigningKey(SigningKey.generate("t1"))
TABLES = ("day_leaves", "day_levels", "usage_v1.usage_events", "sealed_days")


@pytest_asyncio.fixture(scope="module")
async def connections(world: World) -> AsyncIterator[Pool]:
    async with pool(world.database_url, 2) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module")
async def sessions(world: World, connections: Pool) -> list[str]:
    """Five sessions on the first day, of which one is adjusted on the second, and one on the third."""
    await world.start("usage", "history", GREENROOM_SIGNING_KEY="")
    ids = sorted(session_id() for _ in range(6))
    clock = Clock()
    async with EventProducer(world.settings) as producer:
        sealer = Sealer(world.settings, connections, producer, KEY, clock)
        for sid in ids[:5]:
            await world.append(*life(sid, beats=1))
        await caught_up(world)
        clock.days = 1
        assert await sealer.look()
        await world.append(UsageAdjusted(ids[0], 60, "late", "tests"))
        await caught_up(world)
        clock.days = 2
        assert await sealer.look()
        await world.append(*life(ids[5], beats=1))
        await caught_up(world)
        clock.days = 3
        assert await sealer.look()
    return ids


async def found(world: World, connections: Pool) -> set[tuple[str, int]]:
    """(kind, which day) of each difference."""
    [(first,)] = await world.sql(
        "SELECT min(day) FROM (SELECT day FROM day_leaves UNION SELECT day FROM sealed_days) d"
    )
    differences = await sealed.check(world.settings, connections, lambda _, __: None)
    return {(each.kind, (date.fromisoformat(each.day) - first).days + 1) for each in differences}


async def switch(world: World, how: str) -> None:
    for table in TABLES:
        await world.sql(f"ALTER TABLE {table} {how} TRIGGER USER")


async def test_what_is_sealed_is_what_the_ledger_says(world: World, connections: Pool, sessions: list[str]) -> None:
    assert await found(world, connections) == set()
    code, said, complained = await greenroom(world, "audit")
    assert code == 0, complained
    assert "3 sealed days" in said


DAY = "(SELECT min(day) + {} FROM sealed_days)"
SET = "UPDATE sealed_days SET "
BYTE = "set_byte(hashes, 40, 255 - get_byte(hashes, 40))"
ENTRIES = "usage_v1.usage_events"
WAYS = {
    SET + "root = repeat('0', 64) WHERE day = {1}": "wrong_hash 2, bad_signature 2, wrong_root 2",
    SET + "leaves = 4 WHERE day = {0}": "wrong_hash 1, bad_signature 1, wrong_root 1",
    SET + "hash = repeat('0', 64) WHERE day = {0}": "wrong_hash 1, wrong_previous 2, published_otherwise 1",
    SET + "signature = repeat('0', 128) WHERE day = {1}": "bad_signature 2, published_otherwise 2",
    SET + "public_key = 'none' WHERE day = {1}": "bad_signature 2",
    SET + "left_out = ARRAY['sess_x'] WHERE day = {2}": "wrong_hash 3, bad_signature 3",
    SET + "offsets[1] = offsets[1] + 1 WHERE day = {2}": "wrong_hash 3, bad_signature 3",
    "DELETE FROM sealed_days WHERE day = {1}": "missing_day 2, wrong_previous 3",
    "DELETE FROM sealed_days WHERE day = {0}": "missing_day 1, wrong_previous 2",
    "DELETE FROM sealed_days WHERE day = {2}": "missing_day 3",
    "UPDATE day_leaves SET session_id = 'sess_x' WHERE day = {0} AND index = 2": "wrong_tree 1",
    "DELETE FROM day_leaves WHERE day = {0} AND index = 2": "wrong_tree 1",
    "UPDATE day_leaves SET entries = entries - 1 WHERE day = {0} AND index = 2": "wrong_tree 1",
    "UPDATE day_leaves SET partition = partition + 1 WHERE day = {0} AND index = 2": "wrong_tree 1",
    "UPDATE day_leaves SET index = index + 7 WHERE day = {0} AND index = 4": "wrong_tree 1",
    "INSERT INTO day_leaves SELECT 'sess_x', {0} + 7, 0, 0, 1": "wrong_tree 8",
    f"UPDATE day_levels SET hashes = {BYTE} WHERE day = {{0}} AND level = 0": "wrong_tree 1",
    "DELETE FROM day_levels WHERE day = {0} AND level = 1": "wrong_tree 1",
    f"UPDATE {ENTRIES} SET credit_us = 0 WHERE session_id = '{{sid}}' AND n = 1": "wrong_root 1, wrong_root 2",
    f"DELETE FROM {ENTRIES} WHERE session_id = '{{sid}}' AND kind = 'adjustment'": "wrong_root 2",
}
"""What somebody does → what is told of it: kind and day."""


@pytest.mark.parametrize("change", WAYS)
async def test_each_way_to_tamper_is_named(world: World, connections: Pool, sessions: list[str], change: str) -> None:
    table = next(each for each in TABLES if each in change)
    await world.sql(f"DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT * FROM {table}")
    await switch(world, "DISABLE")
    try:
        await world.sql(change.format(*(DAY.format(n) for n in range(3)), sid=sessions[0]))
        differences = {f"{kind} {day}" for kind, day in await found(world, connections)}
        assert set(WAYS[change].split(", ")) <= differences
    finally:
        await world.sql(f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept")
        await switch(world, "ENABLE")
    assert await found(world, connections) == set()


async def test_a_wrong_root_names_the_sessions_and_the_audit_says_so(
    world: World, connections: Pool, sessions: list[str]
) -> None:
    await switch(world, "DISABLE")
    change = "UPDATE usage_v1.usage_events SET frames = frames {} 1 WHERE session_id = %s AND kind = 'interval'"
    await world.sql(change.format("+"), sessions[3])
    [difference] = await sealed.check(world.settings, connections, lambda _, __: None)
    code, said, _ = await greenroom(world, "audit")
    await world.sql(change.format("-"), sessions[3])
    await switch(world, "ENABLE")
    assert f"1 sessions differ: {sessions[3]}" in difference.detail
    assert (code, "wrong_root" in said, sessions[3] in said) == (1, True, True)


async def test_another_seal_in_the_topic_is_told(world: World, connections: Pool, sessions: list[str]) -> None:
    """Two signed roots of one day: what an operator must never be able to explain away."""
    async with connections.connection() as connection:
        [first, *_] = await days.every(connection)
    other = replace(first, root="00" * 32)
    other = replace(other, hash=other.statement.hash(), signature=KEY.sign(other.statement.encoded()))
    stranger = SigningKey(SigningKey.generate("s"))
    foreign = replace(other, public_key=stranger.public, signature=stranger.sign(other.statement.encoded()))
    unsigned = replace(other, signature="00" * 64)
    async with EventProducer(world.settings) as producer:
        for noise in (foreign, unsigned):  # of whoever may write to Kafka
            await producer.send(USAGE, event_of(noise))
        assert await found(world, connections) == set()
        await producer.send(USAGE, event_of(other))
    assert await found(world, connections) == {("published_otherwise", 1)}


async def test_days_that_are_all_gone_are_missed(world: World, connections: Pool, sessions: list[str]) -> None:
    await world.sql("DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT * FROM sealed_days")
    await switch(world, "DISABLE")
    await world.sql("DELETE FROM sealed_days")
    missed = await found(world, connections)
    await world.sql("INSERT INTO sealed_days SELECT * FROM kept")
    await switch(world, "ENABLE")
    assert missed == {("missing_day", 1), ("missing_day", 2), ("missing_day", 3)}
