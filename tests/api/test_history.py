"""A session's history, stream, timeline and past over HTTP, on real Kafka and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from schemas.events import Meter, SessionEnded, SessionEnding, SessionFirstFrame, SessionJoined, SessionStarting
from tests.builders import beat
from tests.sse import ACCEPT, opened
from tests.world import World, eventually

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "sessions", "usage", "history")
    await world.slots_of_nobody(50)
    return world


@pytest_asyncio.fixture
async def client(running: World) -> AsyncIterator[httpx.AsyncClient]:
    async with running.client() as client:
        yield client


async def started(world: World, client: httpx.AsyncClient) -> tuple[str, str]:
    """(session, worker) of one that shows its face."""
    sid = (await world.create(client, metadata={"k": "v"}))["id"]
    worker = (await world.sql("SELECT worker_id FROM admissions WHERE session_id = %s", sid))[0][0]
    await world.append(
        SessionStarting(sid, 1, worker), SessionJoined(sid, 1, worker, {}), SessionFirstFrame(sid, 1, worker, {})
    )
    return sid, worker


async def end(world: World, sid: str, worker: str) -> None:
    await world.append(
        SessionEnding(sid, 1, worker, "idle_timeout"),
        SessionEnded(sid, 1, "idle_timeout", worker, 9, Meter(3200, 80, 0)),
    )


async def known(world: World, sid: str, events: int) -> None:
    async def probe() -> bool:
        return await world.sql("SELECT count(*) FROM r.session_events WHERE session_id = %s", sid) == [(events,)]

    await eventually(probe)


LIFE = ["session.created", "session.starting", "session.first_frame", "session.ending", "session.ended"]


async def test_pages_in_order(running: World, client: httpx.AsyncClient) -> None:
    sid, worker = await started(running, client)
    await end(running, sid, worker)
    await known(running, sid, 6)
    whole = (await client.get(f"/v1/sessions/{sid}/events")).json()
    assert [item["type"] for item in whole["data"]] == LIFE
    assert [item["seq"] for item in whole["data"]] == [1, 2, 4, 5, 6]
    assert all(set(item) == {"seq", "type", "occurred_at", "data"} for item in whole["data"])
    assert whole["data"][-1]["data"] == (await client.get(f"/v1/sessions/{sid}")).json()
    assert whole["data"][0]["data"]["status"] == "queued"
    assert whole["data"][0]["data"]["metadata"] == {"k": "v"}
    assert (whole["has_more"], whole["next_cursor"]) == (False, None)
    found: list[Any] = []
    page: dict[str, Any] = {"next_cursor": "0"}
    while page["next_cursor"] is not None:
        params = {"limit": 2, "after": page["next_cursor"]}
        page = (await client.get(f"/v1/sessions/{sid}/events", params=params)).json()
        found += page["data"]
    assert found == whole["data"]


async def test_heartbeats_on_request(running: World, client: httpx.AsyncClient) -> None:
    sid, worker = await started(running, client)
    await running.append(*(beat(sid, n, n * 1000, worker=worker) for n in (1, 2, 3)))
    await end(running, sid, worker)

    async def all_of_it() -> list[dict[str, object]]:
        found = (await client.get(f"/v1/sessions/{sid}/events", params={"heartbeats": True})).json()["data"]
        return found if found and found[-1]["type"] == "session.ended" else []

    found = await eventually(all_of_it)
    assert [item["seq"] for item in found] == [1, 2, 4, None, None, None, 5, 6]
    assert [item["n"] for item in found if item["seq"] is None] == [1, 2, 3]
    assert found[3]["data"] == {"attempt": 1, "billable_ms": 1000, "frames": 25}
    page = (await client.get(f"/v1/sessions/{sid}/events", params={"heartbeats": True, "after": "4.2"})).json()["data"]
    assert page == found[5:]


async def test_a_stream_goes_on_live_and_closes_at_the_end(running: World, client: httpx.AsyncClient) -> None:
    sid, worker = await started(running, client)
    async with opened(client, f"/v1/sessions/{sid}/events") as stream:
        await stream.until(3)
        await end(running, sid, worker)
        received = await stream.end()
    assert [item.type for item in received] == LIFE
    assert [item.id for item in received] == ["1", "2", "4", "5", "6"]
    history = (await client.get(f"/v1/sessions/{sid}/events")).json()["data"]
    assert [item.data for item in received] == history
    async with opened(client, f"/v1/sessions/{sid}/events", after="4") as stream:
        assert [item.id for item in await stream.end()] == ["5", "6"]
    async with opened(client, f"/v1/sessions/{sid}/events?after=5") as stream:
        assert [item.id for item in await stream.end()] == ["6"]
    over = await client.get(f"/v1/sessions/{sid}/events", headers=ACCEPT | {"Last-Event-ID": "6"})
    assert over.status_code == 204  # a browser stops coming back


async def test_a_stream_with_heartbeats_resumes_between_them(running: World, client: httpx.AsyncClient) -> None:
    sid, worker = await started(running, client)
    async with opened(client, f"/v1/sessions/{sid}/events?heartbeats=true") as stream:
        await running.append(*(beat(sid, n, n * 1000, worker=worker) for n in (1, 2)))
        assert [item.id for item in await stream.until(5)] == ["1", "2", "4", "4.1", "4.2"]
    await running.append(beat(sid, 3, 3000, worker=worker))
    await end(running, sid, worker)
    async with opened(client, f"/v1/sessions/{sid}/events?heartbeats=true", after="4.2") as stream:
        assert [item.id for item in await stream.end()] == ["4.3", "5", "6"]


async def test_many_streams_of_one_session(running: World, client: httpx.AsyncClient) -> None:
    """Each gets everything, none twice."""
    sid, worker = await started(running, client)

    async def follow() -> list[str]:
        async with running.client() as mine, opened(mine, f"/v1/sessions/{sid}/events") as stream:
            return [item.id for item in await stream.end()]

    following = [asyncio.create_task(follow()) for _ in range(20)]
    await end(running, sid, worker)
    assert await asyncio.gather(*following) == [["1", "2", "4", "5", "6"]] * 20


async def test_a_revoked_key_hears_nothing_more(running: World, client: httpx.AsyncClient) -> None:
    key_id, key = await running.new_key()
    sid, worker = await started(running, client)
    async with running.client(key) as gone, opened(gone, f"/v1/sessions/{sid}/events") as stream:
        await stream.until(3)
        await running.revoke(key_id)
        await stream.end()
        assert (await gone.get(f"/v1/sessions/{sid}/events", headers=ACCEPT)).status_code == 401
    await end(running, sid, worker)


async def test_a_stream_survives_a_database_that_goes_away(running: World, client: httpx.AsyncClient) -> None:
    """Connections are cut while it waits, the listening one too: what happened meanwhile still comes."""
    sid, worker = await started(running, client)
    async with opened(client, f"/v1/sessions/{sid}/events") as stream:
        await stream.until(3)
        await running.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await end(running, sid, worker)
        assert [item.id for item in await stream.end()] == ["1", "2", "4", "5", "6"]

    async def whole() -> bool:
        """Connections that were cut are replaced as they are used: none is left for the next test."""
        answers = await asyncio.gather(*(client.get("/v1/account") for _ in range(40)))
        return {answer.status_code for answer in answers} == {200}

    await eventually(whole)


async def test_timeline(running: World, client: httpx.AsyncClient) -> None:
    sid, worker = await started(running, client)
    await end(running, sid, worker)
    await known(running, sid, 6)
    found = (await client.get(f"/v1/sessions/{sid}/timeline")).json()
    assert (found["status"], found["end_reason"], found["ended_by"]) == ("ended", "idle_timeout", "limit")
    assert [each["outcome"] for each in found["attempts"]] == ["ended"]
    assert worker not in str(found)


async def test_as_it_was(running: World, client: httpx.AsyncClient) -> None:
    sid, worker = await started(running, client)
    await end(running, sid, worker)
    await known(running, sid, 6)
    now = (await client.get(f"/v1/sessions/{sid}")).json()
    statuses = {"1": "queued", "3": "starting", "4": "running", "6": "ended"}
    for at, status in statuses.items():
        assert (await client.get(f"/v1/sessions/{sid}", params={"at": at})).json()["status"] == status
    assert (await client.get(f"/v1/sessions/{sid}", params={"at": now["first_frame_at"]})).json()["status"] == "running"
    assert (await client.get(f"/v1/sessions/{sid}", params={"at": "2999-01-01T00:00:00Z"})).json() == now
    for wrong, code in (("7", "at.invalid"), ("0", "at.invalid"), ("2001-01-01T00:00:00Z", "at.invalid")):
        answer = await client.get(f"/v1/sessions/{sid}", params={"at": wrong})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    for wrong in ("yesterday", "2026-01-01T00:00:00", "-1", "9" * 30):
        answer = await client.get(f"/v1/sessions/{sid}", params={"at": wrong})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "at.invalid")


@pytest.mark.parametrize("path", ["events", "timeline"])
async def test_it_is_nobody_elses(running: World, client: httpx.AsyncClient, path: str) -> None:
    sid = (await running.create(client))["id"]
    _, other = await running.new_account("others")
    async with running.client(other) as stranger:
        for headers in ({}, ACCEPT):
            answer = await stranger.get(f"/v1/sessions/{sid}/{path}", headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "session.not_found")


@pytest.mark.parametrize("after", ["x", "-1", "1.", "1.0", ".5", "1e3", "01", "9" * 10, "1.2.3", "²", ""])
async def test_made_up_places_are_refused(running: World, client: httpx.AsyncClient, after: str) -> None:
    sid = (await running.create(client))["id"]
    answer = await client.get(f"/v1/sessions/{sid}/events", params={"after": after})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "cursor.invalid")
    if after.isascii() and after:
        headers = ACCEPT | {"Last-Event-ID": after}
        answer = await client.get(f"/v1/sessions/{sid}/events", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "cursor.invalid")


async def test_an_api_that_stops_lets_streams_go_at_once(running: World, client: httpx.AsyncClient) -> None:
    """The last test: it takes the API away. A stream would have been waited for until it is cut."""
    sid, worker = await started(running, client)
    async with opened(client, f"/v1/sessions/{sid}/events") as stream:
        await stream.until(3)
        stopping = asyncio.create_task(running.stop("api"))
        await stream.end(within_s=5)
        await stopping
    await end(running, sid, worker)
