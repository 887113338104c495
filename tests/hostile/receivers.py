"""Webhook receivers on loopback that misbehave, each in one way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Behaviour = Callable[["Receiver", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Request:
    connection: int
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    port: int = 0
    connections: int = 0
    requests: list[Request] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    """Of the deliveries that came."""

    def url(self, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/hooks"

    async def read(self, reader: asyncio.StreamReader, connection: int) -> Request:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:-2])}
        body = await reader.readexactly(int(headers["content-length"]))
        request = Request(connection, head[0].split(" ")[1], headers, body)
        self.requests.append(request)
        self.ids.add(headers["webhook-id"])
        return request


@asynccontextmanager
async def receiver(behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    made = Receiver()
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        try:
            await behaviour(made, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            handlers.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**20, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        # A connection that is being accepted while its server closes is never closed: asyncio forgets it.
        asyncio.get_running_loop().remove_reader(server.sockets[0])
        for _ in range(5):
            await asyncio.sleep(0)
        server.close()
        for task in tuple(handlers):
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await server.wait_closed()


def says(*parts: bytes, every_s: float = 0.0, for_ever: bytes = b"") -> Behaviour:
    """Takes one request, says `parts` with pauses, then `for_ever` again and again, or closes."""

    async def behave(self: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await self.read(reader, self.connections)
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(every_s)
        while for_ever:
            writer.write(for_ever)
            await writer.drain()
            await asyncio.sleep(every_s)
        writer.close()
        await writer.wait_closed()

    return behave


def answers(status: str = "200 OK", *headers: bytes) -> Behaviour:
    """A whole answer without a body; then the connection closes."""
    head = b"".join(header + b"\r\n" for header in (b"Content-Length: 0", *headers))
    return says(f"HTTP/1.1 {status}\r\n".encode() + head + b"\r\n")


async def keeps_alive(self: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a server that would take many requests over one connection, and that sets cookies."""
    self.connections += 1
    mine = self.connections
    while True:
        await self.read(reader, mine)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\nSet-Cookie: who=me\r\n\r\nok")
        await writer.drain()


async def silent(self: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accepts, reads, and never answers."""
    self.connections += 1
    while await reader.read(65536):
        pass


async def resets(self: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads the request and resets the connection."""
    self.connections += 1
    await self.read(reader, self.connections)
    peer: socket.socket = writer.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def answers_and_resets(self: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says that it has it, and resets the connection at once, as a server does that has not read all."""
    self.connections += 1
    await self.read(reader, self.connections)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    peer: socket.socket = writer.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


HEAD = b"HTTP/1.1 200 OK\r\n"
drips = says(*(HEAD[n : n + 1] for n in range(len(HEAD))), every_s=1, for_ever=b"X")
endless_body = says(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", for_ever=b"1000\r\n" + b"x" * 4096 + b"\r\n")
dripping_body = says(HEAD + b"\r\n", every_s=1, for_ever=b"x")
header_flood = says(HEAD, for_ever=b"X-Flood: " + b"y" * 4000 + b"\r\n")
continue_flood = says(for_ever=b"HTTP/1.1 100 Continue\r\n\r\n" * 20)
garbage = says(b"\x00\xff\xfe NOT HTTP \r\n\r\n" * 10)
hangs_up = says()
