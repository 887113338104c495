"""Reading live windows: minutes of `projections/live.py`, added up.

A tumbling window is a minute; a hopping one is the sum of its minutes, since everything counted there can be added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from projections.latencies import percentiles
from schemas.live import LATENESS_MS, OTHER, WINDOW_MS, Dimension, FirstFrames, Window
from store.database import Connection

Counts = Mapping[str, int]
"""Measure (`projections/live.py`) → how many, of one minute or of several."""
_PERCENTILES = (0.50, 0.95, 0.99)


class Workers(NamedTuple):
    """The workers of a minute, by their last word in it. `phases`: how many are in each."""

    phases: dict[str, int]
    slots: int
    held: int


def minute_start(time_ms: int) -> int:
    return time_ms - time_ms % WINDOW_MS


def window(minutes: Mapping[int, Counts], from_ms: int, count: int) -> Window:
    """Of the `count` minutes that begin at `from_ms`. `minutes`: the start of each → what was counted in it."""
    starts = [from_ms + n * WINDOW_MS for n in range(count)]
    total: Counter[str] = Counter()
    for start in starts:
        total.update(minutes.get(start, {}))
    to_ms = from_ms + count * WINDOW_MS
    return Window(
        from_ms=from_ms,
        to_ms=to_ms,
        closes_ms=to_ms + LATENESS_MS,
        starts=total["starts"],
        active=_of(minutes.get(starts[-1], {}), "active"),
        first_frame=_first_frames(_of(total, "first_frame")),
        billable_ms=total["billable_ms"],
        credit_us=total["credit_us"],
        failures=_of(total, "failure"),
        audio_stalls=total["audio_stalls"],
        late=total["late"],
    )


def _of(counts: Counts, measure: str) -> dict[str, int]:
    """What stands behind `measure:`, of those that are there."""
    prefix = f"{measure}:"
    return {name.removeprefix(prefix): n for name, n in sorted(counts.items()) if name.startswith(prefix) and n > 0}


def _first_frames(buckets: Mapping[str, int]) -> FirstFrames:
    counted = {int(number): count for number, count in buckets.items()}
    return FirstFrames(sum(counted.values()), *percentiles(counted, _PERCENTILES))


def windows(minutes: Mapping[int, Counts], last_ms: int, how_many: int, count: int) -> list[Window]:
    """The `how_many` windows of `count` minutes each, of which the last one ends with the minute of `last_ms`."""
    last_start = minute_start(last_ms) - (count - 1) * WINDOW_MS
    return [window(minutes, last_start - n * WINDOW_MS, count) for n in reversed(range(how_many))]


async def minutes_of(
    connection: Connection, dimension: Dimension, keys: Sequence[str] | None, from_ms: int, to_ms: int
) -> dict[str, dict[int, dict[str, int]]]:
    """Key → start of the minute → measure → value, of these keys (None: of all), from `from_ms` to before `to_ms`."""
    cursor = await connection.execute(
        """
        SELECT key, minute_ms, measure, value FROM r.live_counts
        WHERE dimension = %s AND (%s::text[] IS NULL OR key = ANY(%s)) AND minute_ms >= %s AND minute_ms < %s
        """,
        [dimension, keys, keys, from_ms, to_ms],
    )
    found: dict[str, dict[int, dict[str, int]]] = {}
    for key, minute_ms, measure, value in await cursor.fetchall():
        found.setdefault(key, {}).setdefault(minute_ms, {})[measure] = value
    return found


async def keys_since(connection: Connection, from_ms: int) -> set[tuple[int, Dimension, str]]:
    """(minute, dimension, key) of all that was counted in minutes that begin at `from_ms` or later."""
    cursor = await connection.execute(
        "SELECT DISTINCT minute_ms, dimension, key FROM r.live_counts WHERE minute_ms >= %s", [from_ms]
    )
    return set(await cursor.fetchall())


async def of_account(
    connection: Connection, account_id: str, from_ms: int, to_ms: int
) -> tuple[dict[int, dict[str, int]], bool]:
    """Its minutes, and whether they are complete: in none of them anything was counted as OTHER, which might be its."""
    found = await minutes_of(connection, "account", [account_id, OTHER], from_ms, to_ms)
    return found.get(account_id, {}), OTHER not in found


async def workers(connection: Connection, minute_ms: int) -> Workers:
    cursor = await connection.execute(
        "SELECT phase, count(*), sum(slots)::bigint, sum(held)::bigint FROM r.live_workers"
        " WHERE minute_ms = %s GROUP BY phase ORDER BY phase",
        [minute_ms],
    )
    rows = await cursor.fetchall()
    return Workers({phase: n for phase, n, _, _ in rows}, sum(row[2] for row in rows), sum(row[3] for row in rows))
