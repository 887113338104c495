"""A producer whose Kafka goes away: what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import psutil
import pytest
import pytest_asyncio
from aiokafka.errors import KafkaConnectionError

from events import topics
from events.codec import Event, new_event
from events.producer import EventProducer, UnknownOutcome
from events.settings import LogSettings
from events.topics import SESSIONS
from stack import kafka
from stack import servers as embedded
from stack.ports import free_ports
from stack.process import Process
from tests.builders import created, session_id
from tests.world import eventually

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture(scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Process, LogSettings]]:
    """A Kafka of its own: it is taken away."""
    folder = tmp_path_factory.mktemp("broker")
    jars = kafka.install(embedded.cache_folder(), lambda _, __: None)
    port, controller = free_ports(2)
    process = Process(await asyncio.to_thread(kafka.prepare, jars, folder / "kafka", port, controller), folder)
    await process.start()
    try:
        await process.wait_ready()
        await topics.apply(f"127.0.0.1:{port}", "")
        yield process, LogSettings(kafka_bootstrap=f"127.0.0.1:{port}")
    finally:
        process.kill()
        await process.wait()


async def left_by(work: asyncio.Task[None]) -> set[str]:
    """The tasks that `work` started and did not end."""
    before = asyncio.all_tasks() - {work}
    with suppress(UnknownOutcome):
        await work
    await asyncio.sleep(0)
    return {repr(task.get_coro()) for task in asyncio.all_tasks() - before - {work}}


async def test_closed_with_events_that_cannot_be_delivered(broker: tuple[Process, LogSettings]) -> None:
    process, settings = broker

    async def append() -> None:
        async with EventProducer(settings) as producer:
            sid = session_id()
            await producer.send(SESSIONS, new_event(created(sid), source="tests", subject=sid))
            os.kill(process.pid, signal.SIGSTOP)
            await producer.send(SESSIONS, new_event(created(sid), source="tests", subject=sid), timeout_s=0.5)

    try:
        async with asyncio.timeout(30):
            assert not await left_by(asyncio.create_task(append()))
    finally:
        os.kill(process.pid, signal.SIGCONT)


async def test_that_cannot_start(broker: tuple[Process, LogSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka answers the first question and then no more: a producer id is not had in time."""
    process, settings = broker
    monkeypatch.setattr("events.producer.START_TIMEOUT_S", 1.0)
    producer = EventProducer(settings)
    sender = producer._producer._sender
    start = sender.start

    async def stopped() -> None:
        os.kill(process.pid, signal.SIGSTOP)
        await eventually(halted)  # its threads may answer for a moment longer
        await start()

    async def halted() -> bool:
        return bool(psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)

    monkeypatch.setattr(sender, "start", stopped)

    async def begin() -> None:
        with pytest.raises(TimeoutError):
            await producer.start()

    try:
        async with asyncio.timeout(30):
            assert not await left_by(asyncio.create_task(begin()))
    finally:
        os.kill(process.pid, signal.SIGCONT)


def _count_otherwise(producer: EventProducer) -> None:
    """From now on the broker finds holes in what the producer counts."""
    numbers = producer._producer._txn_manager._sequence_numbers
    for place in numbers:
        numbers[place] += 5


async def _die(producer: EventProducer) -> None:
    task = producer._producer._sender.sender_task
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("spoil", [_count_otherwise, _die])
async def test_goes_on_when_a_broker_counts_otherwise(
    broker: tuple[Process, LogSettings], spoil: Callable[[EventProducer], Awaitable[None] | None]
) -> None:
    """aiokafka's own producer would refuse all that comes later: some appends fail, and then none does."""
    _, settings = broker
    async with EventProducer(settings) as producer:
        events = [new_event(created(sid := session_id()), source="tests", subject=sid) for _ in range(40)]
        await producer.send_all(SESSIONS, events)
        if (spoiling := spoil(producer)) is not None:
            await spoiling
        answers = await asyncio.gather(*(producer.send(SESSIONS, event) for event in events), return_exceptions=True)
        assert all(answer is None or isinstance(answer, UnknownOutcome) for answer in answers)
        await asyncio.gather(*(producer.send(SESSIONS, event) for event in events))
        await producer.send_all(SESSIONS, events)


async def test_one_with_a_request_under_way_is_replaced_and_nobody_waits_for_its_end(
    broker: tuple[Process, LogSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, settings = broker

    def event() -> Event:
        return new_event(created(sid := session_id()), source="tests", subject=sid)

    async with EventProducer(settings) as producer:
        await producer.send(SESSIONS, event())
        client, cut = producer._producer.client, asyncio.Event()
        close = client.close

        async def hang(*_: object, **__: object) -> None:
            await cut.wait()
            raise KafkaConnectionError

        async def closed() -> None:
            cut.set()
            await close()

        monkeypatch.setattr(client, "send", hang)
        monkeypatch.setattr(client, "close", closed)
        waiting = asyncio.create_task(producer.send(SESSIONS, event()))
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done()
        producer._spoilt = True
        await asyncio.gather(*(producer.send(SESSIONS, event()) for _ in range(5)))
        with pytest.raises(UnknownOutcome):
            await waiting


async def test_what_comes_after_its_end_makes_no_producer(broker: tuple[Process, LogSettings]) -> None:
    _, settings = broker
    async with EventProducer(settings) as producer:
        pass
    with pytest.raises(UnknownOutcome):
        await producer.send(SESSIONS, new_event(created(sid := session_id()), source="tests", subject=sid))
    assert producer._renewal is None
