"""The supervisor's side of the renderer process: it is started, watched, and started again when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from pathlib import Path

import structlog

from workers import metrics
from workers.children import Child

log = structlog.get_logger()

_IMPORT_TIMEOUT_S = 120.0
"""Until the first sign of life: torch from a cold disk takes its time, and says nothing meanwhile."""
_AGAIN_S = (0.0, 0.0, 2.0, 5.0)
_STEADY_S = 60.0


class RendererGone(Exception):
    """The renderer process ended before it was ready."""


class RenderKeeper:
    """One process behind one unix socket, in a folder that only its owner reads.

    `name`, `threads`, `assets`: of the settings, and all that the process gets to know of them.
    """

    def __init__(self, name: str, threads: int, assets: Path) -> None:
        self._settings = (name, str(threads), str(assets))
        self._folder = Path(tempfile.mkdtemp(prefix="greenroom-"))
        self.path = self._folder / "renderer"
        self._child: Child | None = None
        self.up = False
        """Whether there is a process that can draw."""
        self.keeping: asyncio.Task[None] | None = None
        """Done, nobody starts it again."""

    async def start(self) -> str:
        """Returns the device once it is ready to draw. Raises RendererGone."""
        device = await self._spawn()
        self.keeping = asyncio.create_task(self._keep(), name="keep renderer")
        return device

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    async def _spawn(self) -> str:
        try:
            self._child = await Child.spawn("workers.render_server", str(self.path), *self._settings)
            ready = await self._child.begin(_IMPORT_TIMEOUT_S)
        except (TimeoutError, OSError) as failed:
            raise RendererGone("the renderer process ended before it was ready; its log says why") from failed
        self.up = True
        log.info("renderer ready", device=ready.device, pid=self.pid)
        return ready.device

    async def _keep(self) -> None:
        """Sessions hold out for a few seconds: the first time it is started again at once."""
        failures = 0
        while True:
            child, began = self._child, time.monotonic()
            assert child is not None
            while await child.receive() is not None:
                pass
            self.up = False
            metrics.RENDERER_ENDS.inc()
            child.kill()  # without its pipe it is of no use
            await child.ended()
            failures = 0 if time.monotonic() - began > _STEADY_S else failures + 1
            log.error("renderer process died", exit_code=child.exit_code)
            while True:
                await asyncio.sleep(_AGAIN_S[min(failures, len(_AGAIN_S) - 1)])
                with contextlib.suppress(RendererGone):
                    await self._spawn()
                    break
                failures += 1

    async def close(self) -> None:
        if self.keeping is not None:
            self.keeping.cancel()
            await asyncio.gather(self.keeping, return_exceptions=True)
        if self._child is not None:
            await self._child.ended()
        shutil.rmtree(self._folder, ignore_errors=True)
