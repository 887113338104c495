"""The ledger's entries as `usage.recorded` in `usage.v1`: in order, under stable ids, as often as it takes.

The ledger is the outbox: what its transaction has entered is published from its rows, beside the projection and not
before it. Rules: docs/decisions/0027.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Sequence

import structlog

from events.codec import Event
from events.producer import EventProducer, UnknownOutcome
from events.topics import SESSIONS, USAGE
from projections import checkpoints, names
from projections.checkpoints import Bound, Fenced, Step
from projections.resources import ledger_entry
from projections.summaries import Entry, entered_since
from schemas.events import USAGE_RECORDED, Source, UsageRecorded
from schemas.times import now_ms
from store.database import Connection, DatabaseUnreachable, Pool

log = structlog.get_logger()

_BATCH = 64
"""Of one partition, before the others have their turn."""
_LOOK_EVERY_S = 5.0
_MANY = 500
_BEHIND_MS = 250
_BUSY_S = 0.25
"""After so many entries at once, or so late, the projection is catching up: it has this process for itself so long."""
_MOST_BUSY_S = 5.0
"""Then it is our turn, whatever it is: the broker's clock may be another than ours."""
_AGAIN_S = 0.5
_GATHER_S = 0.05
"""From one round to the next that brings all there is: each costs two transactions, however little it brings."""


class Publisher:
    """Publishes the entries of the partitions that this process's usage projection owns.

    Crash between two steps: what was sent and not marked is sent again, with the same ids and bytes. Whoever owns the
    partition later has raised the generation, so nobody else can mark it.
    """

    def __init__(self, pool: Pool, producer: EventProducer) -> None:
        self._pool = pool
        self._producer = producer
        self._owner = f"{names.USAGE_PUBLISH} {secrets.token_hex(4)} (pid {os.getpid()} on {socket.gethostname()})"
        self._at: dict[int, Bound] = {}
        self._high: dict[int, int] = {}
        """Partition → the offset after what the ledger has of it. What is entered below comes late: it was parked."""
        self._woken = asyncio.Event()
        self._busy_until = 0.0
        self._going_back = self._gone_back = False
        self._cut_off = False
        """The last round left something behind."""

    # Told by the usage projection

    async def assigned(self, connection: Connection, partitions: frozenset[int]) -> None:
        """These are ours from now on, and nobody else's."""
        self._high = await checkpoints.positions(connection, names.USAGE, SESSIONS.name)
        self._at = await checkpoints.bind(connection, names.USAGE_PUBLISH, SESSIONS.name, partitions, self._owner)
        self._woken.set()

    async def entering(self, connection: Connection, places: Sequence[tuple[int, int, int]]) -> None:
        """(partition, offset, append time) of entries, in their transaction. It goes back to those that come late."""
        lowest: dict[int, int] = {}
        if len(places) >= _MANY or now_ms() - places[-1][2] > _BEHIND_MS:
            self._busy_until = time.monotonic() + _BUSY_S
        for partition, offset, _ in places:
            if offset < self._high.get(partition, 0):
                lowest[partition] = min(offset, lowest.get(partition, offset))
            else:
                self._high[partition] = offset + 1
        if lowest:
            self._going_back = True
            await checkpoints.go_back(connection, names.USAGE_PUBLISH, SESSIONS.name, lowest)

    def entered(self) -> None:
        """That transaction is durable."""
        self._gone_back |= self._going_back
        self._going_back = False
        self._woken.set()

    # Publishing

    async def run(self) -> None:
        """Publish for ever. What fails is tried again; nobody waits for it."""
        while True:
            try:
                began = time.monotonic()
                if not await self.publish():
                    await self._wait()
                await self._let_it_catch_up()
                if not self._cut_off:
                    await asyncio.sleep(began + _GATHER_S - time.monotonic())
            except (DatabaseUnreachable, UnknownOutcome) as failed:
                log.warning("usage not published yet", error=str(failed))
                await asyncio.sleep(_AGAIN_S)
            except Exception:  # an outage of another kind: it goes on from the same place
                log.exception("usage not published yet")
                await asyncio.sleep(_LOOK_EVERY_S)

    async def _wait(self) -> None:
        try:
            await asyncio.wait_for(self._woken.wait(), _LOOK_EVERY_S)
        except TimeoutError:
            return

    async def _let_it_catch_up(self) -> None:
        until = time.monotonic() + _MOST_BUSY_S
        while (busy_s := min(self._busy_until, until) - time.monotonic()) > 0:
            await asyncio.sleep(busy_s)

    async def publish(self) -> bool:
        """Some of what is next; returns whether there was anything. Raises DatabaseUnreachable, UnknownOutcome."""
        self._woken.clear()
        async with self._pool.connection() as connection:
            if self._gone_back:
                self._gone_back = False
                await self._look_again(connection)
            at = dict(self._at)
            found = await entered_since(connection, {p: bound.next_offset for p, bound in at.items()}, _BATCH)
        self._cut_off = _BATCH in Counter(entry.partition for entry in found).values()
        if not found:
            return False
        await self._producer.send_all(USAGE, [event_of(entry) for entry in found])
        ends = {entry.partition: entry.offset + 1 for entry in found}
        await self._mark(
            [Step(names.USAGE_PUBLISH, p, at[p].generation, at[p].next_offset, e) for p, e in ends.items()]
        )
        return True

    async def _mark(self, steps: Sequence[Step]) -> None:
        async with self._pool.connection() as connection:
            try:
                async with connection.transaction():
                    await checkpoints.advance(connection, SESSIONS.name, steps)
            except Fenced:
                await self._look_again(connection)
                return
        for step in steps:
            if self._at.get(step.partition) == Bound(step.generation, step.from_offset):
                self._at[step.partition] = Bound(step.generation, step.to_offset)

    async def _look_again(self, connection: Connection) -> None:
        """Where we stand: somebody may own some of it by now, or it has gone back to what came late."""
        before = dict(self._at)
        mine = await checkpoints.owned(connection, names.USAGE_PUBLISH, SESSIONS.name, self._owner)
        for partition, bound in before.items():
            if self._at.get(partition) != bound:
                continue  # assigned anew meanwhile
            if partition in mine:
                self._at[partition] = mine[partition]
            else:
                del self._at[partition]


def event_of(entry: Entry) -> Event:
    """The same id and the same bytes, whenever and by whomever it is published."""
    shown = ledger_entry(entry)
    source = Source(**shown.pop("source"))
    data = UsageRecorded(from_=shown.pop("from"), source=source, **shown)
    return Event(
        id=data.id,
        type=USAGE_RECORDED,
        source=names.USAGE,
        subject=data.account_id,
        time_ms=entry.recorded_ms,
        data=data,
        account=data.account_id,
        causation=data.event_id,
    )
