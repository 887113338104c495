"""The ledger: every accepted meter reading becomes one row, in the transaction of its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from msgspec import structs

from events.dead_letters import DeadLetters
from events.session_state import State
from projections import names
from projections.folding import SessionChange, SessionsFolded
from projections.states import SessionStates
from projections.versions import FIRST, Version
from schemas.usage import UsageFacts
from store.database import Connection

FACT_COLUMNS = tuple(field.name for field in structs.fields(UsageFacts))
COLUMNS = (*FACT_COLUMNS, "prev_hash", "hash", "partition", "offset", "recorded_ms")
STORED = (*COLUMNS, "key_id")
"""With what no fact of the bill is, for the totals; null where a version before wrote it."""
TYPES = {
    "attempt": "int4",
    "n": "int4",
    "multiplier_milli": "int4",
    "partition": "int4",
    **dict.fromkeys(("from_ms", "to_ms", "billable_ms", "frames", "credit_us", "offset", "recorded_ms"), "int8"),
}
_DAY_MS = 86_400_000
_QUOTED = ", ".join(f'"{c}"' for c in STORED)
_COPY_TYPES = [TYPES.get(column, "text") for column in STORED]


class Follower(Protocol):
    """Whoever goes on with what the ledger enters: reactors/publishing.py."""

    async def assigned(self, connection: Connection, partitions: frozenset[int]) -> None: ...
    async def entering(self, connection: Connection, places: Sequence[tuple[int, int, int]]) -> None: ...
    def entered(self) -> None: ...


class UsageProjection(SessionStates):
    name = names.USAGE

    def __init__(self, dead_letters: DeadLetters | None = None, follower: Follower | None = None) -> None:
        """It copies what can never be read to `dead_letters`: one of all consumers, so that there is one copy."""
        self._dead_letters = dead_letters
        self._follower = follower
        self.use(FIRST[self.name])

    def use(self, version: Version) -> None:
        super().use(version)
        schema = version.schema
        self._copy = f"COPY {schema}.usage_events ({_QUOTED}) FROM STDIN (FORMAT binary)"
        self._ensure = f"SELECT {schema}.ensure_month(%s)"
        self._months: set[int] = set()
        self._ensured: set[int] = set()

    async def assigned(self, connection: Connection, partitions: frozenset[int]) -> None:
        if self._follower is not None:
            await self._follower.assigned(connection, partitions)

    async def prepare(self, folded: SessionsFolded) -> None:
        if self._dead_letters is not None:
            await self._dead_letters.copy(folded.malformed)

    async def apply(self, connection: Connection, folded: SessionsFolded) -> None:
        charged = [change for change in folded.changes if change.evolved.usage is not None]
        await self._ensure_months(connection, {change.append_ms // _DAY_MS for change in charged})
        if charged:
            async with connection.cursor() as cursor, cursor.copy(self._copy) as copy:
                copy.set_types(_COPY_TYPES)
                pack = copy.formatter.write_row  # `copy.write_row` without a coroutine for each
                for change in charged:
                    if block := pack(stored(change)):
                        await copy.writer.write(block)
            if self._follower is not None:
                await self._follower.entering(connection, [(c.partition, c.offset, c.append_ms) for c in charged])
        await self.save(connection, folded)

    async def _ensure_months(self, connection: Connection, days: set[int]) -> None:
        """All that the batch touches, not its first and last alone: a catch-up batch can span years."""
        self._ensured = {month_start(day * _DAY_MS) for day in days} - self._months
        for month in sorted(self._ensured):
            await connection.execute(self._ensure, [month])

    async def committed(self, folded: SessionsFolded) -> None:
        """Only now: a month of a transaction that was rolled back is not there."""
        self._months |= self._ensured
        if self._follower is not None:
            self._follower.entered()


def month_start(time_ms: int) -> int:
    """The first millisecond of its month, in UTC."""
    moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp()) * 1000


def row(change: SessionChange) -> tuple[object, ...]:
    """The entry as a row, in the order of `COLUMNS`."""
    entry = change.evolved.usage
    assert entry is not None
    facts = list(structs.astuple(entry.facts))
    facts[FLAGS] = ",".join(entry.facts.flags)
    return (*facts, entry.prev_hash, entry.hash, change.partition, change.offset, change.append_ms)


def stored(change: SessionChange) -> tuple[object, ...]:
    """The row with its key, in the order of `STORED`."""
    assert change.evolved.state.created is not None
    return (*row(change), change.evolved.state.created.api_key_id)


FLAGS = FACT_COLUMNS.index("flags")


def totals(state: State) -> tuple[int, int]:
    """(billable seconds, frames) of a session as shown: rounded once, up to the next whole second."""
    return -(-state.billed_ms // 1000), state.frames
