"""`greenroom live` on real servers: whatever is killed, late, twice or unreadable, its windows are what the log
says."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from events import topics
from events.codec import Event, Malformed, new_event
from events.consumer import Stuck
from events.offsets import extents
from events.producer import EventProducer
from events.sessions import decode_session_event
from events.topics import LIVE, SESSIONS, WORKERS
from projections import checkpoints, names
from projections.checkpoints import Fenced, Step
from projections.handling import FoldingHandler
from projections.live import FOLD, LiveProjection, begin_anew
from projections.windows import window
from reactors import live, live_reading
from reactors.live_workers import MOST, WorkersSeen
from reactors.settings import LiveSettings
from schemas.events import LiveWindow, LiveWorkers, SessionEvent, WorkerState
from schemas.live import MINUTES
from schemas.times import now_ms
from store.database import pool
from tests.builders import T0, created, event, life, record, session_id
from tests.projections.windows_again import differences
from tests.world import World, delete_topic, eventually

pytestmark = pytest.mark.servers

COUNTS = "SELECT minute_ms, dimension, key, measure, value FROM r.live_counts"


async def rows(world: World) -> list[tuple[int, str, str, str, int]]:
    return [(minute, dimension, key, measure, n) for minute, dimension, key, measure, n in await world.sql(COUNTS)]


async def log(world: World) -> list[tuple[Event, int]]:
    """(event, append time) of what can be read."""
    found = []
    for each in await world.records(SESSIONS):
        with contextlib.suppress(Malformed):
            found.append((decode_session_event(each), each.timestamp))
    return found


async def caught_up(world: World) -> None:
    """It has read all that is in the log now, whatever others, a roster say, append meanwhile."""

    async def probe() -> bool:
        total = len(await world.records(SESSIONS))
        (read,) = (await world.sql("SELECT coalesce(sum(next_offset), 0) FROM checkpoints WHERE name = 'live'"))[0]
        return int(read) == total

    await eventually(probe, what="live windows catching up")


def skewed(data: SessionEvent, pick: random.Random) -> Event:
    """At a time of its own: mostly now, some a little or an hour late, some an hour ahead."""
    skew_ms = pick.choice([0] * 6 + [-5_000, -70_000, -3_600_000, 3_600_000])
    return event(data, at=now_ms() + skew_ms)


async def produce(world: World, lives: list[list[SessionEvent]], pick: random.Random) -> None:
    """Interleaved; one in ten comes twice, and between them what nobody can read."""
    queues = [list(each) for each in lives]
    async with EventProducer(world.settings) as producer:
        while queues:
            queue = pick.choice(queues)
            item = skewed(queue.pop(0), pick)
            await producer.send(SESSIONS, item)
            if pick.random() < 0.1:
                await producer.send(SESSIONS, item)
            if pick.random() < 0.1:
                await producer.send_as_it_is(SESSIONS, b"\xff", pick.randbytes(20), [("ce_id", b"x"), ("\u00e9", None)])
            if not queue:
                queues.remove(queue)


def lives(count: int, **changes: Any) -> list[list[SessionEvent]]:
    return [
        life(session_id(), beats=4, account=f"acct_{n % 7}", worker=f"wrk_{n % 3}", **changes) for n in range(count)
    ]


async def test_windows_are_exact_before_and_after_kills(world: World) -> None:
    pick = random.Random(11)
    await world.start("live")
    for _ in range(3):
        await produce(world, lives(12), pick)
        await world.kill("live")
        await produce(world, lives(4), pick)
        await world.restart("live")
    await caught_up(world)
    assert not differences(await rows(world), await log(world))
    await world.start("live-2")  # the partitions are shared now
    await produce(world, lives(10), pick)
    await caught_up(world)
    await world.kill("live")
    await produce(world, lives(10), pick)
    await caught_up(world)
    assert not differences(await rows(world), await log(world))
    counted = sum(n for _, dimension, _, measure, n in await rows(world) if (dimension, measure) == ("all", "starts"))
    assert counted == 3 * 16 + 20
    await world.stop("live-2")
    assert await world.sql("SELECT 1 FROM parked") == []


async def test_what_is_told_is_what_is_stored(world: World) -> None:
    """In `live.v1` the last record of each key is what its window has come to."""
    await world.start("live")
    await produce(world, lives(8), random.Random(3))
    await caught_up(world)
    minutes: dict[tuple[str, str], dict[int, dict[str, int]]] = {}
    for minute_ms, dimension, key, measure, value in await rows(world):
        minutes.setdefault((dimension, key), {}).setdefault(minute_ms, {})[measure] = value

    async def as_stored() -> bool:
        told = {each.subject: each.data for each, _ in await world.log(topic=LIVE)}
        found = [each for each in told.values() if isinstance(each, LiveWindow)]
        assert {each.window for each in found} == set(MINUTES)
        return bool(found) and all(
            each.counted == window(minutes[each.dimension, each.key], each.counted.from_ms, MINUTES[each.window])
            for each in found
        )

    await eventually(as_stored, what="the last word of live.v1 on each window")
    await world.stop("live")


async def test_workers_are_counted_by_their_last_word(world: World) -> None:
    await world.start("roster", "live")
    await world.fake_worker(3)
    await world.fake_worker(4)
    await world.append(created(session_id()))

    async def told() -> bool:
        found = [each.data for each, _ in await world.log(topic=LIVE) if isinstance(each.data, LiveWorkers)]
        return any(each.phases == {"ready": 2} and (each.slots, each.held) == (7, 0) for each in found)

    await eventually(told, what="both workers in live.v1")
    async with EventProducer(world.settings) as producer:  # nothing that anybody can write stops it
        await producer.send_as_it_is(WORKERS, b"wrk_x", b"{", [])
        await producer.send_as_it_is(WORKERS, b"wrk_x", None, [])
    (before,) = (await world.sql("SELECT max(at_ms) FROM r.live_workers"))[0]

    async def goes_on() -> bool:
        (at,) = (await world.sql("SELECT max(at_ms) FROM r.live_workers"))[0]
        return int(at) > int(before) + 1500

    await eventually(goes_on, what="states after what cannot be read")
    await world.stop_all()


async def test_more_accounts_than_may_be_counted_apart_are_summed(world: World) -> None:
    await world.start("live", GREENROOM_LIVE_ACCOUNTS="20")
    async with EventProducer(world.settings, linger_ms=5) as producer:
        sent = [
            await producer.enqueue(SESSIONS, event(created(session_id(), account=f"acct_many_{n}"), at=now_ms()))
            for n in range(2000)
        ]
        await asyncio.gather(*sent)
    await caught_up(world)
    counted: dict[int, dict[str, int]] = {}
    for minute_ms, key, value in await world.sql(
        "SELECT minute_ms, key, value FROM r.live_counts WHERE dimension = 'account' AND measure = 'starts'"
        " AND (key = 'other' OR key ~ '^acct_many_')"
    ):
        counted.setdefault(minute_ms, {})[key] = value
    assert sum(sum(each.values()) for each in counted.values()) == 2000
    assert all(len(each) <= 21 for each in counted.values())
    assert max(each.get("other", 0) for each in counted.values()) > 900
    await world.stop("live")


async def test_another_log_is_counted_from_its_beginning(world: World) -> None:
    """The topic is lost and made again: positions of the old one mean nothing, and so do its windows."""
    await world.start("live")
    await produce(world, lives(6), random.Random(5))
    await caught_up(world)
    await delete_topic(world, SESSIONS)
    await topics.apply(world.servers.kafka_bootstrap, world.prefix)
    async with asyncio.timeout(60):
        await world.processes["live"].wait()  # it says so, and ends
    await produce(world, lives(3), random.Random(6))
    await world.restart("live")
    await caught_up(world)
    assert not differences(await rows(world), await log(world))
    await world.stop("live")


def settings(world: World) -> LiveSettings:
    return LiveSettings(**world.settings.model_dump(include=set(LiveSettings.model_fields)))


async def test_who_begins_forgets_nothing_of_who_reads_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a look at the log and one at the checkpoints another process has come further: that is no other log."""
    await world.start("live")
    await produce(world, lives(2), random.Random(1))
    await caught_up(world)
    generations = "SELECT partition, generation FROM checkpoints WHERE name = 'live' ORDER BY 1"
    before, real = await world.sql(generations), extents

    async def meanwhile(*args: Any) -> Any:
        await produce(world, lives(2), random.Random(2))
        await caught_up(world)
        found = await real(*args)
        await produce(world, lives(2), random.Random(3))
        await caught_up(world)
        return found

    monkeypatch.setattr(live, "extents", meanwhile)
    async with pool(world.database_url, 2) as connections:
        await live.begin(settings(world), connections)
    assert await world.sql(generations) == before
    assert not differences(await rows(world), await log(world))
    await world.stop("live")
    assert not list(Path.cwd().glob("*live-data")), "faust has made a folder where it was started"


async def test_it_begins_no_earlier_than_windows_are_kept(world: World) -> None:
    """After three months away nobody waits for the windows of three months."""
    topic = SESSIONS.name
    async with pool(world.database_url, 1) as connections, connections.connection() as connection:
        await checkpoints.place(connection, "tests", topic, {0: 5, 1: 5}, anew=True)
        before = await checkpoints.bind(connection, "tests", topic, frozenset({0, 1}))
        await checkpoints.place(connection, "tests", topic, {0: 3, 1: 7, 2: 1})
        assert await checkpoints.positions(connection, "tests", topic) == {0: 5, 1: 7, 2: 1}
        await checkpoints.advance(connection, topic, [Step("tests", 0, before[0].generation, 5, 6)])
        with pytest.raises(Fenced):
            await checkpoints.advance(connection, topic, [Step("tests", 1, before[1].generation, 5, 6)])


async def test_no_answer_where_to_begin_ends_the_process(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust itself waits for it for a while, and then reads nothing more, without a word."""
    monkeypatch.setattr(live_reading, "_PLACED_WITHIN_S", 0.3)

    class Silent(FoldingHandler[Any]):
        async def assigned(self, partitions: frozenset[int], fresh: bool) -> Mapping[int, int]:
            await asyncio.sleep(3600)
            raise AssertionError

    async with pool(world.database_url, 2) as connections:
        workers_from = await live.begin(settings(world), connections)
        reader = live_reading.Reader(
            settings(world), Silent(connections, FOLD, [LiveProjection()]), WorkersSeen(), workers_from
        )
        with pytest.raises(Stuck):
            await asyncio.wait_for(reader.run(), 60)


def test_a_minute_has_no_more_workers_than_it_may() -> None:
    """However often what was heard is stored: whoever can write to `workers.v1` fills no table."""
    seen = WorkersSeen()
    for n in range(MOST + 50):
        state = WorkerState(f"wrk_{n}", "ready", 1, ["mock"], "none", "k", 0, [], [], "0", 0, "")
        seen.hear(record(new_event(state, source="tests", subject=state.worker_id)))
        assert len(seen._heard) == (n < MOST)
        seen._heard.clear()  # as if it were stored
    seen.hear(record(new_event(structs.replace(state, worker_id="wrk_0"), source="tests", subject="wrk_0")))
    assert list(seen._heard) == [(T0 // 60_000 * 60_000, "wrk_0")]


async def test_who_worked_on_another_log_is_fenced(world: World) -> None:
    """A process that was paused with a batch in its hands, while the next one began anew and came as far as it."""
    topic = SESSIONS.name
    async with pool(world.database_url, 1) as connections, connections.connection() as connection:
        await checkpoints.place(connection, names.LIVE, topic, {0: 5}, anew=True)
        first = (await checkpoints.bind(connection, names.LIVE, topic, frozenset({0})))[0]
        async with connection.transaction():
            await begin_anew(connection, {0: 5})
        await checkpoints.bind(connection, names.LIVE, topic, frozenset({0}))
        with pytest.raises(Fenced):
            await checkpoints.advance(connection, topic, [Step(names.LIVE, 0, first.generation, 5, 9)])
