"""What plans and keys limit, on real PostgreSQL, with several API processes that share it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest
import pytest_asyncio

from tests.world import World, eventually

pytestmark = pytest.mark.servers

PROCESSES = 4


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "sessions", GREENROOM_CAPACITY_WAIT_SECONDS="0")
    await world.slots_of_nobody(400)
    return world


@pytest_asyncio.fixture(scope="module")
async def urls(running: World) -> Sequence[str]:
    others = [await running.second_api(f"api-{n}") for n in range(2, PROCESSES + 1)]
    return [running.api_url, *others]


@pytest_asyncio.fixture
async def client(running: World) -> AsyncIterator[httpx.AsyncClient]:
    async with running.client() as client:
        yield client


def said(answer: httpx.Response) -> tuple[str, ...]:
    return tuple(answer.headers.get(f"ratelimit-{name}", "") for name in ("limit", "remaining", "reset"))


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_a_key_makes_its_creates_and_is_told_when_it_may_go_on(running: World) -> None:
    _, key = await running.new_key(creates_per_minute=3)
    async with running.client(key) as client:
        bodies = [running.request() for _ in range(5)]
        answers = [await client.post("/v1/sessions", json=body) for body in bodies[:3]]
        assert [answer.status_code for answer in answers] == [201] * 3
        assert [said(answer) for answer in answers] == [("3", "2", "20"), ("3", "1", "40"), ("3", "0", "60")]
        refused = await client.post("/v1/sessions", json=bodies[3])
        assert code(refused) == (429, "rate_limited")
        assert refused.json()["error"]["type"] == "rate_limit"
        assert said(refused) == ("3", "0", "60")
        assert refused.headers["retry-after"] == "10"  # 20, but clients sleep for whatever stands there
        again = await client.post("/v1/sessions", json=bodies[0])
        assert (again.status_code, again.json()["id"]) == (201, answers[0].json()["id"])  # a retry is no create
    assert await running.sql("SELECT count(*) FROM admissions WHERE body_hmac = ''") == [(0,)]
    _, other = await running.new_key(creates_per_minute=3)
    async with running.client(other) as client:
        assert (await client.post("/v1/sessions", json=bodies[4])).status_code == 201


async def test_what_is_not_admitted_does_not_count(running: World) -> None:
    _, key = await running.new_key(creates_per_minute=2)
    async with running.client(key) as client:
        for wrong in (running.request(quality="pro"), running.request(avatar_id="av_none"), {}):
            assert (await client.post("/v1/sessions", json=wrong)).status_code in (404, 422, 503)
        for _ in range(2):
            assert (await client.post("/v1/sessions", json=running.request())).status_code == 201
        assert code(await client.post("/v1/sessions", json=running.request())) == (429, "rate_limited")


async def test_a_clock_that_steps_back_locks_no_key_out(running: World) -> None:
    key_id, key = await running.new_key(creates_per_minute=600)
    async with running.client(key) as client:
        assert (await client.post("/v1/sessions", json=running.request())).status_code == 201
        await running.sql("UPDATE key_rates SET full_at = now() + interval '1 hour' WHERE key_id = %s", key_id)

        async def again() -> bool:
            return (await client.post("/v1/sessions", json=running.request())).status_code == 201

        await eventually(again, 10, "a create")


async def test_attempts_have_a_limit_of_their_own(running: World) -> None:
    _, key = await running.new_key(creates_per_minute=1)
    async with running.client(key) as client:
        codes = [(await client.post("/v1/sessions", content=b"{")).status_code for _ in range(8)]
    assert codes == [400] * 6 + [429] * 2


async def test_a_key_has_its_own_number_of_live_sessions(running: World, client: httpx.AsyncClient) -> None:
    _, key = await running.new_key(max_concurrency=2)
    async with running.client(key) as mine:
        made = [await mine.post("/v1/sessions", json=running.request()) for _ in range(2)]
        assert code(await mine.post("/v1/sessions", json=running.request())) == (429, "concurrent_sessions")
        assert (await client.post("/v1/sessions", json=running.request())).status_code == 201
        await running.sql("SELECT release(ARRAY[%s], '{}'::text[])", made[0].json()["id"])
        assert (await mine.post("/v1/sessions", json=running.request())).status_code == 201
    _, none = await running.new_key(max_concurrency=0)
    async with running.client(none) as mine:
        assert code(await mine.post("/v1/sessions", json=running.request())) == (429, "concurrent_sessions")


async def storm(running: World, urls: Sequence[str], key: str, seconds: float) -> Counter[object]:
    """Creates from all processes at once, as fast as they answer. Returns outcome → how often."""
    outcomes: Counter[object] = Counter()
    until = time.monotonic() + seconds

    async def one(url: str) -> None:
        async with running.client(key, url) as client:
            while time.monotonic() < until:
                answer = await client.post("/v1/sessions", json=running.request())
                outcomes[answer.status_code if answer.status_code == 201 else code(answer)[1]] += 1

    await asyncio.gather(*(one(url) for url in urls for _ in range(3)))
    return outcomes


async def test_processes_together_never_pass_the_plans_cap(running: World, urls: Sequence[str]) -> None:
    plan = f"plan_{secrets.token_hex(3)}"
    await running.sql("INSERT INTO plans SELECT %s, %s, 0, 0, 0, 7, 1, 0, 600, 1000000", plan, plan)
    account, key = await running.new_account("capped", plan)
    most = 0
    watching = asyncio.create_task(storm(running, urls, key, 4))
    while not watching.done():
        live, counted = (
            await running.sql(
                "SELECT live_sessions, (SELECT count(*) FROM admissions WHERE account_id = a.id AND state <> 'over')"
                " FROM accounts a WHERE id = %s",
                account,
            )
        )[0]
        assert live == counted <= 7
        most = max(most, counted)
        found = await running.sql("SELECT session_id FROM admissions WHERE account_id = %s AND acknowledged", account)
        if len(found) > 4:
            await running.sql("SELECT release(%s, '{}'::text[])", [sid for (sid,) in found[:2]])
    outcomes = await watching
    assert set(outcomes) <= {201, "concurrent_sessions"}, outcomes
    assert most == 7
    assert outcomes[201] > 7


async def test_processes_together_never_pass_a_keys_rate(running: World, urls: Sequence[str]) -> None:
    _, key = await running.new_key(creates_per_minute=60)
    began = time.monotonic()
    outcomes = await storm(running, urls, key, 4)
    took = time.monotonic() - began
    assert set(outcomes) <= {201, "rate_limited"}, outcomes
    assert 60 <= outcomes[201] <= 60 + took + 1
