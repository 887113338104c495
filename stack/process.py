"""Child processes that are started, watched, restarted and stopped together.

Linux sends every child its stop signal when the parent dies (PR_SET_PDEATHSIG), so that even a `kill -9` of
`greenroom up` leaves no process behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import structlog

log = structlog.get_logger()

_BASE = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")
"""What any program may want to know of this machine. All else of our environment is ours: it may hold secrets."""
_RESTART_DELAYS_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_HEALTHY_AFTER_S = 20.0


class StackError(Exception):
    """A server or process of the stack did not do what it should; the message is for people."""


@dataclass(frozen=True)
class ProcessSpec:
    """How one process is started, known to be ready, and stopped. `env`: all of its environment beside `_BASE`.

    `temporary`: a folder that goes with its group.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 15.0
    ready: Callable[[], Awaitable[bool]] | None = None
    ready_timeout_s: float = 240.0
    temporary: Path | None = None


def as_user(name: str | None) -> dict[str, Any]:
    """Arguments that make a child run as `name` and in its group alone: root's groups would decide its access."""
    if name is None:
        return {}
    entry = pwd.getpwnam(name)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def private_folder(path: Path) -> None:
    """Make it, for its owner alone, also where it is there already."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)


def open_log(path: Path) -> IO[bytes]:
    """Append to a log that its owner alone reads: it tells of customers. Raises OSError."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.fchmod(file, 0o600)
    return os.fdopen(file, "ab")


def _dying_with_us(argv: Sequence[str], by: signal.Signals) -> Sequence[str]:
    """What Linux sends the signal to when we die. Raises StackError.

    By a program, and not by Python between fork and exec: that waits for ever for a lock which a thread of LiveKit's
    holds at the fork, and with it we do.
    """
    if sys.platform != "linux":
        return argv
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise StackError("setpriv is not found: install the package util-linux.")
    return [setpriv, "--pdeathsig", by.name.removeprefix("SIG"), "--", *argv]


class Process:
    """One running child. Its output goes to `logs/<name>.log`."""

    def __init__(self, spec: ProcessSpec, logs: Path, inherited: Sequence[int] = ()) -> None:
        self.spec = spec
        self._inherited = inherited
        self.log_path = logs / f"{spec.name}.log"
        self._child: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        if self._child is None:
            raise StackError(f"{self.spec.name} is not started")
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.returncode is None

    async def start(self) -> None:
        """Raises OSError and StackError."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with open_log(self.log_path) as output:
            self._child = await asyncio.create_subprocess_exec(
                *_dying_with_us(self.spec.argv, self.spec.stop_signal),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={name: os.environ[name] for name in _BASE if name in os.environ} | {**self.spec.env},
                **as_user(self.spec.user),
                # its own session: Ctrl-C reaches only the parent, which stops things in order
                start_new_session=True,
                pass_fds=self._inherited,
            )

    async def wait_ready(self) -> None:
        """Raises StackError when the process exits first or its time is over."""
        if self.spec.ready is None:
            return
        deadline = time.monotonic() + self.spec.ready_timeout_s
        while not await self.spec.ready():
            if not self.running:
                raise StackError(f"{self.spec.name} exited while starting; the end of its log:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise StackError(
                    f"{self.spec.name} was not ready within {self.spec.ready_timeout_s:.0f} s; "
                    f"the end of its log:\n{self.log_tail()}"
                )
            await asyncio.sleep(0.05)

    async def wait(self) -> int:
        if self._child is None:
            raise StackError(f"{self.spec.name} is not started")
        return await self._child.wait()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self.running:
            os.kill(self.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """Ask, wait, then kill. Safe to call twice."""
        if self._child is None or not self.running:
            return
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(self.spec.stop_signal)
        try:
            await asyncio.wait_for(self._child.wait(), self.spec.stop_timeout_s)
        except TimeoutError:
            self.kill()
            await self._child.wait()

    def log_tail(self, lines: int = 15) -> str:
        if not self.log_path.exists():
            return "(no log)"
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])


class ProcessGroup:
    """Starts processes in order, restarts those that exit, stops all in reverse order."""

    def __init__(
        self, logs: Path, on_restart: Callable[[Process], None] | None = None, inherited: Sequence[int] = ()
    ) -> None:
        """`inherited`: descriptors that each process has, too. A lock that stands on one is free when the last has
        ended, whoever was killed before."""
        private_folder(logs)
        self._inherited = inherited
        self._logs = logs
        self.on_restart = on_restart
        self.processes: dict[str, Process] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._wanted: set[str] = set()
        """Processes that are stopped to be started again at once."""
        self._stopping = False

    async def add(self, spec: ProcessSpec, *, wait: bool = True) -> Process:
        """Start and wait until ready; from then on an exit leads to a restart with back-off.

        Not `wait`: others are started meanwhile, and whoever needs it asks its `wait_ready`.
        """
        process = Process(spec, self._logs, self._inherited)
        self.processes[spec.name] = process
        await process.start()
        try:
            if wait:
                await process.wait_ready()
        except BaseException:
            await process.stop()
            raise
        self._watchers.append(asyncio.create_task(self._watch(process), name=f"watch {spec.name}"))
        return process

    async def _watch(self, process: Process) -> None:
        """Start it again whenever it has ended. A start that fails (no handles, no memory) is one more failure."""
        failures = 0
        while True:
            started = time.monotonic()
            await process.wait()
            if self._stopping:
                return
            if process.spec.name in self._wanted:
                self._wanted.discard(process.spec.name)
                failures = 0
            else:
                failures = 0 if time.monotonic() - started > _HEALTHY_AFTER_S else failures + 1
                await asyncio.sleep(_RESTART_DELAYS_S[min(failures, len(_RESTART_DELAYS_S) - 1)])
            try:
                await process.start()
            except Exception as failed:
                log.error("process not started, tried again", process=process.spec.name, error=repr(failed))
                continue
            try:
                if self.on_restart:
                    self.on_restart(process)
            except Exception as failed:  # a full disk, say: the process runs all the same
                log.error("restart not written down", process=process.spec.name, error=repr(failed))

    async def restart(self, name: str) -> None:
        """Stop it; its watcher starts it again at once. One that is waiting for its next start is left to that."""
        process = self.processes[name]
        if process.running:
            self._wanted.add(name)
            await process.stop()

    async def stop(self) -> None:
        self._stopping = True
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for process in reversed(self.processes.values()):
            await process.stop()
            if (temporary := process.spec.temporary) is not None:
                await asyncio.to_thread(shutil.rmtree, temporary, ignore_errors=True)
