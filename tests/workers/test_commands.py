"""Commands of a worker, and a consumer that gets no answers any more, as clients of Kafka now and then do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain, count, repeat

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError
from msgspec import Struct

from events.codec import new_event
from events.producer import EventProducer
from events.topics import ASSIGNMENTS
from schemas.events import AssignmentEnd
from schemas.ids import WORKER, new_id
from tests.builders import session_id
from tests.world import World, eventually
from workers import commands
from workers.commands import Commands

pytestmark = pytest.mark.servers

PLACE = TopicPartition("assignments.v1", 7)


class Reader:
    """A worker's, on real Kafka. Whether its consumer is answered is the test's to say."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.worker_id = new_id(WORKER)
        self.heard: list[str] = []
        self.unanswered = asyncio.Event()
        monkeypatch.setattr(commands, "until_unanswered", self._until_unanswered)
        self.commands = Commands(world.settings, self.worker_id, lambda: True)

    async def _until_unanswered(self, *_: object) -> None:
        await self.unanswered.wait()
        self.unanswered.clear()

    def obey(self, command: Struct, _: str | None) -> None:
        assert isinstance(command, AssignmentEnd)
        self.heard.append(command.session_id)

    async def told(self, producer: EventProducer, sids: list[str]) -> None:
        for sid in sids:
            data = AssignmentEnd(self.worker_id, sid, 1, "api_request")
            await producer.send(ASSIGNMENTS, new_event(data, source="test", subject=self.worker_id))

    async def has_heard(self, sids: list[str]) -> None:
        async def all_of_them() -> bool:
            return len(self.heard) >= len(sids)

        await eventually(all_of_them, 30, "the commands")
        assert self.heard == sids


async def test_another_consumer_goes_on_where_the_one_without_answers_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is skipped, and nothing comes twice."""
    reader, sids = Reader(world, monkeypatch), [session_id() for _ in range(4)]
    async with EventProducer(world.settings) as producer:
        await reader.commands.start()
        taking = asyncio.create_task(reader.commands.take(reader.obey))
        try:
            await reader.told(producer, sids[:2])
            await reader.has_heard(sids[:2])
            before = reader.commands._consumer
            reader.unanswered.set()

            async def another() -> bool:
                return reader.commands._consumer is not before

            await reader.told(producer, sids[2:3])
            await eventually(another, 30, "another consumer")
            await reader.told(producer, sids[3:])
            await reader.has_heard(sids)
        finally:
            taking.cancel()
            await asyncio.wait([taking])
            await reader.commands.stop()


async def test_where_there_is_no_other_the_old_one_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, sids, tried = Reader(world, monkeypatch), [session_id()], asyncio.Event()

    async def fails(_: AIOKafkaConsumer) -> None:
        tried.set()
        raise KafkaConnectionError

    async with EventProducer(world.settings) as producer:
        await reader.commands.start()
        monkeypatch.setattr(AIOKafkaConsumer, "start", fails)
        taking = asyncio.create_task(reader.commands.take(reader.obey))
        try:
            reader.unanswered.set()
            async with asyncio.timeout(30):
                await tried.wait()
            await reader.told(producer, sids)
            await reader.has_heard(sids)
        finally:
            taking.cancel()
            await asyncio.wait([taking])
            await reader.commands.stop()


# Whether it is answered


class Answers:
    """Of a consumer: the times at which it was last answered, look by look."""

    def __init__(self, heard: Iterator[int | None]) -> None:
        self._heard = heard
        self.looks = 0

    def last_poll_timestamp(self, place: TopicPartition) -> int | None:
        assert place == PLACE
        self.looks += 1
        return next(self._heard)


async def looks(heard: Iterator[int | None], reachable: Iterator[bool], monkeypatch: pytest.MonkeyPatch) -> int:
    """After how many it was given up."""
    monkeypatch.setattr(commands, "_LOOK_S", 0.0)
    answers = Answers(heard)
    await commands.until_unanswered(answers, PLACE, lambda: next(reachable))
    return answers.looks


@pytest.mark.parametrize("last", [None, 5])
async def test_none_for_a_minute_is_too_few(last: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await looks(repeat(last), repeat(True), monkeypatch) == 1 + commands._LOOKS


async def test_each_answer_counts_from_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    often = chain(range(500), repeat(500))
    assert await looks(often, repeat(True), monkeypatch) == 501 + commands._LOOKS
    seldom = chain(repeat(1, commands._LOOKS), repeat(2))
    assert await looks(seldom, repeat(True), monkeypatch) == 1 + 2 * commands._LOOKS


async def test_kafka_that_is_away_answers_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    away = chain(repeat(True, 3), repeat(False, 200), repeat(True))
    assert await looks(repeat(1), away, monkeypatch) == 1 + 203 + commands._LOOKS


async def test_clocks_that_are_set_are_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    back = chain((9 - n % 2 for n in range(100)), count(100))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await looks(back, repeat(True), monkeypatch)
