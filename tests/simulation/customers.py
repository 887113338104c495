"""The API and its customers: creates and ends, in the order of `api/admission.py` and `api/ending.py`."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from msgspec import structs

from events import assignments
from events.assignments import WHICHEVER
from events.codec import new_event
from events.producer import UnknownOutcome
from events.session_state import HIDDEN_REASON
from events.topics import ASSIGNMENTS, SESSIONS
from schemas.assignments import Task
from schemas.events import SessionEndRequested
from schemas.times import now_ms
from store.admissions import HELD_S
from store.database import DatabaseUnreachable
from tests import builders
from tests.simulation import database
from tests.simulation.broker import Producer
from tests.simulation.timeline import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

SOURCE = "greenroom/api"
ACCOUNT = "acct_1"
_CAPACITY_WAIT_S = 2.0


class Api:
    """One process; a killed one is started again, and its requests are gone."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.name = "api"
        self.cut = self.dies_after_answer = False
        self.process: Process
        self.start()

    def start(self) -> None:
        self.process = self._world.process(f"api.{len(self._world.processes)}", self._world.skew("api"))
        self.process.cut = self.cut
        self._producer = Producer(self._world.broker, self.process)
        self._pool = database.Pool(self._world.database, self.process, asyncio.sleep)
        self.process.on_exit.append(lambda: self._world.timeline.after(2.0, self.start))

    def cut_off(self, cut: bool) -> None:
        self.cut = self.process.cut = cut

    def create(self, sid: str, seconds: int) -> None:
        if self.process.alive:
            self.process.loop.create_task(self._create(sid, seconds))

    def end(self, sid: str) -> None:
        if self.process.alive:
            self.process.loop.create_task(self._end(sid))

    def drain(self, worker_id: str) -> None:
        if self.process.alive:
            self.process.loop.create_task(self._drain(worker_id))

    async def _drain(self, worker_id: str) -> None:
        await self._producer.enqueue(ASSIGNMENTS, assignments.drain(worker_id, SOURCE))

    async def _create(self, sid: str, seconds: int) -> None:
        world, loop = self._world, asyncio.get_running_loop()
        held_since = loop.time()
        task = builders.task(session_id=sid, account_id=ACCOUNT, max_duration_ms=seconds * 1000, accepted_ms=now_ms())
        try:
            admitted = await self._admit(sid, task)
        except DatabaseUnreachable:
            admitted = None
        if admitted is None:
            world.story.tell("api", f"create of {world.short(sid)} is refused")
            return
        worker_id, key = admitted
        created = builders.created(sid, worker=worker_id, quality="mock", max_duration_seconds=seconds)
        event = new_event(created, source=SOURCE, subject=sid, account=ACCOUNT)
        try:
            await self._producer.send(SESSIONS, structs.replace(event, time_ms=task.accepted_ms))
        except UnknownOutcome:
            await self._abandon(sid, held_since)
            world.story.tell("api", f"create of {world.short(sid)} has an unknown outcome: 503")
            return
        if loop.time() - held_since >= HELD_S and not await self._stands(sid):
            return
        await self._producer.enqueue(ASSIGNMENTS, assignments.assign(task, 1, worker_id, key, SOURCE))
        world.referee.created.add(sid)
        world.story.tell("api", f"201 for {world.short(sid)} on {world.short(worker_id)}")
        if self.dies_after_answer:
            self.process.exit()
        await self._mark(sid)

    async def _admit(self, sid: str, task: Task) -> tuple[str, str] | None:
        deadline = asyncio.get_running_loop().time() + _CAPACITY_WAIT_S
        while True:
            async with self._pool.connection() as connection:
                admitted = await database.admit(connection, sid, ACCOUNT, task)
            if admitted is not None or asyncio.get_running_loop().time() > deadline:
                return admitted
            await asyncio.sleep(0.1)

    async def _stands(self, sid: str) -> bool:
        try:
            async with self._pool.connection() as connection:
                return await database.stands(connection, sid)
        except DatabaseUnreachable:
            return False

    async def _mark(self, sid: str) -> None:
        while True:
            with contextlib.suppress(DatabaseUnreachable):
                async with self._pool.connection() as connection:
                    await database.mark_acknowledged(connection, sid)
                return
            await asyncio.sleep(0.5)

    async def _abandon(self, sid: str, held_since: float) -> None:
        try:
            async with self._pool.connection(0.4) as connection:
                with self._world.database.transaction(self.process):
                    connection.alone = False
                    ours = await database.abandon(connection, ACCOUNT, sid, tries=1)
                    if ours:
                        await database.release(connection, [sid], hidden=[sid])
        except DatabaseUnreachable:
            ours = asyncio.get_running_loop().time() - held_since < HELD_S
        if ours:
            data = SessionEndRequested(sid, by="api", reason=HIDDEN_REASON)
            await self._producer.enqueue(SESSIONS, new_event(data, source=SOURCE, subject=sid, account=ACCOUNT))

    async def _end(self, sid: str) -> None:
        """A customer tries until it is told that it was heard."""
        world = self._world
        data = SessionEndRequested(sid, by="api", reason="api_request")
        for _ in range(5):
            if sid not in world.referee.created:
                return
            try:
                await self._producer.send(SESSIONS, new_event(data, source=SOURCE, subject=sid, account=ACCOUNT))
                break
            except UnknownOutcome:
                await asyncio.sleep(1)
        else:
            return
        world.referee.end_asked.add(sid)
        world.story.tell("api", f"the end of {world.short(sid)} is requested")
        with contextlib.suppress(DatabaseUnreachable):
            async with self._pool.connection() as connection:
                worker_id = await database.mark_ending(connection, sid)
            if worker_id is not None:
                end = assignments.end(worker_id, sid, WHICHEVER, "api_request", SOURCE)
                await self._producer.enqueue(ASSIGNMENTS, end)
