"""A worker that died together with its witness is told of by the next one of its machine; one that lives is not."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from events.producer import EventProducer
from events.topics import WORKERS
from schemas.ids import WORKER, new_id
from tests.world import World, eventually
from workers import predecessors

unit, servers = pytest.mark.unit, pytest.mark.servers

OWN = """
import sys, time
from pathlib import Path
from workers import predecessors
predecessors.hold(Path(sys.argv[1]), sys.argv[2])
print("held", flush=True)
time.sleep(600)
"""


def worker(folder: Path, worker_id: str) -> subprocess.Popen[str]:
    """Lives, and holds its file."""
    held = subprocess.Popen([sys.executable, "-c", OWN, str(folder), worker_id], stdout=subprocess.PIPE, text=True)
    assert held.stdout is not None
    assert held.stdout.readline() == "held\n"
    return held


async def told(world: World) -> set[str]:
    return {record.key.decode() for record in await world.records(WORKERS) if record.value is None}


@servers
async def test_only_the_dead_are_told_of_and_the_last_word_removes_the_file(world: World, tmp_path: Path) -> None:
    killed, lives, own = (new_id(WORKER) for _ in range(3))
    with worker(tmp_path, killed) as first, worker(tmp_path, lives) as second:
        try:
            first.kill()
            first.wait()
            async with (
                EventProducer(world.settings) as producer,
                predecessors.told(tmp_path, own, producer, lambda: True),
            ):

                async def said() -> bool:
                    return killed in await told(world) and not (tmp_path / f"{killed}.lock").exists()

                await eventually(said)
                assert {path.name for path in tmp_path.iterdir()} == {f"{each}.lock" for each in (lives, own)}
            assert await told(world) & {killed, lives, own} == {killed}
            assert {path.name for path in tmp_path.iterdir()} == {f"{lives}.lock"}  # it has taken its leave
        finally:
            first.kill()
            second.kill()


@servers
async def test_who_fails_leaves_the_word_to_the_next(world: World, tmp_path: Path) -> None:
    first, second = new_id(WORKER), new_id(WORKER)
    async with EventProducer(world.settings) as producer:
        with pytest.raises(RuntimeError):
            async with predecessors.told(tmp_path, first, producer, lambda: False):
                raise RuntimeError("what it lives by has failed")
        async with predecessors.told(tmp_path, second, producer, lambda: True):

            async def said() -> bool:
                return first in await told(world)

            await eventually(said)


@unit
def test_what_proves_nothing_is_left_alone(tmp_path: Path) -> None:
    """Another boot's, or another machine's; what is no file of ours, whatever its name."""
    ids = [new_id(WORKER) for _ in range(6)]
    os.close(predecessors.hold(tmp_path, ids[0]))
    dead = tmp_path / f"{ids[0]}.lock"
    (tmp_path / f"{ids[1]}.lock").write_text("another boot")
    (tmp_path / f"{ids[2]}.lock").touch()
    (tmp_path / f"{ids[3]}.lock").symlink_to(dead)
    (tmp_path / f"{ids[4]}.lock").mkdir()
    os.mkfifo(tmp_path / f"{ids[5]}.lock")
    (tmp_path / "wrk_1.lock").write_bytes(dead.read_bytes())
    assert predecessors.dead(tmp_path) == [dead]


@unit
async def test_a_full_disk_hides_no_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash that has filled it is the likely one."""
    os.close(predecessors.hold(tmp_path, dead := new_id(WORKER)))
    telling = list[Path]()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space left")

    async def tell(path: Path, _: object) -> None:
        telling.append(path)

    monkeypatch.setattr(predecessors, "hold", full)
    monkeypatch.setattr(predecessors, "_tell", tell)
    async with predecessors.told(tmp_path, new_id(WORKER), None, lambda: True):  # type: ignore[arg-type]
        await asyncio.sleep(0)
    assert telling == [tmp_path / f"{dead}.lock"]


@unit
async def test_a_leave_that_nobody_took_is_said_by_the_next(tmp_path: Path) -> None:
    async with predecessors.told(tmp_path, own := new_id(WORKER), None, lambda: False):  # type: ignore[arg-type]
        assert predecessors.dead(tmp_path) == []
    assert predecessors.dead(tmp_path) == [tmp_path / f"{own}.lock"]


@unit
async def test_a_folder_that_cannot_be_written_stops_no_worker(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    works = False
    async with predecessors.told(tmp_path / "taken" / "workers", new_id(WORKER), None, lambda: True):  # type: ignore[arg-type]
        works = True
    assert works
