"""Messages over a socket pair: four bytes of length, then msgpack."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Generic, TypeVar

import msgspec
import structlog

log = structlog.get_logger()

_MOST = 1024 * 1024
_encode = msgspec.msgpack.Encoder().encode

In = TypeVar("In")


class Pipe(Generic[In]):
    """One end. `incoming` is the union of messages that this end receives."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, incoming: Any) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder: msgspec.msgpack.Decoder[In] = msgspec.msgpack.Decoder(incoming)
        self._size: int | None = None
        self.broken = False
        """What came was no message. Nothing that follows can be trusted to be one."""

    @classmethod
    async def over(cls, end: socket.socket, incoming: Any) -> Pipe[In]:
        end.setblocking(False)
        return cls(*await asyncio.open_connection(sock=end), incoming)

    def send(self, message: msgspec.Struct) -> None:
        """Never blocks; a pipe whose other end is gone swallows it (its reader sees the end)."""
        if not self._writer.is_closing():
            data = _encode(message)
            self._writer.write(len(data).to_bytes(4, "big") + data)

    async def flush(self) -> None:
        try:
            async with asyncio.timeout(2):
                await self._writer.drain()
        except (OSError, TimeoutError):
            return

    async def receive(self) -> In | None:
        """The next message, or None at the end of the pipe, or where it broke.

        May be cancelled: nothing of a message is lost then.
        """
        if self.broken:
            return None
        try:
            if self._size is None:
                self._size = int.from_bytes(await self._reader.readexactly(4), "big")
            if self._size > _MOST:
                raise ValueError(f"{self._size} bytes")
            data = await self._reader.readexactly(self._size)
            self._size = None
            return self._decoder.decode(data)
        except (asyncio.IncompleteReadError, OSError):
            return None
        except (msgspec.MsgspecError, ValueError, RecursionError) as wrong:
            log.error("not a message", reason=str(wrong))
            self.broken = True
            return None

    def close(self) -> None:
        self._writer.close()
