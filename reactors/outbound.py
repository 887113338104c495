"""A connection to a customer's server: to an address that was checked, and with an end to what it may say."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from typing import Any

import httpcore

CONNECT_S = 5.0
HEAD_BYTES = 16 * 1024
_AT_ONCE = 4096
"""A server that floods us with tiny parts of a message takes this much of the loop's time before others have theirs."""


class AnswerTooLong(httpcore.ReadError):
    """The server said more than it may."""


class Pinned(httpcore.AsyncNetworkBackend):
    """For one request: whatever name it has, the connection goes to one of `addresses`, tried in their order."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._network = httpcore.AnyIOBackend()
        self.left = HEAD_BYTES
        """Bytes that may still be read; whoever has seen the head of the answer sets what its body may have."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        for address in self._addresses:
            try:
                return _Bounded(self, await self._network.connect_tcp(address, port, CONNECT_S))
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if address == self._addresses[-1]:
                    raise
        raise httpcore.ConnectError("no address")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Bounded(httpcore.AsyncNetworkStream):
    def __init__(self, of: Pinned, stream: httpcore.AsyncNetworkStream) -> None:
        self._of = of
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._of.left <= 0:
            raise AnswerTooLong
        await asyncio.sleep(0)  # what TLS has buffered comes without a pause
        data = await self._stream.read(min(max_bytes, _AT_ONCE, self._of.left), timeout)
        self._of.left -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _Bounded(self._of, await self._stream.start_tls(ssl_context, server_hostname, CONNECT_S))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
