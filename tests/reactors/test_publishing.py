"""`usage.v1` on a real log: every entry, in order, under the same id however often; one owner at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from msgspec import structs

from events.codec import Event, encode
from events.producer import EventProducer, UnknownOutcome
from events.topics import SESSIONS, USAGE, Topic, partition_of
from projections import checkpoints, names
from projections.summaries import entered_since
from reactors.publishing import Publisher, event_of
from schemas.events import SessionEvent, UsageAdjusted, UsageRecorded
from schemas.times import now_ms
from store.database import Pool, pool
from tests.builders import life, session_id
from tests.world import World, eventually

pytestmark = pytest.mark.servers

ALL = frozenset(range(SESSIONS.partitions))


class Flaky(EventProducer):
    """Sends, and then says that it does not know, while `away`."""

    away = False

    async def send_all(self, topic: Topic, events: list[Event], timeout_s: float = 4.0) -> None:  # type: ignore[override]
        await super().send_all(topic, events, timeout_s)
        if self.away:
            raise UnknownOutcome("away")


@pytest_asyncio.fixture(scope="module")
async def connections(world: World) -> AsyncIterator[Pool]:
    async with pool(world.database_url, 4) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module")
async def producer(world: World) -> AsyncIterator[Flaky]:
    async with Flaky(world.settings) as producer:
        yield producer


async def recorded(world: World) -> list[UsageRecorded]:
    """As they stand in `usage.v1`, by partition and offset."""
    events = [event for event, _ in await world.log(topic=USAGE)]
    assert all((event.id, event.subject) == (event.data.id, event.data.account_id) for event in events)  # type: ignore[attr-defined]
    return [event.data for event in events if isinstance(event.data, UsageRecorded)]


async def ledger(world: World) -> list[tuple[str, str, str]]:
    """(session, id, hash), by session and offset."""
    return await world.sql('SELECT session_id, id, hash FROM r.usage_events ORDER BY session_id, "offset"')


def in_order(said: list[UsageRecorded]) -> list[tuple[str, str, str]]:
    """Each as it was told of first, by session."""
    first = {each.id: each for each in reversed(said)}
    seen = dict.fromkeys(each.id for each in said)
    found = [first[each] for each in seen]
    return [(each.session_id, each.id, each.hash) for each in sorted(found, key=lambda each: each.session_id)]


async def owner(connections: Pool, producer: EventProducer) -> Publisher:
    """One that owns all partitions from now on."""
    made = Publisher(connections, producer)
    async with connections.connection() as connection:
        await made.assigned(connection, ALL)
    return made


async def drained(publisher: Publisher) -> None:
    while await publisher.publish():
        pass


async def lived(world: World, *more: SessionEvent, beats: int = 3) -> str:
    sid = session_id()
    await world.append(*life(sid, beats=beats, account=world.account), *more)

    async def entered() -> bool:
        rows = await world.sql("SELECT count(*) FROM r.usage_events WHERE session_id = %s", sid)
        return bool(rows[0][0] == beats + 1)

    await eventually(entered, what="the entries")
    return sid


async def test_the_usage_process_publishes_what_it_enters(world: World) -> None:
    """Exactly the entry, as `/v1/usage_events` shows it, an adjustment among them."""
    await world.start("usage")
    sid = await lived(world)
    await world.append(UsageAdjusted(sid, -60, "late", "tests"))

    async def told() -> bool:
        return len(await recorded(world)) == 5

    await eventually(told, what="usage.recorded of all entries")
    said = await recorded(world)
    assert in_order(said) == await ledger(world)
    last = said[-1]
    assert (last.kind, last.credit_us, last.account_id, last.source.topic) == (
        "adjustment",
        -60,
        world.account,
        "sessions.v1",
    )
    await world.start("api")
    async with world.client() as client:
        entries = (await client.get("/v1/usage_events")).json()["data"]
    shown = [structs.asdict(each) | {"source": structs.asdict(each.source), "from": each.from_} for each in said]
    for each in shown:
        del each["from_"]
    assert sorted(shown, key=lambda each: str(each["id"])) == sorted(entries, key=lambda each: str(each["id"]))
    await world.stop_all()
    assert len(await recorded(world)) == 5


async def test_what_was_sent_and_not_marked_is_sent_again_with_the_same_bytes(
    world: World, connections: Pool, producer: Flaky
) -> None:
    await world.start("usage")
    publisher = await owner(connections, producer)
    producer.away = True
    await lived(world)
    with pytest.raises(UnknownOutcome):
        await publisher.publish()
    producer.away = False
    await drained(publisher)
    said = await recorded(world)
    assert in_order(said) == await ledger(world)
    assert len(said) > len(await ledger(world))
    records: dict[bytes, set[object]] = {}
    for record in await world.records(USAGE):
        ce_id = dict(record.headers)["ce_id"]
        records.setdefault(ce_id, set()).add((record.key, record.value, tuple(record.headers)))
    assert all(len(copies) == 1 for copies in records.values())


async def test_who_owns_it_no_longer_marks_nothing(world: World, connections: Pool, producer: Flaky) -> None:
    """Paused between its look and its mark: the other one has gone on meanwhile."""
    first = await owner(connections, producer)
    await drained(first)
    await lived(world)
    second = await owner(connections, producer)
    await drained(second)
    before = await world.sql("SELECT partition, next_offset FROM checkpoints WHERE name = 'usage-publish' ORDER BY 1")
    assert await first.publish()
    assert not await first.publish()
    assert (
        await world.sql("SELECT partition, next_offset FROM checkpoints WHERE name = 'usage-publish' ORDER BY 1")
        == before
    )
    await lived(world)
    await drained(first)
    await drained(second)
    assert in_order(await recorded(world)) == await ledger(world)


async def test_an_entry_that_comes_late_is_published_too(world: World, connections: Pool, producer: Flaky) -> None:
    """A parked session that is read again has entries below what is published: it goes back, whoever is amidst it."""
    sid = await lived(world)
    publisher = await owner(connections, producer)
    await drained(publisher)
    place, count = partition_of(sid.encode()), len(await recorded(world))
    async with connections.connection() as connection:
        [first, *_] = [e for e in await entered_since(connection, {place: 0}, 1000) if e.facts["session_id"] == sid]
        async with connection.transaction():
            await publisher.entering(connection, [(place, first.offset, now_ms())])
            assert not await publisher.publish()  # before that transaction is durable
        publisher.entered()
        assert (await checkpoints.positions(connection, names.USAGE_PUBLISH, SESSIONS.name))[place] == first.offset
    await drained(publisher)
    said = await recorded(world)
    assert len(said) == count + 4
    assert in_order(said) == await ledger(world)


async def test_what_is_under_way_when_one_comes_late_is_not_marked(
    world: World, connections: Pool, producer: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = await owner(connections, producer)
    sid = await lived(world)
    place = partition_of(sid.encode())
    async with connections.connection() as connection:
        await publisher.entering(connection, [(place, 10_000, now_ms())])
    send_all = producer.send_all

    async def meanwhile(topic: Topic, events: list[Event], timeout_s: float = 4.0) -> None:
        await send_all(topic, events, timeout_s)
        async with connections.connection() as connection, connection.transaction():
            await publisher.entering(connection, [(place, 0, now_ms())])
        publisher.entered()

    monkeypatch.setattr(producer, "send_all", meanwhile)
    assert await publisher.publish()
    monkeypatch.undo()
    async with connections.connection() as connection:
        assert (await checkpoints.positions(connection, names.USAGE_PUBLISH, SESSIONS.name))[place] == 0
    await drained(publisher)
    assert in_order(await recorded(world)) == await ledger(world)


async def test_an_event_is_a_function_of_the_row(world: World, connections: Pool) -> None:
    async with connections.connection() as connection:
        found = await entered_since(connection, dict.fromkeys(ALL, 0), 2)
    assert found
    for entry in found:
        event = event_of(entry)
        assert encode(event) == encode(event_of(entry))
        assert (event.id, event.causation) == (entry.facts["id"], entry.facts["event_id"])


async def test_a_row_that_somebody_put_beyond_the_log_is_not_told_of(
    world: World, connections: Pool, producer: Flaky
) -> None:
    """It was, and the next entries of its partition never were: the publisher stood behind it, and for the audit the
    log had lost its tail."""
    publisher = await owner(connections, producer)
    await drained(publisher)
    before, far = len(await recorded(world)), 10**15
    await world.sql(
        "INSERT INTO usage_v1.usage_events"
        " SELECT (jsonb_populate_record(u, jsonb_build_object('offset', %s::bigint))).*"
        " FROM usage_v1.usage_events u LIMIT 1",
        far,
    )
    await drained(publisher)
    assert len(await recorded(world)) == before
    await world.sql("ALTER TABLE usage_v1.usage_events DISABLE TRIGGER append_only")
    await world.sql('DELETE FROM usage_v1.usage_events WHERE "offset" = %s', far)
    await world.sql("ALTER TABLE usage_v1.usage_events ENABLE TRIGGER append_only")


async def test_whatever_is_killed_every_entry_is_there_and_in_order(world: World) -> None:
    """Two usage processes that share the partitions, killed in turn while sessions go on."""
    await world.stop_all()
    await world.start("usage", "usage-2")
    for name in ("usage", "usage-2", "usage"):
        living = asyncio.gather(*(world.append(*life(session_id(), beats=3, account=f"acct_{n}")) for n in range(12)))
        await asyncio.sleep(0.2)
        await world.kill(name)
        await living
        await world.restart(name)

    async def all_told() -> bool:
        entries = len(await ledger(world))
        return len({each.id for each in await recorded(world)}) == entries >= 36 * 4

    await eventually(all_told, 120, "usage.recorded of all entries")
    assert in_order(await recorded(world)) == await ledger(world)
