"""A client of server-sent events, as a browser's: what it has received, and how the stream ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

ACCEPT = {"Accept": "text/event-stream"}


@dataclass
class Received:
    id: str
    type: str
    data: dict[str, Any]


@dataclass
class Stream:
    received: list[Received] = field(default_factory=list)
    comments: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server closed the stream in order."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, answer: httpx.Response) -> None:
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if line.startswith(":"):
                self.comments += 1
            elif line:
                fields[name] = value
            elif "data" in fields:
                self.received.append(Received(fields["id"], fields["event"], json.loads(fields["data"])))
                fields = {}
            self._news.set()
        self.ended.set()

    async def until(self, count: int, within_s: float = 60) -> list[Received]:
        """The first `count` events, once they are here."""
        async with asyncio.timeout(within_s):
            while len(self.received) < count:
                await self._news.wait()
                self._news.clear()
        return self.received[:count]

    async def end(self, within_s: float = 60) -> list[Received]:
        async with asyncio.timeout(within_s):
            await self.ended.wait()
        return self.received


@asynccontextmanager
async def opened(client: httpx.AsyncClient, path: str, after: str | None = None) -> AsyncIterator[Stream]:
    headers = ACCEPT | ({} if after is None else {"Last-Event-ID": after})
    async with client.stream("GET", path, headers=headers, timeout=httpx.Timeout(15, read=None)) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        stream = Stream()
        reading = asyncio.create_task(stream.read(answer))
        try:
            yield stream
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
