"""A connection to a customer's server: to an address that was checked, and with an end to what it may say."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import h11

CONNECT_S = 5.0
HEAD_BYTES = 16 * 1024
_AT_ONCE = 4096
"""A server that floods us with tiny parts of a message takes this much of the loop's time before others have theirs."""


class ConnectError(Exception):
    """No address could be connected to."""


class ConnectTimeout(ConnectError):
    """Nobody answered there in time."""


class ReadError(Exception):
    """The connection broke before the answer was whole."""


class AnswerTooLong(ReadError):
    """The server said more than it may."""


@asynccontextmanager
async def connected(
    addresses: Sequence[str], port: int, tls: ssl.SSLContext | None, name: str
) -> AsyncIterator[Exchange]:
    """To one of `addresses`, tried in their order, whatever `name` it has; gone when the block ends.

    Raises ConnectError.
    """
    exchange = await _connect(addresses, port, tls, name)
    try:
        yield exchange
    finally:
        exchange.abort()


async def _connect(addresses: Sequence[str], port: int, tls: ssl.SSLContext | None, name: str) -> Exchange:
    failed = ConnectError("no address")
    loop = asyncio.get_running_loop()
    for address in addresses:
        try:
            async with asyncio.timeout(CONNECT_S):
                _, exchange = await loop.create_connection(
                    Exchange, address, port, ssl=tls, server_hostname=name if tls else None
                )
                return exchange
        except TimeoutError:
            failed = ConnectTimeout()
        except OSError as refused:  # TLS errors are such, too
            failed = ConnectError()
            failed.__cause__ = refused
    raise failed


class Exchange(asyncio.Protocol):
    """One request and its answer: h11 says what the bytes mean.

    Not asyncio's streams: of a server that answers and resets the connection, they lose the answer.
    """

    def __init__(self) -> None:
        self.left = HEAD_BYTES
        """Bytes that may still be read; whoever has seen the head of the answer sets what its body may have."""
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
        self._said = bytearray()
        self._ended = False
        self._broken: Exception | None = None
        self._news = asyncio.Event()
        self._transport: asyncio.Transport

    def send(self, request: h11.Request, body: bytes) -> None:
        """All at once: what the network does not take yet waits in memory, and is no more than `body`."""
        parts = [self._http.send(event) for event in (request, h11.Data(body), h11.EndOfMessage())]
        self._transport.write(b"".join(part for part in parts if part))

    async def head(self) -> h11.Response:
        """Raises ReadError, h11.RemoteProtocolError."""
        while not isinstance(event := await self._event(), h11.Response):
            pass
        return event

    async def body(self) -> AsyncIterator[bytes]:
        """Its parts, as they come. Raises ReadError, h11.RemoteProtocolError."""
        while isinstance(event := await self._event(), h11.Data):
            yield bytes(event.data)

    def abort(self) -> None:
        """Not a close, which would wait for the server to say that it has understood."""
        self._transport.abort()

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._read())
        return event

    async def _read(self) -> bytes:
        """What the server has said, part by part; empty once it has ended."""
        if self.left <= 0:
            raise AnswerTooLong
        if self._said:
            await asyncio.sleep(0)  # others have their turn in a flood
        while not self._said and not self._ended:
            self._news.clear()
            self._transport.resume_reading()
            await self._news.wait()
        if not self._said and self._broken is not None:
            raise ReadError from self._broken
        part = bytes(self._said[: min(_AT_ONCE, self.left)])
        del self._said[: len(part)]
        self.left -= len(part)
        return part

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._said += data
        if len(self._said) > _AT_ONCE:
            self._transport.pause_reading()
        self._news.set()

    def eof_received(self) -> None:
        self._ended = True
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._broken = exc
        self._news.set()
