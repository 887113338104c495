"""When speech that has begun does not come: told of every tick that was pushed, in media time, without a clock.

Counted in ticks, so a process that was paused, a clock that jumps and a room that is joined anew are no stall.
"""

from __future__ import annotations

from dataclasses import dataclass

from workers.meter import TICK_S

STALLED_S = 3.0
_TICKS = round(STALLED_S / TICK_S)
MOST_TOLD = 100
"""Of one attempt. An agent can stall as often as it likes, and the fold keeps the id of every event that it counts."""


@dataclass(frozen=True)
class Stalled:
    """`since_ms`: the media time of the first tick without sound."""

    since_ms: int


@dataclass(frozen=True)
class Resumed:
    """It is over: there is sound again, or its utterance has ended. `since_ms`: the media time of that."""

    since_ms: int


class StallWatch:
    """Each stall is told once, and each that was told is told to be over once."""

    def __init__(self) -> None:
        self._silent = 0
        self._since_ms = 0
        self._told = 0
        self.stalled = False

    def tick(self, starved: bool, media_ms: int) -> Stalled | Resumed | None:
        """`starved`: an utterance is open, and nothing of it was there for this tick, which began at `media_ms`."""
        if not starved:
            over, self.stalled, self._silent = self.stalled, False, 0
            return Resumed(media_ms) if over and self._told <= MOST_TOLD else None
        if self._silent == 0:
            self._since_ms = media_ms
        self._silent += 1
        if self.stalled or self._silent < _TICKS:
            return None
        self.stalled = True
        self._told += 1
        return Stalled(self._since_ms) if self._told <= MOST_TOLD else None
