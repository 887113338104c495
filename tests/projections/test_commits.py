"""The ledger is the log's, whatever happens around a commit: killed before and after each one, rebalanced amidst."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from cli.processes import environment
from events import consumer
from events.consumer import Batches, LogConsumer
from events.session_state import State
from events.sessions import FOLD
from events.topics import SESSIONS
from projections import audit, handling
from projections.handling import FoldingHandler
from projections.usage import UsageProjection
from schemas.events import SessionEvent
from store.database import Connection, Pool, pool
from tests.builders import life, session_id
from tests.projections.test_folding import produce, truth
from tests.world import World, eventually

pytestmark = pytest.mark.servers

REBALANCES = 20


async def the_ledger_is_the_logs(world: World) -> None:
    """I2: the hashes of the fold, each once; the audit says the same, row by row."""
    _, usage = await truth(world)
    found = await world.sql("SELECT hash FROM r.usage_events ORDER BY hash")
    assert [hash_ for (hash_,) in found] == sorted(entry.hash for entry in usage)
    async with pool(world.database_url, 1) as connections:
        verdict = await audit.audit(world.settings, connections, audit.Scope(), lambda _, __: None)
    assert verdict.equal
    assert verdict.entries == len(usage)


async def test_killed_before_and_after_each_commit(world: World) -> None:
    await produce(world, [life(session_id(), beats=8) for _ in range(30)])
    events = len(await world.records(SESSIONS))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.projections.dying", str(events)),
        env=environment("project", world.env),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await asyncio.wait_for(child.communicate(), 120)
    assert child.returncode == 0
    before, after = (int(count) for count in said.split())
    assert before >= after >= 6
    await the_ledger_is_the_logs(world)


class Loading(UsageProjection):
    """Remembers whose states it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def load(self, connection: Connection, subjects: Sequence[str]) -> dict[str, State]:
        self.asked += subjects
        return await super().load(connection, subjects)


async def test_who_lives_is_not_read_again_because_others_come(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three sessions beat while forty others come and go through a cache for five."""
    monkeypatch.setattr(handling, "_CACHED_STATES", 5)
    lasting, others = [session_id() for _ in range(3)], [session_id() for _ in range(40)]
    steps: list[list[SessionEvent]] = [list(step) for step in zip(*(life(s, beats=35) for s in lasting), strict=True)]
    for n, sid in enumerate(others):
        steps[min(n, len(steps) - 1)] += life(sid, beats=1)
    await produce(world, [[data for step in steps for data in step]])
    appended = sorted(await world.records(SESSIONS), key=lambda r: (r.timestamp, r.partition, r.offset))
    projection = Loading()
    async with pool(world.database_url, 2) as connections:
        handler = FoldingHandler(connections, FOLD, [projection])
        await handler.assigned(frozenset(range(SESSIONS.partitions)), True)
        for record in appended:
            await handler.handle({record.partition: [record]})
        await handler.drain()
    assert sorted(projection.asked) == sorted(lasting + others)  # each once
    await the_ledger_is_the_logs(world)


class Watched(FoldingHandler[Any]):
    """While `holds`, it is amidst of each batch until the group asks for its partitions."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.holds = True
        self.amidst, self.asked = asyncio.Event(), asyncio.Event()

    async def handle(self, batches: Batches) -> None:
        if batches and self.holds:
            self.asked.clear()
            self.amidst.set()
            await self.asked.wait()
            self.amidst.clear()
        await super().handle(batches)


class Member(LogConsumer):
    """Of a group whose every rebalance finds it amidst of a batch, but for its own joining."""

    def __init__(self, world: World, connections: Pool) -> None:
        self.handler = Watched(connections, FOLD, [UsageProjection()])
        self.found_amidst = 0
        super().__init__(world.settings, SESSIONS, "rebalanced", self.handler)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self.found_amidst += self.handler.amidst.is_set()
        self.handler.asked.set()
        await super().on_partitions_revoked(revoked)

    async def amidst_after(self, rebalances: int) -> None:
        """Until it works on a batch again, after so many have found it at one."""

        async def amidst() -> bool:
            return self.found_amidst == rebalances and self.handler.amidst.is_set()

        await eventually(amidst, what=f"a batch after {rebalances} rebalances")


@contextlib.asynccontextmanager
async def running(member: Member) -> AsyncIterator[None]:
    task = asyncio.create_task(member.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_twenty_rebalances_amidst_of_batches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second member of the group comes, is stopped amidst of its first batch, and goes: ten times."""
    monkeypatch.setattr(consumer, "BATCH", 20)
    monkeypatch.setattr(
        consumer, "AIOKafkaConsumer", lambda **given: AIOKafkaConsumer(**{**given, "heartbeat_interval_ms": 100})
    )
    await produce(world, [life(session_id(), beats=8) for _ in range(120)])
    total = len(await world.records(SESSIONS))

    async def at_the_end() -> bool:
        [(done,)] = await world.sql("SELECT sum(next_offset) FROM checkpoints WHERE name = 'usage'")
        return bool(done >= total)

    async with pool(world.database_url, 6) as connections:
        stays = Member(world, connections)
        async with running(stays):
            for n in range(0, REBALANCES, 2):
                await stays.amidst_after(n)
                comes = Member(world, connections)
                async with running(comes):
                    await comes.amidst_after(0)
                    await stays.amidst_after(n + 1)
            await stays.amidst_after(REBALANCES)
            assert not await at_the_end()
            stays.handler.holds = False
            stays.handler.asked.set()
            await eventually(at_the_end, what="the end of the log")
    await the_ledger_is_the_logs(world)
