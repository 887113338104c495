"""Processes of the supervisor: started over a socket pair, killed when they are silent for too long.

Session processes are kept warm: the SDK is imported before the task comes.

Of the supervisor's environment, which holds its secrets, they get nothing but what programs read of the machine.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from typing import Any

import structlog
from structlog.contextvars import clear_contextvars

from schemas.background import Background
from workers.messages import Alive, FromSession, Ready
from workers.pipe import Pipe

log = structlog.get_logger()

SILENT_S = 3.0
SESSION_SILENT_S = 1.5
"""A face that stands still is replaced within two seconds."""
_ALIVE_EVERY_S = 1.0
SESSION_ALIVE_EVERY_S = 0.25
_LOOKS = 3
"""Silence is counted in so many looks: a pause of our own process is the silence of nobody."""
_WARM_TIMEOUT_S = 30.0

_OF_THE_MACHINE = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ")
_FAMILIES = ("CUDA_", "HIP_", "KMP_", "LC_", "MKL_", "NVIDIA_", "NVPL_", "OMP_", "OPENBLAS_", "PYTHON", "PYTORCH_")
"""Python's own, and those of torch's and numpy's libraries: on some machines they are wrong, or slow, without them."""


def of_this_machine() -> dict[str, str]:
    """What Python, TLS and number crunching read of the environment; no setting of ours and no secret is among it."""
    return {name: value for name, value in os.environ.items() if name in _OF_THE_MACHINE or name.startswith(_FAMILIES)}


async def say_alive(pipe: Pipe[Any], every_s: float = _ALIVE_EVERY_S) -> None:
    """The process' own side of it, for ever."""
    while True:
        pipe.send(Alive())
        await asyncio.sleep(every_s)


def outlive_signals() -> None:
    """A terminal, and systemd, tell every process of a group: a child ends when its pipe does, and no earlier."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class Child:
    """One process. It ends when its pipe does."""

    def __init__(
        self, module: str, process: asyncio.subprocess.Process, pipe: Pipe[FromSession], silent_s: float
    ) -> None:
        self._module = module
        self._silent_s = silent_s
        self.hung = False
        """It was killed for its silence."""
        self._process = process
        self.pipe = pipe

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self.exit_code is None

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    @classmethod
    async def spawn(cls, module: str, *arguments: str, silent_s: float = SILENT_S) -> Child:
        """Raises OSError."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    module,
                    str(theirs.fileno()),
                    *arguments,
                    pass_fds=[theirs.fileno()],
                    stdin=asyncio.subprocess.DEVNULL,
                    env=of_this_machine(),
                )
            return cls(module, process, await Pipe.over(ours, FromSession), silent_s)
        except BaseException:
            ours.close()  # a process that was started sees the end of its pipe
            raise

    async def begin(self, timeout_s: float) -> Ready:
        """Wait until it is ready, or kill it. `timeout_s`: until its first sign of life; importing says nothing.

        Raises TimeoutError or OSError.
        """
        try:
            async with asyncio.timeout(timeout_s):
                message = await self.pipe.receive()
            if isinstance(message, Alive):
                message = await self.receive()
            if not isinstance(message, Ready):
                raise OSError(f"{self._module} ended before it was ready")
        except BaseException:
            self.kill()
            await self.ended()
            raise
        return message

    async def receive(self) -> FromSession | None:
        """The next message that is not a sign of life; None when the process is gone.

        One that is silent for too long, or says what is no message, is killed.
        """
        looks = 0
        while True:
            try:
                async with asyncio.timeout(self._silent_s / _LOOKS):
                    message = await self.pipe.receive()
            except TimeoutError:
                looks += 1
                if looks < _LOOKS:
                    continue
                self.hung = True
                log.warning("process silent, killed", module=self._module, pid=self.pid)
                self.kill()
                return None
            if message is None and self.pipe.broken:
                log.error("process says what is no message, killed", module=self._module, pid=self.pid)
                self.kill()
            if not isinstance(message, Alive):
                return message
            looks = 0

    def kill(self) -> None:
        if self.running:
            self._process.kill()

    async def ended(self) -> None:
        """Close the pipe and wait for the process; killed if it stays."""
        self.pipe.close()
        try:
            async with asyncio.timeout(2):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()


async def _session() -> Child:
    child = await Child.spawn("workers.session_process", silent_s=SESSION_SILENT_S)
    await child.begin(_WARM_TIMEOUT_S)
    return child


class PoolClosed(Exception):
    """There are no more children."""


class WarmPool:
    """As many warm children as there are free slots."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._closed = False
        self._warm: list[Child] = []
        self._spawning = Background()
        self._news = asyncio.Event()

    @property
    def warm(self) -> int:
        """How many there are."""
        return sum(child.running for child in self._warm)

    async def fill(self) -> None:
        self._warm.extend(await asyncio.gather(*(_session() for _ in range(self._size))))

    async def take(self) -> Child:
        """A warm child; waits for one that is being spawned. Ask for its replacement (`refill`) when there is time.

        Raises PoolClosed. May be cancelled: no child is lost then.
        """
        while True:
            while not self._warm:
                if self._closed:
                    raise PoolClosed
                if not self._spawning:
                    self.refill()
                self._news.clear()
                await self._news.wait()
            child = self._warm.pop()
            if child.running:
                return child

    def refill(self) -> None:
        """Spawn one in the background if fewer than at the start are warm. Those that died meanwhile are none."""
        self._warm[:] = [child for child in self._warm if child.running]  # in place: spawns append to it
        if not self._closed and len(self._warm) + len(self._spawning) < self._size:  # one by one: a start takes a core
            self._spawning.spawn(self._spawn_one(), "spawn session process")

    async def _spawn_one(self) -> None:
        clear_contextvars()  # whichever session it takes the place of, it is not of that one
        while True:
            try:
                self._warm.append(await _session())
                self._news.set()
                return
            except Exception as failed:  # whatever it was: without this loop no session would ever start again
                log.warning("no warm session process", error=repr(failed))
                await asyncio.sleep(1)

    async def close(self) -> None:
        self._closed = True
        self._news.set()
        await self._spawning.cancel()
        warm, self._warm = self._warm, []
        await asyncio.gather(*(child.ended() for child in warm))
