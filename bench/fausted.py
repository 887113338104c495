"""The tables of `sessions` and `usage` by a faust-streaming app: the same decoding, fold, rows and SQL, faust's loop.

States are kept in a dict, as a table of faust's in memory would; positions are faust's own, committed now and then. So
it does less than our projections: it has no checkpoint, loads no state, and after a crash it enters readings twice.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import faust
import uvloop
from faust.streams import Stream
from faust.types import EventT, StreamT

from events.consumer import BATCH, LINGER_S
from events.session_state import State
from events.sessions import FOLD
from events.stopping import stop
from events.topics import SESSIONS
from projections.folding import Folded, Placed, fold
from projections.sessions import SessionsProjection
from projections.usage import UsageProjection
from projections.versions import Version
from reactors.live_reading import Read
from reactors.processes import until_stopped
from store.database import Pool, pool
from store.settings import StoreSettings

SESSIONS_OF_FAUST = Version("sessions", 99)
USAGE_OF_FAUST = Version("usage", 99)


class _App(faust.App):
    def _create_directories(self) -> None:
        """For tables, of which there are none."""


class Tables:
    def __init__(self, connections: Pool) -> None:
        self._pool = connections
        self._states: dict[str, State | None] = {}
        self._projections = (SessionsProjection(), UsageProjection())
        for projection, version in zip(self._projections, (SESSIONS_OF_FAUST, USAGE_OF_FAUST), strict=True):
            projection.use(version)
            projection.name = version.consumer

    async def enter(self, stream: StreamT[bytes]) -> None:
        async for events in _batches(stream):
            records = [_read(event) for event in events]
            folded: Folded[State] = Folded()
            placed: list[Placed] = [(FOLD.decode(r), r.partition, r.offset, r.timestamp) for r in records]
            fold(folded, placed, self._states, FOLD.evolve)
            async with self._pool.connection() as connection, connection.transaction():
                for projection in self._projections:
                    await projection.apply(connection, folded)
                await connection.execute("INSERT INTO fausted VALUES (%s)", [len(records)])


def _batches(stream: StreamT[bytes]) -> AsyncIterator[Sequence[EventT[bytes]]]:
    assert isinstance(stream, Stream)
    return stream.take_events(BATCH, within=LINGER_S)


def _read(event: EventT[bytes]) -> Read:
    message: Any = event.message
    place = (message.topic, message.partition, message.offset, round(message.timestamp * 1000))
    return Read(*place, message.key, message.value, message.headers or ())


def application(settings: StoreSettings, tables: Tables) -> faust.App:
    app = _App(
        f"{settings.topic_prefix}fausted",
        broker=[f"kafka://{settings.kafka_bootstrap}"],
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=False,
        web_enabled=False,
        store="memory://",
    )
    raw: Any = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
    app.agent(app.topic(settings.topic_prefix + SESSIONS.name, **raw), concurrency=1)(tables.enter)
    return app


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def serve() -> None:
    """Until SIGTERM."""
    logging.getLogger("faust").setLevel(logging.WARNING)
    logging.getLogger("mode").setLevel(logging.WARNING)
    gc.set_threshold(500_000, 20, 100)
    settings = StoreSettings()
    async with pool(settings.database_url, 2) as connections:
        app = application(settings, Tables(connections))
        try:
            await app.start()
            await until_stopped([_for_ever()])
        finally:
            await stop(app)


if __name__ == "__main__":
    uvloop.run(serve())
