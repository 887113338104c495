"""What was parked comes back whole, in the log's order, while everything goes on; what cannot be read stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio

from events import codec
from events.consumer import Recoverable
from events.sessions import FOLD
from events.topics import SESSIONS
from projections import audit, names, parked, retrying
from projections.checkpoints import bind
from projections.folding import SessionsFolded
from projections.handling import FoldingHandler
from projections.parked import Parking
from projections.sessions import SessionsProjection
from projections.usage import UsageProjection
from schemas.events import AvatarCreated, AvatarReady
from store.database import Connection, DatabaseUnreachable, pool
from tests.builders import HIDDEN, event, life, record, session_id
from tests.cli.test_admin import greenroom
from tests.projections import newer
from tests.projections.upgrades import Writer, start_newer, writing
from tests.world import World, eventually

pytestmark = pytest.mark.servers

OF_SESSIONS = [*(name for name in names.ALL if not name.startswith("avatar")), names.LIVE]


@pytest_asyncio.fixture
async def writer(world: World) -> AsyncIterator[Writer]:
    async with writing(world) as found:
        yield found


async def at_the_end(world: World, *consumers: str) -> None:
    total = len(await world.records(SESSIONS))

    async def probe() -> bool:
        rows = await world.sql(
            "SELECT count(*) FROM (SELECT 1 FROM checkpoints WHERE name = ANY(%s) AND topic = 'sessions.v1'"
            " GROUP BY name HAVING sum(next_offset) >= %s) x",
            list(consumers),
            total,
        )
        return rows == [(len(consumers),)]

    await eventually(probe, what="the end of the log")


async def derived(world: World) -> list[Any]:
    """All that is a function of the log alone."""
    found: list[Any] = []
    for table, order in (
        ("r.sessions", "session_id"),
        ("r.usage_events", 'partition, "offset"'),
        ("r.session_events", "session_id, seq"),
        ("r.attempts", "session_id, attempt"),
    ):
        found += await world.sql(f"SELECT * FROM {table} ORDER BY {order}")
    return found


async def parked_now(world: World) -> set[tuple[str, str]]:
    return {(name, subject) for name, subject in await world.sql("SELECT consumer, session_id FROM parked")}


async def test_all_of_it_comes_back_while_everything_goes_on(world: World, writer: Writer) -> None:
    """Two sessions with events of a newer version, and an avatar. The rows are those of a log that was never parked."""
    sids = [session_id(), session_id()]
    await world.start("all", "live")
    for sid in sids:
        await world.admit(sid)
        first, *rest = life(sid, beats=30, account=world.account)
        await world.append(first)
        for n, data in enumerate(rest[:20]):
            await writer.put(data, of_second=n in (1, 6, 7, 15))  # joined, and some heartbeats
    await writer.put(AvatarCreated("av_1", world.account, HIDDEN, "avtr1", "a" * 64, None))
    await writer.put(AvatarReady("av_1", "f" * 64), of_second=True)
    expected = {(name, sid) for name in OF_SESSIONS for sid in sids}
    expected |= {(name, "av_1") for name in ("avatars", "avatar_webhooks")}

    async def all_parked() -> bool:
        return await parked_now(world) == expected

    await eventually(all_parked, what="their parking")
    code, _, complained = await greenroom(world, "parked", "retry", sids[0])
    assert code == 1
    assert "newer than this software" in complained
    await world.stop_all()
    await start_newer(world)
    await start_newer(world, names.LIVE)
    going = asyncio.create_task(_go_on(writer, sids))
    code, said, complained = await greenroom(world, "parked", "retry", "--all")
    assert code == 0, complained
    assert said.count("read again by") == len(expected)
    await going
    assert await parked_now(world) == set()
    await at_the_end(world, *OF_SESSIONS)
    assert await world.sql("SELECT status FROM r.sessions WHERE session_id = ANY(%s)", sids) == [("ended",)] * 2
    assert await world.sql("SELECT count(*) FROM r.usage_events") == [(2 * 31,)]
    assert await world.sql("SELECT status FROM r.avatars WHERE avatar_id = 'av_1'") == [("ready",)]
    public = ["created", "starting", "first_frame", "ending", "ended"]
    for sid in sids:
        told = await world.sql(
            "SELECT type FROM feed_events WHERE position(%s in encode(body, 'escape')) > 0 ORDER BY position", sid
        )
        assert told == [(f"session.{each}",) for each in public]
    assert await world.sql("SELECT count(*) FROM feed_events WHERE type = 'avatar.ready'") == [(1,)]
    assert await world.sql("SELECT count(*) FROM admissions WHERE state = 'live'") == [(0,)]


async def _go_on(writer: Writer, sids: Sequence[str]) -> None:
    for events in zip(*(life(sid, beats=30)[21:] for sid in sids), strict=True):
        for n, data in enumerate(events):
            await writer.put(data, of_second=n == 0 and "Heartbeat" in type(data).__name__)


async def test_the_rows_are_those_of_a_replay(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = await derived(world)
    monkeypatch.setattr(codec, "_NAME_OF_SCHEMA", {**codec._NAME_OF_SCHEMA, **newer.SECOND})
    async with pool(world.database_url, 1) as connections:
        assert (await audit.audit(world.settings, connections, audit.Scope(), lambda _, __: None)).equal
    await world.stop_all()
    await world.wipe()
    await start_newer(world, "sessions", "usage", "history")
    await at_the_end(world, "sessions", "usage", "history")
    assert await derived(world) == before
    await world.stop_all()


async def test_one_parked_session_does_not_block_the_audit(world: World, writer: Writer) -> None:
    """It is named, all others are compared. What was made of it before is compared, too."""
    await world.start("usage")
    bad, fine = session_id(), session_id()
    for n, data in enumerate(life(bad)):
        await writer.put(data, of_second=n == 6)
    await world.append(*life(fine))
    await at_the_end(world, "usage")
    code, said, complained = await greenroom(world, "audit")
    assert code == 2, said + complained
    assert f"not compared: session {bad}" in said
    assert "3 sessions could not be read" in complained  # those of the tests before are not parked, and read by none
    assert (await greenroom(world, "audit", "--session", fine))[0] == 0
    await world.sql("ALTER TABLE usage_v1.usage_events DISABLE TRIGGER append_only")
    try:
        change = "UPDATE usage_v1.usage_events SET credit_us = credit_us + %s WHERE session_id = %s AND n = 1"
        for sid in (bad, fine):
            await world.sql(change, 1, sid)
            code, said, _ = await greenroom(world, "audit")
            assert code == 1
            assert f"changed: session {sid}" in said
            await world.sql(change, -1, sid)
    finally:
        await world.sql("ALTER TABLE usage_v1.usage_events ENABLE TRIGGER append_only")
    shown = (await greenroom(world, "parked", "show", bad))[1]
    assert "newer than this software" in shown
    assert '"billable_ms": 3000' in shown


async def test_what_still_cannot_be_read_stays_with_its_new_place(
    world: World, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sid = session_id()
    for n, data in enumerate(life(sid)):
        await writer.put(data, of_second=n in (4, 2))  # a heartbeat, and `joined` before it
    await at_the_end(world, "usage")
    await world.stop_all()
    monkeypatch.setitem(codec._NAME_OF_SCHEMA, "urn:greenroom:session.joined:2", "session.joined")
    async with Owner(world, UsageProjection()) as (handler, connections):
        async with connections.connection() as connection:
            (before,) = await parked.of(connection, ["usage"], sid)
            await parked.ask(connection, sid, None)

        async def answered() -> bool:
            await handler.handle({})
            async with connections.connection() as connection:
                (row,) = await parked.of(connection, ["usage"], sid)
            return not row.asked

        await eventually(answered)
        async with connections.connection() as connection:
            (after,) = await parked.of(connection, ["usage"], sid)
    assert after.parking.offset > before.parking.offset
    assert "session.heartbeat" in after.parking.reason


class Owner:
    """A handler of all partitions, with which the test is its own consumer loop."""

    def __init__(self, world: World, *projections: Any) -> None:
        self._world = world
        self._projections = projections

    async def __aenter__(self) -> tuple[FoldingHandler[Any], Any]:
        self._pool = pool(self._world.database_url, 2)
        connections = await self._pool.__aenter__()
        self._handler = FoldingHandler(connections, FOLD, self._projections, log=self._world.settings)
        await self._handler.assigned(frozenset(range(SESSIONS.partitions)), True)
        return self._handler, connections

    async def __aexit__(self, *error: Any) -> None:
        await self._handler.drain()
        await self._pool.__aexit__(None, None, None)


async def test_too_many_bytes_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody may have written any number of records under one key: the process does not die of them."""
    monkeypatch.setattr(retrying, "_MOST_BYTES", 1000)
    (sid,) = [subject for _, subject in await parked_now(world) if subject][:1]
    async with Owner(world, UsageProjection()) as (handler, connections):
        async with connections.connection() as connection:
            await parked.ask(connection, sid, "usage")

        async def answered() -> bool:
            await handler.handle({})
            return await world.sql("SELECT retry_asked IS NULL FROM parked WHERE session_id = %s", sid) == [(True,)]

        await eventually(answered)
    assert await world.sql("SELECT reason FROM parked WHERE session_id = %s", sid) == [(retrying.TOO_LARGE,)]


class Failing(UsageProjection):
    """Its first transaction is lost, however far it came."""

    def __init__(self, before: bool) -> None:
        super().__init__()
        self.before = before
        self.left = 1

    async def apply(self, connection: Connection, folded: SessionsFolded) -> None:
        if not self.before:
            await super().apply(connection, folded)
        if self.left:
            self.left -= 1
            raise DatabaseUnreachable("away")
        if self.before:
            await super().apply(connection, folded)


@pytest.mark.parametrize("before", [True, False], ids=["before its rows", "after its rows"])
async def test_a_transaction_that_is_lost_comes_again(
    world: World, writer: Writer, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    sid = session_id()
    await world.start("usage")
    for n, data in enumerate(life(sid)):
        await writer.put(data, of_second=n == 5)
    await at_the_end(world, "usage")
    await world.stop_all()
    assert ("usage", sid) in await parked_now(world)
    monkeypatch.setattr(codec, "_NAME_OF_SCHEMA", {**codec._NAME_OF_SCHEMA, **newer.SECOND})
    async with Owner(world, Failing(before)) as (handler, connections):
        async with connections.connection() as connection:
            await parked.ask(connection, sid, None)
        failed = 0

        async def answered() -> bool:
            nonlocal failed
            try:
                await handler.handle({})
            except Recoverable:
                failed += 1
                await handler.assigned(frozenset(range(SESSIONS.partitions)), False)
            return ("usage", sid) not in await parked_now(world)

        await eventually(answered)
    assert failed == 1
    found = await world.sql("SELECT n FROM r.usage_events WHERE session_id = %s ORDER BY n", sid)
    assert found == [(1,), (2,), (3,), (4,)]


async def test_a_new_owner_in_between_has_the_last_word(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fenced while it folds: nothing is stored, and the row still says that somebody waits."""
    newer_names = {**codec._NAME_OF_SCHEMA, **newer.SECOND}
    monkeypatch.setattr(codec, "_NAME_OF_SCHEMA", newer_names)
    (sid,) = [subject for _, subject in await parked_now(world)][:1]
    rows = await derived(world)
    async with Owner(world, UsageProjection()) as (handler, connections):
        async with connections.connection() as connection:
            await parked.ask(connection, sid, None)
            await handler._retries.look()
            assert handler._retries._round is not None

            async def ready() -> bool:
                return handler._retries.ready

            await eventually(ready)
            await bind(connection, "usage", SESSIONS.name, frozenset(range(SESSIONS.partitions)))
        with pytest.raises(Recoverable):
            await handler.handle({})
        assert await derived(world) == rows
        assert await world.sql("SELECT retry_asked IS NULL FROM parked WHERE session_id = %s", sid) == [(False,)]


async def test_who_is_ahead_of_others_waits_for_them(
    world: World, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A projection that is made again shares the fold from the log's beginning on. What the ledger has skipped beyond
    comes by only later: read again too early, its session would come back without those entries."""
    sid = session_id()
    for n, data in enumerate(life(sid)):
        await writer.put(data, of_second=n == 5)
    log: dict[int, list[Any]] = {}
    for each in await world.records(SESSIONS):
        log.setdefault(each.partition, []).append(each)
    async with Owner(world, UsageProjection()) as (handler, _):
        await handler.handle(log)
    assert ("usage", sid) in await parked_now(world)
    monkeypatch.setattr(codec, "_NAME_OF_SCHEMA", {**codec._NAME_OF_SCHEMA, **newer.SECOND})
    await world.sql("DELETE FROM checkpoints WHERE name = 'sessions'")
    await world.sql("DELETE FROM sessions_v1.sessions")
    async with Owner(world, SessionsProjection(), UsageProjection()) as (handler, connections):
        async with connections.connection() as connection:
            await parked.ask(connection, sid, None)
        await handler._retries.look()
        assert handler._retries._round is None
        await handler.handle(log)

        async def answered() -> bool:
            await handler.handle({})
            return ("usage", sid) not in await parked_now(world)

        await eventually(answered)
    assert await world.sql("SELECT n FROM r.usage_events WHERE session_id = %s ORDER BY n", sid) == [
        (n,) for n in (1, 2, 3, 4)
    ]


async def test_who_has_not_parked_it_does_before_it_skips(world: World) -> None:
    """Two projections of one process, of which an older one has parked a session alone: the other loses nothing."""
    sid = session_id()
    events = life(sid)
    told = [record(event(data), n) for n, data in enumerate(events)]
    place = told[0].partition
    async with pool(world.database_url, 2) as connections:
        handler = FoldingHandler(connections, FOLD, [SessionsProjection(), UsageProjection()], topic="partly")
        async with connections.connection() as connection:
            await parked.park(connection, "usage", "partly", [Parking(sid, place, 4, "old")])
        await handler.assigned(frozenset({place}), True)
        await handler.handle({place: told})
        await handler.handle({})
    found = await world.sql('SELECT consumer, "offset" FROM parked WHERE session_id = %s ORDER BY 1', sid)
    assert found == [("sessions", 4), ("usage", 4)]


async def test_one_of_many_is_found_by_its_key(world: World) -> None:
    """Anybody can have any number parked, and each that is read again is looked for."""
    await world.sql(
        'INSERT INTO parked (consumer, topic, partition, session_id, "offset", reason)'
        " SELECT 'usage', 'many', 0, 'sess_' || n, 0, 'newer' FROM generate_series(1, 5000) n"
    )
    await world.sql("ANALYZE parked")
    async with pool(world.database_url, 1) as connections, connections.connection() as connection:
        async with connection.transaction():
            assert len(await parked.of(connection, ["usage"], "sess_7")) == 1
            read = await connection.execute(
                "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'parked'"
            )
            assert await read.fetchone() == (1,)
    await world.sql("DELETE FROM parked WHERE topic = 'many'")


async def test_of_any_number_so_many_are_asked_for_at_once(world: World) -> None:
    """Who asks again asks for the rest."""
    await world.sql(
        'INSERT INTO parked (consumer, topic, partition, session_id, "offset", reason)'
        " SELECT 'usage', 'some', 0, 'sess_' || n, 0, 'newer' FROM generate_series(1, 25) n"
    )
    try:
        async with pool(world.database_url, 1) as connections, connections.connection() as connection:
            asked = [await parked.ask(connection, None, "usage", 10) for _ in range(4)]
        assert len({each for some in asked for each in some}) == sum(map(len, asked)) >= 25
        assert [len(some) for some in asked[:2]] == [10, 10]
        assert asked[3] == []
    finally:
        await world.sql("DELETE FROM parked WHERE topic = 'some'")


def test_a_refold_takes_each_event_once() -> None:
    """From where it was parked to where its projection is."""
    sid = session_id()
    told = [record(event(data), n) for n, data in enumerate(life(sid))]
    folded, still = retrying.refold(FOLD, {}, Parking(sid, told[0].partition, 0, ""), told[:4], 4)
    assert still is None
    states: dict[str, Any] = dict(folded.states)
    folded, still = retrying.refold(FOLD, states, Parking(sid, told[0].partition, 4, ""), told, len(told) - 1)
    assert [change.offset for change in folded.changes] == list(range(4, len(told) - 1))
    assert not folded.refusals
