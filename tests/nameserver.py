"""A name server on loopback that says what a test wants, or nothing."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

_A, _AAAA = 1, 28
NO_SUCH_NAME, BROKEN = 3, 2


class NameServer(asyncio.DatagramProtocol):
    """`names`: name → addresses, or a DNS error number. A name that is not in it gets no answer, ever."""

    def __init__(self) -> None:
        self.names: dict[str, list[str] | int] = {}
        self.asked: list[str] = []
        self.address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self.address = "127.0.0.1:{}".format(transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode())
            at += 1 + data[at]
        name, (kind,) = ".".join(labels).lower(), struct.unpack_from("!H", data, at + 1)
        self.asked.append(name)
        found = self.names.get(name)
        if found is None:
            return
        error = found if isinstance(found, int) else 0
        packed = [] if isinstance(found, int) else [ipaddress.ip_address(a).packed for a in found]
        records = [p for p in packed if len(p) == {_A: 4, _AAAA: 16}.get(kind)]
        answers = b"".join(struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(r)) + r for r in records)
        head = data[:2] + struct.pack("!HHHHH", 0x8180 | error, 1, len(records), 0, 0)
        self._transport.sendto(head + data[12 : at + 5] + answers, addr)


@asynccontextmanager
async def nameserver(**names: list[str] | int) -> AsyncIterator[NameServer]:
    """Names are those of `.test`: `nameserver(a=["192.0.2.1"])` knows `a.test`."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    server.names = {f"{name.replace('_', '.')}.test": found for name, found in names.items()}
    try:
        yield server
    finally:
        transport.close()
