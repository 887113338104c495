"""When a session ends by itself. Pure; seconds on a monotonic clock that the caller passes in."""

from __future__ import annotations

from dataclasses import dataclass

EXPIRING_BEFORE_S = 60.0


@dataclass
class Timers:
    """`active_at`: the latest of first frame, received audio, end of playout, and anyone speaking in the room."""

    idle_s: float
    duration_s: float
    started_at: float
    active_at: float
    warned: bool = False

    @classmethod
    def begin(cls, now: float, idle_s: float, duration_s: float) -> Timers:
        return cls(idle_s=idle_s, duration_s=duration_s, started_at=now, active_at=now)

    def active(self, now: float) -> None:
        self.active_at = max(self.active_at, now)

    def over(self, now: float) -> str | None:
        """The reason to end now, if there is one."""
        if now - self.started_at >= self.duration_s:
            return "max_duration"
        if now - self.active_at >= self.idle_s:
            return "idle_timeout"
        return None

    def expires_in_ms(self, now: float) -> int | None:
        """Once, 60 s before the maximum duration (at once for shorter sessions: they do not warn)."""
        left = self.started_at + self.duration_s - now
        if self.warned or left > EXPIRING_BEFORE_S or self.duration_s <= EXPIRING_BEFORE_S:
            return None
        self.warned = True
        return max(0, int(left * 1000))
