"""A bad network between clients and a server: what goes through is late, or does not arrive while that lasts.

As TCP has it: what was swallowed is sent again later and arrives then, in its order, also when who sent it has given up
meanwhile. It is one task per direction of a connection, in the process of the bench.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_CHUNK = 1 << 16
_MOST_WAITING = 256
"""Chunks of a direction under way; more are not read."""


class Way:
    """One direction, of all connections."""

    def __init__(self) -> None:
        self.late_s = 0.0
        self._open = asyncio.Event()
        self._open.set()

    def swallow(self) -> None:
        self._open.clear()

    def heal(self) -> None:
        self.late_s = 0.0
        self._open.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the reader's side is shut; then the writer's is, behind what was under way."""
        loop, waiting = asyncio.get_running_loop(), deque[tuple[float, bytes]]()
        some, space = asyncio.Event(), asyncio.Semaphore(_MOST_WAITING)

        async def read() -> None:
            data = b"?"
            while data:
                await space.acquire()
                try:
                    data = await reader.read(_CHUNK)
                except ConnectionError:
                    data = b""
                waiting.append((loop.time() + self.late_s, data))
                some.set()

        reading = asyncio.create_task(read())
        try:
            while True:
                await some.wait()
                due, data = waiting.popleft()
                if not waiting:
                    some.clear()
                space.release()
                await asyncio.sleep(due - loop.time())
                await self._open.wait()
                if not data:
                    return
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return  # the other side is gone; its other direction says so
        finally:
            reading.cancel()
            writer.close()


class Proxy:
    """`there`: from clients to the server; `back`: its answers."""

    def __init__(self) -> None:
        self.there, self.back = Way(), Way()


@asynccontextmanager
async def between(port: int, server_port: int) -> AsyncIterator[Proxy]:
    """Clients find the server at `port`, both on loopback."""
    proxy = Proxy()
    connections = set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", server_port)
        except OSError:
            writer.transport.abort()  # as if nobody listened
            return
        await asyncio.gather(proxy.there.carry(reader, to_server), proxy.back.carry(from_server, writer))

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    listening = await asyncio.start_server(begin, "127.0.0.1", port)
    try:
        yield proxy
    finally:
        listening.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await listening.wait_closed()
