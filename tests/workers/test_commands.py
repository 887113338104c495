"""A consumer of commands that gets no answers any more, as clients of Kafka now and then do after an outage."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain, count, repeat

import pytest
from aiokafka import TopicPartition

from events.consumer import Stuck
from workers import commands

pytestmark = pytest.mark.unit

PLACE = TopicPartition("assignments.v1", 7)
LOOKS = 1000


class Consumer:
    """Kafka's last answer was at these times."""

    def __init__(self, heard: Iterator[int | None]) -> None:
        self._heard = heard
        self.looks = 0

    def last_poll_timestamp(self, place: TopicPartition) -> int | None:
        assert place == PLACE
        self.looks += 1
        if self.looks > LOOKS:
            raise StopAsyncIteration  # nothing has come of it
        return next(self._heard)


async def looked(heard: Iterator[int | None], reachable: Iterator[bool], monkeypatch: pytest.MonkeyPatch) -> int:
    """After how many looks it gave up."""
    monkeypatch.setattr(commands, "_LOOK_S", 0.0)
    consumer = Consumer(heard)
    with pytest.raises(Stuck, match=r"no answer from Kafka for assignments\.v1 7"):
        await commands.watch_answers(consumer, PLACE, lambda: next(reachable))
    return consumer.looks


async def for_ever(heard: Iterator[int | None], reachable: Iterator[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_LOOK_S", 0.0)
    with pytest.raises((StopAsyncIteration, RuntimeError)):
        await commands.watch_answers(Consumer(heard), PLACE, lambda: next(reachable))


async def test_answers_keep_it_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    await for_ever(count(), repeat(True), monkeypatch)


@pytest.mark.parametrize("last", [None, 5])
async def test_none_for_half_a_minute_ends_it(last: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await looked(repeat(last), repeat(True), monkeypatch) == 1 + commands._LOOKS


async def test_a_pause_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = chain(repeat(1, commands._LOOKS), repeat(2))
    assert await looked(heard, repeat(True), monkeypatch) == 1 + 2 * commands._LOOKS


async def test_kafka_that_is_away_answers_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It plays on by its lease, as long as that lasts."""
    await for_ever(repeat(1), repeat(False), monkeypatch)
    away = chain(repeat(True, 3), repeat(False, 20), repeat(True))
    assert await looked(repeat(1), away, monkeypatch) == 1 + 3 + 20 + commands._LOOKS


async def test_it_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    watching = asyncio.create_task(commands.watch_answers(Consumer(count()), PLACE, lambda: True))
    await asyncio.sleep(0)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
