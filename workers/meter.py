"""The meter of one attempt: media time by the monotonic clock, stalls left out. Source: docs/reference/ledger.md."""

from __future__ import annotations

from schemas.events import Meter

STALL_S = 1.0
TICK_S = 0.040


class MediaMeter:
    """Told of every published tick. Cumulative; nothing counts before the first tick or after the last."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._billable_s = 0.0
        self._frames = 0
        self._audio_samples = 0
        self._ticks = self._ticks_behind = 0
        self.late_frames = 0
        self.dropped_frames = 0

    def tick(self, now: float, speech_samples: int, behind: int = 0) -> None:
        """One frame and 40 ms of audio were handed over at monotonic second `now`; how much of it was speech.

        `behind`: by how many ticks the frame is older than it should be.
        """
        self._ticks += 1
        self._ticks_behind += behind
        if self._last is not None:
            gap = now - self._last
            if gap <= STALL_S:
                self._billable_s += gap
            if gap > 1.5 * TICK_S:
                self.late_frames += 1
                self.dropped_frames += max(0, round(gap / TICK_S) - 1)
        self._last = now
        self._frames += 1
        self._audio_samples += speech_samples

    def skew_ms(self) -> int | None:
        """By how much the picture trailed its sound, beyond what is meant, on average since this was last asked.

        None: there was no tick. What happens behind the worker's queues, it cannot know.
        """
        ticks, behind, self._ticks, self._ticks_behind = self._ticks, self._ticks_behind, 0, 0
        return round(1000 * TICK_S * behind / ticks) if ticks else None

    def pause(self) -> None:
        """Out of the room: the gap until the next tick is nobody's media time."""
        self._last = None

    def read(self) -> Meter:
        return Meter(int(self._billable_s * 1000), self._frames, self._audio_samples // 48)
