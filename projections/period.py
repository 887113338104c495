"""The ledger's entries of a period, for exports: in full or not at all, and some thousand at a time.

In the order of partitions and offsets, from PostgreSQL as from an archive: the same entries, the same file. What
belongs to a period is decided by `recorded_ms`; its end is exclusive.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from events.offsets import offsets_at
from events.settings import LogSettings
from events.topics import SESSIONS
from projections import names, parked
from projections.entries import Stored
from projections.summaries import facts_of
from projections.usage import COLUMNS
from schemas.usage import RecordedEntry
from store.database import Pool, Row

_ROWS = 2000
_CATCH_UP_WITHIN_S = 60.0
_SELECTED = ", ".join(f'"{column}"' for column in COLUMNS)
_HASH, _PARTITION, _OFFSET, _RECORDED = (COLUMNS.index(name) for name in ("hash", "partition", "offset", "recorded_ms"))
_ACCOUNT = COLUMNS.index("account_id")
_ALL = SESSIONS.partitions


@dataclass(frozen=True)
class Period:
    """`account_id`: None takes all accounts."""

    start_ms: int
    end_ms: int
    account_id: str | None = None


@dataclass(frozen=True)
class Total:
    """Of one account in the period."""

    entries: int
    credit_us: int


class Entries(Protocol):
    """`left`: sessions whose entries are not all there, since only a newer version can read their events."""

    @property
    def left(self) -> Sequence[str]: ...
    def batches(self) -> AsyncIterator[list[RecordedEntry]]: ...


class StoredEntries:
    """In PostgreSQL. Read by short statements: whoever takes an hour over them holds nothing up."""

    def __init__(self, pool: Pool, period: Period, begins: Mapping[int, int], left: Sequence[str]) -> None:
        self.left = left
        self._pool = pool
        self._period = period
        self._begins = begins

    @classmethod
    async def of(cls, settings: LogSettings, pool: Pool, period: Period) -> StoredEntries:
        """Waits a moment for the usage projection. Raises CannotRead, KafkaError, TimeoutError, DatabaseUnreachable."""
        begins, ends = [await offsets_at(settings, SESSIONS, at) for at in (period.start_ms, period.end_ms)]
        async with pool.connection(within_s=_CATCH_UP_WITHIN_S) as connection:
            await Stored(connection).caught_up(ends)
            left = await parked.of(connection, [names.USAGE])
        unread = {row.parking.subject for row in left if row.parking.offset < ends.get(row.parking.partition, 0)}
        return cls(pool, period, begins, sorted(unread))

    async def totals(self) -> dict[str, Total]:
        """By account."""
        async with self._pool.connection(within_s=3600) as connection, connection.transaction():
            await connection.execute("SET LOCAL statement_timeout = 0")
            cursor = await connection.execute(
                """
                SELECT account_id, count(*), sum(credit_us)::bigint FROM r.usage_events
                WHERE recorded_ms >= %s AND recorded_ms < %s AND coalesce(account_id = %s, true) GROUP BY account_id
                """,
                [self._period.start_ms, self._period.end_ms, self._period.account_id],
            )
            return {account: Total(count, amount) for account, count, amount in await cursor.fetchall()}

    async def batches(self) -> AsyncIterator[list[RecordedEntry]]:
        """Raises DatabaseUnreachable."""
        for partition in [*range(_ALL), *await self._elsewhere()]:
            at = (self._begins.get(partition, 0), 0)
            while rows := await self._page(partition, at):
                at = (rows[-1][_OFFSET], rows[-1][_RECORDED] + 1)
                yield [recorded(row) for row in rows]

    async def _elsewhere(self) -> list[int]:
        """Partitions that the log does not have: what the audit calls extra is in every sum, and so in this one."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT DISTINCT partition FROM r.usage_events WHERE partition < 0 OR partition >= %s ORDER BY 1",
                [_ALL],
            )
            return [partition for (partition,) in await cursor.fetchall()]

    async def _page(self, partition: int, begin: tuple[int, int]) -> list[Row]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                f"""
                SELECT {_SELECTED} FROM r.usage_events
                WHERE partition = %s AND ("offset", recorded_ms) >= (%s, %s) AND recorded_ms >= %s AND recorded_ms < %s
                    AND coalesce(account_id = %s, true) ORDER BY "offset", recorded_ms LIMIT {_ROWS}
                """,  # noqa: S608 - names of ours
                [partition, *begin, self._period.start_ms, self._period.end_ms, self._period.account_id],
                binary=True,
            )
            return await cursor.fetchall()


def within(rows: Iterable[Row], period: Period) -> list[RecordedEntry]:
    """Of rows that begin as COLUMNS say those of the period."""
    return [
        recorded(row)
        for row in rows
        if period.start_ms <= row[_RECORDED] < period.end_ms and period.account_id in (None, row[_ACCOUNT])
    ]


def recorded(row: Row) -> RecordedEntry:
    return RecordedEntry(facts_of(row), row[_HASH], row[_RECORDED])
