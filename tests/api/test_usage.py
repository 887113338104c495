"""What was used, over HTTP: summed up by any period, and entry by entry."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from projections.usage import month_start
from schemas.events import Meter, SessionEnded, SessionFirstFrame, SessionStarting
from schemas.ids import USAGE, derived_id
from schemas.times import from_wire, now_ms, to_wire
from schemas.usage import GENESIS
from tests.builders import beat
from tests.world import World, clear_of_midnight, eventually

pytestmark = pytest.mark.servers

DAY_MS = 86_400_000
MARCH = from_wire("2026-03-01T00:00:00Z")
APRIL = from_wire("2026-04-01T00:00:00Z")


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "sessions", "usage")
    await world.slots_of_nobody(20)
    return world


async def enter(
    world: World, account: str, session: str, at_ms: int, ms: int, quality: str = "standard", made_ms: int | None = None
) -> str:
    """An entry of the ledger, as the usage projection writes it; made when it was recorded, or then."""
    await world.sql("SELECT usage_v1.ensure_month(%s)", at_ms)
    entry = derived_id(USAGE, made_ms or at_ms, session, str(at_ms))
    [(offset,)] = await world.sql('SELECT coalesce(max("offset"), 0) + 1 FROM r.usage_events WHERE partition = 99')
    await world.sql(
        """
        INSERT INTO usage_v1.usage_events VALUES (%s, 'usage_event', %s, %s, 'av_demo', 1, 1, 'interval', %s, %s, 1000,
            'card', %s, %s, %s, 25, %s, 'bounded', 'evt_1', %s, %s, 99, %s, %s, 'key_1')
        """,
        *[
            entry,
            account,
            session,
            quality,
            quality,
            at_ms - ms,
            at_ms,
            ms,
            ms * 1000,
            GENESIS,
            "f" * 64,
            offset,
            at_ms,
        ],
    )
    return entry


@pytest_asyncio.fixture(scope="module")
async def past(running: World) -> tuple[str, str]:
    """(account, key) of one that used something in March: two sessions on the 5th, one over midnight of the 9th, one at
    the very end of the month and beyond."""
    account, key = await running.new_account("past")
    fifth, ninth = MARCH + 4 * DAY_MS, MARCH + 8 * DAY_MS
    await enter(running, account, "sess_1", fifth + 1000, 1500)
    await enter(running, account, "sess_1", fifth + 2000, 700)
    await enter(running, account, "sess_2", fifth + 3000, 1, "pro")
    await enter(running, account, "sess_3", ninth - 1, 400)
    await enter(running, account, "sess_3", ninth, 400)
    await enter(running, account, "sess_4", APRIL - 1, 10_000, "lite")
    await enter(running, account, "sess_4", APRIL, 10_000, "lite")
    other, _ = await running.new_account("someone else")
    await enter(running, other, "sess_9", fifth, 99_000)
    return account, key


@pytest_asyncio.fixture
async def client(running: World, past: tuple[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with running.client(past[1]) as client:
        yield client


async def used(client: httpx.AsyncClient, start_ms: int, end_ms: int) -> tuple[int, int, dict[str, int]]:
    period = {"period_start": to_wire(start_ms), "period_end": to_wire(end_ms)}
    found = (await client.get("/v1/usage", params=period)).json()
    assert list(found) == ["period_start", "period_end", "billable_seconds", "sessions", "by_quality"]
    assert (found["period_start"], found["period_end"]) == (period["period_start"], period["period_end"])
    assert found["billable_seconds"] == sum(found["by_quality"].values())
    return found["billable_seconds"], found["sessions"], found["by_quality"]


async def test_a_month_is_rounded_once_per_session(client: httpx.AsyncClient) -> None:
    assert await used(client, MARCH, APRIL) == (3 + 1 + 1 + 10, 4, {"standard": 4, "pro": 1, "lite": 10})
    assert await used(client, APRIL, APRIL + 30 * DAY_MS) == (10, 1, {"lite": 10})
    assert await used(client, MARCH, APRIL + 1) == (3 + 1 + 1 + 20, 4, {"standard": 4, "pro": 1, "lite": 20})
    assert await used(client, MARCH - DAY_MS, MARCH) == (0, 0, {})


async def test_any_period_is_the_sum_of_its_entries(client: httpx.AsyncClient) -> None:
    """Whole days come from their totals and the rest from the entries; each edge is tried on, before and behind one."""
    fifth, ninth = MARCH + 4 * DAY_MS, MARCH + 8 * DAY_MS
    assert await used(client, fifth + 1000, fifth + 1001) == (2, 1, {"standard": 2})
    assert await used(client, fifth + 1001, fifth + 3000) == (1, 1, {"standard": 1})
    assert await used(client, fifth, fifth + DAY_MS) == (4, 2, {"standard": 3, "pro": 1})
    assert await used(client, fifth + 2000, ninth) == (1 + 1 + 1, 3, {"standard": 2, "pro": 1})
    assert await used(client, ninth - 1, ninth + 1) == (1, 1, {"standard": 1})
    assert await used(client, ninth, ninth + 3 * DAY_MS) == (1, 1, {"standard": 1})
    assert await used(client, ninth + 1, APRIL - 1) == (0, 0, {})


async def test_entries_are_the_ledgers(running: World, past: tuple[str, str], client: httpx.AsyncClient) -> None:
    found, params = list[dict[str, Any]](), dict[str, Any](limit=3)
    while True:
        page = (await client.get("/v1/usage_events", params=params)).json()
        found += page["data"]
        if not page["has_more"]:
            break
        params["starting_after"] = page["next_cursor"]
    assert [entry["session_id"] for entry in found] == [f"sess_{n}" for n in (4, 4, 3, 3, 2, 1, 1)]
    assert found[4] | {"id": "", "source": {}} == {
        "id": "",
        "object": "usage_event",
        "account_id": past[0],
        "session_id": "sess_2",
        "avatar_id": "av_demo",
        "attempt": 1,
        "n": 1,
        "kind": "interval",
        "quality": "pro",
        "billed_as": "pro",
        "multiplier_milli": 1000,
        "rate_card": "card",
        "from": "2026-03-05T00:00:02.999Z",
        "to": "2026-03-05T00:00:03.000Z",
        "billable_ms": 1,
        "frames": 25,
        "credit_us": 1000,
        "flags": ["bounded"],
        "event_id": "evt_1",
        "prev_hash": GENESIS,
        "hash": "f" * 64,
        "source": {},
        "recorded_at": "2026-03-05T00:00:03.000Z",
    }
    of_one = (await client.get("/v1/usage_events", params={"session_id": "sess_3"})).json()["data"]
    assert of_one == found[2:4]
    until = {"period_start": to_wire(MARCH), "period_end": to_wire(APRIL)}
    assert (await client.get("/v1/usage_events", params=until)).json()["data"] == found[1:]


async def test_made_up_cursors_and_periods(client: httpx.AsyncClient, past: tuple[str, str]) -> None:
    for cursor in ("use_x", f"use_{'0' * 26}", f"use_{'Z' * 26}", "sess_1", derived_id(USAGE, MARCH, "x")):
        answer = await client.get("/v1/usage_events", params={"starting_after": cursor})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "cursor.invalid"), cursor
    march, april = to_wire(MARCH), to_wire(APRIL)
    for params in (
        {"period": "last_week"},
        {"period": "current_month", "period_start": march, "period_end": april},
        {"period_start": march},
        {"period_end": april},
        {"period_start": april, "period_end": march},
        {"period_start": march, "period_end": march},
    ):
        answer = await client.get("/v1/usage", params=params)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "range.invalid"), params
    answer = await client.get("/v1/usage", params={"period_start": "2026-03-01", "period_end": april})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "period_start.invalid")


async def test_a_cursor_that_we_gave_is_found(running: World) -> None:
    """Of a worker whose clock was a day behind."""
    account, key = await running.new_account("clocks")
    for n in range(3):
        at_ms = MARCH + 4 * DAY_MS + n
        await enter(running, account, f"sess_{n}", at_ms, 1, made_ms=at_ms - DAY_MS)
    async with running.client(key) as client:
        first = (await client.get("/v1/usage_events", params={"limit": 1})).json()
        more = {"starting_after": first["next_cursor"]}
        rest = (await client.get("/v1/usage_events", params=more)).json()["data"]
    assert [entry["session_id"] for entry in [*first["data"], *rest]] == ["sess_2", "sess_1", "sess_0"]


async def test_another_accounts_entries_are_not_there(running: World, past: tuple[str, str]) -> None:
    async with running.client(past[1]) as mine, running.client() as other:
        entry = (await mine.get("/v1/usage_events")).json()["data"][0]["id"]
        answer = await other.get("/v1/usage_events", params={"starting_after": entry})
        assert answer.json()["error"]["code"] == "cursor.invalid"
        assert (await other.get("/v1/usage_events", params={"session_id": "sess_3"})).json()["data"] == []


async def test_what_a_session_bills_is_in_the_month_and_its_key_has_it(running: World) -> None:
    await clear_of_midnight()
    key_id, key = await running.new_key()
    async with running.client(key) as client:
        sid = (await running.create(client))["id"]
        worker = (await running.sql("SELECT worker_id FROM admissions WHERE session_id = %s", sid))[0][0]
        await running.append(
            SessionStarting(sid, 1, worker),
            SessionFirstFrame(sid, 1, worker, {}),
            beat(sid, 1, 700, worker=worker),
            SessionEnded(sid, 1, "idle_timeout", worker, 2, Meter(1200, 30, 0)),
        )

        async def billed() -> bool:
            return bool((await client.get("/v1/usage")).json()["billable_seconds"] == 2)

        await eventually(billed)
        now = (await client.get("/v1/usage", params={"period": "current_month"})).json()
        assert (now["sessions"], now["by_quality"]) == (1, {"mock": 2})
        assert (await client.get("/v1/usage", params={"period": "previous_month"})).json()["period_end"] == now[
            "period_start"
        ]
        entries = (await client.get("/v1/usage_events", params={"session_id": sid})).json()["data"]
        assert [entry["billable_ms"] for entry in entries] == [500, 700]
        assert entries[0]["prev_hash"] == entries[1]["hash"]
    months = await running.sql("SELECT billable_ms, credit_us FROM r.usage_months WHERE key_id = %s", key_id)
    assert months == [(1200, 1_200_000)]


async def test_totals_are_what_the_ledger_adds_up_to(running: World, past: tuple[str, str]) -> None:
    days = await running.sql(
        "SELECT account_id, session_id, sum(credit_us) FROM r.session_days GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert days == await running.sql(
        "SELECT account_id, session_id, sum(credit_us) FROM r.usage_events GROUP BY 1, 2 ORDER BY 1, 2"
    )


async def test_no_sum_of_credit_stops_the_ledger(running: World) -> None:
    """Each entry fits a bigint, two of them do not: adjustments may go as far."""
    await clear_of_midnight()
    account, key = await running.new_account("beyond")
    for n in range(3):
        await enter(running, account, f"sess_{n}", MARCH + 4 * DAY_MS + n, 1)
    most = 9 * 10**18
    await running.sql("SELECT usage_v1.ensure_month(%s)", month_start(now_ms()))
    await running.sql(
        """
        INSERT INTO usage_v1.usage_events
        SELECT id, object, account_id, session_id, avatar_id, attempt, n, kind, quality, billed_as, multiplier_milli,
            rate_card, from_ms, to_ms, billable_ms, frames, %s, flags, event_id, prev_hash, hash, partition,
            "offset" + 1000 * m, (extract(epoch FROM now()) * 1000)::bigint, key_id
        FROM usage_v1.usage_events, generate_series(1, 2) m WHERE account_id = %s
        """,
        most,
        account,
    )
    [(total,)] = await running.sql("SELECT max(credit_us) FROM r.usage_months WHERE account_id = %s", account)
    assert total == 6 * most
    async with running.client(key) as client:
        assert (await client.get("/v1/limits")).json()["account"]["used_credits"] == most / 60_000_000
