"""A process with a published client in it, asked by lines of JSON: one call a line, one answer a line."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_WITHIN_S = 90


class Refused(Exception):
    """What the client raised, as the script tells it."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(str(told))
        self.kind: str = told.pop("kind")
        self.told = told


class Drive:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._one = asyncio.Lock()

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """What the client's method returned. Raises Refused."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._one, asyncio.timeout(_WITHIN_S):
            self._process.stdin.write(json.dumps({"call": name, "arguments": arguments}).encode() + b"\n")
            line = await self._process.stdout.readline()
        assert line, f"{name}: the client's process has ended; its stderr says why"
        answer = json.loads(line)
        if "raised" in answer:
            raise Refused(answer["raised"])
        return answer["returned"]


@asynccontextmanager
async def started(python: Path, script: str, **options: str) -> AsyncIterator[Drive]:
    """The script in its own environment: it finds nothing of ours, and no proxy between it and loopback."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *[str(python), "-I", str(HERE / script), json.dumps(options)],
        env={**kept, "PYTHONWARNINGS": "ignore"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    try:
        yield Drive(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()  # the script ends with its input
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()
