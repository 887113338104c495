"""The renderer process: one per device, faces of all sessions of its worker.
`python -m workers.render_server FD SOCKET RENDERER THREADS ASSETS`

It tells its supervisor over FD that it is ready, serves sessions on the unix socket, and ends when the supervisor does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import structlog

from faces.assets import Assets, MissingAsset
from faces.confined import keep_to_itself
from faces.face import UnreadableFace
from schemas.avatars import STOCK
from schemas.background import Background
from schemas.logs import configure_logging
from workers.children import outlive_signals, say_alive
from workers.frames import SLOTS, Clear, Cue, Drawn, Open, Opened, Push, Refused, Ring, ToRenderer, take
from workers.messages import Alive, Ready
from workers.pipe import Pipe
from workers.playback import TICK_SAMPLES
from workers.renderers import FORMATS, Cued, Renderer, Stream, make

log = structlog.get_logger()

_HANDSHAKE_S = 5.0
_MOST_AT_ONCE, _MOST_AT_ONCE_ON_CPU = 64, 4
"""Streams of one batch: more would have the first of them wait for the last."""
_GATHER_S = 0.002
"""How long a batch waits for more to come. On a CPU not at all: they come while the batch before is drawn."""
_PRELOADED = FORMATS["standard"].width
_MOST_FACES = 64


class WrongShape(Exception):
    """The renderer's frames are not as the avatar's shape has them."""


@dataclass(eq=False)
class Client:
    """One session's connection."""

    pipe: Pipe[ToRenderer]
    ring: Ring
    stream: Stream
    pushed: list[tuple[int, bytes]] = field(default_factory=list)


class Faces:
    """Loaded faces, the least lately opened dropped first; a face in use stays with its streams."""

    def __init__(self, renderer: Renderer, assets: Assets) -> None:
        self._renderer = renderer
        self._assets = assets
        self._loaded: OrderedDict[str, Any] = OrderedDict()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def open(self, wanted: Open) -> Stream:
        """In a thread: frames of others go on. Raises MissingAsset, UnreadableFace."""
        name = wanted.face or wanted.avatar_id
        turn = self._turns.setdefault(name, asyncio.Lock())
        async with turn:  # sessions of one face come together: the second finds it loaded
            return await asyncio.to_thread(self._open, name, wanted)

    def _open(self, name: str, wanted: Open) -> Stream:
        face = self._loaded.pop(name) if name in self._loaded else self._load(wanted)
        self._loaded[name] = face  # as the latest
        while len(self._loaded) > _MOST_FACES:
            self._loaded.popitem(last=False)
        stream: Stream = self._renderer.open(face, wanted.width, wanted.seed)
        return stream

    def _load(self, wanted: Open) -> Any:
        if wanted.face is not None:
            return self._renderer.load(wanted.avatar_id, self._assets.get(wanted.face))
        if wanted.avatar_id not in STOCK:
            raise MissingAsset(f"there is no stock avatar {wanted.avatar_id}")
        return self._renderer.load(wanted.avatar_id, None)


class RenderServer:
    def __init__(self, name: str, threads: int, assets: Path) -> None:
        self._renderer = make(name, threads or max(1, (os.cpu_count() or 2) // 2))
        on_cpu = self._renderer.device == "cpu"
        self._most = _MOST_AT_ONCE_ON_CPU if on_cpu else _MOST_AT_ONCE
        self._gather_s = 0.0 if on_cpu else _GATHER_S
        self._faces = Faces(self._renderer, Assets(assets))
        self._waiting: OrderedDict[Client, None] = OrderedDict()
        self._news = asyncio.Event()
        self._tasks = Background()

    async def run(self, supervisor: socket.socket, path: Path) -> None:
        """Until the supervisor is gone. Sessions of the life before are served while the stock faces load."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with listener:
            path.unlink(missing_ok=True)  # of the life before
            listener.bind(str(path))
            listener.listen(128)
            listener.setblocking(False)
            pipe: Pipe[Alive] = await Pipe.over(supervisor, Alive)
            working = [
                asyncio.create_task(self._accept(listener)),
                asyncio.create_task(self._draw()),
                asyncio.create_task(pipe.receive()),
                asyncio.create_task(say_alive(pipe)),
            ]
            for name in STOCK:
                stream = await self._faces.open(Open(name, None, _PRELOADED, 0, _PRELOADED))
                stream.push(np.zeros(TICK_SAMPLES, np.int16))
                self._renderer.step([stream])  # torch's first step takes its time
            pipe.send(Ready(device=self._renderer.device))
            done, _ = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a crash of ours is to be seen

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            end, _ = await loop.sock_accept(listener)
            self._tasks.spawn(self._serve(end), "serve session")

    async def _serve(self, end: socket.socket) -> None:
        """One session, from its handle to the end of its connection."""
        client: Client | None = None
        try:
            async with asyncio.timeout(_HANDSHAKE_S):
                handle = await _handle(end)
                pipe: Pipe[ToRenderer] = await Pipe.over(end, ToRenderer)
                first = await pipe.receive()
            if not isinstance(first, Open):
                os.close(handle)
                pipe.close()
                return
            try:
                client = await self._open(pipe, first, handle)
            except Exception as wrong:  # no answer would have the session ask again and again
                known = isinstance(wrong, (MissingAsset, UnreadableFace, WrongShape))
                log.warning("face not opened", avatar_id=first.avatar_id, reason=repr(wrong), exc_info=not known)
                pipe.send(Refused(str(wrong) if known else "this face cannot be drawn"))
                await pipe.flush()
                pipe.close()
                return
            finally:
                os.close(handle)
            while (message := await pipe.receive()) is not None:
                self._obey(client, message)
        except (OSError, ValueError, TimeoutError) as failed:
            log.warning("session connection failed", error=repr(failed))
            end.close()
        finally:
            if client is not None:
                self._waiting.pop(client, None)
                client.pipe.close()
                client.ring.close()

    async def _open(self, pipe: Pipe[ToRenderer], wanted: Open, handle: int) -> Client:
        stream = await self._faces.open(wanted)
        ring = Ring(handle, wanted.width, wanted.height)
        rest = memoryview(stream.rest())
        if rest.nbytes != ring.size:
            ring.close()
            raise WrongShape(f"this renderer does not draw frames of {wanted.width} × {wanted.height}")
        ring.write(0, rest)
        pipe.send(Opened(self._renderer.lookahead_ms // 40))
        return Client(pipe, ring, stream)

    def _obey(self, client: Client, message: ToRenderer) -> None:
        if isinstance(message, Push):
            if len(message.pcm) == TICK_SAMPLES * 2:
                client.pushed.append((message.number, message.pcm))
                self._waiting[client] = None
                self._news.set()
        elif isinstance(message, Clear):
            client.pushed.clear()
            self._waiting.pop(client, None)
            client.stream.clear()
        elif isinstance(message, Cue) and isinstance(client.stream, Cued):
            client.stream.cue(message.mood, message.listening)

    async def _draw(self) -> None:
        """Batches of whoever waits, that is has pushed what is not drawn yet, the longest waiting first."""
        while True:
            await self._news.wait()
            if self._gather_s:
                await asyncio.sleep(self._gather_s)
            chosen = list(islice(self._waiting, self._most))
            for client in chosen:
                self._waiting.pop(client)
            if chosen:
                self._step(chosen)
            if not self._waiting:
                self._news.clear()
            await asyncio.sleep(0)  # let the answers out and more pushes in

    def _step(self, chosen: list[Client]) -> None:
        """The latest tick of each is drawn; those before it that nobody waits for any more are only heard."""
        while behind := [client for client in chosen if len(client.pushed) > 1]:
            for client in behind:
                client.stream.push(np.frombuffer(client.pushed.pop(0)[1], np.int16))
            self._renderer.skip([client.stream for client in behind])
        numbers = []
        for client in chosen:
            number, pcm = client.pushed.pop(0)
            numbers.append(number)
            client.stream.push(np.frombuffer(pcm, np.int16))
        frames = self._renderer.step([client.stream for client in chosen])
        for client, number, frame in zip(chosen, numbers, frames, strict=True):
            slot = None
            if frame is not None:
                slot = number % SLOTS
                client.ring.write(slot, memoryview(frame))
            client.pipe.send(Drawn(number, slot))


async def _handle(end: socket.socket) -> int:
    """The ring's handle, which is the first that a session sends."""
    loop = asyncio.get_running_loop()
    end.setblocking(False)
    readable: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not readable.done():
            readable.set_result(None)

    loop.add_reader(end, tell)
    try:
        await readable
    finally:
        loop.remove_reader(end)
    return take(end)


async def main(handle: int, path: Path, name: str, threads: int, assets: Path) -> None:
    began = time.monotonic()
    process = RenderServer(name, threads, assets)
    log.info("renderer starting", loaded_s=round(time.monotonic() - began, 2))
    with contextlib.suppress(asyncio.CancelledError):
        await process.run(socket.socket(fileno=handle), path)


if __name__ == "__main__":
    keep_to_itself()
    configure_logging()
    outlive_signals()
    _, fd, path, name, threads, assets = sys.argv
    asyncio.run(main(int(fd), Path(path), name, int(threads), Path(assets)))
    os._exit(0)
