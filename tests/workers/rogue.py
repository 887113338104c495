"""A process in the place of a session's, wrong in the way that it is told. `python -m tests.workers.rogue FD HOW`"""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import msgspec
import pytest

from schemas.events import Meter, Segment, SessionEnded, SessionHeartbeat, SessionStarting
from workers import children
from workers.children import Child, say_alive
from workers.messages import Playing, Ready, Said, Start
from workers.pipe import Pipe


def rogues(monkeypatch: pytest.MonkeyPatch, how: str) -> list[Child]:
    """Session processes are of this kind from now on; returns those that there are."""
    spawned: list[Child] = []

    async def spawn() -> Child:
        child = await Child.spawn("tests.workers.rogue", how)
        await child.begin(60)
        spawned.append(child)
        return child

    monkeypatch.setattr(children, "_session", spawn)
    return spawned


async def never() -> Child:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


def beat(start: Start, **changes: object) -> SessionHeartbeat:
    whose = (start.task.session_id, start.attempt, start.worker_id)
    usual = SessionHeartbeat(
        *whose, n=1, meter=Meter(1000, 25, 0), segment=None, late_frames=0, dropped_frames=0, skew_ms=None
    )
    return msgspec.structs.replace(usual, **changes)


def wrong(start: Start, how: str) -> Said:
    """A message that is one, and whose event this process must not say."""
    sid, attempt, worker_id = start.task.session_id, start.attempt, start.worker_id
    starting = msgspec.json.encode(SessionStarting(sid, attempt, worker_id))
    said = {
        "of another session": Said.of(beat(start, n=2, session_id="sess_other")),
        "with another number": Said.of(beat(start, n=2**40)),
        "with the number before": Said.of(beat(start)),
        "of another attempt": Said.of(beat(start, n=2, attempt=attempt + 1)),
        "of another worker": Said.of(beat(start, n=2, worker_id="wrk_other")),
        "as the roster": Said.of(SessionEnded(sid, attempt, "api_request", expected_seq=2)),
        "in the supervisor's place": Said("session.starting", starting),
        "of no type": Said("session.exploded", b"{}"),
        "not of its type": Said("session.heartbeat", b'{"n":"three"}'),
        "no JSON": Said("session.heartbeat", b"\xff" * 50),
    }
    return said[how]


async def main(end: socket.socket, how: str) -> None:
    pipe: Pipe[Start] = await Pipe.over(end, Start)
    alive = asyncio.create_task(say_alive(pipe))
    pipe.send(Ready())
    start = await pipe.receive()
    assert start is not None
    if how == "raving":
        data = msgspec.msgpack.encode({"type": "said", "data": 3})
        pipe._writer.write(len(data).to_bytes(4, "big") + data)
    elif how == "endless":
        pipe._writer.write(b"\xff" * 5000)
    elif how in ("beating", "dying"):
        pipe.send(Said.of(beat(start)))
        if how == "dying":
            pipe.send(Playing(Segment("seg_1", 40)))
            await pipe.flush()
            os._exit(1)
    elif how != "silent":
        pipe.send(Said.of(beat(start)))
        pipe.send(wrong(start, how))
    await alive


if __name__ == "__main__":
    asyncio.run(main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2]))
