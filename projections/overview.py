"""The operator's view: all accounts, workers and qualities at this moment. Of live windows, so nothing depends on
it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from projections import windows
from schemas.live import HOPPING_MINUTES, WINDOW_MS, Dimension, Window
from store.database import Connection

MINUTES = 15
MOST = 10
"""Accounts that are shown: those with the most billed time."""


class Of(Struct, frozen=True):
    """The last five minutes of an account, a worker or a quality."""

    key: str
    window: Window


class WorkerNow(Struct, frozen=True):
    """A worker's last word."""

    worker_id: str
    phase: str
    slots: int
    held: int
    age_ms: int


class Behind(Struct, frozen=True):
    """How many events of a topic a consumer has not read yet."""

    consumer: str
    topic: str
    events: int


class Overview(Struct, frozen=True):
    """`minutes`: the last MINUTES, of everything; `now`: its last five minutes as one window."""

    at_ms: int
    minutes: list[Window]
    now: Window
    qualities: list[Of]
    accounts: list[Of]
    workers: list[WorkerNow]
    parked: int


async def overview(connection: Connection, now_ms: int) -> Overview:
    oldest = windows.minute_start(now_ms) - MINUTES * WINDOW_MS
    everything = (await windows.minutes_of(connection, "all", None, oldest, now_ms + WINDOW_MS)).get("", {})
    (now,) = windows.windows(everything, now_ms, 1, HOPPING_MINUTES)
    accounts = await _of(connection, "account", now_ms)
    cursor = await connection.execute("SELECT count(*) FROM parked")
    ((parked,),) = await cursor.fetchall()
    return Overview(
        now_ms,
        windows.windows(everything, now_ms, MINUTES, 1),
        now,
        await _of(connection, "quality", now_ms),
        sorted(accounts, key=lambda each: (-each.window.billable_ms, -each.window.starts, each.key))[:MOST],
        await _workers(connection, now_ms),
        parked,
    )


async def _of(connection: Connection, dimension: Dimension, now_ms: int) -> list[Of]:
    """Of each key the last five minutes, as far as anything happened in them."""
    oldest = windows.minute_start(now_ms) - (HOPPING_MINUTES - 1) * WINDOW_MS
    found = await windows.minutes_of(connection, dimension, None, oldest, now_ms + WINDOW_MS)
    return [Of(key, windows.window(minutes, oldest, HOPPING_MINUTES)) for key, minutes in sorted(found.items())]


async def _workers(connection: Connection, now_ms: int) -> list[WorkerNow]:
    """Those that have said anything in this minute or the one before."""
    cursor = await connection.execute(
        """
        SELECT DISTINCT ON (worker_id) worker_id, phase, slots, held, %s - at_ms FROM r.live_workers
        WHERE minute_ms >= %s ORDER BY worker_id, minute_ms DESC LIMIT 200
        """,
        [now_ms, windows.minute_start(now_ms) - WINDOW_MS],
    )
    rows = await cursor.fetchall()
    return [WorkerNow(worker, phase, slots, held, max(0, age)) for worker, phase, slots, held, age in rows]


async def behind(connection: Connection, ends: Mapping[str, Mapping[int, int]]) -> Sequence[Behind]:
    """`ends`: topic → partition → the offset that comes next in the log. The furthest behind first."""
    cursor = await connection.execute("SELECT name, topic, partition, next_offset FROM checkpoints")
    found: dict[tuple[str, str], int] = {}
    for name, topic, partition, next_offset in await cursor.fetchall():
        if topic in ends:
            left = max(0, ends[topic].get(partition, 0) - next_offset)
            found[name, topic] = found.get((name, topic), 0) + left
    rows = [Behind(name, topic, events) for (name, topic), events in found.items()]
    return sorted(rows, key=lambda each: (-each.events, each.consumer))
