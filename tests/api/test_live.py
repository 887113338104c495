"""`/v1/live` over HTTP: an account's own windows, as they stand and as they change; the operator's view of all."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from schemas.live import WINDOW_MS
from schemas.times import from_wire, now_ms, to_wire
from tests.builders import life, session_id
from tests.sse import ACCEPT, opened
from tests.world import World, eventually

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "live")
    return world


@pytest_asyncio.fixture
async def account(running: World) -> tuple[str, str]:
    return await running.new_account("live")


@pytest_asyncio.fixture
async def client(running: World, account: tuple[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with running.client(account[1]) as client:
        yield client


async def test_an_account_sees_its_own(running: World, account: tuple[str, str], client: httpx.AsyncClient) -> None:
    sids = [session_id(), session_id()]
    await running.append(*(event for sid in sids for event in life(sid, beats=2, account=account[0])))
    await running.append(*life(session_id(), beats=3, account="acct_of_somebody_else"))

    async def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = (await client.get("/v1/live?window=5m&limit=4")).json()
        # `active` is of a window's last minute, and the minute may turn while this waits
        return found if sum(each["active"].get("ended", 0) for each in found["windows"]) == 2 else None

    found = await eventually(ended, what="both sessions in the windows")
    assert found is not None
    assert (found["window"], found["window_seconds"], found["hop_seconds"]) == ("5m", 300, 60)
    assert (found["lateness_seconds"], found["complete"]) == (120, True)
    window: dict[str, Any] = found["windows"][-1]
    assert (window["starts"], window["first_frame"]["count"]) == (2, 2)
    assert window["credit_us"] == window["billable_ms"] * 1000 > 0
    assert from_wire(window["end"]) - from_wire(window["start"]) == 5 * WINDOW_MS
    minutes = (await client.get("/v1/live")).json()["windows"]
    assert len(minutes) == 15
    assert [from_wire(b["start"]) - from_wire(a["start"]) for a, b in itertools.pairwise(minutes)] == ([WINDOW_MS] * 14)
    assert sum(each["starts"] for each in minutes) == 2


async def test_a_stream_tells_of_each_change(
    running: World, account: tuple[str, str], client: httpx.AsyncClient
) -> None:
    async with opened(client, "/v1/live") as stream:
        first = await stream.until(4)
        assert all(each.type == "window" and each.data["starts"] == 0 for each in first)
        await running.append(*life(session_id(), beats=1, account=account[0]))

        async def told() -> bool:
            return any(each.data["active"] == {"ended": 1} for each in stream.received)

        await eventually(told, timeout_s=30, what="the window with the session's end")
        changed = [each for each in stream.received[4:] if each.data["starts"]]
        assert {each.id for each in changed} == {each.data["start"] for each in changed}
    # Who comes back after some minutes is first told of what it has missed.
    async with opened(client, "/v1/live", after=to_wire(from_wire(first[-1].id) - 10 * WINDOW_MS)) as stream:
        assert len(await stream.until(11)) == 11


async def test_what_cannot_be_asked_for_is_refused(client: httpx.AsyncClient) -> None:
    for query in ("window=2m", "limit=0", "limit=61", "limit=x"):
        answer = await client.get(f"/v1/live?{query}")
        assert answer.status_code in (400, 422), query
    answer = await client.get("/v1/live", headers={**ACCEPT, "Last-Event-ID": "yesterday"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "last_event_id")


async def test_a_view_that_may_lack_something_says_so(
    running: World, account: tuple[str, str], client: httpx.AsyncClient
) -> None:
    minute = now_ms() // WINDOW_MS * WINDOW_MS
    await running.sql("INSERT INTO live_v1.counts VALUES (%s, 'account', 'other', 'starts', 7)", minute)
    found = (await client.get("/v1/live?limit=3")).json()
    assert found["complete"] is False
    assert sum(each["starts"] for each in found["windows"]) == 0


async def test_operators_see_all_on_the_internal_port(running: World) -> None:
    await running.append(*life(session_id(), beats=1, account="acct_x"))
    url = f"http://127.0.0.1:{running.internal_port}/live"

    async def seen() -> bool:
        async with httpx.AsyncClient(trust_env=False) as stranger:
            found = (await stranger.get(url)).json()
        return any(each["key"] == "acct_x" and each["window"]["starts"] == 1 for each in found["accounts"])

    await eventually(seen, what="every account's windows on the internal port")


@pytest.mark.parametrize("last", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
async def test_a_year_that_there_is_not_in_utc_is_refused(client: httpx.AsyncClient, last: str) -> None:
    answer = await client.get("/v1/live", headers={**ACCEPT, "Last-Event-ID": last})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "last_event_id.invalid")


async def test_a_window_that_is_caught_up_with_is_told(
    running: World, account: tuple[str, str], client: httpx.AsyncClient
) -> None:
    """Live windows were away for ten minutes: what they count now is in windows that have closed by the clock."""
    minute = now_ms() // WINDOW_MS * WINDOW_MS - 10 * WINDOW_MS
    async with opened(client, "/v1/live") as stream:
        assert len(await stream.until(4)) == 4
        await running.sql("INSERT INTO live_v1.counts VALUES (%s, 'account', %s, 'starts', 7)", minute, account[0])
        await running.sql("SELECT pg_notify('live', %s)", f"live:{account[0]}")

        async def told() -> bool:  # perhaps after a minute that has just begun, and in which nothing is
            return any(each.data["starts"] for each in stream.received[4:])

        await eventually(told, timeout_s=30, what="the window that was caught up with")
        [seen] = [each.data for each in stream.received[4:] if each.data["starts"]]
        assert (seen["start"], seen["starts"]) == (to_wire(minute), 7)
