"""Admission at the moments where a process dies, or another one was faster: what was answered stays true."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from events.producer import EventProducer
from events.topics import ASSIGNMENTS, SESSIONS
from reactors.dispatch import Dispatch
from reactors.settings import ProjectSettings
from reactors.settling import Settling
from schemas.events import AssignmentAssign, Meter, SessionEnded, SessionFirstFrame, SessionStarting
from store import admissions
from store.database import pool
from tests.world import World, eventually

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "sessions", "roster")
    await world.fake_worker(40)
    return world


@pytest_asyncio.fixture
async def client(running: World) -> AsyncIterator[httpx.AsyncClient]:
    async with running.client() as opened:
        yield opened


def key() -> dict[str, str]:
    return {"Idempotency-Key": secrets.token_hex(8)}


def code(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("error", {}).get("code")


async def worker_of(world: World, sid: str) -> str:
    return str((await world.sql("SELECT worker_id FROM admissions WHERE session_id = %s", sid))[0][0])


async def play(world: World, sid: str) -> str:
    """As its worker would; returns that worker."""
    worker = await worker_of(world, sid)
    await world.append(SessionStarting(sid, 1, worker), SessionFirstFrame(sid, 1, worker, {}))
    return worker


async def is_marked(world: World, sid: str) -> None:
    async def marked() -> list[Any]:
        return await world.sql("SELECT 1 FROM admissions WHERE session_id = %s AND acknowledged", sid)

    await eventually(marked)


async def test_a_retry_of_what_ended_before_it_was_marked_gets_the_stored_answer(
    running: World, client: httpx.AsyncClient
) -> None:
    """The API died between the acknowledgement and its mark, and the session has ended since: nothing is left of the
    admission, and the key's row says that its request is still being worked on."""
    body, header = running.request(), key()
    first = await client.post("/v1/sessions", json=body, headers=header)
    sid = first.json()["id"]
    await is_marked(running, sid)
    await client.post(f"/v1/sessions/{sid}/end")

    async def released() -> bool:
        return not await running.sql("SELECT 1 FROM admissions WHERE session_id = %s", sid)

    await eventually(released)
    await running.sql("UPDATE idempotency_keys SET done = false WHERE session_id = %s", sid)
    again = await client.post("/v1/sessions", json=body, headers=header)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"


async def test_a_stopping_api_marks_what_it_has_answered(running: World) -> None:
    body, header = running.request(), key()
    async with running.client() as caller:
        first = await caller.post("/v1/sessions", json=body, headers=header)
    await running.stop("api")
    assert await running.sql("SELECT done FROM idempotency_keys WHERE session_id = %s", first.json()["id"]) == [(True,)]
    await running.restart("api")


async def test_a_retry_is_answered_after_the_token_has_expired(running: World, client: httpx.AsyncClient) -> None:
    room = f"room-{secrets.token_hex(4)}"
    expires = time.time() + 2
    body = running.request(room, transport={"worker_token": running.livekit.token(room, "avatar", ttl_s=2)})
    header = key()
    first = await client.post("/v1/sessions", json=body, headers=header)
    assert first.status_code == 201

    async def expired() -> bool:
        return time.time() > expires + 1

    await eventually(expired)
    again = await client.post("/v1/sessions", json=body, headers=header)
    assert (again.status_code, again.content) == (201, first.content)
    changed = {**body, "metadata": {"n": 0}}
    assert code(await client.post("/v1/sessions", json=changed)) == (422, "transport.worker_token.expired")
    other = await client.post("/v1/sessions", json={**body, "metadata": {"n": 1}}, headers=header)
    assert code(other) == (422, "transport.worker_token.expired")


async def test_a_retry_is_answered_after_the_avatar_is_gone(running: World, client: httpx.AsyncClient) -> None:
    """Without a key, too: the same body within a minute is the same session."""
    body, header = running.request(), key()
    keyed = await client.post("/v1/sessions", json=body, headers=header)
    plain_body = running.request()
    plain = await client.post("/v1/sessions", json=plain_body)
    await is_marked(running, plain.json()["id"])
    gone = "av_01ARZ3NDEKTSV4RRFFQ69G5FAV"
    async with pool(running.database_url, 1) as connections, connections.connection() as connection:
        for answer, header_key in ((keyed, header["Idempotency-Key"]), (plain, None)):
            rows = await running.sql("SELECT body_hmac FROM admissions WHERE session_id = %s", answer.json()["id"])
            found = await admissions.earlier(connection, running.account, rows[0][0], header_key, 0)
            assert found is not None
            assert found[0] == answer.json()["id"]
            assert (found[1] or "").encode() == answer.content
    assert code(await client.post("/v1/sessions", json={**body, "avatar_id": gone}, headers=key())) == (
        404,
        "avatar.not_found",
    )


async def test_get_never_goes_back_when_the_roster_is_ahead(running: World, client: httpx.AsyncClient) -> None:
    """The roster has folded the end and released the session; the sessions projection has not got it yet."""
    sid = (await running.create(client))["id"]
    worker = await play(running, sid)
    await running.until(client, sid, "running")
    await running.stop("sessions")
    try:
        assert (await client.post(f"/v1/sessions/{sid}/end")).json()["status"] == "ending"
        await running.append(SessionEnded(sid, 1, "api_request", worker, 1, Meter(100, 2, 0)))

        async def released() -> bool:
            return not await running.sql("SELECT 1 FROM slots WHERE session_id = %s", sid)

        await eventually(released)
        assert (await running.status(client, sid))["status"] == "ending"
    finally:
        await running.restart("sessions")
    await running.until(client, sid, "ended")

    async def forgotten() -> bool:
        return not await running.sql("SELECT 1 FROM admissions WHERE session_id = %s", sid)

    await eventually(forgotten)


async def unmarked(world: World, client: httpx.AsyncClient, room: str) -> str:
    """A session as another API process has it between admission and acknowledgement: nobody knows its outcome."""
    await world.stop("sessions")
    sid = str((await world.create(client, room))["id"])
    await is_marked(world, sid)
    await world.sql(
        "UPDATE admissions SET acknowledged = false, touched_at = clock_timestamp() WHERE session_id = %s", sid
    )
    return sid


async def test_no_end_goes_before_a_create_that_is_still_under_way(running: World, client: httpx.AsyncClient) -> None:
    """Otherwise it would be a session that never was, and its 201 a lie."""
    room = f"room-{secrets.token_hex(4)}"
    sid = await unmarked(running, client, room)
    try:
        assert code(await client.post(f"/v1/sessions/{sid}/end")) == (503, "idempotency_key.in_flight")
        began = time.monotonic()
        answer = await client.post("/v1/sessions", json=running.request(room, max_duration_seconds=60))
        assert code(answer) == (503, "idempotency_key.in_flight")
        assert time.monotonic() - began < 8  # waits, and keeps the promise
        assert await running.kinds(sid) == ["session.created"]
    finally:
        await running.restart("sessions")

    async def ended() -> bool:
        return bool((await client.post(f"/v1/sessions/{sid}/end")).json().get("status") == "canceled")

    await eventually(ended)


async def test_only_the_latest_request_gives_a_create_up(running: World, client: httpx.AsyncClient) -> None:
    """An API that was paused wakes up after a retry has gone on with its session: that is not its own any more."""
    sid = (await running.create(client))["id"]
    await is_marked(running, sid)
    await running.sql("UPDATE admissions SET acknowledged = false, tries = 2 WHERE session_id = %s", sid)
    async with pool(running.database_url, 1) as connections, connections.connection() as connection:
        assert not await admissions.abandon(connection, running.account, sid, tries=1)
        assert await running.sql("SELECT state FROM admissions WHERE session_id = %s", sid) == [("live",)]
        await running.sql("UPDATE admissions SET acknowledged = true WHERE session_id = %s", sid)
        assert not await admissions.abandon(connection, running.account, sid, tries=2)  # it is in the log after all


async def test_a_roster_behind_the_log_settles_nothing(running: World, client: httpx.AsyncClient) -> None:
    """What it has not read yet may be the very create that it looks for."""
    await running.stop("roster")
    sid = (await running.create(client))["id"]
    await is_marked(running, sid)
    await running.sql(
        "UPDATE admissions SET acknowledged = false, touched_at = now() - interval '1 minute' WHERE session_id = %s",
        sid,
    )
    settings = ProjectSettings(
        kafka_bootstrap=running.servers.kafka_bootstrap,
        topic_prefix=running.prefix,
        database_url=running.database_url,
    )
    try:
        async with EventProducer(settings) as producer, pool(running.database_url, 2) as connections:
            settling = Settling(settings, connections, Dispatch(connections, producer, running.keyring))
            await settling.settle(frozenset(range(SESSIONS.partitions)))
    finally:
        await running.restart("roster")
    assert await running.sql("SELECT state FROM admissions WHERE session_id = %s", sid) == [("live",)]
    assert await running.sql("SELECT 1 FROM abandoned WHERE session_id = %s", sid) == []
    assert await running.kinds(sid) == ["session.created"]
    assert (await running.status(client, sid))["status"] == "queued"


async def test_a_create_that_comes_after_it_was_given_up_is_ended_and_never_shown(
    running: World, client: httpx.AsyncClient
) -> None:
    """The roster gave it up; its API was paused in between, and its append comes after all."""
    sid = (await running.create(client))["id"]
    await is_marked(running, sid)
    await running.sql("INSERT INTO abandoned (session_id) VALUES (%s)", sid)
    await running.sql("UPDATE admissions SET state = 'ending' WHERE session_id = %s", sid)
    assert (await client.get(f"/v1/sessions/{sid}")).status_code == 404
    listed = (await client.get("/v1/sessions", params={"limit": 100})).json()["data"]
    assert sid not in {session["id"] for session in listed}

    async def ended() -> bool:
        return await running.kinds(sid) == ["session.created", "session.end_requested"]

    await eventually(ended)

    async def released() -> bool:
        return not await running.sql("SELECT 1 FROM admissions WHERE session_id = %s", sid)

    await eventually(released)


async def test_a_retry_never_works_on_what_the_projection_has_already(
    running: World, client: httpx.AsyncClient
) -> None:
    """The API was killed before it marked the create. A retry that went on with it, and then could not reach Kafka,
    gave up a session that had been answered with 201."""
    body, header = running.request(), key()
    first = await client.post("/v1/sessions", json=body, headers=header)
    sid = first.json()["id"]
    await is_marked(running, sid)

    async def folded() -> list[Any]:
        return await running.sql("SELECT 1 FROM r.sessions WHERE session_id = %s", sid)

    await eventually(folded)
    await running.sql(
        "UPDATE admissions SET acknowledged = false, touched_at = now() - interval '7 s' WHERE session_id = %s", sid
    )
    await running.sql("UPDATE idempotency_keys SET done = false WHERE session_id = %s", sid)
    again = await client.post("/v1/sessions", json=body, headers=header)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert await running.kinds(sid) == ["session.created"]
    async with pool(running.database_url, 1) as connections, connections.connection() as connection:
        assert not await admissions.abandon(connection, running.account, sid, tries=2)


async def test_a_lost_command_is_sent_again(running: World, client: httpx.AsyncClient) -> None:
    """To the same worker: there may be no other, and it may have nothing to do."""
    sid = (await running.create(client))["id"]

    async def told_twice() -> bool:
        told = [x.data for x, _ in await running.log(topic=ASSIGNMENTS) if isinstance(x.data, AssignmentAssign)]
        return [data.attempt for data in told if data.session_id == sid][:2] == [1, 1]

    await eventually(told_twice)


async def test_a_paused_request_answers_no_201_for_what_was_given_up(running: World, client: httpx.AsyncClient) -> None:
    sid = (await running.create(client))["id"]
    async with pool(running.database_url, 1) as connections, connections.connection() as connection:
        assert await admissions.stands(connection, sid)
        assert not await admissions.abandon(connection, running.account, sid)  # from then on nobody gives it up
        await running.sql("INSERT INTO abandoned (session_id) VALUES (%s)", sid)
        assert not await admissions.stands(connection, sid)
