"""What the history of a session shows, and in which order, as the projections of events and ledger progress."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from events.session_state import State
from projections import history
from projections.history import Beat, Happened, Position
from schemas.events import SessionAssigned, SessionFirstFrame, SessionHeartbeat, SessionStarting
from store.database import Connection, pool
from tests.builders import beat, created, life, session_id
from tests.projections.test_folding import caught_up
from tests.world import World, eventually

pytestmark = pytest.mark.servers

START = Position()


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("sessions", "usage", "history")
    return world


@pytest_asyncio.fixture
async def connection(world: World) -> AsyncIterator[Connection]:
    async with pool(world.database_url, 1) as opened, opened.connection() as connection:
        yield connection


async def append(world: World, *data: object) -> None:
    await world.append(*data)  # type: ignore[arg-type]
    for name in ("sessions", "usage", "history"):
        await caught_up(world, name)


def shown(found: list[Happened | Beat]) -> list[str]:
    return [
        f"{item.at} {item.type.removeprefix('session.')}" if isinstance(item, Happened) else str(item.at)
        for item in found
    ]


async def test_a_life_in_order_and_what_was_true_then(running: World, connection: Connection) -> None:
    sid = session_id()
    await append(running, *life(sid, beats=1))
    found = await history.events(connection, sid, START, 100)
    assert [f"{item.at} {item.type}" for item in found] == [
        "1 session.created",
        "2 session.starting",
        "4 session.first_frame",  # joined, in between, is nobody's business
        "5 session.ending",
        "6 session.ended",
    ]
    assert [item.state.status for item in found] == ["queued", "starting", "running", "ending", "ended"]
    assert [item.state.billed_ms for item in found] == [0, 0, 0, 1000, 1500]
    assert all(item.state.created is not None and item.state.created.avatar_id == "av_demo" for item in found)
    assert len(await history.events(connection, sid, START, 100, public=False)) == 6
    assert [item.at.seq for item in await history.events(connection, sid, Position(2), 1)] == [4]
    assert await history.over_since(connection, sid) == 6
    assert await history.attempts(connection, sid) == {1: history.AttemptFrames(0, 0, None)}


async def test_heartbeats_stand_where_the_log_has_them(running: World, connection: Connection) -> None:
    """Two attempts, each with its own count; the final meter is the end's and no heartbeat."""
    sid = session_id()
    second = [
        SessionAssigned(sid, 2, "wrk_2", "worker_lost", expected_seq=4),
        SessionStarting(sid, 2, "wrk_2"),
        SessionFirstFrame(sid, 2, "wrk_2", {}),
        beat(sid, 1, 900, attempt=2, worker="wrk_2"),
    ]
    await append(running, *life(sid, beats=2)[:6], *second)
    found = await history.with_heartbeats(connection, sid, START, 100)
    events = ["1 created", "2 starting", "4 first_frame", "4.1", "4.2", "6 starting", "7 first_frame", "7.1"]
    assert shown(found) == events
    for at, item in enumerate(found):  # from every place on
        assert shown(await history.with_heartbeats(connection, sid, item.at, 100)) == events[at + 1 :]
    assert shown(await history.with_heartbeats(connection, sid, Position(4), 2)) == ["4.1", "4.2"]
    assert [item.billable_ms for item in found if isinstance(item, Beat)] == [1000, 1000, 900]
    whole = session_id()
    await append(running, *life(whole, beats=1))
    assert shown(await history.with_heartbeats(connection, whole, START, 100))[-3:] == ["4.1", "5 ending", "6 ended"]


@pytest.mark.parametrize("slow", ["usage", "history"])
async def test_nothing_is_shown_behind_what_is_still_to_come(running: World, connection: Connection, slow: str) -> None:
    """A stream that has shown event 5 would never show a heartbeat before it that the ledger has later."""
    sid = session_id()
    story = life(sid, beats=2)
    await append(running, *story[:4])
    await running.stop(slow)
    try:
        await running.append(*story[4:])
        await caught_up(running, "history" if slow == "usage" else "usage")
        assert shown(await history.with_heartbeats(connection, sid, START, 100)) == [
            "1 created",
            "2 starting",
            "4 first_frame",
        ]
    finally:
        await running.restart(slow)
    await caught_up(running, slow)
    assert shown(await history.with_heartbeats(connection, sid, START, 100))[3:] == [
        "4.1",
        "4.2",
        "5 ending",
        "6 ended",
    ]


async def test_a_session_as_it_was(running: World, connection: Connection) -> None:
    sid = session_id()
    await append(running, *life(sid, beats=1))
    log = [(event, append_ms) for event, append_ms in await running.log(sid)]
    for seq, status in ((1, "queued"), (4, "running"), (6, "ended")):
        state = await history.as_of_seq(connection, sid, seq)
        assert state is not None
        assert (state.seq, state.status) == (seq, status)
    assert await history.as_of_seq(connection, sid, 7) is None
    assert await history.as_of_time(connection, sid, log[0][0].time_ms - 1) is None
    assert await history.as_of_time(connection, session_id(), 2**40) is None
    last = await history.as_of_time(connection, sid, max(log[-1][1], log[-1][0].time_ms))
    assert isinstance(last, State)
    assert (last.status, last.billed_ms, last.frames) == ("ended", 1500, 37)


async def test_what_has_no_create_has_no_history(running: World, connection: Connection) -> None:
    """Rejected events and heartbeats of nobody leave no row, and stop nobody."""
    sid = session_id()
    await append(running, SessionStarting(sid, 1, "wrk_1"), beat(sid, 1, 1000), created(sid), created(sid))
    assert shown([*await history.events(connection, sid, START, 100)]) == ["1 created"]
    assert await history.with_heartbeats(connection, session_id(), START, 100) == []


async def test_frames_are_those_of_the_last_heartbeat(running: World, connection: Connection) -> None:
    sid = session_id()
    first, second = (beat(sid, n, n * 1000) for n in (1, 2))
    late = SessionHeartbeat(sid, 1, "wrk_1", 2, second.meter, None, 7, 3, -12)
    await append(running, *life(sid)[:4], first, late)

    async def known() -> bool:
        return await history.attempts(connection, sid) == {1: history.AttemptFrames(7, 3, -12)}

    await eventually(known)
