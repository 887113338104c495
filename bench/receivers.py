"""Webhook receivers in a process of their own, as cheap as they can be: what is measured is the sender.

Its first line on stdout is the ports; each line on stdin is answered with all that came since the last one. What a
receiver does is said by the path that is asked for:

- `/`: 204, at once
- `/silent`: reads, and never answers
- `/moody`: of each delivery's first request one in three is answered with 500, or never, or closed amidst the answer
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import uvloop

_DONE = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
_REFUSED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_MOODS = (_REFUSED, b"", _DONE[:9])
_LONGEST_LINE = 2**28


@dataclass(frozen=True)
class Arrival:
    id: str
    at: float
    """time.monotonic(), which all processes of a machine share."""
    body: str
    """A digest of it."""
    done: bool
    """Whether it was answered with 204."""


class _Receiver(asyncio.Protocol):
    def __init__(self, arrived: list[tuple[str, float, str, bool]], known: set[str]) -> None:
        self._arrived = arrived
        self._known = known
        self._data = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        if len(body) < int(_header(head, b"content-length")):
            return
        delivery = _header(head, b"webhook-id").decode()
        answer = self._answer(head.split(b" ", 2)[1], first=delivery not in self._known)
        self._known.add(delivery)
        digest = hashlib.sha256(body).hexdigest()[:16]
        self._arrived.append((delivery, time.monotonic(), digest, answer is _DONE))
        if answer:
            self._transport.write(answer)
            self._transport.close()

    @staticmethod
    def _answer(path: bytes, *, first: bool) -> bytes:
        if path == b"/silent":
            return b""
        return random.choice(_MOODS) if path == b"/moody" and first and random.random() < 1 / 3 else _DONE


def _header(head: bytes, name: bytes) -> bytes:
    """Of a request of ours, which writes its names in small letters."""
    return head.split(b"\r\n" + name + b": ", 1)[1].split(b"\r\n", 1)[0]


async def _serve(many: int) -> None:
    loop = asyncio.get_running_loop()
    arrived: list[tuple[str, float, str, bool]] = []
    known: set[str] = set()
    servers = [
        await loop.create_server(lambda: _Receiver(arrived, known), "127.0.0.1", 0, backlog=1024) for _ in range(many)
    ]
    _say([server.sockets[0].getsockname()[1] for server in servers])
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        _say(arrived)
        arrived.clear()


def _say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Receivers:
    """Their process, asked from outside."""

    def __init__(self, child: asyncio.subprocess.Process, ports: list[int]) -> None:
        self._child = child
        self.ports = ports

    async def take(self) -> list[Arrival]:
        """What came since the last time, in order."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(b"\n")
        return [Arrival(*each) for each in json.loads(await self._child.stdout.readline())]


@asynccontextmanager
async def receivers(many: int) -> AsyncIterator[Receivers]:
    """So many, each on a port of its own."""
    command = [sys.executable, "-m", "bench.receivers", str(many)]
    child = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=_LONGEST_LINE)
    try:
        assert child.stdout is not None
        yield Receivers(child, json.loads(await child.stdout.readline()))
    finally:
        child.kill()
        await child.wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
