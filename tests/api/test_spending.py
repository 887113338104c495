"""Caps, thresholds and credits on the real stack: told of once, refused at the cap, and what runs is ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from schemas.events import SessionEnded, SessionFirstFrame, SessionStarting
from store import accounts, credits
from store.database import pool
from tests.builders import beat
from tests.sse import opened
from tests.store.test_credits import bill
from tests.world import World, clear_of_midnight, eventually

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    """Two rosters: each looks at what is spent."""
    await world.start("api", "sessions", "usage", "history", "webhooks", "roster", "roster-2")
    await world.fake_worker(50)
    return world


@pytest_asyncio.fixture
async def account(running: World) -> tuple[str, str]:
    """(id, key)."""
    await clear_of_midnight()  # spent is spent in a month
    return await running.new_account("spending")


@pytest_asyncio.fixture
async def client(running: World, account: tuple[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with running.client(account[1]) as client:
        yield client


async def told(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    params = {"types": "usage.threshold_reached"}
    return [item["data"] for item in (await client.get("/v1/events", params=params)).json()["data"]]


async def refused(client: httpx.AsyncClient, running: World) -> tuple[int, str]:
    answer = await client.post("/v1/sessions", json=running.request())
    return answer.status_code, answer.json().get("error", {}).get("code", "")


async def test_a_threshold_is_told_of_once(running: World, account: tuple[str, str], client: httpx.AsyncClient) -> None:
    answer = await client.put("/v1/limits", json={"threshold_credits": [2, 1, 5, 2]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["account"] == {
        "hard_cap_credits": None,
        "threshold_credits": [1, 2, 5],
        "used_credits": 0,
        "reached_credits": [],
    }
    async with opened(client, "/v1/events?types=usage.*") as stream:
        await bill(running, account[0], 2.5)
        first, second = (item.data for item in await stream.until(2))
    assert [first["data"]["threshold_credits"], second["data"]["threshold_credits"]] == [1, 2]
    assert first["data"] | {"period_start": ""} == {
        "object": "usage_threshold",
        "account_id": account[0],
        "key_id": None,
        "period_start": "",
        "threshold_credits": 1,
        "used_credits": 2.5,
    }
    await bill(running, account[0], 10)

    async def third() -> bool:
        return len(await told(client)) == 3

    await eventually(third)
    await running.sql(
        "UPDATE thresholds_reached SET month = month - interval '1 month' WHERE account_id = %s", account[0]
    )

    async def a_new_month() -> bool:
        return len(await told(client)) == 6

    await eventually(a_new_month)
    assert (await client.get("/v1/limits")).json()["account"]["reached_credits"] == [1, 2, 5]


async def test_at_the_cap_nothing_begins_and_what_runs_is_ended(
    running: World, account: tuple[str, str], client: httpx.AsyncClient
) -> None:
    await client.put("/v1/limits", json={"hard_cap_credits": 1})
    sid = (await running.create(client))["id"]
    await bill(running, account[0], 0.9)
    assert (await refused(client, running))[0] == 201
    await bill(running, account[0], 0.1)
    assert await refused(client, running) == (402, "insufficient_credit_balance")
    problems = (await client.post("/v1/sessions", params={"dry_run": True}, json=running.request())).json()["problems"]
    assert [each["code"] for each in problems] == ["insufficient_credit_balance"]
    ended = await running.until(client, sid, "canceled")
    timeline = (await client.get(f"/v1/sessions/{ended['id']}/timeline")).json()
    assert (timeline["end_reason"], timeline["ended_by"]) == ("credit_exhausted", "limit")
    await client.put("/v1/limits", json={"hard_cap_credits": 2})
    assert (await refused(client, running))[0] == 201


async def test_a_keys_cap_is_its_own(running: World, account: tuple[str, str], client: httpx.AsyncClient) -> None:
    key_id, key = await running.new_key(account[0])
    answer = await client.put(
        "/v1/limits", params={"key_id": key_id}, json={"hard_cap_credits": 1, "threshold_credits": [1]}
    )
    assert answer.json()["keys"][key_id]["hard_cap_credits"] == 1
    await bill(running, account[0], 5, "another")
    async with running.client(key) as mine:
        sid = (await running.create(mine))["id"]
        await bill(running, account[0], 1, key_id)
        assert await refused(mine, running) == (402, "insufficient_credit_balance")
        await running.until(mine, sid, "canceled")
    assert (await refused(client, running))[0] == 201

    async def known() -> bool:
        return [each["key_id"] for each in await told(client)] == [key_id]

    await eventually(known)
    _, stranger = await running.new_account("stranger")
    async with running.client(stranger) as other:
        answer = await other.put("/v1/limits", params={"key_id": key_id}, json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "api_key.not_found")


async def test_without_credits_a_gated_account_begins_nothing(
    running: World, account: tuple[str, str], client: httpx.AsyncClient
) -> None:
    async with pool(running.database_url, 1) as opened_pool, opened_pool.connection() as connection:
        await accounts.change_account(connection, account[0], credit_gated=True)
        assert await refused(client, running) == (402, "insufficient_credit_balance")
        await credits.grant(connection, account[0], 2, None, "welcome")
        sid = (await running.create(client))["id"]
        await bill(running, account[0], 2)
        await running.until(client, sid, "canceled")
        assert await refused(client, running) == (402, "insufficient_credit_balance")
        found = (await client.get("/v1/billing/credits")).json()
        assert found == {"object": "credits", "gated": True, "balance_credits": 0, "grants": []}
        entries = (await client.get("/v1/billing/credit_entries", params={"limit": 1})).json()
        assert (entries["data"][0]["kind"], entries["data"][0]["amount_credits"]) == ("spend", -2)
        more = {"starting_after": entries["next_cursor"]}
        [first] = (await client.get("/v1/billing/credit_entries", params=more)).json()["data"]
        assert (first["kind"], first["note"], first["balance_credits"]) == ("grant", "welcome", 2)
        await accounts.change_account(connection, account[0], credit_gated=False)
    assert (await refused(client, running))[0] == 201


async def test_what_a_real_session_bills_is_what_is_spent(
    running: World, account: tuple[str, str], client: httpx.AsyncClient
) -> None:
    async with pool(running.database_url, 1) as opened_pool, opened_pool.connection() as connection:
        await credits.grant(connection, account[0], 1, None)
    sid = (await running.create(client))["id"]
    worker = (await running.sql("SELECT worker_id FROM admissions WHERE session_id = %s", sid))[0][0]
    await running.append(
        SessionStarting(sid, 1, worker),
        SessionFirstFrame(sid, 1, worker, {}),
        beat(sid, 1, 600, worker=worker),
        SessionEnded(sid, 1, "idle_timeout", worker),
    )

    async def spent() -> bool:
        return bool((await client.get("/v1/billing/credits")).json()["balance_credits"] == 0.99)

    await eventually(spent)
    assert (await client.get("/v1/limits")).json()["account"]["used_credits"] == 0.01


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"hard_cap_credits": -1}, "hard_cap_credits.too_small"),
        ({"hard_cap_credits": 1e10}, "hard_cap_credits.too_large"),
        ({"hard_cap_credits": "1"}, "hard_cap_credits.invalid_type"),
        ({"threshold_credits": [1] * 11}, "threshold_credits.too_long"),
        ({"threshold_credits": 1}, "threshold_credits.invalid_type"),
        ({"cap": 1}, "cap.unknown"),
    ],
)
async def test_limits_that_are_none(client: httpx.AsyncClient, body: dict[str, Any], code: str) -> None:
    answer = await client.put("/v1/limits", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)


async def test_made_up_cursors(client: httpx.AsyncClient) -> None:
    for cursor in ("ce_x", "ce_", "ce_-1", "ce_²", f"ce_{'9' * 12}", "sess_1"):
        answer = await client.get("/v1/billing/credit_entries", params={"starting_after": cursor})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "cursor.invalid"), cursor


async def test_creates_and_looks_at_once_hold_nobody_up(running: World, client: httpx.AsyncClient) -> None:
    await client.put("/v1/limits", json={"hard_cap_credits": 1000, "threshold_credits": [1]})
    answers = await asyncio.gather(*(client.post("/v1/sessions", json=running.request()) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}
