"""`greenroom replay`: projections made again beside the live ones, on real servers, while everything goes on."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from psycopg.errors import LockNotAvailable

from cli.processes import environment
from events import codec
from events.consumer import LogGap
from events.topics import SESSIONS, USAGE
from projections import checkpoints, names, rebuilding, versions
from projections.entries import Stored
from projections.rebuilding import NoRoom, NotReplaced, Rebuild
from projections.versions import Superseded, Version
from schemas.events import AvatarReady, SessionHeartbeat, UsageRecorded
from store import days
from store.database import Pool, pool
from tests.builders import life, session_id
from tests.cli.test_admin import done, greenroom
from tests.projections.test_folding import check, produce
from tests.projections.test_retrying import writer
from tests.projections.upgrades import Writer
from tests.world import World, eventually

__all__ = ["writer"]

pytestmark = pytest.mark.servers

OF_SESSIONS = (names.SESSIONS, names.USAGE, names.HISTORY)
CONTENT = (
    "r.all_sessions ORDER BY session_id",
    'r.usage_events ORDER BY partition, "offset"',
    "r.session_days ORDER BY account_id, day, session_id",
    "r.usage_months ORDER BY account_id, month, key_id",
    "r.session_events ORDER BY session_id, seq",
    "r.attempts ORDER BY session_id, attempt",
    "r.all_avatars ORDER BY avatar_id",
)


async def content(world: World) -> list[Any]:
    """All that anybody reads of what is rebuilt."""
    return [await world.sql(f"SELECT * FROM {table}") for table in CONTENT]


async def active(world: World) -> dict[str, int]:
    return dict(await world.sql("SELECT name, active FROM projections"))


async def schemas(world: World) -> set[str]:
    """Of all versions that there are."""
    found = await world.sql("SELECT nspname FROM pg_namespace WHERE nspname ~ '_v[0-9]+' AND nspname !~ '^live'")
    return {name for (name,) in found}


async def all_read(world: World, name: str = names.USAGE) -> None:
    """By the one that is live; offsets that its producer has written."""

    async def probe() -> bool:
        ends = sum(record.offset >= 0 for record in await world.records(SESSIONS))
        ((read,),) = await world.sql("SELECT coalesce(sum(next_offset), 0) FROM checkpoints WHERE name = %s", name)
        return bool(read >= ends)

    await eventually(probe, what=f"{name} at the end of the log")


@asynccontextmanager
async def begun(world: World, *wanted: str) -> AsyncIterator[tuple[Pool, Rebuild, list[Version]]]:
    """A rebuild in this process, that the test runs."""
    async with pool(world.database_url, 8) as connections:
        filled = [version for version, _ in await rebuilding.begin(connections, wanted)]
        yield connections, Rebuild(world.settings, connections, filled, lambda _, __: None), filled


async def rebuilt(world: World, *wanted: str) -> list[Version]:
    async with begun(world, *wanted) as (connections, rebuild, filled):
        await rebuild.run()
        for version in filled:
            await rebuilding.drop_leftover(connections, version.name)
    return filled


async def test_all_of_them_while_everything_goes_on(world: World) -> None:
    """The processes that run go over by themselves, and go on; nothing is told or published twice."""
    await world.start("all")
    await world.append(AvatarReady("av_1", "face"))
    await produce(world, [life(session_id(), beats=20) for _ in range(40)])
    lives = [life(session_id(), beats=20) for _ in range(80)]
    _, (code, said, complained) = await asyncio.gather(
        produce(world, lives, pause_s=0.2), greenroom(world, "replay", "all")
    )
    assert code == 0, complained
    for name in versions.REBUILT:
        assert f"{name}_v2 is in its place." in said
        assert f"{name}_v1 is dropped." in said
    assert "events in" in complained
    assert set((await active(world)).values()) == {2}
    assert await schemas(world) == {f"{name}_v2" for name in versions.REBUILT}
    await produce(world, [life(session_id())])
    for name in OF_SESSIONS:
        await all_read(world, name)
    found, entries, _ = await check(world)
    assert len(found) > 50  # of 121: the roster ends some that began slowly: nobody has admitted them
    told = await world.sql("SELECT DISTINCT consumer FROM fold_states WHERE consumer ~ '^(usage|history)'")
    assert sorted(told) == [("history@2",), ("usage@2",)]
    assert await world.sql("SELECT DISTINCT name FROM checkpoints WHERE name ~ '@'") == []

    async def published() -> bool:
        ids = [event.id for event, _ in await world.log(topic=USAGE)]
        assert len(ids) == len(set(ids))
        return len(ids) == len(entries)

    await eventually(published, what="each entry in usage.v1")


async def test_a_rebuild_gives_the_same(world: World) -> None:
    """Row for row, also without anybody who is live; and tables as they were, whatever migrations made of them."""
    await world.stop_all()
    before, tables = await content(world), await catalogue(world, 2)
    assert await rebuilt(world, *OF_SESSIONS) == [Version(name, 3) for name in sorted(OF_SESSIONS)]
    assert await content(world) == before
    assert await catalogue(world, 3) == tables
    listed = await done(world, "replay", "--list")
    assert "usage_v3" in listed
    ((some,),) = await world.sql("SELECT session_id FROM r.sessions LIMIT 1")
    assert "status: " in await done(world, "sessions", "show", some)  # whichever version is read


async def catalogue(world: World, number: int) -> list[Any]:
    """Columns, indexes, constraints, triggers, functions, settings and comments of a version, but for its number."""
    of_tables = "FROM pg_class c WHERE c.relnamespace::regnamespace::text = ANY (%s) AND c.relkind IN ('r', 'p')"
    queries = (
        f"SELECT relname, relkind, reloptions, obj_description(c.oid, 'pg_class') {of_tables}",
        "SELECT attrelid::regclass::text, attname, atttypid::regtype::text, attnotnull, attnum, "
        f"col_description(attrelid, attnum) FROM pg_attribute WHERE attnum > 0 AND"
        f" attrelid IN (SELECT c.oid {of_tables})",
        f"SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid IN (SELECT c.oid {of_tables})",
        f"SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid IN (SELECT c.oid {of_tables})",
        f"SELECT pg_get_triggerdef(oid), tgenabled FROM pg_trigger WHERE tgrelid IN (SELECT c.oid {of_tables})",
        "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace::regnamespace::text = ANY (%s)",
        "SELECT viewname, definition, %s::text[] IS NULL FROM pg_views WHERE schemaname = 'r'",
    )
    wanted = [f"{name}_v{number}" for name in OF_SESSIONS]
    found = [await world.sql(query, wanted) for query in queries]
    return [sorted(re.sub(r"_v\d+", "_v", str(row)) for row in rows) for rows in found]


async def test_killed_it_goes_on(world: World) -> None:
    """At some moment while it is filling; and where it has taken the place and dropped nothing yet, it is finished."""
    await world.start("usage")
    last = (await active(world))[names.USAGE]
    env = environment("api", world.env)
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "cli.main", "replay", "usage", env=env)

    async def at_work() -> bool:
        return bool(await world.sql("SELECT 1 FROM projections WHERE name = 'usage' AND last > %s", last))

    await eventually(at_work, what="the begin of a rebuild")
    child.kill()
    await child.wait()
    assert f"usage_v{last + 1}" in await done(world, "replay", "usage")
    ((last,),) = await world.sql("SELECT last FROM projections WHERE name = 'usage'")
    async with begun(world, names.USAGE) as (_, rebuild, _):
        await rebuild.run()  # killed here: nothing is dropped yet
    assert {f"usage_v{last + 1}", f"usage_v{last}_old"} <= await schemas(world)
    said = await done(world, "replay", "usage")
    assert f"usage_v{last} is dropped." in said
    assert "in its place already" in said
    assert (await active(world))["usage"] == last + 1
    assert not {name for name in await schemas(world) if name.endswith("_old")}
    await check(world)


class Killed(Exception):
    """The process is gone."""


@pytest.mark.parametrize("step", ["parked.succeed", "versions.take_place", "checkpoints.succeed"])
async def test_it_takes_the_place_at_once_or_not_at_all(
    world: World, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies behind some step of that transaction: the live one is live, and knows of nothing."""
    before, stood = await content(world), await active(world)
    where, what = step.split(".")
    module = getattr(rebuilding, where)
    real = getattr(module, what)

    async def dies(*args: Any) -> None:
        await real(*args)
        raise Killed

    async with begun(world, names.USAGE) as (connections, rebuild, filled):
        with monkeypatch.context() as patched:
            patched.setattr(module, what, dies)
            with pytest.raises(Killed):
                await rebuild.run()
        assert await active(world) == stood
        assert await content(world) == before
        ((consumers,),) = await world.sql("SELECT array_agg(DISTINCT name) FROM checkpoints WHERE name LIKE 'usage%%'")
        assert {"usage", filled[0].consumer} <= set(consumers)
        await rebuilding.abandon(connections, names.USAGE)


async def test_the_live_one_waits_and_loses_nothing(world: World) -> None:
    """A batch that was about to commit when it was replaced is folded again, on what has taken the place. The second
    time two share the work."""
    await world.start("sessions", "usage")
    for processes in (1, 2):
        lives = [life(session_id(), beats=10) for _ in range(40)]
        async with begun(world, names.SESSIONS, names.USAGE) as (connections, rebuild, filled):
            more = [Rebuild(world.settings, connections, filled, rebuild._tell) for _ in range(processes - 1)]
            await asyncio.gather(produce(world, lives, pause_s=0.1), rebuild.run(), *(each.run() for each in more))
            for name in (names.SESSIONS, names.USAGE):
                await rebuilding.drop_leftover(connections, name)
    for name in (names.SESSIONS, names.USAGE):
        await all_read(world, name)
    await world.start("history")
    await all_read(world, names.HISTORY)
    await check(world)
    await world.stop_all()


async def test_abandoned_it_leaves_nothing(world: World) -> None:
    """Who is at work on it stops with a sentence."""
    before = await schemas(world)
    async with begun(world, names.HISTORY) as (connections, rebuild, filled):
        async with connections.connection() as reader, reader.transaction():
            await checkpoints.locked(reader, names.HISTORY)  # so long it does not take the place
            abandoning = asyncio.create_task(abandon_when_filling(world, filled[0]))
            with pytest.raises(Superseded, match=filled[0].schema):
                await rebuild.run()
            await abandoning
    assert await schemas(world) == before
    states = "SELECT 1 FROM fold_states WHERE consumer = %(c)s UNION SELECT 1 FROM checkpoints WHERE name = %(c)s"
    assert await world.sql(states.replace("%(c)s", f"'{filled[0].consumer}'")) == []
    code, _, complained = await greenroom(world, "replay", "history", "--abandon")
    assert (code, complained.strip()) == (1, "Nothing is being filled of history.")


async def abandon_when_filling(world: World, version: Version) -> None:
    async def filling() -> bool:
        return bool(await world.sql("SELECT 1 FROM checkpoints WHERE name = %s", version.consumer))

    await eventually(filling, what="a rebuild at work")
    said = await done(world, "replay", version.name, "--abandon")
    assert said == f"{version.schema} is dropped."


@pytest.mark.parametrize("who", ["audit", "sealing"])
async def test_who_looks_at_one_moment_keeps_the_views(world: World, who: str) -> None:
    """Replaced between its first look and the next, they would show it tables as of before they were full."""
    schema = f"usage_v{(await active(world))[names.USAGE]}"
    async with pool(world.database_url, 1) as connections, connections.connection() as connection:
        looking = Stored(connection).part(0) if who == "audit" else connection.transaction()
        async with looking:
            if who == "sealing":
                await days.begin(connection)
            with pytest.raises(LockNotAvailable):
                await world.sql(f"SET lock_timeout = '50ms'; SELECT point_views('{schema}', '{schema}')")


async def test_a_migration_changes_each_version(world: World) -> None:
    async with begun(world, names.USAGE) as (connections, _, (version,)):
        await world.sql("SELECT in_versions('usage', 'CREATE INDEX extra ON {schema}.session_days (day)')")
        found = await world.sql("SELECT schemaname FROM pg_indexes WHERE indexname = 'extra' ORDER BY 1")
        assert found == [(f"usage_v{(await active(world))[names.USAGE]}",), (version.schema,)]
        await world.sql("SELECT in_versions('usage', 'DROP INDEX {schema}.extra')")
        await rebuilding.abandon(connections, names.USAGE)
        await rebuilding.drop_leftover(connections, names.USAGE)


async def test_a_full_disk_is_told(world: World) -> None:
    """As PostgreSQL says it; the live one is as it was, and it goes on when there is room."""
    async with begun(world, names.HISTORY) as (connections, rebuild, (version,)):
        await world.sql(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$"
        )
        await world.sql(
            f"CREATE TRIGGER full_disk BEFORE INSERT ON {version.schema}.session_events EXECUTE FUNCTION full_disk()"
        )
        with pytest.raises(NoRoom, match="disk is full"):
            await rebuild.run()
        await world.sql(f"DROP TRIGGER full_disk ON {version.schema}.session_events")
        await rebuild.run()
        await rebuilding.drop_leftover(connections, version.name)
    assert (await active(world))[names.HISTORY] == version.number
    await check(world)


async def test_a_disk_that_would_be_full_is_told_before(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "_SPARE", 1e9)
    async with pool(world.database_url, 1) as connections, connections.connection() as connection:
        with pytest.raises(NoRoom, match=r"disk has .* free, and this takes about"):
            await rebuilding.refuse_full_disk(connection, [names.HISTORY])


async def test_a_log_that_lost_its_tail_is_told(world: World) -> None:
    """It would wait for ever to reach the live one."""
    await world.sql("UPDATE checkpoints SET next_offset = next_offset + 1000 WHERE name = 'history' AND partition = 3")
    async with begun(world, names.HISTORY) as (connections, rebuild, _):
        with pytest.raises(LogGap, match=r"partition 3 of sessions.v1 ends at offset \d+ and was read up to"):
            await rebuild.run()
        await rebuilding.abandon(connections, names.HISTORY)
    await world.sql("UPDATE checkpoints SET next_offset = next_offset - 1000 WHERE name = 'history' AND partition = 3")


async def test_what_only_one_of_them_can_read(world: World, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer one reads what is parked, and its entries are published; an older one may not take the place."""
    await world.start("usage")
    sid = session_id()
    for data in life(sid, beats=4):
        await writer.put(data, of_second=isinstance(data, SessionHeartbeat) and data.n == 3)
    await all_read(world)

    async def entries() -> int:
        return len(await world.sql("SELECT 1 FROM r.usage_events WHERE session_id = %s", sid))

    assert await entries() == 2
    with monkeypatch.context() as patched:
        patched.setitem(codec._NAME_OF_SCHEMA, "urn:greenroom:session.heartbeat:2", "session.heartbeat")
        await rebuilt(world, names.USAGE)
        assert await entries() == 5
        assert await world.sql("SELECT 1 FROM parked WHERE consumer ~ 'usage'") == []

        async def published() -> bool:
            told = [event.data for event, _ in await world.log(topic=USAGE)]
            return sum(isinstance(data, UsageRecorded) and data.session_id == sid for data in told) >= 5

        await eventually(published, what="what was parked in usage.v1")
    async with begun(world, names.USAGE) as (connections, rebuild, (version,)):
        with pytest.raises(NotReplaced, match=f"1 subjects are parked in {version.schema}"):
            await rebuild.run()
        assert await entries() == 5
        await rebuilding.abandon(connections, names.USAGE)
        await rebuilding.drop_leftover(connections, names.USAGE)
