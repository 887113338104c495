"""Who is silent: pure. Times are seconds on one monotonic clock, passed in.

A worker is silent when all of its topic has been read and its last record was read LOST_AFTER_S before that. Nobody
is, unless the topic has been read to its end for as long without a break: a pause of ours, of Kafka or of the database
is not the silence of a worker.
"""

from __future__ import annotations

LOST_AFTER_S = 11.5
"""A worker's own lease is 10 s from sending; this counts from reading, so its end always comes later."""
PASS_S = 2.0
"""A pass of the reading loop, or the way to an end of the topic, that takes longer is a break."""


class Presence:
    def __init__(self, began: float = 0.0) -> None:
        self._heard_at: dict[str, float] = {}
        self._passed_at: float | None = None
        self._unbroken_since: float | None = None
        self.read_as_of = began
        """When the topic was last known to have been read to its end."""

    @property
    def at_end(self) -> bool:
        return self._unbroken_since is not None

    @property
    def judges(self) -> bool:
        """Whether silence means anything now."""
        return self._unbroken_since is not None and self.read_as_of - self._unbroken_since >= LOST_AFTER_S

    def passes(self, now: float) -> None:
        """A pass of the loop begins."""
        if self._passed_at is not None and now - self._passed_at > PASS_S:
            self._unbroken_since = None
        self._passed_at = now

    def broken(self) -> None:
        self._unbroken_since = self._passed_at = None

    def heard(self, worker_id: str, now: float) -> None:
        """One of its records has been read."""
        self._heard_at[worker_id] = now

    def forget(self, worker_id: str) -> None:
        self._heard_at.pop(worker_id, None)

    def reached(self, as_of: float, now: float) -> None:
        """All that the topic held at `as_of` has been read by `now`."""
        if now - as_of > PASS_S:
            self._unbroken_since = None
            return
        self.read_as_of = as_of
        if self._unbroken_since is None:
            self._unbroken_since = as_of

    def stale(self, now: float) -> bool:
        """Whether this pass takes so long that what it found silent may have been heard by now."""
        return self._passed_at is None or now - self._passed_at > PASS_S

    def silent(self) -> list[str]:
        if not self.judges:
            return []
        return [worker_id for worker_id, at in self._heard_at.items() if self.read_as_of - at > LOST_AFTER_S]
