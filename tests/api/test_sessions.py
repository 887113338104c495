"""`/v1/sessions` over HTTP, on real Kafka and PostgreSQL. Workers are slots without a process: no media in here."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from cli.customer import reference_request
from events.sealing import unseal
from events.topics import ASSIGNMENTS, SESSIONS
from schemas.assignments import Task
from schemas.events import (
    AssignmentAssign,
    Meter,
    SessionEnded,
    SessionEndRequested,
    SessionFirstFrame,
    SessionHeartbeat,
    SessionStarting,
)
from tests.world import World, eventually

pytestmark = pytest.mark.servers

FIELDS = [
    "id",
    "object",
    "status",
    "avatar_id",
    "transport",
    "quality",
    "max_duration_seconds",
    "idle_timeout_seconds",
    "metadata",
    "created_at",
    "started_at",
    "first_frame_at",
    "ended_at",
    "failed_at",
    "failure",
    "usage",
]


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "sessions", "roster")
    await world.fake_worker(40, ["mock", "standard"])
    return world


@pytest_asyncio.fixture
async def client(running: World) -> AsyncIterator[httpx.AsyncClient]:
    async with running.client() as opened:
        yield opened


def error(answer: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"type", "code", "message", "param", "request_id"}
    assert body["error"]["request_id"] == answer.headers["x-request-id"]
    found: dict[str, Any] = body["error"]
    return found


async def test_the_reference_request(running: World, client: httpx.AsyncClient) -> None:
    room = f"room-{secrets.token_hex(4)}"
    token = running.livekit.token(room, "avatar", behalf="agent")
    answer = await client.post("/v1/sessions", json=reference_request(running.livekit.url, room, token, "standard"))
    assert answer.status_code == 201
    session = answer.json()
    assert list(session) == FIELDS
    assert answer.headers["location"] == f"/v1/sessions/{session['id']}"
    assert session["status"] == "queued"
    assert session["metadata"] == {"customer_session_id": "abc123"}
    assert session["transport"] == {
        "type": "livekit",
        "url": running.livekit.url,
        "room_name": room,
        "worker_token": "[redacted]",
        "worker_identity": "avatar",
        "audio_source": "data_stream",
        "subscribe_to_identity": None,
        "synthetic_audio_if_no_input": False,
    }
    assert token not in answer.text
    at_once = await client.get(f"/v1/sessions/{session['id']}")
    assert at_once.json() == session

    async def projected() -> list[Any]:
        return await running.sql("SELECT 1 FROM r.sessions WHERE session_id = %s", session["id"])

    await eventually(projected)
    assert (await client.get(f"/v1/sessions/{session['id']}")).json() == session
    assert await running.kinds(session["id"]) == ["session.created"]


async def test_a_whole_number_may_be_written_as_a_float(running: World, client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/sessions", json=running.request(max_duration_seconds=600.0))
    assert (answer.status_code, answer.json()["max_duration_seconds"]) == (201, 600)
    for wrong in (600.5, "600", True):
        answer = await client.post("/v1/sessions", json=running.request(max_duration_seconds=wrong))
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "max_duration_seconds.invalid_type")


async def test_unset_fields_get_their_defaults(running: World, client: httpx.AsyncClient) -> None:
    body = running.request()
    del body["transport"]["type"], body["quality"]
    session = (await client.post("/v1/sessions", json=body)).json()
    assert session["quality"] == "standard"
    assert session["transport"]["type"] == "livekit"
    assert (session["max_duration_seconds"], session["idle_timeout_seconds"], session["metadata"]) == (3600, 30, {})


BAD: list[tuple[dict[str, Any], int, str, str | None]] = [
    ({"avatar_id": "av_unknown"}, 404, "avatar.not_found", "avatar_id"),
    ({"avatar_id": 7}, 422, "avatar_id.invalid_type", "avatar_id"),
    ({"avatar_id": None}, 422, "avatar_id.invalid_type", "avatar_id"),
    ({"qualty": "mock"}, 422, "qualty.unknown", "qualty"),
    ({"quality": "ultra"}, 422, "quality.invalid", "quality"),
    ({"max_duration_seconds": 3601}, 422, "max_duration_seconds.too_large", "max_duration_seconds"),
    ({"max_duration_seconds": 0}, 422, "max_duration_seconds.too_small", "max_duration_seconds"),
    ({"max_duration_seconds": "60"}, 422, "max_duration_seconds.invalid_type", "max_duration_seconds"),
    ({"idle_timeout_seconds": 601}, 422, "idle_timeout_seconds.too_large", "idle_timeout_seconds"),
    ({"metadata": {"a": {"b": 1}}}, 422, "metadata.a.invalid_type", "metadata.a"),
    ({"metadata": {"_avatar.x": 1}}, 422, "metadata.reserved", "metadata._avatar.x"),
    ({"metadata": {"a": "x" * 9000}}, 422, "metadata.too_large", "metadata"),
    ({"metadata": {"greenroom.mood": "grumpy"}}, 422, "metadata.mood", "metadata.greenroom.mood"),
    ({"metadata": {"greenroom.mood": None}}, 422, "metadata.mood", "metadata.greenroom.mood"),
    ({"transport": {"type": "websocket", "whatever": 1}}, 400, "transport.unsupported", "transport.type"),
    ({"transport": {"type": "pipecat"}}, 400, "transport.unsupported", "transport.type"),
    ({"transport": {"type": "webrtc"}}, 422, "transport.type.invalid", "transport.type"),
    ({"transport": {"url": "https://x"}}, 422, "transport.url.invalid", "transport.url"),
    ({"transport": {"room": "x"}}, 422, "transport.room.unknown", "transport.room"),
    ({"transport": {"audio_source": "mic"}}, 422, "transport.audio_source.invalid", "transport.audio_source"),
    (
        {"transport": {"worker_identity": "other"}},
        422,
        "transport.worker_token.identity_mismatch",
        "transport.worker_token",
    ),
    ({"transport": {"room_name": "elsewhere"}}, 422, "transport.worker_token.wrong_room", "transport.worker_token"),
]


@pytest.mark.parametrize(
    ("change", "status", "code", "param"), BAD, ids=[b[2] + "-" + str(i) for i, b in enumerate(BAD)]
)
async def test_bad_input_is_told_and_leaves_nothing(
    running: World, client: httpx.AsyncClient, change: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    before = await running.sql("SELECT count(*) FROM admissions")
    answer = await client.post("/v1/sessions", json=running.request(**change))
    assert (answer.status_code, error(answer)["code"], error(answer)["param"]) == (status, code, param)
    assert await running.sql("SELECT count(*) FROM admissions") == before


@pytest.mark.parametrize("missing", ["avatar_id", "transport"])
async def test_required_fields(running: World, client: httpx.AsyncClient, missing: str) -> None:
    body = running.request()
    del body[missing]
    answer = await client.post("/v1/sessions", json=body)
    assert (answer.status_code, error(answer)["code"]) == (422, f"{missing}.required")


async def test_a_missing_field_inside_transport_is_named_by_its_own_path(
    running: World, client: httpx.AsyncClient
) -> None:
    body = running.request()
    del body["transport"]["url"]
    answer = await client.post("/v1/sessions", json=body)
    assert (error(answer)["code"], error(answer)["param"]) == ("transport.url.required", "transport.url")


@pytest.mark.parametrize(
    ("grants", "code"),
    [
        ({"ttl_s": -60}, "expired"),
        ({"room_join": False}, "no_room_join"),
        ({"can_publish": False}, "no_publish"),
        ({"can_publish_data": False}, "no_publish_data"),
    ],
)
async def test_tokens_that_cannot_work(
    running: World, client: httpx.AsyncClient, grants: dict[str, Any], code: str
) -> None:
    token = running.livekit.token("room-x", "avatar", **grants)
    answer = await client.post("/v1/sessions", json=running.request("room-x", transport={"worker_token": token}))
    assert (answer.status_code, error(answer)["code"]) == (422, f"transport.worker_token.{code}")


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "json.malformed"),
        (b"", 400, "json.malformed"),
        (b"\xff\xfe", 400, "json.malformed"),
        (b"[]", 422, "body.invalid_type"),
        (b'{"avatar_id": "' + b"x" * 300_000 + b'"}', 413, "body.too_large"),
    ],
    ids=["cut", "empty", "not-utf8", "array", "large"],
)
async def test_bodies_that_are_no_request(client: httpx.AsyncClient, content: bytes, status: int, code: str) -> None:
    answer = await client.post("/v1/sessions", content=content)
    assert (answer.status_code, error(answer)["code"]) == (status, code)


async def test_a_body_of_unknown_length_is_bounded_too(client: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 10_000

    answer = await client.post("/v1/sessions", content=endless())
    assert (answer.status_code, error(answer)["code"]) == (413, "body.too_large")


async def test_routes_and_methods(client: httpx.AsyncClient) -> None:
    assert error(await client.get("/v2/nothing"))["code"] == "route.not_found"
    wrong = await client.delete("/v1/sessions")
    assert (wrong.status_code, error(wrong)["code"]) == (405, "method.not_allowed")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "api_key.missing"),
        ("Basic abc", "api_key.missing"),
        ("Bearer", "api_key.missing"),
        ("Bearer sk_wrong", "api_key.invalid"),
        ("Bearer sk_" + "a" * 43 + "00000000", "api_key.invalid"),
    ],
)
async def test_keys(running: World, header: str | None, code: str) -> None:
    headers = {"Authorization": header} if header else {}
    async with httpx.AsyncClient(base_url=running.api_url, headers=headers, trust_env=False) as stranger:
        answer = await stranger.post("/v1/sessions", json=running.request())
    assert (answer.status_code, error(answer)["code"]) == (401, code)
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_revoked_key_creates_nothing_from_that_moment(running: World) -> None:
    _, key = await running.new_account("revoked")
    async with running.client(key) as caller:
        await running.create(caller)
        await running.sql("UPDATE api_keys SET revoked_at = now() WHERE name = 'revoked'")
        answer = await caller.post("/v1/sessions", json=running.request())
    assert (answer.status_code, error(answer)["code"]) == (401, "api_key.revoked")


async def test_accounts_see_only_their_own(running: World, client: httpx.AsyncClient) -> None:
    session = await running.create(client)
    _, key = await running.new_account("stranger")
    async with running.client(key) as stranger:
        for answer in (
            await stranger.get(f"/v1/sessions/{session['id']}"),
            await stranger.post(f"/v1/sessions/{session['id']}/end"),
        ):
            assert (answer.status_code, error(answer)["code"]) == (404, "session.not_found")
        assert (await stranger.get("/v1/sessions")).json()["data"] == []
    assert (await client.get(f"/v1/sessions/{session['id']}")).json()["status"] == "queued"


async def test_an_end_before_the_start_cancels_and_frees_everything(running: World, client: httpx.AsyncClient) -> None:
    session = await running.create(client)
    sid = session["id"]
    for _ in range(2):  # idempotent; content type and body are ignored
        answer = await client.post(
            f"/v1/sessions/{sid}/end", content=b"", headers={"content-type": "application/octet-stream"}
        )
        assert answer.status_code == 200
        assert answer.json()["status"] == "canceled"
    assert (await running.status(client, sid))["ended_at"] is not None

    async def freed() -> bool:
        rows = await running.sql(
            """
            SELECT (SELECT count(*) FROM admissions WHERE session_id = %s) + (SELECT count(*) FROM slots WHERE
            session_id = %s) + (SELECT count(*) FROM session_secrets WHERE session_id = %s)
            """,
            sid,
            sid,
            sid,
        )
        return bool(rows[0][0] == 0)

    await eventually(freed)
    assert await running.kinds(sid) == ["session.created", "session.end_requested"]


async def test_an_unknown_session_cannot_be_ended(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/sessions/sess_nothing/end")
    assert (answer.status_code, error(answer)["code"]) == (404, "session.not_found")


async def test_the_status_follows_the_log_and_never_goes_back(running: World, client: httpx.AsyncClient) -> None:
    sid = (await running.create(client))["id"]
    worker = (await running.sql("SELECT worker_id FROM admissions WHERE session_id = %s", sid))[0][0]
    await running.append(SessionStarting(sid, 1, worker))
    await running.until(client, sid, "starting")
    await running.append(SessionFirstFrame(sid, 1, worker, {}))
    await running.until(client, sid, "running")
    await running.append(SessionHeartbeat(sid, 1, worker, 1, Meter(1200, 30, 0), None, 0, 0, None))

    async def billed() -> bool:
        return bool((await running.status(client, sid))["usage"] == {"billable_seconds": 2, "frames": 30})

    await eventually(billed)
    ending = await client.post(f"/v1/sessions/{sid}/end")
    assert ending.json()["status"] == "ending"
    assert (await running.status(client, sid))["status"] == "ending"
    await running.append(SessionEnded(sid, 1, "api_request", worker, 2, Meter(1900, 47, 0)))
    done = await running.until(client, sid, "ended")
    assert done["usage"] == {"billable_seconds": 2, "frames": 47}
    assert done["created_at"] <= done["started_at"] <= done["first_frame_at"] <= done["ended_at"]


async def test_idempotency_keys(running: World, client: httpx.AsyncClient) -> None:
    body, key = running.request(), {"Idempotency-Key": secrets.token_hex(8)}
    first, second = await asyncio.gather(*(client.post("/v1/sessions", json=body, headers=key) for _ in range(2)))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    assert {"idempotent-replayed" in first.headers, "idempotent-replayed" in second.headers} == {True, False}
    other = await client.post("/v1/sessions", json=running.request(), headers=key)
    assert (other.status_code, error(other)["code"]) == (409, "idempotency_key.reused")
    assert await running.kinds(first.json()["id"]) == ["session.created"]


async def test_the_same_body_soon_again_is_the_same_session(running: World, client: httpx.AsyncClient) -> None:
    body = running.request()
    first = await client.post("/v1/sessions", json=body)
    second = await client.post("/v1/sessions", json=body)
    assert first.json()["id"] == second.json()["id"]
    await client.post(f"/v1/sessions/{first.json()['id']}/end")
    third = await client.post("/v1/sessions", json=body)
    assert third.json()["id"] != first.json()["id"]


async def test_another_create_for_the_same_place_supersedes(running: World, client: httpx.AsyncClient) -> None:
    room = f"room-{secrets.token_hex(4)}"
    old = await running.create(client, room)
    new = await running.create(client, room, max_duration_seconds=60)
    assert new["id"] != old["id"]
    ended = await running.until(client, old["id"], "canceled")
    assert ended["status"] == "canceled"
    requests = [x.data for x, _ in await running.log(old["id"]) if isinstance(x.data, SessionEndRequested)]
    assert [r.reason for r in requests] == ["superseded"]


async def test_the_plan_caps_concurrency(running: World) -> None:
    _, key = await running.new_account("small", plan="trial")
    async with running.client(key) as caller:
        held = [await running.create(caller) for _ in range(2)]
        assert held[0]["max_duration_seconds"] == 600
        full = await caller.post("/v1/sessions", json=running.request())
        assert (full.status_code, error(full)["code"]) == (429, "concurrent_sessions")
        assert error(full)["type"] == "quota_exceeded"
        assert "retry-after" not in full.headers
        await caller.post(f"/v1/sessions/{held[0]['id']}/end")

        async def admitted() -> bool:
            return (await caller.post("/v1/sessions", json=running.request())).status_code == 201

        await eventually(admitted)


async def test_the_worker_is_told_of_the_mood_in_its_sealed_task(running: World, client: httpx.AsyncClient) -> None:
    moods = {}
    for metadata in ({"greenroom.mood": "warm"}, {}):
        made = await running.create(client, metadata=metadata)
        assert made["metadata"] == metadata

        async def assigned(session_id: str = made["id"]) -> Task | None:
            for event, _ in await running.log(topic=ASSIGNMENTS):
                data = event.data
                if isinstance(data, AssignmentAssign) and data.session_id == session_id:
                    key = running.worker_keys[data.worker_id]
                    return unseal(data.sealed, session_id, data.attempt, data.worker_id, key)
            return None

        task = await eventually(assigned)
        assert task is not None
        moods[len(metadata)] = task.mood
    assert moods == {1: "warm", 0: "neutral"}


async def test_no_slot_is_at_capacity_after_the_bounded_wait(running: World, client: httpx.AsyncClient) -> None:
    started = time.monotonic()
    answer = await client.post("/v1/sessions", json=running.request(quality="pro"))
    assert (answer.status_code, error(answer)["code"]) == (503, "at_capacity")
    assert 1 <= int(answer.headers["retry-after"]) <= 10
    assert 1.5 < time.monotonic() - started < 8


async def test_a_waiting_create_gets_the_slot_that_comes_free(running: World, client: httpx.AsyncClient) -> None:
    waiting = asyncio.create_task(client.post("/v1/sessions", json=running.request(quality="lite")))
    await asyncio.sleep(0.2)
    await running.fake_worker(1, ["lite"])
    assert (await waiting).status_code == 201


async def test_lists(running: World) -> None:
    _, key = await running.new_account("lists")
    async with running.client(key) as caller:
        ids = [(await running.create(caller, metadata={"n": n}))["id"] for n in range(5)]
        await caller.post(f"/v1/sessions/{ids[0]}/end")
        first = (await caller.get("/v1/sessions", params={"limit": 3})).json()
        assert [s["id"] for s in first["data"]] == ids[:1:-1]
        assert (first["has_more"], first["next_cursor"]) == (True, ids[2])
        rest = (await caller.get("/v1/sessions", params={"limit": 3, "starting_after": first["next_cursor"]})).json()
        assert [s["id"] for s in rest["data"]] == [ids[1], ids[0]]
        assert (rest["has_more"], rest["next_cursor"]) == (False, None)
        active = (await caller.get("/v1/sessions", params={"status": "active"})).json()["data"]
        assert {s["id"] for s in active} == set(ids[1:])
        over = (await caller.get("/v1/sessions", params=[("status", "canceled"), ("status", "ended")])).json()["data"]
        assert [s["id"] for s in over] == ids[:1]
        middle = first["data"][-1]["created_at"]
        since = (await caller.get("/v1/sessions", params={"created_after": middle})).json()["data"]
        until = (await caller.get("/v1/sessions", params={"created_before": middle})).json()["data"]
        assert [s["id"] for s in since + until] == ids[::-1]
        assert (await caller.get("/v1/sessions", params={"avatar_id": "av_other"})).json()["data"] == []


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"status": "sleeping"}, 400, "status.invalid"),
        ({"limit": 0}, 422, "limit.too_small"),
        ({"limit": 101}, 422, "limit.too_large"),
        ({"limit": "x"}, 422, "limit.invalid"),
        ({"starting_after": "x"}, 400, "cursor.invalid"),
        ({"created_after": "2026-01-01T00:00:00"}, 422, "created_after.invalid"),
    ],
)
async def test_bad_list_parameters(client: httpx.AsyncClient, params: dict[str, Any], status: int, code: str) -> None:
    answer = await client.get("/v1/sessions", params=params)
    assert (answer.status_code, error(answer)["code"]) == (status, code)


async def test_secrets_are_nowhere_in_clear(running: World, client: httpx.AsyncClient) -> None:
    """I10, and erasable fields: greps topics, tables, logs and the answer for what only the customer knows."""
    room, note = f"room-{secrets.token_hex(8)}", f"note-{secrets.token_hex(8)}"
    body = running.request(room, metadata={"note": note})
    token = body["transport"]["worker_token"]
    answer = await client.post("/v1/sessions", json=body)
    assert token not in answer.text
    await running.until(client, answer.json()["id"], "queued")
    records = [*await running.records(SESSIONS), *await running.records(ASSIGNMENTS)]
    topics = b"".join(bytes(r.value or b"") + b"".join(value for _, value in r.headers) for r in records)
    assert answer.json()["id"].encode() in topics
    for secret in (token, room, note, running.key):
        assert secret.encode() not in topics
    tables = await running.sql("SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname !~ '^(pg_|info)'")
    dump = str([await running.sql(f"SELECT t::text FROM {name[0]} t") for name in tables])
    assert answer.json()["id"] in dump
    assert token not in dump
    assert token.encode().hex() not in dump
    assert running.key not in dump
    logs = "".join(path.read_text() for path in running.folder.glob("*.log"))
    for secret in (token, note, running.key, running.pepper, running.master_keys):
        assert secret not in logs


async def test_the_counter_of_live_sessions_is_the_number_of_admissions(running: World) -> None:
    rows = await running.sql(
        """
        SELECT a.id, a.live_sessions, count(d.*) FROM accounts a
        LEFT JOIN admissions d ON d.account_id = a.id AND d.state <> 'over' GROUP BY a.id
        HAVING a.live_sessions <> count(d.*)
        """
    )
    assert rows == []


async def test_openapi_names_every_error(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    post = document["paths"]["/v1/sessions"]["post"]
    assert {"201", "400", "401", "404", "409", "422", "429", "503"} <= set(post["responses"])
    assert "at_capacity" in post["responses"]["503"]["description"]
    assert "requestBody" in post
