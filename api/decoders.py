"""Uploaded pictures are decoded in processes of their own (`faces.decoder`): few at once, and one of an account's."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import msgspec
import structlog
from starlette.datastructures import UploadFile

from api.errors import AtCapacity
from api.one_each import OneEach
from faces.portrait import TOO_LARGE, TOO_SLOW, UNREADABLE, BadImage

log = structlog.get_logger()

_AT_ONCE = 2
_CPU_S = 10
"""The slowest valid pictures, of 40 million pixels, take 1.5."""
_MEMORY = 768 * 1024 * 1024
"""Address space; the largest valid pictures take 510 MB of it."""
_WAIT_S = 12.0
"""For a turn: longer than a picture that takes all of its time."""
_WALL_S = 30.0
"""A decoder that has not used up its seconds of work by then stands on a machine that has none to give."""


class _Header(msgspec.Struct):
    scale: float = 1.0
    refused: str | None = None


class Decoders:
    """Of one process."""

    def __init__(
        self, at_once: int = _AT_ONCE, cpu_s: int = _CPU_S, memory: int = _MEMORY, wait_s: float = _WAIT_S
    ) -> None:
        self._turns = OneEach(at_once, wait_s, _busy())
        self._limits = str(cpu_s), str(memory)

    async def normalise(self, account_id: str, image: UploadFile, mark: str) -> tuple[bytes, float]:
        """`faces.portrait.normalise`. Raises BadImage; AtCapacity when no turn comes. Cancelled, it kills the process.

        The upload is read from its file when its turn has come: whoever waits holds no memory.
        """
        async with self._turns.turn(account_id):
            return await self._decoded(await image.read(), mark)

    async def _decoded(self, data: bytes, mark: str) -> tuple[bytes, float]:
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-m", "faces.decoder", str(os.getpid()), mark, *self._limits),
                env={name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as failed:
            log.error("decoder not started", error=repr(failed))
            raise _busy() from None
        try:
            async with asyncio.timeout(_WALL_S):
                out, err = await process.communicate(data)
        except TimeoutError:
            raise _busy() from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise BadImage(_told(process.returncode, err))
        header, _, portrait = out.partition(b"\n")
        answer = msgspec.json.decode(header, type=_Header)
        if answer.refused is not None:
            raise BadImage(answer.refused)
        return portrait, answer.scale


def _told(code: int | None, err: bytes) -> str:
    if code == -signal.SIGXCPU:
        return TOO_SLOW
    if code == -signal.SIGKILL:  # not by us: the machine is short of memory
        return TOO_LARGE
    log.error("decoder crashed", code=code, error=err[-2000:].decode(errors="replace"))
    return UNREADABLE


def _busy() -> AtCapacity:
    return AtCapacity("Too many portraits are being uploaded right now. Retry after the given seconds.")
