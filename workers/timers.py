"""When a session ends by itself. Pure; seconds on a monotonic clock that the caller passes in."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.events import EndReason

EXPIRING_BEFORE_S = 60.0


@dataclass
class Timers:
    """`active_at`: the latest of first frame, received audio, end of playout, and anyone speaking in the room.

    `absent_since`: when the agent left; None while it is there, and before anybody is known to be the agent.
    """

    idle_s: float
    duration_s: float
    absence_s: float
    started_at: float
    active_at: float
    absent_since: float | None = None
    warned: bool = False

    @classmethod
    def begin(cls, now: float, idle_s: float, duration_s: float, absence_s: float = float("inf")) -> Timers:
        return cls(idle_s=idle_s, duration_s=duration_s, absence_s=absence_s, started_at=now, active_at=now)

    def first_frame(self, now: float) -> None:
        """Idle time and duration count from here."""
        self.started_at = self.active_at = now

    def active(self, now: float) -> None:
        self.active_at = max(self.active_at, now)

    def agent(self, here: bool, now: float) -> None:
        if here:
            self.absent_since = None
        elif self.absent_since is None:
            self.absent_since = now

    def over(self, now: float) -> EndReason | None:
        """The reason to end now, if there is one."""
        if now - self.started_at >= self.duration_s:
            return "max_duration"
        if now - self.active_at >= self.idle_s:
            return "idle_timeout"
        if self.absent_since is not None and now - self.absent_since > self.absence_s:
            return "agent_left"
        return None

    def expires_in_ms(self, now: float) -> int | None:
        """Once, 60 s before the maximum duration (at once for shorter sessions: they do not warn)."""
        left = self.started_at + self.duration_s - now
        if self.warned or left > EXPIRING_BEFORE_S or self.duration_s <= EXPIRING_BEFORE_S:
            return None
        self.warned = True
        return max(0, int(left * 1000))
