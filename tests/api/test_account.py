"""Account, plans, quota, capacity and status over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from api.account import _estimated_wait_ms
from tests.world import World, eventually

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "sessions")
    await world.slots_of_nobody(3, "mock", "lite")
    await world.slots_of_nobody(1, "pro")
    return world


@pytest_asyncio.fixture
async def client(running: World) -> AsyncIterator[httpx.AsyncClient]:
    async with running.client() as client:
        yield client


async def test_account_and_key(running: World) -> None:
    key_id, key = await running.new_key(scopes=("account:read",), creates_per_minute=7)
    async with running.client(key) as client:
        found = (await client.get("/v1/account")).json()
    assert (found["id"], found["object"], found["name"], found["plan"]) == (
        running.account,
        "account",
        "tests",
        "self_hosted",
    )
    assert found["key"] | {"created_at": ""} == {
        "id": key_id,
        "name": "tests",
        "scopes": ["account:read"],
        "creates_per_minute": 7,
        "max_concurrency": None,
        "created_at": "",
    }


async def test_plans_are_open_and_exact(running: World) -> None:
    async with httpx.AsyncClient(base_url=running.api_url, trust_env=False) as nobody:
        found = (await nobody.get("/v1/billing/plans")).json()
    assert {plan["key"] for plan in found} == {"self_hosted", "trial"}
    assert all(
        list(plan)
        == [
            "key",
            "name",
            "monthly_price_cents",
            "included_credits",
            "extra_credit_unit_micros",
            "max_concurrency",
            "custom_avatar_slots",
            "extra_avatar_slot_cents",
            "session_time_limit_seconds",
        ]
        for plan in found
    )


async def test_quota_and_capacity_follow_what_is_taken(running: World) -> None:
    _, key = await running.new_account("small", "trial")
    async with running.client(key) as client:
        before = (await client.get("/v1/capacity")).json()
        assert (before["slots"], before["free"], before["estimated_wait_ms"]) == (4, 4, 0)
        assert before["by_quality"] == {
            "lite": {"slots": 3, "free": 3},
            "mock": {"slots": 3, "free": 3},
            "pro": {"slots": 1, "free": 1},
        }
        sid = (await running.create(client))["id"]
        quota = (await client.get("/v1/billing/quota")).json()
        assert quota["concurrent_sessions"] == {"limit": 2, "used": 1}
        assert quota["custom_avatars"] == {"limit": 1, "used": 0}
        after = (await client.get("/v1/capacity")).json()
        assert (after["free"], after["by_quality"]["mock"]["free"], after["by_quality"]["pro"]["free"]) == (3, 2, 1)
        await running.sql("SELECT release(ARRAY[%s], '{}'::text[])", sid)


def test_how_long_a_slot_may_take() -> None:
    assert _estimated_wait_ms(1, 5, 0) == 0
    assert _estimated_wait_ms(0, 0, 0) is None
    assert _estimated_wait_ms(0, 0, 60) == 10_000
    assert _estimated_wait_ms(0, 2, 60) == 30_000


async def test_pipecat_is_reserved(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/pipecat/sessions", json={"anything": 1})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "transport.unsupported")


async def test_metrics_count_by_operation(running: World, client: httpx.AsyncClient) -> None:
    await client.get("/v1/account")
    await client.get("/v1/sessions/sess_made_up")
    await client.get("/somewhere/else")
    async with httpx.AsyncClient(trust_env=False) as inside:
        text = (await inside.get(f"http://127.0.0.1:{running.internal_port}/metrics")).text
    for operation, status in (("get_account", 200), ("get_session", 404), ("none", 404)):
        assert f'greenroom_request_seconds_count{{operation="{operation}",status="{status}"}}' in text
    assert "greenroom_streams 0.0" in text
    assert "greenroom_creates_waiting 0.0" in text
    assert "sess_made_up" not in text


async def test_labels_stay_few_whatever_is_asked(running: World, client: httpx.AsyncClient) -> None:
    """Hundreds of made-up paths, methods, fields, ids, keys and codes: the series are those of the operations."""

    async def ask(n: int) -> None:
        made_up = f"made_up_{n}"
        await client.get(f"/{made_up}/{made_up}?{made_up}={made_up}")
        await client.get(f"/v1/sessions/sess_{made_up}")
        await client.request(made_up.upper(), "/v1/sessions")
        await client.post("/v1/sessions", json=running.request() | {made_up: made_up})
        await client.post("/v1/sessions", json=running.request(transport={made_up: 1}))
        await client.get("/v1/account", headers={"Authorization": f"Bearer sk_{made_up}", "X-Request-Id": made_up})

    async def series() -> set[str]:
        async with httpx.AsyncClient(trust_env=False) as inside:
            text = (await inside.get(f"http://127.0.0.1:{running.internal_port}/metrics")).text
        return {line.rpartition(" ")[0] for line in text.splitlines() if line.startswith("greenroom_")}

    await ask(0)
    before = await series()
    await asyncio.gather(*(ask(n) for n in range(1, 60)))
    after = await series()
    assert after == before
    assert not [line for line in after if "made_up" in line.lower()]


async def test_status_says_what_does_not_work(running: World) -> None:
    """The last test: it takes parts away."""
    async with httpx.AsyncClient(base_url=running.api_url, trust_env=False, timeout=10) as nobody:

        async def status() -> dict[str, str]:
            found = (await nobody.get("/v1/status")).json()
            assert list(found) == ["status", "components", "updated_at"]
            return {"all": found["status"]} | {each["name"]: each["status"] for each in found["components"]}

        async def is_now(**wanted: str) -> None:
            async def probe() -> bool:
                found = await status()
                return all(found[name] == value for name, value in wanted.items())

            await eventually(probe, what=str(wanted))

        assert set((await status()).values()) == {"operational"}
        await running.stop("sessions")
        async with running.client() as client:
            await running.create(client)
        await is_now(projections="degraded", all="degraded")
        await running.sql("UPDATE slots SET open = false")
        await is_now(workers="outage", all="outage", database="operational")
