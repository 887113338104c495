"""The internal port of a process: whether it lives, whether it is ready, and its metrics.

- `/healthz`: 200 while the process' own loop goes round. What does not answer is to be killed.
- `/readyz`: 200, or 503 and what is missing, one thing a line. What ready means is its process' to say.
- `/metrics`: Prometheus' text format, of the process and of the registries that it was given.
- what else its process shows its operator.

It is for whoever runs the process: it has no key, so it stands on 127.0.0.1 unless it is told otherwise. Whatever comes
there takes no more than _MOST connections, _HEAD bytes each and _WITHIN_S: the process has other work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from types import MappingProxyType

import h11
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Info,
    disable_created_metrics,
    generate_latest,
)

from schemas.background import Background

Ready = Callable[[], Awaitable[Sequence[str]]]
"""What is missing: nothing when the process is ready. It may take _READY_S, and must not raise."""

Answer = tuple[int, str, bytes]
"""(status, content type, body)"""
Page = Callable[[], Awaitable[Answer]]

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"

_MOST = 64
_HEAD = 8 * 1024
_WITHIN_S = 5.0
_READY_S = 3.0
_KEPT_S = 0.2
"""Many that ask at once get one answer: whether the database answers is not asked for each of them."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # when each series began: nobody asks, and it is a series more for each


@asynccontextmanager
async def opened(
    kind: str,
    host: str,
    port: int,
    ready: Ready,
    told: Sequence[CollectorRegistry],
    pages: Mapping[str, Page] = MappingProxyType({}),
) -> AsyncIterator[None]:
    """Serve until the end of the block; port 0: nowhere. `kind`: of the process, as `greenroom KIND` starts it.
    `pages`: path → what is there beside.

    Raises OSError, with a sentence, when the port cannot be had.
    """
    if not port:
        yield
        return
    served = _InternalPort(ready, (REGISTRY, _about(kind), *told), pages)
    try:
        server = await asyncio.start_server(served.connected, host, port, limit=_HEAD)
    except OSError as failed:
        raise OSError(
            failed.errno, f"{host}:{port} cannot be listened on", f"the internal port of greenroom {kind}"
        ) from failed
    try:
        yield
    finally:
        server.close()
        await served.close()


def _about(kind: str) -> CollectorRegistry:
    registry = CollectorRegistry()
    about = {"kind": kind, "version": version("greenroom")}
    Info("greenroom_process", "What kind of process this is, of which version.", registry=registry).info(about)
    return registry


class _InternalPort:
    def __init__(self, ready: Ready, told: Sequence[CollectorRegistry], pages: Mapping[str, Page]) -> None:
        self._told = told
        self._ready = ready
        self._pages: Mapping[str, Page] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            **pages,
        }
        self._open: dict[asyncio.StreamWriter, None] = {}
        """Oldest first."""
        self._talking = Background()
        self._asking = asyncio.Lock()
        self._missing: tuple[float, Sequence[str]] | None = None

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The oldest makes room: whoever says nothing keeps nobody out."""
        if len(self._open) >= _MOST:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        self._open[writer] = None
        self._talking.spawn(self._talk(reader, writer), "internal port")

    async def close(self) -> None:
        for writer in self._open:
            writer.transport.abort()
        await self._talking.cancel()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request and its answer."""
        try:
            async with asyncio.timeout(_WITHIN_S):
                writer.write(await self._answered(reader))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError):
            return
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    async def _answered(self, reader: asyncio.StreamReader) -> bytes:
        """Of whatever comes; nothing for who goes without a request."""
        talk = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD)
        try:
            while (event := talk.next_event()) is h11.NEED_DATA:
                talk.receive_data(await reader.read(_HEAD))
        except h11.RemoteProtocolError as wrong:
            return _said(talk, wrong.error_status_hint, TEXT, b"This is no request that is understood here.\n")
        if not isinstance(event, h11.Request):
            return b""
        if event.method != b"GET":
            return _said(talk, 405, TEXT, b"Only GET is understood here.\n")
        page = self._pages.get(event.target.partition(b"?")[0].decode("latin-1"))
        return _said(talk, *(await page() if page is not None else (404, TEXT, self._index)))

    @property
    def _index(self) -> bytes:
        return f"Here are {', '.join(self._pages)}.\n".encode()

    async def _healthz(self) -> Answer:
        return 200, TEXT, b"ok\n"

    async def _readyz(self) -> Answer:
        missing = await self._what_is_missing()
        return (503 if missing else 200), TEXT, "".join(f"{line}\n" for line in missing or ["ok"]).encode()

    async def _metrics(self) -> Answer:
        return 200, CONTENT_TYPE_LATEST, b"".join(generate_latest(each) for each in self._told)

    async def _what_is_missing(self) -> Sequence[str]:
        async with self._asking:
            if self._missing is None or time.monotonic() - self._missing[0] > _KEPT_S:
                try:
                    async with asyncio.timeout(_READY_S):
                        missing = await self._ready()
                except TimeoutError:
                    missing = [f"whether it is ready was not known within {_READY_S:.0f} s"]
                self._missing = (time.monotonic(), missing)
            return self._missing[1]


def _said(talk: h11.Connection, status: int, content_type: str, body: bytes) -> bytes:
    headers = [("Content-Type", content_type), ("Content-Length", str(len(body))), ("Connection", "close")]
    parts = (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage())
    return b"".join(talk.send(part) or b"" for part in parts)
