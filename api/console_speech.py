"""Typed text, spoken by a synthesiser where this machine has one: for whoever tries an avatar without a voice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from functools import cache

from api.errors import Overloaded

MOST_CHARACTERS = 300
_WITHIN_S = 5.0
PER_MINUTE = 10
"""Of a key."""
_NICE = 10
_AT_ONCE = asyncio.Semaphore(1)


@cache
def synthesiser() -> str | None:
    """Where espeak-ng is."""
    return shutil.which("espeak-ng")


async def spoken(text: str) -> bytes:
    """WAV. The text is read from its standard input, so none of it is an option. Raises Overloaded."""
    command = synthesiser()
    if command is None or _AT_ONCE.locked():
        raise Overloaded
    async with _AT_ONCE:
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            *[command, "-v", "en-us", "-s", "155", "--stdin", "--stdout"], env={}, stdin=pipe, stdout=pipe, stderr=pipe
        )
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            os.setpriority(os.PRIO_PROCESS, child.pid, _NICE)
        try:
            async with asyncio.timeout(_WITHIN_S):
                sound, _ = await child.communicate(text.encode())
        except TimeoutError:
            raise Overloaded from None
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
    if child.returncode != 0 or not sound:
        raise Overloaded
    return sound
