"""Tells of workers of this machine that died with nobody left to say so: worker and witness killed together, as by the
restart of their container, or by a kernel that is out of memory.

Each worker holds the lock of a file as long as it lives; the kernel lets go of it when the process ends, however it
ends. Whoever gets the lock of a file that names a worker knows that it is dead, and appends its tombstone: the roster
replaces it a second later, not after 11.5 s. That is proof on one kernel alone, so a file says which boot it is of: the
locks of a folder that two machines share prove nothing, and whatever was before a reboot the lease has told.

1. A file is made under another name, locked and filled, and only then gets its own: nobody finds it without its lock.
2. It is removed when its worker has taken its leave, or when its death is in the log. Whoever dies in between leaves it
   to the next; a death that is told twice is told once.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from events.producer import EventProducer, UnknownOutcome
from events.topics import WORKERS
from schemas.background import Background
from workers.lease import OVER_S, boottime

log = structlog.get_logger()

_NAME = re.compile(r"(wrk_[0-9A-Z]{26})\.lock")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_BOOT_BYTES = 64
_AGAIN_S = 1.0


@asynccontextmanager
async def told(
    folder: Path, worker_id: str, producer: EventProducer, has_left: Callable[[], bool]
) -> AsyncIterator[None]:
    """While `worker_id` lives: its lock is held, and the dead of before are told of. Raises nothing of its own:
    without a folder that can be written a death is noticed by its witness, or by its lease.

    `has_left`: whether its own tombstone is in the log; if not, the next one says what it could not say itself.
    """
    telling = Background()
    own: int | None = None
    try:
        own = hold(folder, worker_id)
    except OSError as failed:  # a full disk, say; that hides nobody's death
        log.warning("no lock file: a death of worker and witness together is noticed late", error=str(failed))
    with contextlib.suppress(OSError):  # there is no such folder, or no boot id: nothing is proved
        for path in dead(folder):
            telling.spawn(_tell(path, producer), "tell of a dead worker")
    try:
        yield
        if own is not None and has_left():
            _remove(_file(folder, worker_id))
    finally:
        await telling.cancel()
        if own is not None:
            os.close(own)


def hold(folder: Path, worker_id: str) -> int:
    """Make and lock the file of a worker; returns its descriptor, which no child gets. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = folder / f".{worker_id}"
    file = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(file, _boot())
        made.rename(_file(folder, worker_id))
    except BaseException:
        os.close(file)
        made.unlink(missing_ok=True)
        raise
    return file


def _file(folder: Path, worker_id: str) -> Path:
    return folder / f"{worker_id}.lock"


def dead(folder: Path) -> list[Path]:
    """The files of workers of this boot that are dead. Raises OSError."""
    return [path for path in sorted(folder.iterdir()) if _NAME.fullmatch(path.name) and _is_dead(path)]


def _is_dead(path: Path) -> bool:
    with _locked(path) as file:
        return file is not None and os.read(file, _BOOT_BYTES) == _boot()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int | None]:
    """None: somebody holds it, it is gone, or it is no file that may be opened."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        yield None
        return
    try:
        yield file if stat.S_ISREG(os.fstat(file).st_mode) and _lock(file) else None
    finally:
        os.close(file)


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


async def _tell(path: Path, producer: EventProducer) -> None:
    """Until it is acknowledged, or so long that the lease has told it."""
    worker_id = path.name.removesuffix(".lock")
    log.error("the worker before is dead", worker_id=worker_id)
    deadline = boottime() + OVER_S
    while boottime() < deadline:
        try:
            await producer.send_tombstone(WORKERS, worker_id)
            break
        except UnknownOutcome as failed:
            log.warning("its death is not told yet", worker_id=worker_id, error=str(failed))
            await asyncio.sleep(_AGAIN_S)
    _remove(path)


def _remove(path: Path) -> None:
    """One that cannot be is told of again by the next worker, which changes nothing."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _boot() -> bytes:
    """Raises OSError where the kernel has none: then nothing is proved, and nothing told."""
    return _BOOT_ID.read_bytes()[:_BOOT_BYTES]
