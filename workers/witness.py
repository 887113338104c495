"""Tells of a supervisor's death, so that nobody has to wait for its lease to run out. `python -m workers.witness FD`

A child of the supervisor that does nothing but hold the other end of a pipe. Where the pipe ends before the supervisor
has taken its leave, the supervisor is dead, and the witness appends its tombstone: the roster replaces it a second
later, not after 11.5 s. If the witness dies it is started again; if both die at once, the next worker of the machine
tells (`predecessors.py`), and the lease is what is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys

import structlog
from aiokafka.errors import KafkaError
from msgspec import Struct

from events.producer import EventProducer, UnknownOutcome
from events.settings import LogSettings
from events.topics import WORKERS
from faces.confined import keep_to_itself
from schemas.logs import configure_logging
from workers.children import Child, outlive_signals, say_alive
from workers.lease import OVER_S, boottime
from workers.messages import Ready
from workers.pipe import Pipe

log = structlog.get_logger()

_START_S = 30.0
_AGAIN_S = 1.0


class Watch(Struct, frozen=True, tag="watch"):
    """Whose death is to be told, and where."""

    worker_id: str
    kafka_bootstrap: str
    topic_prefix: str


class Leave(Struct, frozen=True, tag="leave"):
    """The supervisor tells of its end itself."""


class Witness:
    """The supervisor's side."""

    def __init__(self, worker_id: str, settings: LogSettings) -> None:
        self._watch = Watch(worker_id, settings.kafka_bootstrap, settings.topic_prefix)
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """Of the one that is at its post."""
        return self._child.pid if self._child else None

    async def keep(self) -> None:
        """For ever. Without a witness a worker works as well; its death is noticed later."""
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                child = await Child.spawn("workers.witness")
                await child.begin(_START_S)
                child.pipe.send(self._watch)
                self._child = child
                while await child.receive() is not None:
                    pass
                child.kill()
                await child.ended()
            self._child = None
            log.warning("witness died, started again")
            await asyncio.sleep(_AGAIN_S)

    async def dismiss(self) -> None:
        if self._child is not None:
            self._child.pipe.send(Leave())
            await self._child.pipe.flush()
            await self._child.ended()


async def main(end: socket.socket) -> None:
    pipe: Pipe[Watch | Leave] = await Pipe.over(end, Watch | Leave)
    alive = asyncio.create_task(say_alive(pipe))
    pipe.send(Ready())
    watch = await pipe.receive()
    if isinstance(watch, Watch) and await pipe.receive() is None and not pipe.broken:
        alive.cancel()
        await tell(watch)


async def tell(watch: Watch) -> None:
    """Until it is acknowledged, or so long that the lease has told it."""
    log.error("the supervisor is dead", worker_id=watch.worker_id)
    settings = LogSettings(kafka_bootstrap=watch.kafka_bootstrap, topic_prefix=watch.topic_prefix)
    deadline = boottime() + OVER_S
    while boottime() < deadline:
        try:
            async with EventProducer(settings) as producer:
                await producer.send_tombstone(WORKERS, watch.worker_id)
                return
        except (UnknownOutcome, KafkaError, TimeoutError) as failed:
            log.warning("its death is not told yet", error=repr(failed))
            await asyncio.sleep(_AGAIN_S)


if __name__ == "__main__":
    keep_to_itself()
    configure_logging()
    outlive_signals()
    asyncio.run(main(socket.socket(fileno=int(sys.argv[1]))))
    os._exit(0)
