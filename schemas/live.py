"""Live windows: what they are called, and what they look like on the wire."""

from __future__ import annotations

from typing import Final, Literal, get_args

from msgspec import Struct, structs
from pydantic import BaseModel, Field

from schemas.times import to_wire

Dimension = Literal["all", "account", "worker", "quality"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
ALL: Final = ""
"""The one key of the dimension `all`."""
OTHER: Final = "other"
"""The key of what is beyond the most accounts or workers that a minute has rows for."""

WINDOW_MS: Final = 60_000
"""A tumbling window: a minute, by the events' own time."""
HOPPING_MINUTES: Final = 5
"""A hopping window: five minutes, beginning anew each minute."""
LATENESS_MS: Final = 120_000
"""An event that is appended later than this after its own time counts in the oldest window that is still open."""

WindowName = Literal["1m", "5m"]
MINUTES: Final[dict[WindowName, int]] = {"1m": 1, "5m": HOPPING_MINUTES}


class FirstFrames(Struct, frozen=True):
    """From the accepted create to the first frame, of the sessions that showed one; percentiles within 1 %."""

    count: int
    p50_ms: int | None
    p95_ms: int | None
    p99_ms: int | None


class Window(Struct, frozen=True):
    """What happened from `from_ms` until before `to_ms`. Once the log's time is `closes_ms` nothing changes it.

    `active`: sessions of which something was heard in the window's last minute, by their last status in it.
    """

    from_ms: int
    to_ms: int
    closes_ms: int
    starts: int
    active: dict[str, int]
    first_frame: FirstFrames
    billable_ms: int
    credit_us: int
    failures: dict[str, int]
    audio_stalls: int
    late: int


class FirstFramesResource(BaseModel):
    """From the accepted create to the first frame, within 1 %; null: no session has shown one."""

    count: int
    p50_ms: int | None
    p95_ms: int | None
    p99_ms: int | None


class LiveWindowResource(BaseModel):
    """`active`: sessions of which something was heard in the window's last minute, by their last status in it.
    60,000,000 `credit_us` are one credit. `late`: events that came too late for their own minute and count here."""

    start: str
    end: str
    closes_at: str = Field(description="From then on nothing changes it.")
    starts: int
    active: dict[str, int]
    first_frame: FirstFramesResource
    billable_ms: int
    credit_us: int
    failures: dict[str, int]
    audio_stalls: int
    late: int


class LiveResource(BaseModel):
    """In order of time; the last of `windows` is the one of now. `complete`: false when there were more accounts than
    are counted apart, and some of yours may be missing."""

    object: Literal["live"] = "live"
    window: WindowName
    window_seconds: int
    hop_seconds: int
    lateness_seconds: int
    complete: bool
    windows: list[LiveWindowResource]


def shown(window: Window) -> LiveWindowResource:
    return LiveWindowResource(
        start=to_wire(window.from_ms),
        end=to_wire(window.to_ms),
        closes_at=to_wire(window.closes_ms),
        starts=window.starts,
        active=window.active,
        first_frame=FirstFramesResource(**structs.asdict(window.first_frame)),
        billable_ms=window.billable_ms,
        credit_us=window.credit_us,
        failures=window.failures,
        audio_stalls=window.audio_stalls,
        late=window.late,
    )
