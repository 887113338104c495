"""Sessions as they should never be, from a seed: what the log of a bad day looks like."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

from msgspec import structs

from events.codec import Event, new_event
from schemas.events import (
    AssignReason,
    Meter,
    SessionAssigned,
    SessionEvent,
    SessionFirstFrame,
    SessionHeartbeat,
    SessionStarting,
)
from schemas.times import now_ms
from tests.builders import beat, life, session_id

SKEW_MS = 5 * 60_000
LATE_MS = 60 * 60_000
_LOST: AssignReason = "worker_lost"
_SEQ = 4
"""Of the last lifecycle event before the end: created, starting, joined, first frame."""


class Chaos:
    """`done`: what was done to whom, how often."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.done: Counter[str] = Counter()

    def session(self, account: str) -> list[Event | bytes]:
        """The records of one session in the order in which they are sent; bytes are no event."""
        pick, sid = self._random, session_id()
        said = life(sid, beats=pick.randrange(5, 40), account=account)
        if pick.random() < 0.2:
            said = self._with_a_zombie(sid, said)
        if pick.random() < 0.05:
            said = self._with_a_wild_meter(said)
        events = list(self._stamped(said))
        self._reorder(events)
        return list(self._again_and_broken(events))

    def _with_a_zombie(self, sid: str, said: list[SessionEvent]) -> list[SessionEvent]:
        """Its worker is declared lost in between, and goes on; so does the one that takes over."""
        self.done["sessions with a zombie"] += 1
        at = self._random.randrange(5, len(said) - 2)
        second: list[SessionEvent] = [
            SessionAssigned(sid, 2, "wrk_2", _LOST, _SEQ),
            SessionStarting(sid, 2, "wrk_2"),
            SessionFirstFrame(sid, 2, "wrk_2", {}),
            *(beat(sid, n, n * 1000, attempt=2, worker="wrk_2") for n in range(1, self._random.randrange(3, 10))),
        ]
        mixed, left = said[:at], said[at:]
        while second or left:
            queue = second if second and (not left or self._random.random() < 0.6) else left
            mixed.append(queue.pop(0))
        return mixed

    def _with_a_wild_meter(self, said: list[SessionEvent]) -> list[SessionEvent]:
        self.done["sessions whose meter claims years"] += 1
        at = self._random.randrange(4, len(said) - 2)
        wild = Meter(10**11, 10**9, 10**11)
        if isinstance(data := said[at], SessionHeartbeat):
            said[at] = structs.replace(data, meter=wild)
        return said

    def _stamped(self, said: list[SessionEvent]) -> Iterator[Event]:
        """By the clock of a worker that is wrong, and some by one that is much more so."""
        skew = self._random.choice((0, self._random.randint(-SKEW_MS, SKEW_MS)))
        self.done["sessions of a skewed clock"] += skew != 0
        began = now_ms()
        for n, data in enumerate(said):
            event = new_event(data, source="proof", subject=data.session_id)
            late = self._random.choice((-LATE_MS, LATE_MS)) if self._random.random() < 0.02 else 0
            self.done["events an hour early or late"] += late != 0
            yield structs.replace(event, time_ms=began + n * 1000 + skew + late)

    def _reorder(self, events: list[Event]) -> None:
        for n in range(1, len(events)):
            if self._random.random() < 0.03:
                self.done["events that changed places"] += 1
                events[n - 1], events[n] = events[n], events[n - 1]

    def _again_and_broken(self, events: list[Event]) -> Iterator[Event | bytes]:
        for n, event in enumerate(events):
            yield event
            if self._random.random() < 0.05:
                self.done["events that came again"] += 1
                yield events[self._random.randrange(n + 1)]
            if self._random.random() < 0.005:
                self.done["records that are no event"] += 1
                yield self._random.randbytes(40)
