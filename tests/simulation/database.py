"""PostgreSQL, as roster and API use it: the tables, and for each function of `store/` one that does in memory what
its SQL does.

A transaction is atomic and alone: what runs between two awaits. So waiting for a lock is not simulated; losing the
connection is, before a statement and after it (stored, and not told).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from events.session_state import State
from schemas.events import WorkerState
from store.admissions import SealedTask
from store.database import DatabaseUnreachable
from store.slots import RESERVED_S, Move, OwnSlot
from tests.simulation.timeline import Process, Timeline


@dataclass
class Worker:
    worker_id: str
    public_key: str
    phase: str
    registered_s: float


@dataclass
class Slot:
    worker_id: str
    number: int
    open: bool = True
    session_id: str | None = None
    attempt: int | None = None
    expected_seq: int | None = None
    reserved_s: float | None = None

    def free(self) -> None:
        self.session_id = self.attempt = self.expected_seq = self.reserved_s = None


@dataclass
class Admission:
    session_id: str
    account_id: str
    worker_id: str
    touched_s: float
    state: str = "live"
    acknowledged: bool = False


@dataclass
class Tables:
    workers: dict[str, Worker] = field(default_factory=dict)
    slots: list[Slot] = field(default_factory=list)
    admissions: dict[str, Admission] = field(default_factory=dict)
    abandoned: set[str] = field(default_factory=set)
    secrets: dict[str, Any] = field(default_factory=dict)
    checkpoints: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Partition → (generation, next offset) of the roster."""
    states: dict[str, tuple[int, State]] = field(default_factory=dict)
    """Session → (partition, state) as the roster has stored it."""

    def copied(self) -> Tables:
        return Tables(
            {key: replace(worker) for key, worker in self.workers.items()},
            [replace(slot) for slot in self.slots],
            {key: replace(admission) for key, admission in self.admissions.items()},
            set(self.abandoned),
            dict(self.secrets),
            dict(self.checkpoints),
            dict(self.states),
        )


class Database:
    def __init__(self, timeline: Timeline, random: Random, shown: Callable[[str], State | None]) -> None:
        """`shown`: the session as the sessions projection has it."""
        self.timeline = timeline
        self.random = random
        self.shown = shown
        self.away = False
        self.slow_s = 0.0
        """How long a connection is waited for, at most."""
        self.forgetful = 0.0
        """How likely a statement is carried out and its answer lost."""
        self.tables = Tables()
        self.on_bury: list[Callable[[str], object]] = []

    def reach(self, process: Process) -> None:
        if self.away or process.cut:
            raise DatabaseUnreachable("it does not answer")

    @contextlib.contextmanager
    def transaction(self, process: Process) -> Iterator[None]:
        """All or nothing; nothing else happens meanwhile."""
        self.reach(process)
        before = self.tables.copied()
        try:
            yield
        except BaseException:
            self.tables = before
            raise
        self.may_forget()

    def may_forget(self) -> None:
        if self.forgetful and self.random.random() < self.forgetful:
            raise DatabaseUnreachable("it is stored, and nobody was told")


class Connection:
    """Of one process. `alone`: within a transaction of its own, which `Database.transaction` looks after."""

    def __init__(self, database: Database, process: Process, alone: bool = True) -> None:
        self.database = database
        self.process = process
        self.alone = alone

    @property
    def tables(self) -> Tables:
        return self.database.tables

    @property
    def now(self) -> float:
        return self.database.timeline.now

    @contextlib.contextmanager
    def statement(self) -> Iterator[None]:
        self.database.reach(self.process)
        yield
        if self.alone:
            self.database.may_forget()


class Pool:
    """In the place of `store.database.Pool`."""

    def __init__(self, database: Database, process: Process, sleep: Callable[[float], Any]) -> None:
        self._database = database
        self._process = process
        self._sleep = sleep

    @contextlib.asynccontextmanager
    async def connection(
        self, timeout: float | None = None, *, within_s: float | None = None
    ) -> AsyncIterator[Connection]:
        await self._sleep(0.001 + (0.004 + self._database.slow_s) * self._database.random.random())
        if self._database.away or self._process.cut:
            await self._sleep(min(timeout or 3.0, 3.0))
            self._database.reach(self._process)
        yield Connection(self._database, self._process)


# store/slots.py


async def offer(connection: Connection, worker_id: str, qualities: Sequence[str], count: int) -> None:
    with connection.statement():
        known = {slot.number for slot in connection.tables.slots if slot.worker_id == worker_id}
        connection.tables.slots += [Slot(worker_id, n) for n in range(count) if n not in known]


async def reserve(
    connection: Connection, session_id: str, quality: str, attempt: int, expected_seq: int, own: OwnSlot | None = None
) -> str | None:
    with connection.statement():
        admission = connection.tables.admissions.get(session_id)
        if admission is None or admission.state == "over":
            return None
        slots = connection.tables.slots
        held = [s for s in slots if s.session_id == session_id]
        if any((s.attempt or 0) >= attempt and s.reserved_s is None for s in held):
            return None
        kept = next((s for s in held if s.attempt == attempt and s.open), None)
        if kept is not None:
            kept.expected_seq, kept.reserved_s = expected_seq, connection.now
            return kept.worker_id
        for slot in held:
            if slot.attempt == attempt:
                slot.free()
        others = [s for s in slots if s.session_id is None and s.open and s.worker_id != admission.worker_id]
        others.sort(key=lambda s: (s.number, s.worker_id))
        mine = [
            s
            for s in held
            if s.session_id is not None and s.worker_id == admission.worker_id and s.open and (s.attempt or 0) < attempt
        ]
        order = {None: others, "first": mine + others, "last": others + mine}[own]
        if not order:
            return None
        taken = order[0]
        taken.session_id, taken.attempt = session_id, attempt
        taken.expected_seq, taken.reserved_s = expected_seq, connection.now
        return taken.worker_id


async def accepted(connection: Connection, moves: Sequence[Move]) -> None:
    with connection.statement():
        for move in moves:
            for slot in connection.tables.slots:
                if slot.session_id == move.session_id and slot.attempt == move.attempt:
                    slot.expected_seq = slot.reserved_s = None
        for move in moves:
            for slot in connection.tables.slots:
                if slot.session_id == move.session_id and (slot.attempt or 0) < move.attempt:
                    slot.free()


async def refused(connection: Connection, moves: Sequence[Move]) -> None:
    with connection.statement():
        asked = {(m.session_id, m.attempt, m.worker_id, m.expected_seq) for m in moves}
        for slot in connection.tables.slots:
            if (slot.session_id, slot.attempt, slot.worker_id, slot.expected_seq) in asked:
                slot.free()


async def sweep(connection: Connection) -> int:
    with connection.statement():
        leaked = [slot for slot in connection.tables.slots if slot.session_id and _leaks(connection, slot)]
        for slot in leaked:
            slot.free()
        return len(leaked)


def _leaks(connection: Connection, slot: Slot) -> bool:
    if slot.reserved_s is not None and slot.reserved_s < connection.now - RESERVED_S:
        return True
    admission = connection.tables.admissions.get(slot.session_id or "")
    return admission is None or admission.state == "over"


# store/workers.py


async def register(connection: Connection, state: WorkerState) -> str:
    with connection.statement():
        workers = connection.tables.workers
        worker = workers.setdefault(
            state.worker_id, Worker(state.worker_id, state.public_key, state.phase, connection.now)
        )
        if worker.phase != "gone":
            worker.phase = state.phase
    if worker.phase == "ready":
        await offer(connection, state.worker_id, state.qualities, state.slots)
    else:
        _close(connection, state.worker_id)
    return worker.phase


async def bury(connection: Connection, worker_id: str) -> bool:
    with connection.statement():
        worker = connection.tables.workers.get(worker_id)
        if worker is not None:
            worker.phase = "gone"
        slots = connection.tables.slots
        connection.tables.slots = [s for s in slots if s.worker_id != worker_id or s.session_id is not None]
        _close(connection, worker_id)
        if worker is not None:
            for tell in connection.database.on_bury:
                tell(worker_id)
        return worker is not None


def _close(connection: Connection, worker_id: str) -> None:
    for slot in connection.tables.slots:
        if slot.worker_id == worker_id:
            slot.open = False


async def phases(connection: Connection) -> dict[str, str]:
    with connection.statement():
        return {worker_id: worker.phase for worker_id, worker in connection.tables.workers.items()}


async def present(connection: Connection, since_s: float) -> list[str]:
    with connection.statement():
        known = connection.tables.workers.values()
        return [w.worker_id for w in known if w.phase != "gone" and w.registered_s < connection.now - since_s]


# store/admissions.py


async def admit(connection: Connection, session_id: str, account_id: str, task: Any) -> tuple[str, str] | None:
    """(worker, its public key) of the slot that the session gets, as `admit_session()` does; None: there is none."""
    with connection.statement():
        free = [s for s in connection.tables.slots if s.session_id is None and s.open]
        if not free:
            return None
        slot = min(free, key=lambda s: (s.number, s.worker_id))
        slot.session_id, slot.attempt = session_id, 1
        connection.tables.admissions[session_id] = Admission(session_id, account_id, slot.worker_id, connection.now)
        connection.tables.secrets[session_id] = task
        return slot.worker_id, connection.tables.workers[slot.worker_id].public_key


async def mark_acknowledged(connection: Connection, session_id: str) -> None:
    with connection.statement():
        if session_id in connection.tables.admissions:
            connection.tables.admissions[session_id].acknowledged = True


async def stands(connection: Connection, session_id: str) -> bool:
    with connection.statement():
        if session_id in connection.tables.admissions:
            connection.tables.admissions[session_id].acknowledged = True
        return session_id not in connection.tables.abandoned


async def mark_ending(connection: Connection, session_id: str) -> str | None:
    with connection.statement():
        admission = connection.tables.admissions.get(session_id)
        if admission is None or admission.state == "over":
            return None
        admission.state = "ending"
        return admission.worker_id


async def abandon(
    connection: Connection, account_id: str, session_id: str, *, tries: int | None = None, untouched_s: float = 0
) -> bool:
    with connection.statement():
        admission = connection.tables.admissions.get(session_id)
        if admission is None or admission.state == "over" or admission.acknowledged:
            return False
        if admission.touched_s > connection.now - untouched_s:
            return False
        if tries is None and _is_shown(connection, session_id):
            return False
        admission.state = "ending"
        connection.tables.abandoned.add(session_id)
        return True


def _is_shown(connection: Connection, session_id: str) -> bool:
    state = connection.database.shown(session_id)
    return state is not None and not state.hidden


async def moved(connection: Connection, workers: Mapping[str, str]) -> None:
    with connection.statement():
        for session_id, worker_id in workers.items():
            if session_id in connection.tables.admissions:
                connection.tables.admissions[session_id].worker_id = worker_id


async def sealed_task(connection: Connection, session_id: str, worker_id: str) -> SealedTask | None:
    with connection.statement():
        task, worker = connection.tables.secrets.get(session_id), connection.tables.workers.get(worker_id)
        return None if task is None or worker is None else SealedTask("m", task, worker.public_key)


async def release(connection: Connection, session_ids: Sequence[str], *, hidden: Sequence[str] = ()) -> None:
    with connection.statement():
        for session_id in session_ids:
            admission = connection.tables.admissions.get(session_id)
            if admission is not None:
                admission.state = "over"
                state = connection.database.shown(session_id)
                if session_id in hidden or (state is not None and state.terminal):
                    del connection.tables.admissions[session_id]
            for slot in connection.tables.slots:
                if slot.session_id == session_id:
                    slot.free()
            connection.tables.secrets.pop(session_id, None)


async def drop_over(connection: Connection) -> None:
    with connection.statement():
        for session_id, admission in list(connection.tables.admissions.items()):
            state = connection.database.shown(session_id)
            if admission.state == "over" and state is not None and state.terminal and not state.hidden:
                del connection.tables.admissions[session_id]


async def untouched(connection: Connection, consumer: str, after_s: float) -> list[tuple[str, str]]:
    with connection.statement():
        return [
            (a.session_id, a.account_id)
            for a in connection.tables.admissions.values()
            if a.state != "over"
            and not a.acknowledged
            and a.touched_s < connection.now - after_s
            and a.session_id not in connection.tables.states
        ]


async def without(connection: Connection, session_ids: Sequence[str]) -> set[str]:
    with connection.statement():
        tables = connection.tables
        return {sid for sid in session_ids if sid not in tables.admissions or sid in tables.abandoned}


# projections/checkpoints.py


async def positions(connection: Connection, name: str, topic: str) -> dict[int, int]:
    with connection.statement():
        return {partition: offset for partition, (_, offset) in connection.tables.checkpoints.items()}
