"""A process in the place of a session's, wrong in the way that it is told. `python -m tests.workers.rogue FD HOW`"""

from __future__ import annotations

import asyncio
import socket
import sys

import msgspec

from schemas.events import Meter
from workers.children import say_alive
from workers.messages import Beat, Ready, Start
from workers.pipe import Pipe


async def main(end: socket.socket, how: str) -> None:
    pipe: Pipe[Start] = await Pipe.over(end, Start)
    alive = asyncio.create_task(say_alive(pipe))
    pipe.send(Ready())
    await pipe.receive()
    if how == "raving":
        data = msgspec.msgpack.encode({"type": "beat", "meter": "three", "segment": None})
        pipe._writer.write(len(data).to_bytes(4, "big") + data)
    elif how == "endless":
        pipe._writer.write(b"\xff" * 5000)
    elif how == "beating":
        pipe.send(Beat(Meter(1000, 25, 0), None, 0, 0))
    await alive


if __name__ == "__main__":
    asyncio.run(main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2]))
