"""Clips are looked at in processes of their own (`api.verification_process`): one at once, and one of an account's."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from contextlib import AbstractAsyncContextManager
from functools import cached_property

import msgspec
import structlog
from starlette.datastructures import UploadFile

from api.children import environment
from api.errors import ApiError, AtCapacity, DatabaseUnavailable
from api.one_each import OneEach
from api.settings import ApiSettings
from faces.clips import TOO_SLOW
from faces.confined import ONE_THREAD
from faces.settings import MarkSettings
from store.settings import StoreSettings

log = structlog.get_logger()

MOST_S = 60
"""Of a clip, for one answer."""
_AT_ONCE = 1
_TAKEN_IN = 32
"""Clips that are on this machine's disk or on their way there: whoever waits, waits with what is sent unread."""
_TAKE_IN_WITHIN_S = 3.0
"""The time that a body may take to arrive has begun."""
_WALL_S = 90.0
"""A minute of somebody else's clip takes half a minute on a machine that has nothing else to do."""
_WAIT_S = 1.5 * _WALL_S
"""Whoever comes first may take all of its time, and must not keep others out by that."""
_MOST_ANSWER = 4 * 1024 * 1024


class _Busy(AtCapacity):
    """A clip takes longer than a slot of a worker."""

    retry_after = 10


class BadClip(Exception):
    """The message says what is wrong with it, as a sentence to its sender."""


class _Told(msgspec.Struct):
    """By `api.verification_process`: a verification, or why there is none. `unavailable`: the database is."""

    verification: msgspec.Raw = msgspec.Raw(b"")
    refused: str | None = None
    unavailable: bool = False


class Verifiers:
    """Of one process."""

    def __init__(self, settings: ApiSettings, wait_s: float = _WAIT_S, wall_s: float = _WALL_S) -> None:
        self._settings = settings
        self._turns = OneEach(_AT_ONCE, wait_s, _busy())
        self._taken_in = OneEach(_TAKEN_IN, min(wait_s, _TAKE_IN_WITHIN_S), _busy())
        self._wall_s = wall_s

    @cached_property
    def able(self) -> bool:
        """Whether this installation has what it takes."""
        there = all(importlib.util.find_spec(name) is not None for name in ("av", "cv2"))
        return there and bool(self._settings.mark_keys.get_secret_value())

    def taken_in(self, account_id: str) -> AbstractAsyncContextManager[None]:
        """While a clip is read and looked at. Raises AtCapacity."""
        return self._taken_in.turn(account_id)

    async def verify(self, account_id: str, clip: UploadFile, from_s: float, to_s: float) -> bytes:
        """The resource as JSON. Raises BadClip, ApiError. Cancelled, it kills the process."""
        async with self._turns.turn(account_id):
            return await self._told(account_id, clip, from_s, to_s)

    async def _told(self, account_id: str, clip: UploadFile, from_s: float, to_s: float) -> bytes:
        try:
            await clip.seek(0)
            clip.file.flush()
            process = await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-m",
                    "api.verification_process",
                    str(os.getpid()),
                    account_id,
                    str(from_s),
                    str(to_s),
                ),
                env=environment(self._settings, StoreSettings, MarkSettings) | ONE_THREAD,
                stdin=clip.file.fileno(),
                stdout=asyncio.subprocess.PIPE,
                limit=_MOST_ANSWER,
            )
        except OSError as failed:
            log.error("verifier not started", error=repr(failed))
            raise _busy() from None
        try:
            async with asyncio.timeout(self._wall_s):
                said, _ = await process.communicate()
        except TimeoutError:
            raise BadClip(TOO_SLOW) from None  # it would take as long the next time
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            log.error("verifier crashed", code=process.returncode)  # why stands before this, on our stderr
            raise ApiError
        told = msgspec.json.decode(said, type=_Told)
        if told.unavailable:
            raise DatabaseUnavailable
        if told.refused is not None:
            raise BadClip(told.refused)
        return bytes(told.verification)


def _busy() -> AtCapacity:
    return _Busy("Too many clips are being looked at right now. Retry after the given seconds.")
