"""Slots while a session moves: none is leaked, none is given out while it is in use."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from store import admissions, slots
from store.database import Connection, pool
from store.slots import Move
from tests.builders import session_id
from tests.world import World

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture
async def connection(world: World) -> AsyncIterator[Connection]:
    """Two workers with a slot each; a session holds that of the first."""
    await world.sql("DELETE FROM slots; DELETE FROM workers; DELETE FROM admissions")
    await world.sql("UPDATE accounts SET live_sessions = 0")
    for worker in ("wrk_a", "wrk_b"):
        await world.sql("INSERT INTO workers VALUES (%s, 0, 'key', '{mock}', 'ready')", worker)
        await world.sql("INSERT INTO slots (worker_id, slot, qualities) VALUES (%s, 0, '{mock}')", worker)
    async with pool(world.database_url, 1) as connections, connections.connection() as opened:
        yield opened


async def admitted(world: World) -> str:
    sid = session_id()
    await world.sql("UPDATE accounts SET live_sessions = 1 WHERE id = %s", world.account)
    await world.sql(
        """
        INSERT INTO admissions
            (session_id, account_id, event_id, worker_id, target_hash, body_hmac, created_ms, resource)
        VALUES (%s, %s, 'evt', 'wrk_a', '', '', 0, '{}')
        """,
        sid,
        world.account,
    )
    await world.sql("UPDATE slots SET session_id = %s, attempt = 1 WHERE worker_id = 'wrk_a'", sid)
    return sid


async def held(world: World) -> dict[str, tuple[str, int]]:
    rows = await world.sql("SELECT worker_id, session_id, attempt FROM slots WHERE session_id IS NOT NULL")
    return {worker: (sid, attempt) for worker, sid, attempt in rows}


async def test_a_move_holds_both_slots_until_the_log_has_decided(world: World, connection: Connection) -> None:
    sid = await admitted(world)
    assert await slots.reserve(connection, sid, "mock", 2, 5) == "wrk_b"
    assert await held(world) == {"wrk_a": (sid, 1), "wrk_b": (sid, 2)}
    assert await slots.reserve(connection, sid, "mock", 2, 5) == "wrk_b"  # decided again after a crash
    await admissions.moved(connection, {sid: "wrk_b"})
    await slots.accepted(connection, [Move(sid, 2, "wrk_b", 5)])
    assert await held(world) == {"wrk_b": (sid, 2)}
    assert await world.sql("SELECT worker_id FROM admissions") == [("wrk_b",)]


async def test_a_lost_attempt_leaves_its_slot_to_the_next_one(world: World, connection: Connection) -> None:
    sid = await admitted(world)
    assert await slots.reserve(connection, sid, "mock", 2, 5, "first") == "wrk_a"
    assert await slots.reserve(connection, sid, "mock", 2, 5, "first") == "wrk_a"  # decided again after a crash
    await slots.accepted(connection, [Move(sid, 2, "wrk_a", 5)])
    assert await held(world) == {"wrk_a": (sid, 2)}
    for late in (1, 2):  # who has not read yet that the log went on takes nothing, and gives nothing away
        assert await slots.reserve(connection, sid, "mock", late, 5, "first") is None
    assert await held(world) == {"wrk_a": (sid, 2)}
    assert await world.sql("SELECT 1 FROM slots WHERE reserved_at IS NOT NULL") == []
    assert await slots.reserve(connection, sid, "mock", 3, 8, "last") == "wrk_b"
    await slots.refused(connection, [Move(sid, 3, "wrk_b", 8)])
    await slots.close(connection, "wrk_b")
    assert await slots.reserve(connection, sid, "mock", 3, 9, "last") == "wrk_a"
    await slots.refused(connection, [Move(sid, 3, "wrk_a", 9)])
    assert await held(world) == {}
    await slots.close(connection, "wrk_a")
    assert await slots.reserve(connection, sid, "mock", 3, 10, "first") is None  # it drains


async def test_a_refused_move_gives_back_its_own_slot_alone(world: World, connection: Connection) -> None:
    sid = await admitted(world)
    await slots.reserve(connection, sid, "mock", 2, 5)
    await slots.refused(connection, [Move(sid, 2, "wrk_b", 5)])
    assert await held(world) == {"wrk_a": (sid, 1)}


async def test_a_refusal_that_comes_late_leaves_the_newer_decision_its_slot(
    world: World, connection: Connection
) -> None:
    sid = await admitted(world)
    await slots.reserve(connection, sid, "mock", 2, 5)
    await slots.reserve(connection, sid, "mock", 2, 6)  # the log moved on, decided anew
    await slots.refused(connection, [Move(sid, 2, "wrk_b", 5)])
    assert await held(world) == {"wrk_a": (sid, 1), "wrk_b": (sid, 2)}


async def test_a_session_that_is_over_gets_no_slot(world: World, connection: Connection) -> None:
    """It ends between the decision and the move: nobody would ever free what it got."""
    sid = await admitted(world)
    await admissions.release(connection, [sid])
    assert await slots.reserve(connection, sid, "mock", 2, 5) is None
    assert await held(world) == {}


async def test_the_end_gives_back_both_slots(world: World, connection: Connection) -> None:
    sid = await admitted(world)
    await slots.reserve(connection, sid, "mock", 2, 5)
    await admissions.release(connection, [sid])
    assert await held(world) == {}


async def test_no_slot_is_taken_from_the_worker_that_is_left(world: World, connection: Connection) -> None:
    sid = await admitted(world)
    await world.sql("UPDATE slots SET open = false WHERE worker_id = 'wrk_b'")
    assert await slots.reserve(connection, sid, "mock", 2, 5) is None
    assert await held(world) == {"wrk_a": (sid, 1)}


async def test_a_reservation_of_a_worker_that_left_is_made_anew(world: World, connection: Connection) -> None:
    sid = await admitted(world)
    await slots.reserve(connection, sid, "mock", 2, 5)
    await world.sql("UPDATE slots SET open = false WHERE worker_id = 'wrk_b'")
    await world.sql("INSERT INTO workers VALUES ('wrk_c', 0, 'key', '{mock}', 'ready')")
    await world.sql("INSERT INTO slots (worker_id, slot, qualities) VALUES ('wrk_c', 0, '{mock}')")
    assert await slots.reserve(connection, sid, "mock", 2, 5) == "wrk_c"
    assert await held(world) == {"wrk_a": (sid, 1), "wrk_c": (sid, 2)}


async def test_the_sweep_frees_what_nobody_holds(world: World, connection: Connection) -> None:
    sid = await admitted(world)
    await slots.reserve(connection, sid, "mock", 2, 5)
    assert await slots.sweep(connection) == 0
    await world.sql("UPDATE slots SET reserved_at = now() - interval '2 minutes' WHERE attempt = 2")
    assert await slots.sweep(connection) == 1
    assert await held(world) == {"wrk_a": (sid, 1)}
    await world.sql("DELETE FROM admissions")
    assert await slots.sweep(connection) == 1
    assert await held(world) == {}
