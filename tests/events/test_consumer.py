"""The consumer loop on a real log."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError

from events import consumer as loop
from events.codec import new_event
from events.consumer import Batches, LogConsumer, LogGap, Recoverable, Stuck
from events.offsets import end_offsets
from events.producer import EventProducer
from events.topics import AVATARS
from schemas.events import AvatarDeleted
from schemas.ids import AVATAR, new_id
from tests.builders import event, record
from tests.world import World, eventually

pytestmark = pytest.mark.servers


class Slow:
    """A handler whose database takes a second to say where to go on: at the beginning."""

    def __init__(self) -> None:
        self.seen: dict[int, list[int]] = {}

    async def assigned(self, partitions: frozenset[int], fresh: bool) -> Mapping[int, int]:
        await asyncio.sleep(1)
        self.seen = {partition: [] for partition in partitions}
        return self.positions()

    async def handle(self, batches: Batches) -> None:
        for partition, records in batches.items():
            self.seen[partition] += [record.offset for record in records]

    async def drain(self) -> None:
        return

    def positions(self) -> Mapping[int, int]:
        return {partition: len(seen) for partition, seen in self.seen.items()}

    def saw(self, ends: Mapping[int, int], heard_s: float) -> None:
        self.ends, self.heard_s = ends, heard_s


async def test_the_hint_in_kafka_is_never_where_it_begins(world: World) -> None:
    """The group has committed the last offset but one. What was fetched from there while the handler was asked is
    dropped, or a handler that was to begin at 0 would take it for its first and skip all before it."""
    async with EventProducer(world.settings) as producer:
        for _ in range(40):
            data = AvatarDeleted(new_id(AVATAR))
            await producer.send(AVATARS, new_event(data, source="tests", subject=data.avatar_id), timeout_s=20)
    ends = await end_offsets(world.settings, AVATARS)
    assert sum(ends.values()) == 40
    group = world.prefix + "slow"
    hinting = AIOKafkaConsumer(
        bootstrap_servers=world.servers.kafka_bootstrap, group_id=group, enable_auto_commit=False
    )
    places = {TopicPartition(world.prefix + AVATARS.name, partition): end - 1 for partition, end in ends.items()}
    hinting.assign(list(places))
    await hinting.start()
    try:
        await hinting.commit(places)
    finally:
        await hinting.stop()

    handler = Slow()
    consuming = asyncio.create_task(LogConsumer(world.settings, AVATARS, "slow", handler).run())
    try:

        async def all_of_it() -> bool:
            return {partition: seen[-1:] for partition, seen in handler.seen.items()} == {
                partition: [end - 1] for partition, end in ends.items()
            }

        await eventually(all_of_it, what="the end of the log")
        assert handler.seen == {partition: list(range(end)) for partition, end in ends.items()}
    finally:
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)


async def test_records_dropped_on_the_way_are_fetched_again_and_a_hole_in_the_log_is_told(world: World) -> None:
    """For every handler: nothing is skipped in silence."""
    consumer = LogConsumer(world.settings, AVATARS, "holes", Slow())
    consumer._next = {0: 0}

    def came(*offsets: int) -> Batches:
        return {0: [record(event(AvatarDeleted("av_1")), offset) for offset in offsets]}

    consumer._refuse_holes(came(0, 1))
    for hole in (came(4), came(2, 4)):
        consumer._next = {0: 2}
        with pytest.raises(Recoverable, match="did not come"):
            consumer._refuse_holes(hole)
    consumer._next = {0: 2}
    consumer._refuse_holes(came(1, 2, 3))  # fetched again, and all is there
    with pytest.raises(Recoverable, match="offsets 4 to 6"):
        consumer._refuse_holes(came(7))
    with pytest.raises(LogGap, match="offsets 4 to 6"):
        consumer._refuse_holes(came(7, 8))


async def test_holes_in_two_partitions_are_told_whichever_comes_first(world: World) -> None:
    """Each hid the other, and both were fetched again for ever."""
    consumer = LogConsumer(world.settings, AVATARS, "two holes", Slow())
    holes = {partition: [record(event(AvatarDeleted("av_1")), 9)] for partition in (0, 1)}
    for order in ((0, 1), (1, 0)):
        consumer._next = {0: 4, 1: 4}
        with pytest.raises(Recoverable):
            consumer._refuse_holes({partition: holes[partition] for partition in order})
    consumer._next = {0: 4, 1: 4}
    with pytest.raises(LogGap):
        consumer._refuse_holes(holes)


class Consuming(LogConsumer):
    """That lets a test see its rounds without a record."""

    empty_rounds = 0

    async def _refuse_silence(self, consumer: AIOKafkaConsumer) -> None:
        await super()._refuse_silence(consumer)
        self.empty_rounds += 1


async def test_no_answer_at_all_ends_the_process_unless_kafka_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its client's fetching ended, as after some outages, it sat on an old end of the log and seemed idle."""
    monkeypatch.setattr(loop, "_SILENT_ROUNDS", 4)
    monkeypatch.setattr(loop, "_GRACE_ROUNDS", 2)
    handler = Slow()
    consuming = Consuming(world.settings, AVATARS, "silent", handler)
    run = asyncio.create_task(consuming.run())
    try:

        async def rounds(count: int) -> None:
            until = consuming.empty_rounds + count

            async def done() -> bool:
                assert not run.done()
                return bool(handler.seen) and consuming.empty_rounds >= until

            await eventually(done, what=f"{count} rounds without a record")

        await rounds(12)  # empty answers are answers
        asked = 0

        async def away(*_: object) -> None:
            nonlocal asked
            asked += 1
            raise KafkaConnectionError

        with monkeypatch.context() as outage:
            outage.setattr(loop, "end_offsets", away)
            assert consuming._consumer is not None
            consuming._consumer._fetcher._fetch_task.cancel()
            await rounds(14)
            assert asked >= 2
        with pytest.raises(Stuck, match="no answer"):
            await asyncio.wait_for(run, 30)
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
