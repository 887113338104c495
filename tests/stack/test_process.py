"""Processes of the stack: what they get to know, and that they come back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
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
    known = Path(f"/proc/{process.pid}/environ")

    async def read() -> str:
        return known.read_text()  # empty until the kernel has laid it down, which is after the start has returned

    try:
        told = await eventually(read)
    finally:
        await process.stop()
    assert "hush" not in told
    assert "GREENROOM_TOLD=yes" in told
    assert f"PATH={os.environ['PATH']}" in told


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


CALLED_BACK = """
import asyncio, ctypes, sys, threading
from pathlib import Path
from stack.process import Process, ProcessSpec

libc = ctypes.CDLL(None)
callback = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(lambda _: None)

def native():
    "Threads of another language that call Python, as LiveKit's do: each holds a lock of the interpreter for a moment."
    thread = ctypes.c_ulong()
    while True:
        libc.pthread_create(ctypes.byref(thread), None, callback, None)
        libc.pthread_join(thread, None)

async def main():
    for _ in range(4):
        threading.Thread(target=native, daemon=True).start()
    for _ in range(60):
        process = Process(ProcessSpec("true", ["true"]), Path(sys.argv[1]))
        await process.start()
        assert await process.wait() == 0

asyncio.run(main())
print("started", flush=True)
import os; os._exit(0)
"""


async def test_processes_start_beside_threads_of_another_language(tmp_path: Path) -> None:
    """A child that waited for a lock which nobody has in it kept all of us waiting."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CALLED_BACK, str(tmp_path), stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        async with asyncio.timeout(60):
            said, _ = await child.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    assert said == b"started\n"
