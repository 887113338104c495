"""A create that is only tried: everything that is wrong at once, and nothing is reserved."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.world import World

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", GREENROOM_CAPACITY_WAIT_SECONDS="0")
    await world.slots_of_nobody(2, "mock", "standard")
    return world


@pytest_asyncio.fixture
async def client(running: World) -> AsyncIterator[httpx.AsyncClient]:
    async with running.client() as client:
        yield client


async def tried(client: httpx.AsyncClient, body: Any) -> dict[str, Any]:
    answer = await client.post("/v1/sessions", params={"dry_run": True}, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found["ok"] == (not found["problems"])
    return found


def codes(found: dict[str, Any], kind: str = "problems") -> list[str]:
    return [each["code"] for each in found[kind]]


async def test_what_would_work(running: World, client: httpx.AsyncClient) -> None:
    found = await tried(client, running.request())
    assert (found["ok"], found["problems"]) == (True, [])
    assert found["price"] == {
        "rate_card": "2026-11",
        "billed_as": "standard",
        "multiplier_milli": 1000,
        "credits_per_minute": 1.0,
    }
    assert await running.sql("SELECT count(*) FROM admissions") == [(0,)]
    assert await running.sql("SELECT count(*) FROM slots WHERE session_id IS NOT NULL") == [(0,)]
    assert await running.sql("SELECT count(*) FROM key_rates") == [(0,)]


async def test_everything_that_is_wrong_with_the_form(running: World, client: httpx.AsyncClient) -> None:
    body = running.request(quality="best", max_duration_seconds=0, surprise=1)
    del body["transport"]["room_name"]
    found = await tried(client, body)
    assert codes(found) == [
        "transport.room_name.required",
        "quality.invalid",
        "max_duration_seconds.too_small",
        "surprise.unknown",
    ]
    assert found["price"] is None
    assert codes(await tried(client, {"transport": {"type": "pipecat"}})) == ["transport.unsupported"]


async def test_everything_that_is_wrong_with_what_it_says(running: World, client: httpx.AsyncClient) -> None:
    """Each is also what the create itself is refused with, the first of them."""
    room = "room-1"
    token = running.livekit.token("another", "avatar")
    body = running.request(
        room,
        avatar_id="av_none",
        quality="pro",
        metadata={"_avatar.x": 1, "long": "x" * 9000},
        transport={"worker_token": token, "url": "ws://10.1.2.3", "worker_identity": "somebody"},
    )
    found = await tried(client, body)
    assert codes(found) == [
        "metadata.reserved",
        "metadata.too_large",
        "transport.worker_token.wrong_room",
        "transport.worker_token.identity_mismatch",
        "transport.url.unsafe",
        "avatar.not_found",
        "at_capacity",
    ]
    assert [each["status"] for each in found["problems"]] == [422, 422, 422, 422, 422, 404, 503]
    refused = (await client.post("/v1/sessions", json=body)).json()["error"]
    assert refused["code"] == codes(found)[0]


async def test_what_is_taken(running: World) -> None:
    _, key = await running.new_key(max_concurrency=0)
    async with running.client(key) as client:
        assert codes(await tried(client, running.request())) == ["concurrent_sessions"]


async def test_warnings(running: World, client: httpx.AsyncClient) -> None:
    body = running.request(transport={"worker_token": "opaque"})
    assert codes(await tried(client, body), "warnings") == ["transport.worker_token.opaque"]
    body = running.request("room-2", transport={"worker_token": running.livekit.token("room-2", "avatar")})
    assert set(codes(await tried(client, body), "warnings")) >= {"transport.worker_token.no_publish_on_behalf"}
    _, key = await running.new_account("short", "trial")
    async with running.client(key) as short:
        found = await tried(short, running.request(max_duration_seconds=3600))
        assert "max_duration_seconds.clamped" in codes(found, "warnings")


async def test_what_is_no_body_is_told_as_ever(client: httpx.AsyncClient) -> None:
    for content, status in ((b"{", 400), (b"[]", 422), (b'{"a": "' + b"x" * 300_000 + b'"}', 413)):
        answer = await client.post("/v1/sessions", params={"dry_run": True}, content=content)
        assert answer.status_code == status


async def test_a_thousand_problems_are_told_as_a_hundred_and_in_time(client: httpx.AsyncClient) -> None:
    began = time.monotonic()
    found = await tried(client, {f"field_{n}": n for n in range(1900)})
    assert len(found["problems"]) == 100
    assert time.monotonic() - began < 5
