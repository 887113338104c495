"""Which workers there are, minute by minute, by their own word: the last state record of each in it.

Nothing is decided by it, so the records are not verified as the roster does it: whoever can write to `workers.v1` can
make these figures wrong, and no more than MOST of them.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from events.codec import Malformed, Record, Unknown, decode
from events.dead_letters import tell
from projections.live import OLDER
from projections.windows import minute_start
from schemas.events import WorkerState
from store.database import Pool, delete_by_batches

MOST = 1000
"""Workers of a minute; who comes later is left out."""


_MINUTES_KNOWN = 5


class Heard(NamedTuple):
    phase: str
    slots: int
    held: int
    at_ms: int


class WorkersSeen:
    def __init__(self) -> None:
        self._heard: dict[tuple[int, str], Heard] = {}
        """(minute, worker) → its last word, of those not yet stored."""
        self._known: OrderedDict[int, set[str]] = OrderedDict()
        """Minute → its workers, stored or not."""

    def hear(self, record: Record) -> None:
        """The log's time counts: a worker's clock says nothing of when it was there."""
        if record.value is None:
            return  # a tombstone: it is gone, and its minutes stay
        try:
            event = decode(record)
        except Malformed as broken:
            tell("live", [(record, str(broken))])
            return
        except Unknown:
            return
        state = event.data
        place = (minute_start(record.timestamp), event.subject)
        if not isinstance(state, WorkerState) or not self._may_be_heard(*place):
            return
        before = self._heard.get(place)
        if before is None or before.at_ms <= record.timestamp:
            self._heard[place] = Heard(state.phase, state.slots, len(state.held), record.timestamp)

    def _may_be_heard(self, minute_ms: int, worker: str) -> bool:
        known = self._known.setdefault(minute_ms, set())
        if len(self._known) > _MINUTES_KNOWN:
            self._known.popitem(last=False)
        if worker not in known and len(known) < MOST:
            known.add(worker)
        return worker in known

    async def store(self, pool: Pool) -> set[int]:
        """Returns the minutes of which something was stored. What fails is stored with the next."""
        if not self._heard:
            return set()
        heard = dict(self._heard)
        rows = [(minute_ms, worker, *each) for (minute_ms, worker), each in sorted(heard.items())]
        async with pool.connection() as connection:
            await connection.execute(_STORE, [list(column) for column in zip(*rows, strict=True)])
        for place, each in heard.items():
            if self._heard.get(place) == each:
                del self._heard[place]
        return {minute_ms for minute_ms, _ in heard}


async def prune(pool: Pool, older_s: float) -> int:
    """Delete minutes that began so long ago; returns how many rows went."""
    return await delete_by_batches(pool, "live_v1.workers", "minute_ms, worker_id", OLDER, older_s)


_STORE = """
INSERT INTO live_v1.workers AS w (minute_ms, worker_id, phase, slots, held, at_ms)
SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::int[], %s::int[], %s::bigint[])
ON CONFLICT (minute_ms, worker_id) DO UPDATE
    SET phase = excluded.phase, slots = excluded.slots, held = excluded.held, at_ms = excluded.at_ms
    WHERE excluded.at_ms >= w.at_ms
"""
