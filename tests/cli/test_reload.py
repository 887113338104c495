"""`greenroom up --reload`: who is started again when a file changes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli import reload
from cli.processes import KINDS
from cli.reload import ROOMS, ROOT, keep_reloading, kinds_of
from stack.process import ProcessGroup, ProcessSpec
from tests.world import eventually

pytestmark = pytest.mark.processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
ENTRIES = {
    "api": "api.server",
    "project": "reactors.processes",
    "deliver": "reactors.processes",
    "live": "reactors.live, reactors.live_reading",
    "worker": "workers.supervisor, workers.session_process, workers.render_server, faces.neural",
    "build": "workers.build",
}


def test_who_runs_a_file() -> None:
    assert kinds_of({ROOT / "api/sessions.py"}) == ["api"]
    assert kinds_of({ROOT / "store/slots.py"}) == ["api", "project", "deliver", "live"]
    assert kinds_of({ROOT / "workers/session.py"}) == ["worker", "build"]
    assert kinds_of({ROOT / "cli/main.py"}) == kinds_of({ROOT / "schemas/events.py"}) == list(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_rooms_of_a_kind_are_those_that_it_imports(kind: str) -> None:
    """At the start of its process. What is imported later is of the same rooms, by the import contracts."""
    code = f"import sys, {ENTRIES[kind]}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    rooms = set().union(*ROOMS.values())
    assert set(done.stdout.split()) & rooms <= ROOMS[kind]


async def test_only_who_runs_it_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "_EVERY_S", 0.05)
    root = tmp_path / "tree"
    for room in ("api", "store", "workers"):
        (root / room).mkdir(parents=True)
        (root / room / "a.py").write_text("")
    told: list[str] = []
    group = ProcessGroup(tmp_path / "logs")
    for kind in ("api", "project", "worker"):
        await group.add(ProcessSpec(kind, SLEEP))
    reloading = asyncio.create_task(keep_reloading(group, told.append, root))
    try:
        await asyncio.sleep(0.2)

        async def again(names: set[str], change: Path, how: str) -> None:
            before = {name: process.pid for name, process in group.processes.items()}
            if how == "written":
                os.utime(change, ns=(1, 1))
            elif how == "added":
                change.write_text("")
            else:
                change.unlink()

            async def done() -> bool:
                processes = group.processes.items()
                new = {name for name, process in processes if process.running and process.pid != before[name]}
                return new == names

            await eventually(done)

        await again({"api"}, root / "api/a.py", "written")
        await again({"api", "project"}, root / "store/b.py", "added")
        await again({"worker"}, root / "workers/a.py", "removed")
    finally:
        reloading.cancel()
        await asyncio.gather(reloading, return_exceptions=True)
        await group.stop()
    assert told == [
        "api/a.py changed: starting api again",
        "store/b.py changed: starting api, project again",
        "workers/a.py changed: starting worker again",
    ]


async def test_a_wanted_restart_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does one count as a failure, however soon it comes."""
    monkeypatch.setattr("stack.process._RESTART_DELAYS_S", (60.0,))
    group = ProcessGroup(tmp_path)
    process = await group.add(ProcessSpec("sleeper", SLEEP))
    try:
        for _ in range(3):
            before = process.pid
            await group.restart("sleeper")

            async def back(before: int = before) -> bool:
                return bool(process.running and process.pid != before)

            await eventually(back)
    finally:
        await group.stop()
