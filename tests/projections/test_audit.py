"""Rows that no record explains, a log that lost its tail, a scope that begins within a session."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from events import topics
from events.topics import SESSIONS
from projections import audit
from store.database import pool
from tests.builders import life, session_id
from tests.world import World, delete_topic, eventually

pytestmark = pytest.mark.servers

COPY = """
    INSERT INTO usage_v1.usage_events
    SELECT (jsonb_populate_record(u, %s)).* FROM usage_v1.usage_events u ORDER BY partition, "offset" LIMIT 1
"""


async def verdict(world: World, scope: audit.Scope | None = None) -> audit.Verdict:
    async with pool(world.database_url, 1) as connections:
        return await audit.audit(world.settings, connections, scope or audit.Scope(), lambda _, __: None)


async def billed(world: World, lives: int, beats: int = 3) -> list[str]:
    """Sessions whose entries are all in the ledger."""
    ids = [session_id() for _ in range(lives)]
    for sid in ids:
        await world.append(*life(sid, beats=beats))

    async def done() -> bool:
        rows = await world.sql("SELECT count(*) FROM r.usage_events WHERE session_id = ANY(%s)", ids)
        return bool(rows[0][0] == lives * (beats + 1))

    await eventually(done, what="the ledger's entries")
    return ids


async def test_a_scope_that_begins_in_the_middle_of_a_session(world: World) -> None:
    """Its chain began before: that is no break."""
    await world.start("usage")
    (sid,) = await billed(world, 1, beats=5)
    times = await world.sql('SELECT recorded_ms FROM r.usage_events WHERE session_id = %s ORDER BY "offset"', sid)
    assert times[0] < times[-1]
    found = await verdict(world, audit.Scope(session=sid, from_ms=times[-1][0]))
    assert found.differences == []
    assert found.entries == times.count(times[-1])


async def test_a_break_at_the_begin_of_the_scope_is_still_told(world: World) -> None:
    rows = await world.sql('SELECT session_id, "offset", recorded_ms, prev_hash FROM r.usage_events ORDER BY 2')
    sid, offset, recorded_ms, prev_hash = rows[-1]
    change = 'UPDATE usage_v1.usage_events SET prev_hash = %s WHERE session_id = %s AND "offset" = %s'
    await world.sql("ALTER TABLE usage_v1.usage_events DISABLE TRIGGER append_only")
    await world.sql(change, "1" * 64, sid, offset)
    found = await verdict(world, audit.Scope(session=sid, from_ms=recorded_ms))
    await world.sql(change, prev_hash, sid, offset)
    await world.sql("ALTER TABLE usage_v1.usage_events ENABLE TRIGGER append_only")
    assert {d.kind for d in found.differences} == {"changed", "broken_chain"}
    assert (await verdict(world)).equal


@pytest.mark.parametrize(
    "place",
    ['{"offset": 1000000000000000}', '{"partition": 99}', '{"partition": -1}', '{"recorded_ms": 1764000000000}'],
    ids=["far beyond the end", "no such partition", "negative partition", "twice at one offset"],
)
async def test_a_row_that_no_record_explains(world: World, place: str) -> None:
    await world.sql("SELECT usage_v1.ensure_month(1764000000000)")
    await world.sql(COPY, place)
    try:
        found = await verdict(world)
        assert {d.kind for d in found.differences} >= {"extra"}
    finally:
        await world.sql("ALTER TABLE usage_v1.usage_events DISABLE TRIGGER append_only")
        await world.sql(
            'DELETE FROM usage_v1.usage_events WHERE "offset" = 1000000000000000 OR partition IN (-1, 99)'
            " OR recorded_ms = 1764000000000"
        )
        await world.sql("ALTER TABLE usage_v1.usage_events ENABLE TRIGGER append_only")


async def test_entries_that_are_written_while_it_reads_are_no_difference(world: World) -> None:
    writing = asyncio.create_task(billed(world, 40))
    verdicts = [await verdict(world)]
    while not writing.done():
        verdicts.append(await verdict(world))
    await writing
    assert all(found.equal for found in verdicts)
    assert (await verdict(world)).entries > verdicts[0].entries


async def test_a_log_with_a_hole_has_no_verdict(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that somebody has compacted: no row is called one too many for it."""
    getmany = AIOKafkaConsumer.getmany

    async def leaky(self: AIOKafkaConsumer, *places: TopicPartition, **options: Any) -> Any:
        found = await getmany(self, *places, **options)
        return {place: records[:3] + records[4:] for place, records in found.items()}

    monkeypatch.setattr(AIOKafkaConsumer, "getmany", leaky)
    with pytest.raises(audit.CannotRead, match=r"incomplete.*lacks"):
        await verdict(world)


async def test_a_log_that_lost_its_tail_has_no_verdict(world: World) -> None:
    """Deleted and made again, with less in it than the ledger was made from."""
    await world.stop_all()
    await delete_topic(world, SESSIONS)
    await topics.apply(world.servers.kafka_bootstrap, world.prefix)
    with pytest.raises(audit.CannotRead, match="lost"):
        await verdict(world)
