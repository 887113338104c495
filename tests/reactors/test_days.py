"""Days on a real log and a real ledger: sealed once, whoever seals; what closed, what grew, and what waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise

import psycopg
import pytest
import pytest_asyncio

from events.codec import Event
from events.offsets import offsets_at
from events.producer import EventProducer, UnknownOutcome
from events.signing import SigningKey, signed_by
from events.topics import SESSIONS, USAGE, Topic
from projections import names
from reactors.days import Sealer, TooManyParked
from schemas.days import NO_DAY, root_from, root_of
from schemas.events import UsageAdjusted, UsageDaySealed
from schemas.times import now_ms
from store import days
from store.database import Pool, pool
from store.days import SealedDay
from tests.builders import life, session_id
from tests.world import World, eventually

pytestmark = pytest.mark.servers

DAY_MS = 86_400_000
KEY = SigningKey(SigningKey.generate("t1"))


@dataclass
class Clock:
    """Noon of today, or `days` later: a day is sealed a minute after its end, so it must not be midnight here."""

    days: int = 0
    noon_ms: int = field(default_factory=lambda: now_ms() // DAY_MS * DAY_MS + DAY_MS // 2)

    def __call__(self) -> int:
        return self.noon_ms + self.days * DAY_MS


class Flaky(EventProducer):
    """Kafka acknowledges nothing while `away`."""

    away = False
    sent = 0

    async def send(self, topic: Topic, event: Event, timeout_s: float = 4.0) -> None:
        if self.away:
            raise UnknownOutcome("away")
        await super().send(topic, event, timeout_s)
        self.sent += 1


@pytest_asyncio.fixture(scope="module")
async def producer(world: World) -> AsyncIterator[Flaky]:
    async with Flaky(world.settings) as producer:
        yield producer


@pytest_asyncio.fixture(scope="module")
async def connections(world: World) -> AsyncIterator[Pool]:
    async with pool(world.database_url, 6) as opened:
        yield opened


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture(scope="module")
async def sealer(world: World, connections: Pool, producer: Flaky, clock: Clock) -> Sealer:
    await world.start("usage", "history", GREENROOM_SIGNING_KEY="")  # nobody else seals, should it be midnight
    return Sealer(world.settings, connections, producer, KEY, clock)


async def caught_up(world: World) -> None:
    """Both projections have read all of the log."""
    ends = {record.partition: record.offset + 1 for record in await world.records(SESSIONS)}

    async def read() -> bool:
        rows = await world.sql(
            "SELECT name, partition, next_offset FROM checkpoints"
            " WHERE name IN ('usage', 'history') AND topic = 'sessions.v1' AND next_offset > 0"
        )
        return {(name, p): at for name, p, at in rows} == {
            (name, p): end for name in (names.USAGE, names.HISTORY) for p, end in ends.items()
        }

    await eventually(read, what="both projections at the log's end")


async def sealed(world: World) -> list[SealedDay]:
    async with pool(world.database_url, 1) as opened, opened.connection() as connection:
        return await days.every(connection)


async def told(world: World) -> list[tuple[str, UsageDaySealed]]:
    """(key, what it says) of each in `usage.v1`."""
    found = [(event.subject, event.data) for event, _ in await world.log(topic=USAGE)]
    return [(key, data) for key, data in found if isinstance(data, UsageDaySealed)]


async def leaves(world: World, day: SealedDay) -> list[tuple[str, int]]:
    """(session, entries), by index."""
    return [
        (sid, entries)
        for sid, entries in await world.sql(
            "SELECT session_id, entries FROM day_leaves WHERE day = %s ORDER BY index", day.day
        )
    ]


async def test_a_ledger_of_nothing_has_no_day(world: World, sealer: Sealer, clock: Clock) -> None:
    clock.days = 1
    assert not await sealer.look()
    assert await sealed(world) == []
    clock.days = 0


async def test_a_day_is_sealed_when_it_is_over(
    world: World, sealer: Sealer, connections: Pool, producer: Flaky, clock: Clock
) -> None:
    """What has closed, by session id; what runs waits; the paths lead to the root, which is signed and published."""
    ids = sorted(session_id() for _ in range(7))
    running = session_id()
    for sid in ids:
        await world.append(*life(sid, beats=1))
    await world.append(*life(running, beats=1)[:5])
    await caught_up(world)
    assert not await sealer.look()  # it is still today
    assert not await Sealer(world.settings, connections, producer, KEY).look()  # by the real clocks, too
    clock.days = 1
    assert await sealer.look()
    assert not await sealer.look()
    [day] = await sealed(world)
    assert (day.leaves, day.left_out, day.previous, day.published) == (7, [], NO_DAY, True)
    assert await leaves(world, day) == [(sid, 2) for sid in ids]
    assert signed_by(KEY.public, day.statement.encoded(), day.signature)
    async with pool(world.database_url, 1) as opened, opened.connection() as connection:
        for index, sid in enumerate(ids):
            [place] = await days.seals(connection, sid)
            assert place.index == index
            tree = (await world.sql("SELECT hashes FROM day_levels WHERE day = %s AND level = 0", day.day))[0][0]
            leaf = tree[32 * index : 32 * index + 32]
            assert root_from(leaf, index, 7, [bytes.fromhex(each) for each in place.path]) == day.root
        assert await days.seals(connection, running) == []
    [(key, said)] = await told(world)
    assert (key, said.root, said.signature) == ("_days", day.root, day.signature)


async def test_a_chain_is_in_each_day_in_which_it_grew(world: World, sealer: Sealer, clock: Clock) -> None:
    [first] = await sealed(world)
    (sid, _), *_ = await leaves(world, first)
    await world.append(UsageAdjusted(sid, 60, "late", "tests"))
    canceled = session_id()
    await world.append(*life(canceled, beats=1)[:1])
    await caught_up(world)
    clock.days = 2
    assert await sealer.look()
    _, second = await sealed(world)
    assert await leaves(world, second) == [(sid, 3)]
    assert second.previous == first.hash
    clock.days = 3
    assert await sealer.look()
    third = (await sealed(world))[-1]
    assert (third.leaves, third.root) == (0, root_of([]))


async def test_nothing_is_sealed_before_both_projections_have_read_it(
    world: World, sealer: Sealer, clock: Clock
) -> None:
    await world.stop("history")
    sid = session_id()
    await world.append(*life(sid, beats=1))
    clock.days = 4
    assert not await sealer.look()
    before = (await sealed(world))[-1]
    read = list((await offsets_at(world.settings, SESSIONS, clock())).values())
    assert not await sealer._seal(before.day + timedelta(days=1), before, read)  # as if taken back after a look
    assert len(await sealed(world)) == 3
    await world.restart("history")
    await caught_up(world)
    assert await sealer.look()
    assert await leaves(world, (await sealed(world))[-1]) == [(sid, 2)]


async def test_what_is_parked_is_left_out_by_name_and_comes_later(world: World, sealer: Sealer, clock: Clock) -> None:
    sid = session_id()
    await world.append(*life(sid, beats=1))
    await caught_up(world)
    await world.sql(
        'INSERT INTO parked (consumer, topic, partition, session_id, "offset", reason)'
        " SELECT 'usage', 'sessions.v1', partition, session_id, min(\"offset\"), 'newer' FROM r.usage_events"
        " WHERE session_id = %s GROUP BY 3, 4",
        sid,
    )
    clock.days = 5
    assert await sealer.look()
    day = (await sealed(world))[-1]
    assert (day.leaves, day.left_out) == (0, [sid])
    await world.sql("DELETE FROM parked")
    clock.days = 6
    assert await sealer.look()
    day = (await sealed(world))[-1]
    assert (await leaves(world, day), day.left_out) == ([(sid, 2)], [])


async def test_four_at_once_seal_a_day_once(
    world: World, sealer: Sealer, connections: Pool, producer: Flaky, clock: Clock
) -> None:
    """With keys of their own, as after a mistake: one signature counts, and it is published by whoever comes."""
    await world.append(*life(session_id(), beats=1))
    await caught_up(world)
    clock.days = 7
    others = [
        Sealer(world.settings, connections, producer, SigningKey(SigningKey.generate(f"k{n}")), clock) for n in range(3)
    ]
    await asyncio.gather(*(each.look() for each in (sealer, *others)))
    assert len(await sealed(world)) == 7
    of_day: dict[str, set[tuple[object, ...]]] = {}
    for event, _ in await world.log(topic=USAGE):
        if isinstance(event.data, UsageDaySealed):
            known = (event.id, event.time_ms, event.data.root, event.data.signature)
            of_day.setdefault(event.data.day, set()).add(known)
    assert len(of_day) == 7
    assert all(len(said) == 1 for said in of_day.values())


async def test_a_seal_that_was_not_published_is_published_as_it_was(
    world: World, sealer: Sealer, producer: Flaky, clock: Clock
) -> None:
    """As if it had died between the seal and Kafka's acknowledgement."""
    clock.days = 8
    producer.away = True
    with pytest.raises(UnknownOutcome):
        await sealer.look()
    day = (await sealed(world))[-1]
    assert not day.published
    with contextlib.suppress(UnknownOutcome):
        await sealer.look()
    assert len(await sealed(world)) == 8
    producer.away = False
    await sealer.look()
    assert (await told(world))[-1][1].signature == day.signature
    assert (await sealed(world))[-1] == replace(day, published=True)


async def test_days_that_were_missed_are_sealed_one_by_one(world: World, sealer: Sealer, clock: Clock) -> None:
    clock.days = 90
    while await sealer.look():
        pass
    found = await sealed(world)
    assert len(found) == 90
    assert all(after.previous == before.hash for before, after in pairwise(found))


async def test_more_that_are_parked_than_a_seal_can_name_keep_it_open(
    world: World, sealer: Sealer, clock: Clock
) -> None:
    """Sealed, the day could not be published, and no day would be sealed any more."""
    await world.sql(
        'INSERT INTO parked (consumer, topic, partition, session_id, "offset", reason)'
        " SELECT 'usage', 'sessions.v1', p, repeat('x', 120) || n, -1, 'newer'"
        " FROM (SELECT min(partition) FROM r.usage_events) e (p), generate_series(1, 9000) n"
    )
    clock.days = 91
    with pytest.raises(TooManyParked):
        await sealer.look()
    await world.sql("DELETE FROM parked WHERE session_id ~ '[02468]$'")
    assert await sealer.look()
    day = (await sealed(world))[-1]
    assert (day.published, len(day.left_out)) == (True, 4500)
    await world.sql("DELETE FROM parked")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE sealed_days SET root = ''",
        "DELETE FROM sealed_days",
        "TRUNCATE sealed_days",
        "UPDATE day_leaves SET entries = 1",
        "DELETE FROM day_levels",
    ],
)
async def test_nobody_changes_a_sealed_day(world: World, change: str) -> None:
    with pytest.raises(psycopg.Error, match="never changed"):
        await world.sql(change)
