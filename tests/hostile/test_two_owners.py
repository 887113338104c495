"""`greenroom project usage` beside `greenroom project all`: two groups, one checkpoint."""

from __future__ import annotations

import pytest

from projections import audit
from store.database import pool
from tests.builders import life, session_id
from tests.world import World, eventually

pytestmark = pytest.mark.servers


async def follow(world: World, timeout_s: float = 40) -> None:
    """New sessions arrive in sessions, ledger and (by its checkpoint) webhooks."""
    ids = [session_id() for _ in range(8)]
    for sid in ids:
        await world.admit(sid)
        await world.append(*life(sid))

    async def arrived() -> bool:
        done = await world.sql(
            "SELECT (SELECT count(*) FROM r.sessions WHERE session_id = ANY(%s) AND status = 'ended'),"
            " (SELECT count(*) FROM r.usage_events WHERE session_id = ANY(%s)),"
            " (SELECT count(*) FROM fold_states WHERE consumer = 'webhooks' AND NOT live AND session_id = ANY(%s))",
            ids,
            ids,
            ids,
        )
        return done == [(8, 32, 8)]

    await eventually(arrived, timeout_s, "sessions, ledger and webhooks")


async def owners(world: World, name: str) -> set[str]:
    rows = await world.sql("SELECT DISTINCT owner FROM checkpoints WHERE name = %s", name)
    return {row[0].split(" (")[0] for row in rows}


async def test_a_projection_beside_all_takes_its_part_and_no_other_notices(world: World) -> None:
    await world.start("all")
    await follow(world)
    await world.start("usage")

    async def taken() -> bool:
        return await owners(world, "usage") == {"usage"}

    await eventually(taken)
    for _ in range(3):
        await follow(world)
    assert await owners(world, "usage") == {"usage"}
    assert world.processes["all"].running
    assert world.processes["usage"].running
    assert "standing by" in world.processes["all"].log_path.read_text()
    assert f"pid {world.processes['usage'].pid}" in world.processes["all"].log_path.read_text()


async def test_when_the_other_dies_all_takes_the_part_back(world: World) -> None:
    await world.kill("usage")
    await follow(world, timeout_s=60)
    assert "taken over" in world.processes["all"].log_path.read_text()


async def test_whoever_starts_last_owns_and_the_other_stands_by(world: World) -> None:
    """Nothing is lost or doubled by all of this."""
    await world.restart("usage")
    await follow(world, 60)
    await world.kill("all")
    await world.restart("all")
    await follow(world, 60)
    assert world.processes["usage"].running
    async with pool(world.database_url, 1) as connections:
        verdict = await audit.audit(world.settings, connections, audit.Scope(), lambda _, __: None)
    assert verdict.equal
    assert verdict.entries >= 6 * 32
