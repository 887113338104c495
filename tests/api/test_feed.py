"""The account's feed over HTTP: every public event once, in order, from any place, as pages, long poll and stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from schemas.events import SessionEnded, SessionEnding, SessionFirstFrame, SessionStarting
from store import feed
from store.database import pool
from tests.builders import life, session_id
from tests.projections.test_folding import caught_up
from tests.sse import ACCEPT, opened
from tests.world import World, eventually

pytestmark = pytest.mark.servers

LIFE = ["session.created", "session.starting", "session.first_frame", "session.ending", "session.ended"]


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "sessions", "history", "webhooks")
    await world.slots_of_nobody(100)
    return world


@pytest_asyncio.fixture
async def account(running: World) -> tuple[str, str]:
    """(id, key) of one whose feed is empty."""
    return await running.new_account("feed")


@pytest_asyncio.fixture
async def client(running: World, account: tuple[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with running.client(account[1]) as client:
        yield client


async def live(world: World, client: httpx.AsyncClient) -> str:
    """A whole session; returns its id."""
    sid = (await world.create(client, metadata={"k": "v"}))["id"]
    worker = (await world.sql("SELECT worker_id FROM admissions WHERE session_id = %s", sid))[0][0]
    await world.append(
        SessionStarting(sid, 1, worker),
        SessionFirstFrame(sid, 1, worker, {}),
        SessionEnding(sid, 1, worker, "idle_timeout"),
        SessionEnded(sid, 1, "idle_timeout", worker),
    )
    await caught_up(world, "webhooks")
    await caught_up(world, "history")
    return str(sid)


async def whole(client: httpx.AsyncClient, limit: int = 100, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = "0"
    while True:
        page = (await client.get("/v1/events", params={"after": after, "limit": limit, **params})).json()
        found += page["data"]
        after = page["next_cursor"]
        if not page["has_more"]:
            return found


async def test_every_event_once_in_order_with_the_body_of_a_webhook(running: World, client: httpx.AsyncClient) -> None:
    sids = [await live(running, client) for _ in range(3)]
    found = await whole(client)
    assert [item["position"] for item in found] == list(range(1, 16))
    assert [item["type"] for item in found] == LIFE * 3
    assert [item["data"]["id"] for item in found] == [sid for sid in sids for _ in LIFE]
    assert len({item["id"] for item in found}) == 15
    assert set(found[0]) == {"position", "id", "type", "timestamp", "seq", "attempt", "data"}
    history = (await client.get(f"/v1/sessions/{sids[0]}/events")).json()["data"]
    assert [(item["seq"], item["data"]) for item in found[:5]] == [(item["seq"], item["data"]) for item in history]
    assert await whole(client, limit=4) == found
    assert [item["position"] for item in await whole(client, types=["session.ended"])] == [5, 10, 15]
    assert await whole(client, types=["session.*"]) == found
    assert await whole(client, types=["avatar.*"]) == []
    last = (await client.get("/v1/events", params={"after": "15"})).json()
    assert last == {"object": "list", "data": [], "has_more": False, "next_cursor": "15"}
    assert (await client.get("/v1/events", params={"after": "latest"})).json()["next_cursor"] == "15"


async def test_a_poll_waits_for_what_comes(running: World, client: httpx.AsyncClient) -> None:
    began = time.monotonic()
    polling = asyncio.create_task(client.get("/v1/events", params={"wait": 30}, timeout=40))
    nothing = await client.get("/v1/events", params={"wait": 1})
    assert nothing.json()["data"] == []
    assert 1 <= time.monotonic() - began < 20
    await live(running, client)
    found = (await polling).json()["data"]
    assert found[0]["type"] == "session.created"
    filtered = asyncio.create_task(
        client.get("/v1/events", params={"wait": 30, "types": "session.ended", "after": "5"}, timeout=40)
    )
    await live(running, client)
    page = (await filtered).json()
    assert [item["type"] for item in page["data"]] in ([], ["session.ended"])  # it may look between two commits
    assert int(page["next_cursor"]) > 5


async def test_a_stream_goes_on_and_resumes_anywhere(running: World, client: httpx.AsyncClient) -> None:
    await live(running, client)
    async with opened(client, "/v1/events") as stream:
        assert [item.type for item in await stream.until(5)] == LIFE
        await live(running, client)
        received = await stream.until(10)
    assert [item.id for item in received] == [str(n) for n in range(1, 11)]
    assert [item.data for item in received] == await whole(client)
    async with opened(client, "/v1/events", after="7") as stream:
        assert [item.id for item in await stream.until(3)] == ["8", "9", "10"]
    async with opened(client, "/v1/events?after=latest&types=session.created") as stream:
        await live(running, client)
        assert [item.id for item in await stream.until(1)] == ["11"]


async def test_nobody_hears_of_anothers(running: World, client: httpx.AsyncClient) -> None:
    _, key = await running.new_account("stranger")
    async with running.client(key) as stranger, opened(stranger, "/v1/events") as stream:
        await live(running, client)
        await live(running, stranger)
        assert {item.data["position"] for item in await stream.until(5)} == {1, 2, 3, 4, 5}
        ids = {item["data"]["id"] for item in await whole(client)}
        assert ids.isdisjoint(item.data["data"]["id"] for item in stream.received)


async def test_places_that_are_none(running: World, account: tuple[str, str], client: httpx.AsyncClient) -> None:
    for after in ("x", "-1", "01", "1.5", "", "LATEST", "9" * 19):
        answer = await client.get("/v1/events", params={"after": after})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "cursor.invalid"), after
    for types in ("session", "Session.*", "session.*.x", "%", "session._%"):
        answer = await client.get("/v1/events", params={"types": types})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "types.invalid"), types
    beyond = await client.get("/v1/events", params={"after": "999"})
    assert (beyond.status_code, beyond.json()["error"]["code"]) == (400, "cursor.invalid")


async def test_what_is_no_longer_kept_is_told(
    running: World, account: tuple[str, str], client: httpx.AsyncClient
) -> None:
    await live(running, client)
    await running.sql("DELETE FROM feed_events WHERE account_id = %s AND position <= 3", account[0])
    assert [item["position"] for item in await whole(client)] == [4, 5]
    for headers in ({}, ACCEPT):
        answer = await client.get("/v1/events", params={"after": "1"}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "cursor.expired")
        assert "behind 3" in answer.json()["error"]["message"]
    assert (await client.get("/v1/events", params={"after": "3"})).json()["data"][0]["position"] == 4
    await running.sql("DELETE FROM feed_events WHERE account_id = %s", account[0])
    assert (await client.get("/v1/events")).json() == {
        "object": "list",
        "data": [],
        "has_more": False,
        "next_cursor": "5",
    }
    await live(running, client)
    assert [item["position"] for item in await whole(client)] == [6, 7, 8, 9, 10]


async def test_killed_at_any_moment_it_has_no_gap_and_nothing_twice(
    running: World, account: tuple[str, str], client: httpx.AsyncClient
) -> None:
    """And accounts that are none stop nobody."""
    lives = [life(session_id(), account=account[0], beats=1) for _ in range(60)]
    lives += [life(session_id(), account="acct_of_nobody") for _ in range(3)]

    async def append_all() -> None:
        for story in lives:
            await running.append(*story)

    appending = asyncio.create_task(append_all())
    for _ in range(4):
        await asyncio.sleep(0.4)  # kill -9 at some moment of the load; which one does not matter
        await running.kill("webhooks")
        await running.restart("webhooks")
    await appending
    await caught_up(running, "webhooks")
    found = await whole(client)
    assert [item["position"] for item in found] == list(range(1, 301))
    assert len({item["id"] for item in found}) == 300
    of_each: dict[str, list[str]] = {}
    for item in found:
        of_each.setdefault(item["data"]["id"], []).append(item["type"])
    assert list(of_each.values()) == [LIFE] * 60
    assert await running.sql("SELECT 1 FROM feed_events WHERE account_id = 'acct_of_nobody'") == []


async def test_what_was_abandoned_is_not_told(
    running: World, account: tuple[str, str], client: httpx.AsyncClient
) -> None:
    sid = session_id()
    await running.sql("INSERT INTO abandoned (session_id) VALUES (%s)", sid)
    await running.append(*life(sid, account=account[0])[:3])
    await caught_up(running, "webhooks")
    assert await whole(client) == []

    async def told() -> bool:
        return bool(await whole(client))

    await live(running, client)
    await eventually(told)
    assert {item["data"]["id"] for item in await whole(client)}.isdisjoint({sid})


async def test_a_feed_that_begins_amidst_a_look_is_no_mistake(running: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first event comes between two questions of one look."""
    account, _ = await running.new_account("begins")
    heads = iter([0, 1])

    async def head(*_: object) -> int:
        return next(heads)

    monkeypatch.setattr(feed, "head", head)
    async with pool(running.database_url, 1) as connections, connections.connection() as connection:
        assert await feed.part(connection, account, 0, [], 10) == feed.Part([], 0, 0)
