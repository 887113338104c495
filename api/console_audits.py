"""An audit that an operator runs from the console: one at a time in a process of this API, and how far it is."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field

import orjson
import structlog

from api.children import environment
from schemas.background import Background
from schemas.jsons import JsonObject
from schemas.times import now_ms, to_wire
from store.settings import StoreSettings

log = structlog.get_logger()

_MOST_LINE = 1024 * 1024


@dataclass
class Audits:
    """What the last one has said; nothing of it outlives the process. A second one is not begun while one runs."""

    state: JsonObject = field(default_factory=lambda: {"status": "never"})
    _tasks: Background = field(default_factory=Background)

    @property
    def running(self) -> bool:
        return bool(self.state["status"] == "running")

    def begin(self, settings: StoreSettings) -> None:
        """`settings`: the process is told where log and ledger are, and no secret beside the database's."""
        if not self.running:
            self.state = {"status": "running", "started_at": to_wire(now_ms()), "done": 0, "total": 0}
            self._tasks.spawn(self._run(environment(settings, StoreSettings)), "audit")

    async def end(self) -> None:
        """With the process that serves it."""
        await self._tasks.cancel()

    async def _run(self, env: dict[str, str]) -> None:
        command = [sys.executable, "-m", "api.audit_process"]
        last: JsonObject = {"failed": "The audit ended without a verdict; the API's log may say why."}
        child = None
        try:
            child = await asyncio.create_subprocess_exec(
                *command, env=env, stdout=asyncio.subprocess.PIPE, limit=_MOST_LINE
            )
            assert child.stdout is not None
            async for line in child.stdout:
                told: JsonObject = orjson.loads(line)
                if "total" in told:
                    self.state = {**self.state, **told}
                else:
                    last = told
            await child.wait()
        finally:
            if child is not None and child.returncode is None:
                child.kill()
                await child.wait()
            status = "done" if "verdict" in last else "failed"
            self.state = {**self.state, "status": status, "ended_at": to_wire(now_ms()), **last}
