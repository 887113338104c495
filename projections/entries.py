"""The ledger as the audit reads it: partition by partition, each of one moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from events.topics import SESSIONS
from events.whole import CannotRead
from projections import checkpoints, names, parked
from projections.parked import Parking
from projections.usage import STORED
from store.database import Connection, Pool, Row

_CATCH_UP_S = 15.0
_MOST_S = 24 * 3600.0
_ROWS = 5000
_ENTRIES = "SELECT {} FROM r.usage_events".format(", ".join(f'"{c}"' for c in STORED))  # noqa: S608 - names of ours


@dataclass(frozen=True)
class Part:
    """What the ledger says of one partition of the log.

    `done`: up to where it was made from it; what stands beyond is explained by no record. `reached`: how far anybody
    has read it. `parked`: session → from where on nothing was made of it. `rows`: in the order of STORED, by offset,
    some thousand at a time.
    """

    done: int
    reached: int
    parked: Mapping[str, Parking]
    rows: AsyncIterator[list[Row]]


class Stored:
    """In PostgreSQL. Raises DatabaseUnreachable."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def open(cls, pool: Pool) -> AsyncIterator[Stored]:
        async with pool.connection(within_s=_MOST_S) as connection:
            yield cls(connection)

    async def caught_up(self, ends: Mapping[int, int]) -> None:
        """Wait a moment for the usage projection: an entry that is still on its way is not missing.

        Raises CannotRead.
        """
        deadline = time.monotonic() + _CATCH_UP_S
        while True:
            done = await checkpoints.positions(self._connection, names.USAGE, SESSIONS.name)
            behind = sum(max(0, end - done.get(partition, 0)) for partition, end in ends.items())
            if not behind:
                return
            if time.monotonic() > deadline:
                raise CannotRead(f"the usage projection is {behind} events behind; start `greenroom project usage`.")
            await asyncio.sleep(0.1)

    @asynccontextmanager
    async def part(self, partition: int) -> AsyncIterator[Part]:
        """Rows, checkpoint and parked of one moment: while the projection writes on, each row has its record before."""
        async with self._connection.transaction():
            await self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            # before the first look: else a version that takes the ledger's place in between would be read as of before
            await self._connection.execute("LOCK TABLE r.usage_events IN ACCESS SHARE MODE")
            # it reads the log in between
            await self._connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            done = await checkpoints.positions(self._connection, names.USAGE, SESSIONS.name)
            left = await parked.of(self._connection, [names.USAGE], partition=partition)
            yield Part(
                done.get(partition, 0),
                await checkpoints.foremost(self._connection, SESSIONS.name, partition),
                {row.parking.subject: row.parking for row in left},
                self._rows(f'WHERE partition = {partition} ORDER BY "offset", id'),
            )

    async def elsewhere(self) -> AsyncIterator[list[Row]]:
        """Of partitions that the log does not have."""
        async with self._connection.transaction():
            last = SESSIONS.partitions - 1
            async for rows in self._rows(f'WHERE partition NOT BETWEEN 0 AND {last} ORDER BY partition, "offset"'):
                yield rows

    async def _rows(self, which: str) -> AsyncIterator[list[Row]]:
        async with self._connection.cursor(name="audit", binary=True) as cursor:
            await cursor.execute(f"{_ENTRIES} {which}")
            while rows := await cursor.fetchmany(_ROWS):
                yield rows
