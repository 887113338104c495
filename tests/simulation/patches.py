"""What of the product is put aside for a story: clocks, chance, the network, processes, cryptography, the logs."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import events as running_loops
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn
from unittest.mock import patch

from events import assignments
from events import settings as log_settings
from events.codec import Event, Record
from projections import checkpoints
from reactors import directory, dispatch, roster, settling
from reactors.settings import ProjectSettings
from schemas import ids, times
from schemas.events import WorkerState
from store import admissions, slots, workers
from tests.simulation import database
from tests.simulation.broker import WORKERS_ALONE, Consumer
from tests.simulation.timeline import Process
from workers import appending, attempts, children, commands, lease, reporting, supervisor
from workers.settings import WorkerSettings

if TYPE_CHECKING:
    from tests.simulation.world import World

SECRET = "0" * 32
WORKER_SETTINGS = [
    WorkerSettings(
        kafka_bootstrap="nowhere",
        worker_slots=slots,
        worker_renderer="mock",
        join_secret=SECRET,
        worker_drain_grace_s=8.0,
    )
    for slots in (1, 2)
]


class _Now:
    """The world whose story is being told."""

    world: World


def running() -> Process:
    process = _Now.world.timeline.running
    assert process is not None
    return process


class _Time:
    """In the place of the module `time`."""

    CLOCK_BOOTTIME = 7

    @staticmethod
    def monotonic() -> float:
        return _Now.world.timeline.now

    @staticmethod
    def clock_gettime(_: int) -> float:
        return _Now.world.timeline.now

    @staticmethod
    def time_ns() -> int:
        return int(running().wall_s() * 1e9)


class _Os:
    """In the place of the module `os`."""

    @staticmethod
    def _exit(code: int) -> NoReturn:
        _Now.world.story.tell(running().name, f"exits with {code}")
        running().exit()

    @staticmethod
    def urandom(count: int) -> bytes:
        return _Now.world.chance.randbytes(count)


class _Log:
    """In the place of a structlog logger: into the story."""

    def __init__(self, level: str) -> None:
        self._level = level

    def __getattr__(self, level: str) -> Callable[..., None]:
        return self._tell

    def _tell(self, message: str, **fields: object) -> None:
        world = _Now.world
        if world.story.listens:
            told = " ".join(f"{name}={world.short(str(value))}" for name, value in fields.items())
            world.story.tell(running().name if world.timeline.running else "", f"{message} {told}")


class _Watch:
    @staticmethod
    def start(renewed_at: Callable[[], float]) -> None:
        process = running()
        next(m for m in _Now.world.machines if m.process is process).watch(process, renewed_at)


class _Sealed(str):
    """A task on its way to one worker."""

    whose: tuple[str, int, str]
    task: Any


def _seal(task: Any, attempt: int, worker_id: str, public_key: str) -> _Sealed:
    _Now.world.referee.task_sent(task.session_id, attempt, worker_id)
    sealed = _Sealed("sealed")
    sealed.whose, sealed.task = (task.session_id, attempt, worker_id), task
    return sealed


def _unseal(sealed: _Sealed, session_id: str, attempt: int, worker_id: str, key: object) -> Any:
    assert sealed.whose == (session_id, attempt, worker_id)
    return sealed.task


def _decode(record: Record) -> Event:
    return record.event  # type: ignore[attr-defined,no-any-return]


def _consumer(**options: Any) -> Consumer:
    return Consumer(_Now.world.broker, running(), latest=options["auto_offset_reset"] == "latest")


async def _stop(client: Any) -> None:
    await client.stop()


async def _session() -> children.Child:
    world = _Now.world
    machine = next(m for m in world.machines if m.process is running())
    slow = world.random.random() < world.weather.slow_spawns
    await asyncio.sleep((0.3 + 0.5 * world.random.random()) * (20 if slow else 1))
    if slow and world.random.random() < 0.3:
        raise OSError("no memory")
    return machine.spawn()


async def _end_offsets(settings: log_settings.LogSettings, topic: Any) -> dict[int, int]:
    world, process = _Now.world, running()
    await asyncio.sleep(world.broker.delay())
    if not world.broker.reachable(process):
        await asyncio.sleep(5)
        raise TimeoutError
    return {p: len(world.broker.logs.get((topic.name, p), ())) for p in range(topic.partitions)}


_started, _end = attempts.HeldAttempt.started, supervisor.Supervisor._end


def _begins(held: attempts.HeldAttempt) -> None:
    found = _Now.world.supervisors[held.worker_id][1]
    _Now.world.referee.attempt_begun(
        held.worker_id, held.session_id, held.number, lease.phase(found.renewed_at, _Now.world.timeline.now)
    )
    _started(held)


def _ends(self: supervisor.Supervisor, command: Any) -> None:
    _Now.world.referee.told_end(self.worker_id, command.session_id, command.attempt)
    _end(self, command)


async def _prune(*_: object) -> dict[str, int]:
    return {}


def _genuine(state: WorkerState, secret: str) -> bool:
    return True


class _Metric:
    """Nobody looks."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *_: object, **__: object) -> Any:
        return self


class _Metrics:
    STATUSES: tuple[str, ...] = ()
    PHASES: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        return _Metric()


_TIME, _OS, _METRICS = _Time(), _Os(), _Metrics()


def _replaced() -> list[tuple[Any, str, Any]]:
    logs = [
        (module, "log", _Log("")) for module in (directory, roster, settling, supervisor, appending, children, commands)
    ]
    clocks = [(module, "time", _TIME) for module in (times, lease, roster, settling, supervisor, reporting)]
    metrics = [(module, "metrics", _METRICS) for module in (roster, supervisor, attempts)]
    in_slots = [(slots, name, getattr(database, name)) for name in ("reserve", "accepted", "refused", "sweep")]
    in_workers = [(workers, name, getattr(database, name)) for name in ("register", "bury", "phases", "present")]
    in_admissions = [
        (admissions, name, getattr(database, name))
        for name in ("release", "moved", "sealed_task", "drop_over", "untouched", "abandon", "without")
    ]
    return [
        *logs, *clocks, *metrics, *in_slots, *in_workers, *in_admissions,
        (ids, "os", _OS),
        (supervisor, "os", _OS),
        (supervisor, "watch", _Watch),
        (commands, "AIOKafkaConsumer", _consumer),
        (commands, "stop", _stop),
        (commands, "decode", _decode),
        (supervisor, "unseal", _unseal),
        (supervisor, "new_worker_key", object),
        (supervisor, "public_text", lambda key: "key"),
        (supervisor, "sign_state", lambda state, secret: state),
        (supervisor, "version", lambda name: "0"),
        (reporting, "version", lambda name: "0"),
        (children, "_session", _session),
        (directory, "AIOKafkaConsumer", _consumer),
        (directory, "WORKERS", WORKERS_ALONE),
        (directory, "stop", _stop),
        (directory, "decode", _decode),
        (directory, "state_is_genuine", _genuine),
        (dispatch, "load_task", lambda task: task),
        (assignments, "seal", _seal),
        (attempts.HeldAttempt, "started", _begins),
        (supervisor.Supervisor, "_end", _ends),
        (roster, "prune", _prune),
        (settling, "end_offsets", _end_offsets),
        (checkpoints, "positions", database.positions),
    ]  # fmt: skip


@contextlib.contextmanager
def simulated(world: World) -> Iterator[None]:
    """In here the product's code is `world`'s. Afterwards none of its processes is in the middle of anything."""
    with contextlib.ExitStack() as stack:
        for place, name, instead in _replaced():
            stack.enter_context(patch.object(place, name, instead))
        _Now.world = world
        outer = running_loops._get_running_loop()
        running_loops._set_running_loop(None)
        try:
            yield
        finally:
            for process in world.processes:
                process.dispose()
            running_loops._set_running_loop(outer)


def project_settings() -> ProjectSettings:
    return ProjectSettings(
        kafka_bootstrap="nowhere",
        join_secret=SECRET,
        database_url="postgresql://nowhere",
        master_keys="m:" + "A" * 43 + "=",
    )
