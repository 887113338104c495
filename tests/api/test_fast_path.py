"""The short way to the hot routes answers as FastAPI's way does. A query, even an unknown one, takes the long way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from api.auth import principal
from api.context import context
from api.fast_path import ROUTES
from tests.world import World

pytestmark = pytest.mark.servers

LONG = {"long": "way"}
OWN = ("x-request-id", "date", "ratelimit-remaining", "ratelimit-reset")
"""Headers whose values are another's in each answer."""


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api")
    await world.slots_of_nobody(8)
    return world


@pytest_asyncio.fixture
async def client(running: World) -> AsyncIterator[httpx.AsyncClient]:
    async with running.client() as opened:
        yield opened


@pytest.mark.parametrize("route", [route for route, _ in ROUTES], ids=lambda route: str(route.operation_id))
def test_without_a_query_nothing_is_left_for_fastapi_to_do(route: Any) -> None:
    asked = route.dependant
    assert {each.call for each in asked.dependencies} == {principal, context}
    assert asked.header_params == asked.cookie_params == asked.body_params == []
    assert not any(each.field_info.is_required() for each in asked.query_params)
    assert {each.name for each in asked.path_params} <= {"session_id"}


def told(answer: httpx.Response) -> tuple[int, dict[str, str], Any]:
    assert answer.headers["x-request-id"].startswith("req_")
    content = answer.json()
    if "error" in content:
        assert content["error"].pop("request_id") == answer.headers["x-request-id"]
    headers = {name: "" if name in OWN else value for name, value in answer.headers.items()}
    return answer.status_code, headers, content


async def both(client: httpx.AsyncClient, method: str, path: str, **sent: Any) -> int:
    short = told(await client.request(method, path, **sent))
    assert short == told(await client.request(method, path, params=LONG, **sent))
    return short[0]


async def test_reading_a_session(running: World, client: httpx.AsyncClient) -> None:
    path = f"/v1/sessions/{(await running.create(client))['id']}"
    assert await both(client, "GET", path) == 200
    for wrong in ("Bearer", "Basic x", "Bearer sk_wrong", f"Bearer {running.key[:-1]}"):
        assert await both(client, "GET", path, headers={"Authorization": wrong}) == 401
    _, blind = await running.new_key(scopes=("usage:read",))
    assert await both(client, "GET", path, headers={"Authorization": f"Bearer {blind}"}) == 403
    _, strange = await running.new_account("another")
    assert await both(client, "GET", path, headers={"Authorization": f"Bearer {strange}"}) == 404


async def test_listing_sessions(running: World) -> None:
    account, key = await running.new_account("lists")
    async with running.client(key) as client:
        assert await both(client, "GET", "/v1/sessions") == 200
        made = [(await running.create(client))["id"] for _ in range(2)]
        assert [each["id"] for each in (await client.get("/v1/sessions")).json()["data"]] == made[::-1]
        assert await both(client, "GET", "/v1/sessions") == 200
    _, blind = await running.new_key(account, scopes=("usage:read",))
    async with running.client(blind) as client:
        assert await both(client, "GET", "/v1/sessions") == 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/sessions/sess_none", 404),
        ("GET", "/v1/sessions/%E2%82%AC%20", 404),
        ("GET", "/v1/sessions/a%2Fb", 404),
        ("GET", "/v1/sessions/a%0A", 404),
        ("GET", "/v1/sessions/", 404),
        ("POST", "/v1/sessions/", 404),
        ("HEAD", "/v1/sessions/sess_none", 405),
        ("PUT", "/v1/sessions", 405),
    ],
)
async def test_what_is_not_there(client: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    if method == "HEAD":
        assert (await client.head(path)).status_code == (await client.head(path, params=LONG)).status_code == status
    else:
        assert await both(client, method, path) == status


async def test_creating(running: World, client: httpx.AsyncClient) -> None:
    keyed = {"Idempotency-Key": "the same"}
    first = await client.post("/v1/sessions", json=(body := running.request()), headers=keyed)
    assert first.status_code == 201
    assert await both(client, "POST", "/v1/sessions", json=body, headers=keyed) == 201
    assert await both(client, "POST", "/v1/sessions", json=running.request("another"), headers=keyed) == 409
    assert await both(client, "POST", "/v1/sessions", json=body, headers={"Idempotency-Key": "x" * 256}) == 400
    fresh, long = [await client.post("/v1/sessions", json=running.request(), params=how) for how in (None, LONG)]
    assert fresh.status_code == long.status_code == 201
    assert sorted(fresh.headers) == sorted(long.headers)


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"[]", 422), (b"{}", 422), (b"[" * 300_000, 413), (b"", 400)],
    ids=["no JSON", "no object", "fields missing", "too large", "empty"],
)
async def test_bodies_that_are_refused(client: httpx.AsyncClient, body: bytes, status: int) -> None:
    assert await both(client, "POST", "/v1/sessions", content=body) == status


async def test_metrics_name_the_same_operations(running: World, client: httpx.AsyncClient) -> None:
    for path in ("/v1/sessions/sess_none", "/v1/sessions/"):
        before = await counted(running)
        await both(client, "GET", path)
        after = await counted(running)
        (name,) = [name for name in after if after[name] != before.get(name, 0)]
        assert after[name] == before.get(name, 0) + 2


async def counted(running: World) -> dict[str, float]:
    """Answers by their labels."""
    async with httpx.AsyncClient(trust_env=False) as inside:
        told = (await inside.get(f"http://127.0.0.1:{running.internal_port}/metrics")).text
    lines = [line.split() for line in told.splitlines() if line.startswith("greenroom_request_seconds_count")]
    return {labels: float(count) for labels, count in lines}
