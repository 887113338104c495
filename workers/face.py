"""The session's side of its face: sound goes in tick by tick, frames come out.

`mock` is drawn right here. Everything else is drawn in the renderer process, and when that is lost the session goes on
with the idle face, unbilled, until it is back or RENDERER_LOST_S are over.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from pathlib import Path
from typing import Protocol

import structlog

from schemas.labels import Label
from schemas.moods import Mood
from workers.frames import Clear, Cue, Drawn, FromRenderer, Open, Opened, Push, Refused, Ring, give
from workers.pipe import Pipe
from workers.playback import Pcm
from workers.renderers import Format
from workers.renderers.mock import MockRenderer

log = structlog.get_logger()

RENDERER_LOST_S = 5.0
_OPEN_TIMEOUT_S = 10.0
_CONNECT_EVERY_S = 0.2
_LATE_S = 0.04
"""For a frame that is not there after a tick, the one before is shown once more; the sound waits for no frame."""
_SILENT_S = 1.0


class FaceUnloadable(Exception):
    """The avatar's face cannot be loaded."""


class RendererLost(Exception):
    """The renderer process is gone and did not come back in time."""


class SessionFace(Protocol):
    @property
    def lookahead(self) -> int:
        """By how many ticks frames trail the sound that they belong to; known once open."""

    @property
    def lost(self) -> bool:
        """The idle face is shown for want of a renderer."""

    @property
    def behind(self) -> int:
        """By how many ticks the frame that is shown is older than it should be."""

    async def open(self) -> None:
        """Ready to draw. Raises FaceUnloadable, RendererLost."""

    async def show(self, pcm: Pcm) -> bytes:
        """Give the next 40 ms; returns an I420 frame. Raises RendererLost."""

    def clear(self) -> None:
        """The agent was interrupted."""

    def cue(self, mood: Mood, listening: bool) -> None:
        """How it is to look, and whether somebody else speaks to it. It may be told before it is open."""

    def close(self) -> None: ...


class MockFace:
    lookahead = behind = 0
    lost = False

    def __init__(self, avatar_id: str, frame: Format) -> None:
        self._renderer = MockRenderer()
        self._stream = self._renderer.open(self._renderer.load(avatar_id), frame.width, height=frame.height)

    async def open(self) -> None:
        return None

    async def show(self, pcm: Pcm) -> bytes:
        self._stream.push(pcm)
        (frame,) = self._renderer.step([self._stream])
        assert frame is not None
        return frame

    def clear(self) -> None:
        self._stream.clear()

    def cue(self, mood: Mood, listening: bool) -> None:
        return None

    def close(self) -> None:
        return None


class RenderedFace:
    """A stream of the renderer process behind the unix socket `path`. `seed`: of what the face does by itself."""

    def __init__(self, path: Path, avatar_id: str, face: str | None, frame: Format, seed: int | None = None) -> None:
        self._path = path
        seed = secrets.randbits(31) if seed is None else seed
        self._wanted = Open(avatar_id, face, frame.width, seed, frame.height)
        self._cue = Cue("neutral", listening=False)
        self._pipe: Pipe[FromRenderer] | None = None
        self._ring: Ring | None = None
        self._idle = b""
        self._last = b""
        self._number = self._drawn = 0
        self._heard_at = 0.0
        self._lost_at: float | None = None
        self._reopening: asyncio.Task[None] | None = None
        self.lookahead = 0

    @property
    def lost(self) -> bool:
        return self._lost_at is not None

    @property
    def behind(self) -> int:
        return self._number - self._drawn

    async def open(self) -> None:
        try:
            async with asyncio.timeout(_OPEN_TIMEOUT_S):
                await self._open()
        except TimeoutError:
            raise RendererLost("The renderer did not answer in time.") from None

    async def _open(self) -> None:
        """Tries until it is done: a renderer that was lost is being started again. Raises FaceUnloadable."""
        while True:
            ring, handle = Ring.create(self._wanted.width, self._wanted.height)
            try:
                if await self._ask(ring, handle):
                    return
            except BaseException:
                ring.close()
                raise
            finally:
                os.close(handle)
            ring.close()
            await asyncio.sleep(_CONNECT_EVERY_S)

    async def _ask(self, ring: Ring, handle: int) -> bool:
        """One attempt; False when there is no renderer to ask. Raises FaceUnloadable."""
        end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            end.setblocking(False)
            await asyncio.get_running_loop().sock_connect(end, str(self._path))
            give(end, handle)
        except OSError:
            end.close()
            return False
        except BaseException:
            end.close()
            raise
        pipe: Pipe[FromRenderer] = await Pipe.over(end, FromRenderer)
        answer = None
        try:
            pipe.send(self._wanted)
            answer = await pipe.receive()
        finally:
            if not isinstance(answer, Opened):
                pipe.close()
        if isinstance(answer, Refused):
            raise FaceUnloadable(answer.message)
        if not isinstance(answer, Opened):
            return False
        pipe.send(self._cue)
        self.lookahead = answer.lookahead
        self._idle = self._last = ring.read(0)
        self._pipe, self._ring, self._heard_at = pipe, ring, time.monotonic()
        return True

    async def show(self, pcm: Pcm) -> bytes:
        if self._lost_at is None:
            if self._drawn == self._number:
                self._heard_at = time.monotonic()  # it was asked nothing: that was no silence of its
            self._number += 1
            assert self._pipe is not None
            self._pipe.send(Push(self._number, pcm.tobytes()))
            if await self._answered():
                return self._last
        if self._lost_at is None:
            return self._last  # late: this frame is shown once more
        if time.monotonic() - self._lost_at > RENDERER_LOST_S:
            raise RendererLost("The renderer was lost and did not come back in time.")
        return self._idle

    async def _answered(self) -> bool:
        """Wait for the answer to the last push; False when it is late, or when nothing comes any more."""
        assert self._pipe is not None
        assert self._ring is not None
        deadline = time.monotonic() + _LATE_S
        while True:
            try:
                async with asyncio.timeout(max(0.001, deadline - time.monotonic())):
                    answer = await self._pipe.receive()
            except TimeoutError:
                if time.monotonic() - self._heard_at > _SILENT_S:
                    self._lose("silent")
                return False
            if not isinstance(answer, Drawn):
                self._lose("gone")
                return False
            self._heard_at, self._drawn = time.monotonic(), answer.number
            if answer.slot is not None:
                self._last = self._ring.read(answer.slot)
            if answer.number >= self._number:
                return True

    def _lose(self, why: str) -> None:
        log.warning("renderer lost", why=why)
        self.close()
        self._lost_at = time.monotonic()
        self._reopening = asyncio.create_task(self._reopen())

    async def _reopen(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_OPEN_TIMEOUT_S):
                    await self._open()
                break
            except (TimeoutError, OSError):
                await asyncio.sleep(_CONNECT_EVERY_S)
            except FaceUnloadable as refused:  # it will not be another time either; `show` ends the session
                log.warning("face not opened again", reason=str(refused))
                return
        self._lost_at = None
        log.info("renderer is back")

    def clear(self) -> None:
        if self._pipe is not None and self._lost_at is None:
            self._pipe.send(Clear())

    def cue(self, mood: Mood, listening: bool) -> None:
        """A renderer that comes back is told again."""
        self._cue = Cue(mood, listening)
        if self._pipe is not None and self._lost_at is None:
            self._pipe.send(self._cue)

    def close(self) -> None:
        if self._reopening is not None and self._reopening is not asyncio.current_task():
            self._reopening.cancel()
        if self._pipe is not None:
            self._pipe.close()
        if self._ring is not None:
            self._ring.close()
        self._pipe = self._ring = None


class LabelledFace:
    """A face that says what it is on each of its frames, the idle one included, whoever draws it."""

    def __init__(self, face: SessionFace, label: Label, frame: Format) -> None:
        from faces.label import Lettering  # Pillow, which no other session needs

        self._face = face
        self._lettering = Lettering(label, frame.width, frame.height)

    @property
    def lookahead(self) -> int:
        return self._face.lookahead

    @property
    def lost(self) -> bool:
        return self._face.lost

    @property
    def behind(self) -> int:
        return self._face.behind

    async def open(self) -> None:
        await self._face.open()

    async def show(self, pcm: Pcm) -> bytes:
        return self._lettering.on(await self._face.show(pcm))

    def clear(self) -> None:
        self._face.clear()

    def cue(self, mood: Mood, listening: bool) -> None:
        self._face.cue(mood, listening)

    def close(self) -> None:
        self._face.close()
