"""The ledger's months: made on first need, all that a batch touches, and remembered only when they are stored."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from events.consumer import Recoverable
from events.sessions import FOLD
from events.topics import partition_of
from projections.checkpoints import bind
from projections.handling import FoldingHandler
from projections.usage import UsageProjection
from store.database import pool
from tests.builders import beat, event, life, record, session_id
from tests.world import World

pytestmark = pytest.mark.servers

DAY_MS = 86_400_000


def ms(year: int, month: int, day: int = 3) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp() * 1000)


async def months(world: World) -> set[str]:
    rows = await world.sql(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'usage_v1.usage_events'::regclass"
    )
    return {row[0].removeprefix("usage_events_") for row in rows}


async def test_a_batch_that_spans_months(world: World) -> None:
    """A catch-up batch: the first and the last row name neither of the two months between."""
    sid = session_id()
    place = partition_of(sid.encode())
    start = life(sid)[:4]
    told = [record(event(data), n, ms(2031, 1)) for n, data in enumerate(start)]
    for n, at in enumerate((ms(2031, 1), ms(2031, 2, 28), ms(2031, 3, 31), ms(2031, 4))):
        told.append(record(event(beat(sid, n + 1, (n + 1) * 1000)), len(told), at))
    async with pool(world.database_url, 2) as connections:
        handler = FoldingHandler(connections, FOLD, [UsageProjection()])
        await handler.assigned(frozenset({place}), True)
        await handler.handle({place: told})
        await handler.handle({})
    recorded = await world.sql("SELECT recorded_ms FROM r.usage_events WHERE session_id = %s ORDER BY 1", sid)
    assert [row[0] for row in recorded] == [r.timestamp for r in told[4:]]
    assert {"2031_01", "2031_02", "2031_03", "2031_04"} <= await months(world)


async def test_a_month_whose_transaction_was_rolled_back_is_made_again(world: World) -> None:
    sid = session_id()
    place = partition_of(sid.encode())
    told = [record(event(data), n, ms(2032, 1)) for n, data in enumerate(life(sid))]
    async with pool(world.database_url, 2) as connections:
        handler = FoldingHandler(connections, FOLD, [UsageProjection()], topic="months")
        await handler.assigned(frozenset({place}), True)
        async with connections.connection() as connection:  # another owner comes in between
            await bind(connection, "usage", "months", frozenset({place}))
        await handler.handle({place: told})
        with pytest.raises(Recoverable):
            await handler.handle({})
        assert "2032_01" not in await months(world)
        await handler.assigned(frozenset({place}), True)
        await handler.handle({place: told})
        await handler.handle({})
    assert "2032_01" in await months(world)
    assert await world.sql("SELECT count(*) FROM r.usage_events WHERE session_id = %s", sid) == [(4,)]
