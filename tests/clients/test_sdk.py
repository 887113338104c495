"""protoface-sdk 0.1.0 as it is on PyPI, with only its base URL changed: every call, and every error as its own class.

The SDK forbids unknown fields and knows closed enums: an answer that is not exactly as it expects raises there.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.events import Meter, SessionEnded, SessionFailed, SessionFirstFrame, SessionStarting
from tests import portraits
from tests.clients.drive import Drive, Refused, started
from tests.world import World, clear_of_midnight, eventually

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "sessions", "usage", "avatars", "roster", GREENROOM_CAPACITY_WAIT_SECONDS="0")
    await world.fake_worker(40, ["mock", "standard"])
    return world


def sdk_of(python: Path, world: World, key: str) -> AbstractAsyncContextManager[Drive]:
    return started(python, "sdk.py", base_url=world.api_url, api_key=key)


@pytest_asyncio.fixture(scope="module")
async def sdk(python: Path, running: World) -> AsyncIterator[Drive]:
    async with sdk_of(python, running, running.key) as drive:
        yield drive


def livekit(world: World, room: str | None = None, **changes: Any) -> dict[str, Any]:
    """What `create_livekit` takes."""
    transport = world.request(room)["transport"]
    wanted = {name: transport[name] for name in ("url", "room_name", "worker_token")}
    return {"avatar_id": "av_demo", "quality": "mock", **wanted, **changes}


async def refused(drive: Drive, name: str, /, **arguments: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await drive.call(name, **arguments)
    assert caught.value.told["request_id"].startswith("req_")
    return caught.value


def said(error: Refused) -> tuple[str, int, str, str]:
    return error.kind, error.told["status"], error.told["type"], error.told["code"]


async def worker_of(world: World, session: dict[str, Any]) -> str:
    """The worker that the session was given to, which plays no part of its own here."""
    ((worker,),) = await world.sql("SELECT worker_id FROM slots WHERE session_id = %s", session["id"])
    return str(worker)


async def over(world: World, session_id: str, status: str) -> None:
    """A place may be given back before the projection has the end: until then a session is `ending`, and the SDK waits
    for no more than that."""
    async with world.client() as client:
        await world.until(client, session_id, status)


# Sessions


async def test_a_session_from_create_to_end(running: World, sdk: Drive) -> None:
    asked = livekit(running, audio_source="track", max_duration_seconds=60, idle_timeout_seconds=20)
    session = await sdk.call(
        "sessions.create_livekit", **asked, metadata={"call": "a", "n": 1.5, "yes": True, "no": None}
    )
    assert session["status"] == "queued"
    assert (session["max_duration_seconds"], session["idle_timeout_seconds"]) == (60, 20)
    assert session["metadata"] == {"call": "a", "n": 1.5, "yes": True, "no": None}
    assert (session["transport"]["audio_source"], session["transport"]["worker_token"]) == ("track", "[redacted]")
    assert await sdk.call("sessions.get", session_id=session["id"]) == session

    waiting = asyncio.create_task(sdk.call("wait_until_running", session_id=session["id"], poll_interval=0.1))
    worker = await worker_of(running, session)
    await running.append(SessionStarting(session["id"], 1, worker), SessionFirstFrame(session["id"], 1, worker, {}))
    shows = await waiting
    assert shows["status"] == "running"
    assert None not in (shows["started_at"], shows["first_frame_at"])

    for _ in range(2):
        assert (await sdk.call("sessions.end", session_id=session["id"]))["status"] == "ending"


async def test_the_general_create_takes_defaults(running: World, sdk: Drive) -> None:
    """The SDK leaves out `transport.type` then, and everything that was not set."""
    transport = running.request()["transport"]
    session = await sdk.call("sessions.create", request={"avatar_id": "av_demo", "transport": transport})
    assert (session["quality"], session["idle_timeout_seconds"]) == ("standard", 30)
    ended = await sdk.call("sessions.end", session_id=session["id"])
    assert ended["status"] in ("ending", "canceled")


async def test_waiting_ends_with_a_session_that_never_runs(running: World, sdk: Drive) -> None:
    session = await sdk.call("sessions.create_livekit", **livekit(running))
    with pytest.raises(Refused) as caught:
        await sdk.call("wait_until_running", session_id=session["id"], timeout=0.3, poll_interval=0.1)
    assert caught.value.kind == "TimeoutError"
    await sdk.call("sessions.end", session_id=session["id"])
    await over(running, session["id"], "canceled")
    assert (await sdk.call("wait_until_running", session_id=session["id"], poll_interval=0.1))["status"] == "canceled"


async def test_a_session_that_fails_says_why(running: World, sdk: Drive) -> None:
    session = await sdk.call("sessions.create_livekit", **livekit(running))
    sid, worker = session["id"], await worker_of(running, session)
    await running.append(
        SessionStarting(sid, 1, worker),
        SessionFailed(sid, 1, "transport.unauthorized", "Refused.", worker, 1, Meter(0, 0, 0)),
    )
    await over(running, sid, "failed")
    failed = await sdk.call("wait_until_running", session_id=sid, poll_interval=0.1)
    assert (failed["status"], failed["failure"]["code"]) == ("failed", "transport.unauthorized")
    assert failed["failed_at"] is not None


async def test_an_idempotency_key(running: World, sdk: Drive) -> None:
    asked, key = livekit(running), secrets.token_hex(8)
    first = await sdk.call("sessions.create_livekit", **asked, idempotency_key=key)
    again = await sdk.call("sessions.create_livekit", **asked, idempotency_key=key)
    assert again == first
    other = await refused(sdk, "sessions.create_livekit", **{**asked, "quality": "standard"}, idempotency_key=key)
    assert said(other) == ("ConflictError", 409, "conflict", "idempotency_key.reused")


async def test_pages_of_sessions(python: Path, running: World) -> None:
    _, key = await running.new_account("pages")
    async with sdk_of(python, running, key) as sdk:
        made = [(await sdk.call("sessions.create_livekit", **livekit(running)))["id"] for _ in range(3)]

        async def listed() -> bool:
            return len((await sdk.call("sessions.list"))["data"]) == 3

        await eventually(listed)
        first = await sdk.call("sessions.list", limit=2)
        assert ([s["id"] for s in first["data"]], first["has_more"]) == (made[:0:-1], True)
        last = await sdk.call("sessions.list", limit=2, starting_after=first["next_cursor"])
        assert ([s["id"] for s in last["data"]], last["has_more"], last["next_cursor"]) == (made[:1], False, None)
        middle = first["data"][1]["created_at"]
        for only, expected in (
            ({"status": "queued"}, 3),
            ({"status": ["active", "ended"]}, 3),
            ({"status": ["failed", "canceled"]}, 0),
            ({"avatar_id": "av_stock_001"}, 0),
            ({"created_after": middle}, 2),
            ({"created_before": middle}, 1),
        ):
            assert len((await sdk.call("sessions.list", **only))["data"]) == expected, only


# Avatars


async def test_an_avatar_from_upload_to_deletion(sdk: Drive) -> None:
    image = base64.b64encode(portraits.file(portraits.noise())).decode()
    made = await sdk.call("avatars.create", image=image, filename="me.jpg", name="Ada", runtime_type="mock")
    assert (made["name"], made["runtime_type"], made["is_demo"]) == ("Ada", "mock", False)

    async def ready() -> bool:
        return bool((await sdk.call("avatars.get", avatar_id=made["id"]))["status"] == "ready")

    await eventually(ready)
    mine = await sdk.call("avatars.list", scope="org", q="Ada", limit=10)
    assert [avatar["id"] for avatar in mine["data"]] == [made["id"]]
    assert await sdk.call("avatars.delete", avatar_id=made["id"]) is None
    assert said(await refused(sdk, "avatars.get", avatar_id=made["id"])) == (
        "NotFoundError",
        404,
        "not_found",
        "avatar.not_found",
    )


async def test_pages_of_avatars(sdk: Drive) -> None:
    first = await sdk.call("avatars.list", scope="platform", limit=1)
    assert (len(first["data"]), first["has_more"], first["data"][0]["is_demo"]) == (1, True, True)
    second = await sdk.call("avatars.list", scope="platform", limit=1, starting_after=first["next_cursor"])
    assert [avatar["id"] for avatar in (*first["data"], *second["data"])] == ["av_demo", "av_stock_001"]


# What remains


async def test_usage(python: Path, running: World) -> None:
    await clear_of_midnight()
    _, key = await running.new_account("usage")
    async with sdk_of(python, running, key) as sdk:
        session = await sdk.call("sessions.create_livekit", **livekit(running, quality="standard"))
        sid, worker = session["id"], await worker_of(running, session)
        await running.append(
            SessionStarting(sid, 1, worker),
            SessionFirstFrame(sid, 1, worker, {}),
            SessionEnded(sid, 1, "room_closed", worker, 1, Meter(1200, 30, 0)),
        )

        async def billed() -> Any:
            return (await sdk.call("usage.summary"))["sessions"]

        await eventually(billed)
        century = {"period_start": "2026-01-01T00:00:00Z", "period_end": "2126-01-01T00:00:00Z"}
        for asked, seconds in (
            ({}, 2),
            ({"period": "current_month"}, 2),
            ({"period": "previous_month"}, 0),
            (century, 2),
        ):
            summary = await sdk.call("usage.summary", **asked)
            assert summary["billable_seconds"] == seconds, asked
            assert summary["by_quality"] == ({"standard": seconds} if seconds else {}), asked


async def test_plans_and_status(sdk: Drive) -> None:
    assert "self_hosted" in [plan["key"] for plan in await sdk.call("list_billing_plans")]
    status = await sdk.call("get_status")
    assert status["components"]


async def test_an_open_endpoint_asks_nobody_for_a_key(python: Path, running: World) -> None:
    async with sdk_of(python, running, "sk_of_nobody") as stranger:
        assert await stranger.call("list_billing_plans")
        assert (await stranger.call("get_status"))["status"]
        assert said(await refused(stranger, "sessions.list"))[:3] == ("AuthenticationError", 401, "authentication")


# Errors


@pytest.mark.parametrize(
    ("call", "arguments", "expected"),
    [
        ("sessions.get", {"session_id": "sess_none"}, ("NotFoundError", 404, "not_found", "session.not_found")),
        (
            "sessions.list",
            {"starting_after": "nowhere"},
            ("InvalidRequestError", 400, "invalid_request", "cursor.invalid"),
        ),
        ("sessions.list", {"status": "odd"}, ("InvalidRequestError", 400, "invalid_request", "status.invalid")),
        ("usage.summary", {"period": "ever"}, ("InvalidRequestError", 400, "invalid_request", "range.invalid")),
        (
            "avatars.delete",
            {"avatar_id": "av_demo"},
            ("InvalidRequestError", 400, "invalid_request", "avatar.not_deletable"),
        ),
        (
            "avatars.create",
            {"image": "AAAA"},
            ("UnprocessableError", 422, "unprocessable", "image.invalid"),
        ),
        (
            "pipecat.sessions.create",
            {"avatar_id": "av_demo", "quality": "standard", "relay_mode": "websocket"},
            ("InvalidRequestError", 400, "invalid_request", "transport.unsupported"),
        ),
        (
            "sessions.create",
            {"request": {"avatar_id": "av_demo", "transport": {"type": "websocket"}}},
            ("InvalidRequestError", 400, "invalid_request", "transport.unsupported"),
        ),
    ],
)
async def test_errors_are_typed(sdk: Drive, call: str, arguments: dict[str, Any], expected: tuple[Any, ...]) -> None:
    assert said(await refused(sdk, call, **arguments)) == expected


async def test_what_a_create_is_refused_for(running: World, sdk: Drive) -> None:
    asked = livekit(running)
    for changes, expected, param in (
        ({"avatar_id": "av_none"}, ("NotFoundError", 404, "not_found", "avatar.not_found"), "avatar_id"),
        (
            {"room_name": "another"},
            ("UnprocessableError", 422, "unprocessable", "transport.worker_token.wrong_room"),
            "transport.worker_token",
        ),
        (
            {"metadata": {"_avatar.mine": 1}},
            ("UnprocessableError", 422, "unprocessable", "metadata.reserved"),
            "metadata._avatar.mine",
        ),
    ):
        error = await refused(sdk, "sessions.create_livekit", **{**asked, **changes})
        assert said(error) == expected
        assert error.told["param"] == param, changes


async def test_an_avatar_that_is_not_ready_is_a_conflict(running: World, sdk: Drive) -> None:
    """No builder runs here, so it never is."""
    image = base64.b64encode(portraits.file(portraits.noise())).decode()
    made = await sdk.call("avatars.create", image=image)
    assert (made["name"], made["runtime_type"], made["status"]) == ("Custom Avatar", "avtr1", "processing")
    error = await refused(sdk, "sessions.create_livekit", **livekit(running, avatar_id=made["id"]))
    assert said(error) == ("ConflictError", 409, "conflict", "avatar.not_ready")


async def test_a_quality_that_nobody_offers_is_retried_and_told(running: World, sdk: Drive) -> None:
    """With an idempotency key the SDK asks three times, and sleeps as long as it is told to in between."""
    asked = livekit(running, quality="pro", idempotency_key=secrets.token_hex(8))
    error = await refused(sdk, "sessions.create_livekit", **asked)
    assert said(error) == ("ServiceUnavailableError", 503, "service_unavailable", "at_capacity")
    assert error.told["retry_after_seconds"] == 1


async def test_what_a_key_may_not_do(python: Path, running: World) -> None:
    _, key = await running.new_key(scopes=("avatars:read",))
    async with sdk_of(python, running, key) as sdk:
        assert (await sdk.call("avatars.get", avatar_id="av_demo"))["id"] == "av_demo"
        error = await refused(sdk, "sessions.list")
        assert said(error) == ("PermissionError", 403, "permission", "scope.missing")


async def test_a_spending_cap(python: Path, running: World) -> None:
    _, key = await running.new_account("capped")
    async with running.client(key) as client:
        assert (await client.put("/v1/limits", json={"hard_cap_credits": 0})).status_code == 200
    async with sdk_of(python, running, key) as sdk:
        error = await refused(sdk, "sessions.create_livekit", **livekit(running))
    assert said(error) == ("QuotaExceededError", 402, "quota_exceeded", "insufficient_credit_balance")


async def test_how_often_and_how_many(python: Path, running: World) -> None:
    account, _ = await running.new_account("limits")
    for limits, expected in (
        ({"creates_per_minute": 1}, ("RateLimitError", 429, "rate_limit", "rate_limited")),
        ({"max_concurrency": 1}, ("RateLimitError", 429, "quota_exceeded", "concurrent_sessions")),
    ):
        _, key = await running.new_key(account, **limits)
        async with sdk_of(python, running, key) as sdk:
            await sdk.call("sessions.create_livekit", **livekit(running))
            error = await refused(sdk, "sessions.create_livekit", **livekit(running))
        assert said(error) == expected
        waits = error.told["retry_after_seconds"]
        assert waits is None if "max_concurrency" in limits else 1 <= waits <= 10
