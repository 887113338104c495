"""The ledger: every accepted meter reading becomes one row, in the transaction of its checkpoint."""

from __future__ import annotations

import structlog
from msgspec import structs

from events.sessions import State
from projections.database import Connection
from projections.folding import Change, Folded, StoredStates
from schemas.usage import UsageFacts

log = structlog.get_logger()

FACT_COLUMNS = tuple(field.name for field in structs.fields(UsageFacts))
COLUMNS = (*FACT_COLUMNS, "prev_hash", "hash", "partition", "offset", "recorded_ms")
_TYPES = {
    "attempt": "int4",
    "n": "int4",
    "multiplier_milli": "int4",
    "partition": "int4",
    **dict.fromkeys(("from_ms", "to_ms", "billable_ms", "frames", "credit_us", "offset", "recorded_ms"), "int8"),
}
_COPY = "COPY usage_v1.usage_events ({}) FROM STDIN (FORMAT binary)".format(", ".join(f'"{c}"' for c in COLUMNS))
_COPY_TYPES = [_TYPES.get(column, "text") for column in COLUMNS]


class UsageProjection(StoredStates):
    name = "usage"

    def __init__(self) -> None:
        self._months: set[int] = set()

    async def apply(self, connection: Connection, folded: Folded) -> None:
        rows = [row(change) for change in folded.changes if change.evolved.usage is not None]
        if rows:
            await self._ensure_months(connection, (rows[0][-1], rows[-1][-1]))
            async with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
                copy.set_types(_COPY_TYPES)
                for values in rows:
                    await copy.write_row(values)
        await self.save(connection, folded)

    async def _ensure_months(self, connection: Connection, times: tuple[object, object]) -> None:
        for time_ms in times:
            assert isinstance(time_ms, int)
            # coarser than a month is wrong, finer only costs a call: a new call for every day of the log
            day = time_ms // 86_400_000
            if day not in self._months:
                await connection.execute("SELECT usage_v1.ensure_month(%s)", [time_ms])
                self._months.add(day)


def row(change: Change) -> tuple[object, ...]:
    """The entry as a row, in the order of `COLUMNS`."""
    entry = change.evolved.usage
    assert entry is not None
    facts = list(structs.astuple(entry.facts))
    facts[FLAGS] = ",".join(entry.facts.flags)
    return (*facts, entry.prev_hash, entry.hash, change.partition, change.offset, change.append_ms)


FLAGS = FACT_COLUMNS.index("flags")


def totals(state: State) -> tuple[int, int]:
    """(billable seconds, frames) of a session as shown: rounded once, up to the next whole second."""
    return -(-state.billed_ms // 1000), state.frames
