"""What the supervisor carries, and does with its commands and with attempts that go wrong: each ends, the log says so,
and the slot is free again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest
from aiokafka import ConsumerRecord, TopicPartition

from events import metrics
from events.codec import Event, encode, new_event
from events.producer import EventProducer
from events.sealing import public_text, seal
from events.topics import ASSIGNMENTS
from schemas.events import (
    AssignmentAssign,
    AssignmentEnd,
    EndReason,
    Segment,
    SessionAttemptLost,
    SessionEnded,
    SessionEnding,
    SessionFailed,
    SessionHeartbeat,
    SessionStarting,
)
from tests.builders import record, session_id, task
from tests.workers.rogue import never, rogues
from tests.world import World, eventually
from workers import children, commands
from workers.appending import EventAppender
from workers.pipe import Pipe
from workers.settings import WorkerSettings
from workers.supervisor import Supervisor

unit, processes, servers = pytest.mark.unit, pytest.mark.processes, pytest.mark.servers


class Attempt:
    """A session that was assigned to a supervisor whose session processes are rogue."""

    def __init__(self, world: World, supervisor: Supervisor) -> None:
        self._world = world
        self.supervisor = supervisor
        self.id = session_id()
        told = task(session_id=self.id, account_id=world.account)
        worker, key = supervisor.worker_id, public_text(supervisor._key)
        supervisor._assign(AssignmentAssign(worker, self.id, 1, seal(told, 1, worker, key)))

    def end(self, reason: EndReason) -> None:
        self.supervisor._end(AssignmentEnd(self.supervisor.worker_id, self.id, 1, reason))

    async def is_playing(self) -> bool:
        held = self.supervisor._held.get(self.id)
        return held is not None and held.child is not None

    async def over(self) -> list[Any]:
        """What the log says of it once its slot is free."""

        async def freed() -> bool:
            return not self.supervisor._held

        await eventually(freed, what="a free slot")
        said = {event.id: event.data for event, _ in await self._world.log(self.id)}  # some may be there twice
        return list(said.values())


@asynccontextmanager
async def supervised(world: World, **settings: Any) -> AsyncIterator[Callable[[], Attempt]]:
    known = WorkerSettings(
        kafka_bootstrap=world.servers.kafka_bootstrap, topic_prefix=world.prefix, worker_slots=1, **settings
    )
    async with EventProducer(known) as producer:
        supervisor = Supervisor(known, producer)
        try:
            yield lambda: Attempt(world, supervisor)
        finally:
            await supervisor._pool.close()


def kinds(said: list[Any]) -> list[type]:
    return [type(data) for data in said]


@servers
@pytest.mark.parametrize("how", ["raving", "endless"])
async def test_a_process_that_says_what_is_no_message_is_killed(
    world: World, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    spawned = rogues(monkeypatch, how)
    async with supervised(world) as assigned:
        said = await assigned().over()
    assert kinds(said) == [SessionStarting, SessionAttemptLost]
    assert said[-1].reason == "process_crashed"
    assert not psutil.pid_exists(spawned[0].pid)


@servers
@pytest.mark.parametrize(
    "how",
    [
        *("of another session", "of another attempt", "of another worker", "as the roster"),
        *("in the supervisor's place", "of no type", "not of its type", "no JSON"),
        *("with another number", "with the number before"),
    ],
)
async def test_a_process_that_says_what_it_must_not_is_killed(
    world: World, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Nothing of it is appended; what it said before stands."""
    spawned = rogues(monkeypatch, how)
    async with supervised(world) as assigned:
        said = await assigned().over()
    assert kinds(said) == [SessionStarting, SessionHeartbeat, SessionAttemptLost]
    assert said[-1].reason == "process_crashed"
    assert not psutil.pid_exists(spawned[0].pid)


@servers
async def test_a_process_that_died_loses_its_attempt_and_says_what_the_agent_waits_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rogues(monkeypatch, "dying")
    async with supervised(world) as assigned:
        attempt = assigned()
        said = await attempt.over()
    assert kinds(said) == [SessionStarting, SessionHeartbeat, SessionAttemptLost]
    worker = attempt.supervisor.worker_id
    assert said[-1] == SessionAttemptLost(attempt.id, 1, worker, "process_crashed", Segment("seg_1", 40))


@servers
async def test_a_process_that_hangs_is_killed_and_loses_its_attempt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawned = rogues(monkeypatch, "silent")
    async with supervised(world) as assigned:
        attempt = assigned()
        await eventually(attempt.is_playing)
        os.kill(spawned[0].pid, signal.SIGSTOP)
        said = await attempt.over()
    assert kinds(said) == [SessionStarting, SessionAttemptLost]
    assert said[-1].reason == "process_hung"
    assert not psutil.pid_exists(spawned[0].pid)


@servers
async def test_a_process_that_dies_of_its_end_ends_the_session(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    spawned = rogues(monkeypatch, "silent")
    async with supervised(world) as assigned:
        attempt = assigned()
        await eventually(attempt.is_playing)
        attempt.end("api_request")
        spawned[0].kill()
        said = await attempt.over()
    assert kinds(said) == [SessionStarting, SessionEnding, SessionEnded]


@servers
async def test_no_process_in_time_is_a_start_timeout(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "_session", never)
    async with supervised(world, worker_start_timeout_s=0.5) as assigned:
        said = await assigned().over()
    assert kinds(said) == [SessionStarting, SessionFailed]
    assert said[-1].code == "start_timeout"


@servers
async def test_an_end_does_not_wait_for_a_process(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "_session", never)
    async with supervised(world, worker_start_timeout_s=40) as assigned:
        attempt, began = assigned(), time.monotonic()
        await asyncio.sleep(0.1)
        attempt.end("api_request")
        said = await attempt.over()
    assert time.monotonic() - began < 30
    assert kinds(said) == [SessionStarting, SessionEnding, SessionEnded]
    assert said[-1].reason == "api_request"


@servers
async def test_the_time_for_the_first_frame_goes_on_while_a_process_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rogues(monkeypatch, "silent")
    told: list[Any] = []
    send = Pipe.send

    def listened(pipe: Pipe[Any], message: Any) -> None:
        told.append(message)
        send(pipe, message)

    monkeypatch.setattr(Pipe, "send", listened)
    async with supervised(world, worker_start_timeout_s=40) as assigned:
        attempt = assigned()
        await eventually(attempt.is_playing)
        held = attempt.supervisor._held[attempt.id]
        assert held.child is not None
        (start,) = (message for message in told if hasattr(message, "limits"))
        left = held.deadline - asyncio.get_running_loop().time()
        assert left <= start.limits.start_timeout_s < 40
        held.child.kill()
        await attempt.over()


@servers
async def test_what_cannot_be_made_an_event_ends_the_attempt(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    spawned = rogues(monkeypatch, "beating")

    append = EventAppender.append

    def fail(self: EventAppender, data: Any) -> None:
        if isinstance(data, SessionHeartbeat):
            raise ValueError("no event")
        append(self, data)

    monkeypatch.setattr(EventAppender, "append", fail)
    async with supervised(world) as assigned:
        said = await assigned().over()
    assert kinds(said) == [SessionStarting, SessionAttemptLost]
    assert said[-1].reason == "process_crashed"
    assert not psutil.pid_exists(spawned[0].pid)


@servers
async def test_an_attempt_whose_events_cannot_be_appended_leaves(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would play on unbilled. Its terminal event cannot be told either: the roster misses it and assigns anew."""
    spawned = rogues(monkeypatch, "beating")
    async with supervised(world) as assigned:
        attempt = assigned()
        send = attempt.supervisor._producer.send

        async def broken(topic: Any, event: Event, **rest: Any) -> None:
            if event.type == "session.heartbeat":
                raise ValueError("not to be encoded")
            await send(topic, event, **rest)

        monkeypatch.setattr(attempt.supervisor._producer, "send", broken)
        said = await attempt.over()
    assert kinds(said) == [SessionStarting]
    assert not psutil.pid_exists(spawned[0].pid)


@processes
def test_the_supervisor_imports_neither_torch_nor_rtc() -> None:
    code = "import sys, workers.supervisor; sys.exit(bool({'torch', 'livekit.rtc'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


class Consumer:
    """A consumer with these records, and no more."""

    def __init__(self, *records: ConsumerRecord[bytes, bytes]) -> None:
        self._records = list(records)

    async def getmany(self, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        records, self._records = self._records, []
        if not records:
            raise asyncio.CancelledError
        return {TopicPartition(ASSIGNMENTS.name, 0): records}


@unit
async def test_a_command_that_can_never_be_read_is_counted_and_passed() -> None:
    supervisor = Supervisor(WorkerSettings(), None)  # type: ignore[arg-type]
    worker_id = supervisor.worker_id

    def command(sid: str, worker: str = worker_id, **changes: Any) -> ConsumerRecord[bytes, bytes]:
        end = AssignmentEnd(worker, sid, 1, "api_request")
        return record(new_event(end, source="tests", subject=worker), **changes)

    _, headers = encode(new_event(AssignmentEnd(worker_id, "s", 1, "api_request"), source="tests", subject=worker_id))
    schema = b"urn:greenroom:assignment.end:2"
    newer = [(name, schema if name == "ce_dataschema" else value) for name, value in headers]
    consumer = Consumer(
        command("sess_1", value=b"no JSON"),
        command("sess_2", headers=[]),
        command("sess_3", headers=newer),
        command("sess_4", worker="wrk_other", value=b"no JSON"),  # another worker counts it
        command("sess_5"),
    )
    counted = metrics.MALFORMED.labels("worker")
    before = counted._value.get()
    with pytest.raises(asyncio.CancelledError):
        await commands.read(consumer, worker_id, supervisor._obey)
    assert counted._value.get() == before + 2
    assert list(supervisor._ended) == ["sess_5"]
