"""Processes of the stack: what they get to know, and that they come back."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from stack.process import Process, ProcessGroup, ProcessSpec, private_folder
from tests.world import eventually

pytestmark = pytest.mark.processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), ValueError("anything else")], ids=repr)
async def test_a_restart_that_fails_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    """Twice there are no handles left, and once the restart cannot be written down."""
    start, failures = asyncio.create_subprocess_exec, [error, error]

    async def starved(*args: Any, **kwargs: Any) -> Any:
        if failures:
            raise failures.pop()
        return await start(*args, **kwargs)

    restarted: list[int] = []

    def write_down(process: Process) -> None:
        restarted.append(process.pid)
        if len(restarted) == 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("stack.process._RESTART_DELAYS_S", (0.01, 0.05))
    group = ProcessGroup(tmp_path, write_down)
    process = await group.add(ProcessSpec("sleeper", SLEEP))
    monkeypatch.setattr(asyncio, "create_subprocess_exec", starved)
    try:
        for life in (1, 2):
            process.kill()

            async def back(life: int = life) -> bool:
                return len(restarted) == life and process.running

            await eventually(back)
    finally:
        await group.stop()
    told = "".join(capsys.readouterr())
    assert told.count("process not started") == 2
    assert told.count("restart not written down") == 1


async def test_nothing_of_our_environment_leaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hush@127.0.0.1:1")
    process = Process(ProcessSpec("sleeper", SLEEP, env={"GREENROOM_TOLD": "yes"}), tmp_path)
    await process.start()
    try:
        known = Path(f"/proc/{process.pid}/environ").read_text()
    finally:
        await process.stop()
    assert "hush" not in known
    assert "GREENROOM_TOLD=yes" in known
    assert f"PATH={os.environ['PATH']}" in known


async def test_logs_are_their_owners_alone(tmp_path: Path) -> None:
    old = tmp_path / "sleeper.log"
    old.touch(mode=0o644)
    process = Process(ProcessSpec("sleeper", SLEEP), tmp_path)
    await process.start()
    await process.stop()
    assert old.stat().st_mode & 0o777 == 0o600


def test_a_private_folder_is_private_also_when_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o755)
    for name in ("there", "not/yet"):
        private_folder(tmp_path / name)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o700
