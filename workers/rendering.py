"""The supervisor's side of the renderer process: it is started, watched, and started again when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

import structlog

from workers.children import SILENT_S
from workers.messages import Alive, Ready
from workers.pipe import Pipe

log = structlog.get_logger()

_IMPORT_TIMEOUT_S = 120.0
"""Until the first sign of life: torch from a cold disk takes its time, and says nothing meanwhile."""
_STOP_S = 3.0
_AGAIN_S = (0.0, 0.0, 2.0, 5.0)
_STEADY_S = 60.0


class RendererGone(Exception):
    """The renderer process ended before it was ready."""


class Renderer:
    """One process behind one unix socket, in a folder that only its owner reads."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="greenroom-"))
        self.path = self._folder / "renderer"
        self._process: asyncio.subprocess.Process | None = None
        self._pipe: Pipe[Alive | Ready] | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Returns the device once it is ready to draw. Raises RendererGone."""
        device = await self._spawn()
        self._keeping = asyncio.create_task(self._keep())
        return device

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def _spawn(self) -> str:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "workers.renderer",
                str(theirs.fileno()),
                str(self.path),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
            )
        self._pipe = await Pipe.over(ours, Alive | Ready)
        ready: Alive | Ready | None = Alive()
        patience = _IMPORT_TIMEOUT_S
        while isinstance(ready, Alive):
            try:
                async with asyncio.timeout(patience):
                    ready = await self._pipe.receive()
            except TimeoutError:
                ready = None
            patience = SILENT_S
        if not isinstance(ready, Ready):
            await self._end()
            raise RendererGone("the renderer process ended before it was ready; its log says why")
        log.info("renderer ready", device=ready.device, pid=self.pid)
        return ready.device

    async def _keep(self) -> None:
        """Sessions hold out for a few seconds: the first time it is started again at once."""
        failures = 0
        while True:
            assert self._process is not None
            began = time.monotonic()
            await self._watch()
            failures = 0 if time.monotonic() - began > _STEADY_S else failures + 1
            log.error("renderer process died", exit_code=self._process.returncode)
            if self._pipe is not None:
                self._pipe.close()
            while True:
                await asyncio.sleep(_AGAIN_S[min(failures, len(_AGAIN_S) - 1)])
                with contextlib.suppress(RendererGone, OSError):
                    await self._spawn()
                    break
                failures += 1

    async def _watch(self) -> None:
        """Until the process has ended. One that is silent for SILENT_S hangs, and is ended."""
        assert self._process is not None
        assert self._pipe is not None
        message: Alive | Ready | None = Alive()
        while message is not None:
            try:
                async with asyncio.timeout(SILENT_S):
                    message = await self._pipe.receive()
            except TimeoutError:
                log.error("renderer process silent, killed", pid=self.pid)
                break
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()

    async def _end(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._process is None or self._process.returncode is not None:
            return
        try:
            async with asyncio.timeout(_STOP_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._end()
        shutil.rmtree(self._folder, ignore_errors=True)
