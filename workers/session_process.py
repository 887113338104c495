"""A session process: waits warm for one task, holds that session, and ends with it.
`python -m workers.session_process FD`
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys

from livekit import rtc
from structlog.contextvars import bind_contextvars

from faces.confined import keep_to_itself
from schemas.logs import configure_logging, trace_fields
from workers import watch
from workers.children import SESSION_ALIVE_EVERY_S, outlive_signals, say_alive
from workers.messages import Draining, End, HandedOver, Lease, Marks, Ready, Start, ToSession
from workers.pipe import Pipe
from workers.session import Session


async def main(end: socket.socket) -> None:
    pipe: Pipe[ToSession] = await Pipe.over(end, ToSession)
    engine = media_engine()
    pipe.send(Ready())
    first = await pipe.receive()
    while isinstance(first, Lease):  # warm, and not needed yet
        first = await pipe.receive()
    if not isinstance(first, Start):
        return
    alive = asyncio.create_task(say_alive(pipe, SESSION_ALIVE_EVERY_S))  # nobody reads what a warm one says
    task = first.task
    bind_contextvars(session_id=task.session_id, attempt=first.attempt, **trace_fields(task.traceparent))
    session = Session(pipe, first)
    watch.start(lambda: session.renewed_at)
    running = asyncio.create_task(session.run())
    commands = asyncio.create_task(_obey(pipe, session))
    await asyncio.wait([running, commands], return_when=asyncio.FIRST_COMPLETED)
    alive.cancel()
    await pipe.flush()
    del engine


def media_engine() -> object:
    """What keeps the SDK's media engine, which comes with the first track and goes with the last: a track that nobody
    sees. A start that has to wait for it joins 40 ms later."""
    source = rtc.VideoSource(16, 16)
    return source, rtc.LocalVideoTrack.create_video_track("none", source)


async def _obey(pipe: Pipe[ToSession], session: Session) -> None:
    """Until the supervisor is gone: a session without its supervisor leaves at once."""
    while (message := await pipe.receive()) is not None:
        if isinstance(message, End):
            session.request_end(message.reason)
        elif isinstance(message, Draining):
            session.drain()
        elif isinstance(message, HandedOver):
            session.hand_over()
        elif isinstance(message, Lease):
            session.renewed_at = message.renewed_at
        elif isinstance(message, Marks):
            session.take_marks(message)


if __name__ == "__main__":
    keep_to_itself()
    configure_logging()
    outlive_signals()
    asyncio.run(main(socket.socket(fileno=int(sys.argv[1]))))
    os._exit(0)  # the SDK's native threads need not be taken down one by one
