"""A projection that is far behind catches up alone, and joins the others when it has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka.errors import KafkaConnectionError

from events.session_state import State
from events.settings import LogSettings
from projections import names
from projections.folding import Projection, SessionsFolded
from projections.sessions import SessionsProjection
from projections.together import Together, events_behind
from projections.usage import UsageProjection
from store.database import Connection, DatabaseUnreachable, pool
from tests.builders import life, session_id
from tests.world import World, eventually

pytestmark = pytest.mark.servers


def test_how_far_each_is_behind_the_foremost() -> None:
    at = {"a": {0: 10, 1: 5}, "b": {0: 4, 1: 7}, "new": dict[int, int]()}
    assert events_behind(at) == {"a": 2, "b": 6, "new": 17}
    assert events_behind({"a": {}, "b": {}}) == {"a": 0, "b": 0}


class Interrupted(Together):
    """One may join at once; then everything is away for a while."""

    def __init__(self, trouble: list[Exception | None]) -> None:
        super().__init__(LogSettings(), None, [SessionsProjection(), UsageProjection()])  # type: ignore[arg-type]
        self.trouble = trouble
        self.groups: list[list[str]] = []

    async def _behind(self) -> dict[str, int]:
        if self.trouble and (trouble := self.trouble.pop(0)) is not None:
            raise trouble
        return {"sessions": 0, "usage": 0 if self.groups else 10**6}

    async def _consume(self, group: Sequence[Projection[State]]) -> None:
        self.groups.append([projection.name for projection in group])
        await asyncio.Event().wait()

    async def _until_one_may_join(self, alone: Sequence[str]) -> None:
        return


async def test_an_outage_while_they_join_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended the process, and the roster with it."""
    monkeypatch.setattr("projections.together._LOOK_EVERY_S", 0.01)
    away = [DatabaseUnreachable("away"), KafkaConnectionError(), TimeoutError()]
    together = Interrupted([None, *away])
    running = asyncio.create_task(together.run())

    async def joined() -> bool:
        return together.groups[-1:] == [["sessions", "usage"]]

    await eventually(joined)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert sorted(together.groups[:2]) == [["sessions"], ["usage"]]
    assert together.trouble == []


async def test_an_outage_at_the_start_is_told() -> None:
    with pytest.raises(DatabaseUnreachable):
        await Interrupted([DatabaseUnreachable("away")]).run()


class Held(UsageProjection):
    """It gets no further than this until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = asyncio.Event()

    async def prepare(self, folded: SessionsFolded) -> None:
        await self.may.wait()


class Watched(SessionsProjection):
    def __init__(self) -> None:
        super().__init__()
        self.loaded: set[str] = set()

    async def apply(self, connection: Connection, folded: SessionsFolded) -> None:
        self.loaded |= folded.states.keys()
        await super().apply(connection, folded)


async def tell(world: World, count: int) -> Sequence[str]:
    told = [session_id() for _ in range(count)]
    for sid in told:
        await world.append(*life(sid))
    return told


async def test_a_new_one_holds_nobody_up(world: World) -> None:
    """It used to rewind the others to its own beginning."""
    before = await tell(world, 20)
    await world.start("sessions")

    async def shown() -> bool:
        return len(await world.sql("SELECT 1 FROM r.sessions WHERE status = 'ended'")) == 20

    await eventually(shown, what="twenty sessions")
    await world.stop_all()
    usage, sessions = Held(), Watched()
    async with pool(world.database_url, 4) as connections:
        together = Together(world.settings, connections, [sessions, usage], alone_beyond=50, joins_within=20)
        running = asyncio.create_task(together.run())
        try:
            (late,) = await tell(world, 1)

            async def seen() -> bool:
                return bool(await world.sql("SELECT 1 FROM r.sessions WHERE session_id = %s", late))

            await eventually(seen, what="a session that ends while the ledger is held up")
            assert not await world.sql("SELECT 1 FROM r.usage_events")
            assert not sessions.loaded & set(before)
            usage.may.set()

            async def joined() -> bool:
                owners = await world.sql("SELECT DISTINCT split_part(owner, ' (', 1) FROM checkpoints")
                return owners == [("sessions usage",)]

            await eventually(joined, 90, "one consumer for both")
            await tell(world, 1)

            async def counted() -> bool:
                rows = await world.sql("SELECT count(DISTINCT session_id) FROM r.usage_events")
                return bool(rows == [(22,)])

            await eventually(counted, what="the ledger of all")
            assert not sessions.loaded & set(before)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    rows = await world.sql("SELECT name, sum(next_offset) FROM checkpoints GROUP BY 1 ORDER BY 1")
    assert [name for name, _ in rows] == [names.SESSIONS, names.USAGE]
    assert len({total for _, total in rows}) == 1
