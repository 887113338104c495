"""What an operator's key opens, and no other's."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.builders import life, session_id
from tests.projections.upgrades import start_newer, writing
from tests.reactors.test_days import caught_up
from tests.world import World, eventually

pytestmark = pytest.mark.servers

PATHS = (
    ("GET", "operator"),
    ("POST", "operator/parked"),
    ("GET", "operator/dead_letters"),
    ("GET", "operator/audit"),
    ("POST", "operator/audit"),
)


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "usage", "history")
    await world.slots_of_nobody(3)
    await world.append(*life(session_id(), account=world.account))
    await caught_up(world)
    return world


async def test_no_other_scope_contains_it(running: World) -> None:
    async with running.client() as everything_of_an_account:
        for method, path in PATHS:
            answer = await everything_of_an_account.request(method, f"/console/{path}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "scope.missing")
    _, key = await running.new_key(scopes=("operator",))
    async with running.client(key) as operator:
        assert (await operator.get("/v1/sessions")).status_code == 403


async def test_all_of_it_at_a_glance(running: World) -> None:
    _, key = await running.new_key(scopes=("operator",))
    async with running.client(key) as operator:
        told = (await operator.get("/console/operator")).json()
        assert told["slots"] == {"all": 3, "free": 3}
        assert [each["slots"] for each in told["workers"]] == [3]
        assert {each["consumer"] for each in told["lag"]} >= {"history", "usage"}
        assert told["parked"] == []
        assert (await operator.get("/console/operator/dead_letters")).json() == {"data": [], "total": 0}


async def test_an_audit_from_the_page(running: World) -> None:
    _, key = await running.new_key(scopes=("operator",))
    async with running.client(key) as operator:
        assert (await operator.get("/console/operator/audit")).json() == {"status": "never"}
        assert await audited(operator) == (True, 4, set())
        await running.sql("UPDATE usage_v1.session_days SET credit_us = credit_us + 1")
        assert await audited(operator) == (False, 4, {"wrong_total"})
        (total,) = (await operator.get("/console/operator/audit")).json()["verdict"]["differences"]
        assert re.fullmatch(rf"{running.account}, session sess_\w+, day \d{{4}}-\d\d-\d\d", total["of"])
        await running.sql("UPDATE usage_v1.session_days SET credit_us = credit_us - 1")
        await running.sql("ALTER TABLE usage_v1.usage_events DISABLE TRIGGER append_only")
        await running.sql("UPDATE usage_v1.usage_events SET credit_us = credit_us + 1 WHERE n = 1")
        assert await audited(operator) == (False, 4, {"changed", "broken_chain"})


async def audited(operator: httpx.AsyncClient) -> tuple[bool, int, set[str]]:
    """(whether all is equal, entries, kinds of differences). A second begin while it runs changes nothing."""
    begun = await operator.post("/console/operator/audit")
    assert (begun.status_code, begun.json()["status"]) == (202, "running")
    again = (await operator.post("/console/operator/audit")).json()
    assert again["started_at"] == begun.json()["started_at"]

    async def over() -> dict[str, Any] | None:
        told: dict[str, Any] = (await operator.get("/console/operator/audit")).json()
        return told if told["status"] != "running" else None

    told = await eventually(over, 60, "the end of the audit")
    assert told is not None
    verdict = told["verdict"]
    return verdict["equal"], verdict["entries"], {each["kind"] for each in verdict["differences"]}


async def test_what_is_parked_is_read_again_on_request(running: World) -> None:
    """By those who own it. Of more rows than a look shows all are counted."""
    sid = session_id()
    async with writing(running) as log:
        for n, data in enumerate(life(sid, account=running.account)):
            await log.put(data, of_second=n == 6)
    rows = "SELECT 'zz of nobody', 'sessions.v1', 0, 'sess_' || n, n, 'a newer version' FROM generate_series(1, 250) n"
    await running.sql(f'INSERT INTO parked (consumer, topic, partition, session_id, "offset", reason) {rows}')
    _, key = await running.new_key(scopes=("operator",))
    async with running.client(key) as operator:

        async def of_sid(*, asked: bool, count: int) -> bool:
            told = (await operator.get("/console/operator")).json()
            assert len(told["parked"]) == min(200, told["parked_count"])
            found = [each["consumer"] for each in told["parked"] if (each["subject"], each["asked"]) == (sid, asked)]
            return bool(len(found) == count and told["parked_count"] == 250 + count)

        async def ask(subject: str | None) -> dict[str, Any]:
            answer = await operator.post("/console/operator/parked", json={"subject": subject})
            assert answer.status_code == 202
            told: dict[str, Any] = answer.json()
            return told

        await eventually(lambda: of_sid(asked=False, count=2), 30, "its parking by history and usage")
        assert await ask(sid) == {"asked": 2}
        await eventually(lambda: of_sid(asked=False, count=2), 30, "their answer that they still cannot read it")
        await running.stop("usage")
        await running.stop("history")
        await start_newer(running, "usage", "history")
        assert await ask(sid) == {"asked": 2}
        await eventually(lambda: of_sid(asked=False, count=0), 60, "its return")
        assert await running.sql("SELECT count(*) FROM r.usage_events WHERE session_id = %s", sid) == [(4,)]
        assert await ask(sid) == {"asked": 0}
        assert await ask(None) == {"asked": 250}
        assert await ask(None) == {"asked": 0}
        told = (await operator.get("/console/operator")).json()["parked"]
        assert all(each["asked"] for each in told)
        for body in ({}, {"subject": ""}, {"subject": sid, "consumer": "usage"}):
            assert (await operator.post("/console/operator/parked", json=body)).status_code == 422
