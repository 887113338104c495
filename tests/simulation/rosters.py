"""Roster processes: the real `Roster`, `Directory`, `Dispatch` and `Settling`, over a consumer loop of a page.

That loop keeps the rules of `events/consumer.py` and `projections/handling.py`: a generation is raised when partitions
are assigned, a batch is bound to generation and offset, its transaction ends with a step of the checkpoint, and who is
fenced stands by, and takes back what its new owner leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from events.codec import Event
from events.session_state import State
from events.sessions import FOLD
from events.topics import SESSIONS
from projections.checkpoints import PATIENCE_S
from projections.folding import Folded, SessionsFolded, fold
from reactors.directory import Directory
from reactors.dispatch import Dispatch
from reactors.noticed import Asked
from reactors.roster import Roster
from schemas.background import until_one_ends
from store.database import DatabaseUnreachable
from tests.simulation import database
from tests.simulation.broker import POLL_S, Producer
from tests.simulation.timeline import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

PARTITIONS = frozenset(range(SESSIONS.partitions))
SESSION_TIMEOUT_S = 6.0
"""A member that is silent for so long is out of the group."""


class Keyring:
    """Tasks rest as they are."""

    def unwrap(self, key_id: str, sealed: Any, aad: str) -> Any:
        return sealed


class Spending:
    def exhausted(self, account_id: str, key_id: str) -> bool:
        return False


class SimulatedRoster(Roster):
    """Its states rest in the simulated tables."""

    async def load(self, connection: Any, subjects: Sequence[str]) -> dict[str, State]:
        with connection.statement():
            states = connection.tables.states
            return {sid: states[sid][1] for sid in subjects if sid in states}

    async def live(self, connection: Any, partitions: frozenset[int]) -> dict[str, State]:
        with connection.statement():
            states = connection.tables.states
            return {sid: s for sid, (p, s) in states.items() if p in partitions and not s.terminal}

    async def save(self, connection: Any, folded: SessionsFolded) -> None:
        with connection.statement():
            for sid, state in folded.states.items():
                connection.tables.states[sid] = (folded.partition_of[sid], state)


class Group:
    """Kafka's group coordinator."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._members: list[Reading] = []

    def look(self) -> None:
        """Members that came, went, or were silent for too long: partitions are dealt anew."""
        now = self._world.timeline.now
        broker = self._world.broker
        for member in self._world.readings:
            if broker.reachable(member.process):
                member.heard_at = now
                if member.missed is not None:
                    member.process.loop.call_soon(member.assign, member.missed)
                    member.missed = None
        alive = [m for m in self._world.readings if now - m.heard_at < SESSION_TIMEOUT_S]
        if alive != self._members:
            self._members = alive
            self._deal()
        self._world.timeline.after(0.7, self.look)

    def _deal(self) -> None:
        for n, member in enumerate(self._members):
            mine = frozenset(p for p in PARTITIONS if p % len(self._members) == n)
            if self._world.broker.reachable(member.process):
                member.process.loop.call_soon(member.assign, mine)
            else:
                member.missed = mine

    def shuffle(self) -> None:
        """A rebalance for no reason."""
        self._members.reverse()
        self._deal()


class Reading:
    """The consumer loop of one roster."""

    def __init__(
        self, world: World, office: Office, process: Process, pool: database.Pool, roster: SimulatedRoster
    ) -> None:
        self._office = office
        self.process = process
        self.heard_at = world.timeline.now
        self.missed: frozenset[int] | None = None
        self._world, self._pool, self._roster = world, pool, roster
        self._assigned: frozenset[int] | None = None
        self._fresh = self._astray = False
        self._owned: dict[int, tuple[int, int]] = {}
        self._cache: dict[str, State | None] = {}
        self._news = asyncio.Event()
        world.broker.told.append(self._told)

    def assign(self, partitions: frozenset[int]) -> None:
        self._assigned, self._fresh = partitions, True
        self._news.set()

    def _told(self, entry: Any) -> None:
        if entry.topic == SESSIONS.name and self.process.alive:
            self._world.timeline.after(self._world.broker.delay(), self.wake)

    def wake(self) -> None:
        if self.process.alive:
            self.process.loop.call_soon(self._news.set)

    async def run(self) -> None:
        while True:
            try:
                if self._fresh:
                    await self._bind()
                if self._astray:
                    await self._seek()
                batch = self._fetch()
                if batch:
                    await self._work(batch)
                    continue
                await self._stand_by()
            except DatabaseUnreachable:
                self._cache.clear()
                await asyncio.sleep(0.5)
                self._astray = True
                continue
            self._news.clear()
            looking = asyncio.get_running_loop().call_later(POLL_S, self._news.set)
            await self._news.wait()
            looking.cancel()

    async def _bind(self) -> None:
        partitions = self._assigned or frozenset()
        self._fresh = self._astray = False
        self._stood: dict[int, tuple[int, int]] = {}
        self._stood_since = 0.0
        self._cache.clear()
        try:
            async with self._pool.connection() as connection:
                bound = _bind(connection, partitions)
                await self._roster.assigned(connection, partitions)  # type: ignore[arg-type]
        except DatabaseUnreachable:
            self._fresh = True
            raise
        self._owned, self._astray = bound, False

    async def _seek(self) -> None:
        """After a failure: what is another's by now is left to it."""
        async with self._pool.connection() as connection:
            with connection.statement():
                stored = connection.tables.checkpoints
                owned = {p: stored[p] for p, (generation, _) in self._owned.items() if stored[p][0] == generation}
            await self._roster.assigned(connection, frozenset(owned))  # type: ignore[arg-type]
        self._owned, self._astray = owned, False

    async def _stand_by(self) -> None:
        """Of an owner that does not move although there is more to read, its partitions are taken back."""
        lost = sorted((self._assigned or frozenset()) - self._owned.keys())
        if not lost:
            return
        async with self._pool.connection() as connection:
            with connection.statement():
                stored = {partition: connection.tables.checkpoints[partition] for partition in lost}
        logs, now = self._world.broker.logs, self._world.timeline.now
        behind = any(len(logs.get((SESSIONS.name, p), ())) > offset for p, (_, offset) in stored.items())
        if stored != self._stood or not behind:
            self._stood, self._stood_since = stored, now
        elif now - self._stood_since > PATIENCE_S:
            self._fresh = True

    def _fetch(self) -> list[Any]:
        broker = self._world.broker
        if self._office.late or not broker.reachable(self.process):
            return []
        found: list[Any] = []
        for partition, (_, offset) in self._owned.items():
            log = broker.logs.get((SESSIONS.name, partition), ())
            if len(log) > offset:
                found += log[offset : offset + 1 + self._world.random.randrange(20)]
        return found

    async def _work(self, batch: list[Any]) -> None:
        bound = dict(self._owned)
        events: list[tuple[Event, int, int, int]] = [(e.event, e.partition, e.offset, e.timestamp) for e in batch]
        unknown = list({event.subject for event, *_ in events if event.subject not in self._cache})
        if unknown:
            async with self._pool.connection() as connection:
                stored = await self._roster.load(connection, unknown)
            self._cache.update((sid, stored.get(sid)) for sid in sorted(unknown))
        folded: SessionsFolded = Folded()
        fold(folded, events, self._cache, FOLD.evolve)
        ends = {partition: offset + 1 for _, partition, offset, _ in events}
        async with self._pool.connection() as connection:
            with self._world.database.transaction(self.process):
                connection.alone = False
                await self._roster.apply(connection, folded)  # type: ignore[arg-type]
                self._advance(connection, bound, ends)
        self._owned.update({p: (bound[p][0], end) for p, end in ends.items() if p in self._owned})
        await self._roster.committed(folded)

    def _advance(
        self, connection: database.Connection, bound: dict[int, tuple[int, int]], ends: dict[int, int]
    ) -> None:
        checkpoints = connection.tables.checkpoints
        for partition, end in ends.items():
            if checkpoints[partition] != bound[partition]:
                raise DatabaseUnreachable("fenced")
            checkpoints[partition] = (bound[partition][0], end)


def _bind(connection: database.Connection, partitions: frozenset[int]) -> dict[int, tuple[int, int]]:
    """Raises their generations: whoever owned them before cannot commit any more."""
    with connection.statement():
        checkpoints = connection.tables.checkpoints
        for partition in sorted(partitions):
            generation, offset = checkpoints.get(partition, (0, 0))
            checkpoints[partition] = (generation + 1, offset)
        return {partition: checkpoints[partition] for partition in partitions}


class Office:
    """Runs one roster process after the other."""

    def __init__(self, world: World, name: str, settings: Any) -> None:
        self._world, self.name, self._settings = world, name, settings
        self.process: Process | None = None
        self.cut = self.late = False

    def start(self) -> None:
        process = self.process = self._world.process(
            f"{self.name}.{len(self._world.processes)}", self._world.skew(self.name)
        )
        process.cut = self.cut
        process.on_exit.append(self._ended)
        process.start(self._run(process))

    async def _run(self, process: Process) -> None:
        world = self._world
        clock = asyncio.get_running_loop().time
        pool = database.Pool(world.database, process, asyncio.sleep)
        dispatch = Dispatch(pool, Producer(world.broker, process), Keyring())  # type: ignore[arg-type]
        directory = Directory(self._settings, pool, dispatch, clock)  # type: ignore[arg-type]
        roster = SimulatedRoster(self._settings, pool, directory, dispatch, Spending())  # type: ignore[arg-type]
        roster._asked = Asked(clock)
        reading = Reading(world, self, process, pool, roster)
        world.readings.append(reading)
        world.story.tell(self.name, "starts")
        await until_one_ends(reading.run(), directory.run(), roster.run())

    def _ended(self) -> None:
        world, process = self._world, self.process
        assert process is not None
        world.story.tell(self.name, f"ends{f': {process.crash!r}' if process.crash else ''}")
        world.crashed(process)
        world.timeline.after(1.0 + 4.0 * world.random.random(), self.start)

    def cut_off(self, cut: bool) -> None:
        self.cut = cut
        if self.process is not None:
            self.process.cut = cut

    def catch_up(self) -> None:
        self.late = False
        for reading in self._world.readings:
            reading.wake()
