"""How far a consumer has come in the log, for metrics and readiness. It decides nothing, and is lost with the process.

In seconds, the lag is how long ago the consumer was last known to be at the log's end; or, when that is less, how old
the last event is that it has stored. So a quiet log is no lag, one that is read at a steady distance is as far behind
as that distance, and what stands still, or hears nothing of Kafka, is behind for longer and longer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from events.metrics import MALFORMED
from projections import metrics
from schemas.times import now_ms

READY_LAG_S = 60.0
"""A consumer that may be further behind is not ready."""
_HEARD_WITHIN_S = 4.5
"""What Kafka and we may take beside the time after which we hear of the log anyway."""


class Progress:
    """Of one consumer. `heard_every_s`: how often `saw` is called. `clock`: seconds; `epoch_ms`: the log's time."""

    def __init__(
        self,
        name: str,
        heard_every_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
        epoch_ms: Callable[[], int] = now_ms,
    ) -> None:
        self.name = name
        self._heard_within_s = heard_every_s + _HEARD_WITHIN_S
        self._clock = clock
        self._epoch_ms = epoch_ms
        self._stored: dict[int, int] | None = None
        """Partition → the offset that comes next, as stored. None: the group has given it nothing yet."""
        self._ends: Mapping[int, int] = {}
        self._ends_at = clock()
        self._appended_ms: dict[int, int] = {}
        """Partition → when the last event was appended that was stored."""
        self._at_end = clock()
        """When all was stored that the log was known to hold; at first, when it began."""
        self._tell()

    def _tell(self) -> None:
        metrics.LAG_EVENTS.labels(self.name).set_function(lambda: self.behind)
        metrics.LAG_SECONDS.labels(self.name).set_function(lambda: self.lag_s)
        self._accepted = metrics.EVENTS.labels(self.name, "accepted")
        self._refused = metrics.EVENTS.labels(self.name, "refused")
        self._seconds = metrics.BATCH_SECONDS.labels(self.name)
        self._dropped = metrics.DROPPED.labels(self.name)
        MALFORMED.labels(self.name)

    def bound(self, stored: Mapping[int, int], left: int) -> None:
        """It works on these partitions from now on, and leaves `left` others to another process."""
        self._stored = dict(stored)
        metrics.PARTITIONS.labels(self.name, "owned").set(len(stored))
        metrics.PARTITIONS.labels(self.name, "standby").set(left)

    def saw(self, ends: Mapping[int, int], heard_s: float) -> None:
        """The log reached so far `heard_s` seconds ago."""
        self._ends, self._ends_at = ends, self._clock() - heard_s
        self._look()

    def advanced(self, ends: Mapping[int, int], appended_ms: Mapping[int, int]) -> None:
        """A batch is durable. Partition → the offset after it; → when its last event was appended."""
        if self._stored is None:
            return
        for partition, end in ends.items():
            if end > self._stored.get(partition, end):
                self._stored[partition] = end
                self._appended_ms[partition] = appended_ms[partition]
        self._look()

    def _look(self) -> None:
        """Whether it is at the end. Also once a batch is durable: where events never pause, each round begins with some
        that are not."""
        if self._stored is not None and all(self._ends.get(p, at + 1) <= at for p, at in self._stored.items()):
            self._at_end = max(self._at_end, self._ends_at)

    def folded(self, accepted: int, refused: int, seconds: float) -> None:
        """What was in that batch, and what it took."""
        self._accepted.inc(accepted)
        self._refused.inc(refused)
        self._seconds.observe(seconds)

    def dropped(self) -> None:
        self._dropped.inc()

    @property
    def behind(self) -> int:
        """Events."""
        return sum(self._behind().values())

    @property
    def lag_s(self) -> float:
        since, behind = self._clock() - self._at_end, self._behind()
        if self._stored is None or (not behind and since > self._heard_within_s):
            return since
        now_ms = self._epoch_ms()
        ages = ((now_ms - self._appended_ms[p]) / 1000 if p in self._appended_ms else since for p in behind)
        return max(0.0, min(since, max(ages, default=0.0)))

    @property
    def missing(self) -> str | None:
        """Why it is not ready, in words. Nothing to work on, since others do, is ready."""
        if self._stored is None:
            return f"{self.name} has not been given its partitions"
        lag_s = self.lag_s
        return f"{self.name} may be {lag_s:.0f} s behind the log" if lag_s > READY_LAG_S else None

    def _behind(self) -> dict[int, int]:
        """Partition → events, of those that are. Of one whose end is not known yet something may be missing: 0."""
        found = {p: self._ends[p] - at if p in self._ends else 0 for p, at in (self._stored or {}).items()}
        return {p: behind for p, behind in found.items() if behind > 0 or p not in self._ends}
