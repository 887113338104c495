"""`greenroom adjust` as an operator types it: what it refuses, and what becomes of an adjustment everywhere."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from projections import audit
from projections.adjustments import NotExact, credit_us
from schemas.ids import EVENT, new_id
from schemas.rates import CREDIT_US
from store import accounts, credits
from store.database import pool
from tests.builders import life, session_id
from tests.cli.test_admin import done, greenroom
from tests.world import World, clear_of_midnight, eventually

pytestmark = pytest.mark.servers

BILLED = 1500 * 1000
"""credit_us of a `life`."""


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1", CREDIT_US),
        ("-0.5", -CREDIT_US // 2),
        ("0.00000005", 3),
        ("0.333", 19_980_000),
        ("1000000", 1_000_000 * CREDIT_US),
    ],
)
def test_an_amount_is_exact(text: str, amount: int) -> None:
    assert credit_us(Decimal(text)) == amount


@pytest.mark.parametrize("text", ["0", "-0", "NaN", "Infinity", "1000000.1", "-1e9", "0.00000001"])
def test_an_amount_that_is_refused(text: str) -> None:
    with pytest.raises(NotExact):
        credit_us(Decimal(text))


async def lived(world: World, account: str | None = None) -> str:
    """An ended session whose bill is BILLED."""
    sid = session_id()
    await world.admit(sid)  # or the roster ends it, should it be faster
    await world.append(*life(sid, beats=1, account=account or world.account))

    async def known() -> bool:
        rows = await world.sql("SELECT credit_us FROM r.sessions WHERE session_id = %s AND status = 'ended'", sid)
        return rows == [(BILLED,)] and await billed(world, sid) == BILLED

    await eventually(known, what="the session and its bill")
    return sid


async def billed(world: World, sid: str) -> int:
    rows = await world.sql("SELECT coalesce(sum(credit_us), 0) FROM r.usage_events WHERE session_id = %s", sid)
    return int(rows[0][0])


async def audited(world: World) -> audit.Verdict:
    async with pool(world.database_url, 1) as connections:
        return await audit.audit(world.settings, connections, audit.Scope(), lambda _, __: None)


@pytest.fixture
async def running(world: World) -> World:
    if not world.processes:
        await world.start("usage", "sessions", "webhooks", "history", "roster", "api")
    return world


async def test_it_counts_everywhere(running: World) -> None:
    """Totals, the month, credits, the webhook, the entries, the audit; and once, however often it is asked for."""
    await clear_of_midnight(120)
    account, key = await running.new_account("adjusted")
    async with pool(running.database_url, 1) as opened, opened.connection() as connection:
        await credits.grant(connection, account, 1, None, "")
        await accounts.change_account(connection, account, credit_gated=True)
    async with running.client(key) as client:
        made = await client.post(
            "/v1/webhook_endpoints", json={"url": "http://127.0.0.1:9/x", "events": ["usage.recorded"]}
        )
        assert made.status_code == 201, made.text
        await client.put("/v1/limits", json={"threshold_credits": [2]})
        sid = await lived(running, account)
        told = await greenroom(running, "adjust", sid, "--credits", "2", "--reason", "a slip", "--link", "T-1", "--yes")
        assert told[0] == 0, told[2]
        assert "0.025 +2 → 2.025 credits" in told[1]
        chosen = told[1].split("--id ")[1].split()[0]
        use_id = told[1].split()[-1]
        again = await done(running, "adjust", sid, "--credits", "2.0", "--reason", "a slip", "--id", chosen)
        assert again == use_id
        other = await greenroom(running, "adjust", sid, "--credits", "3", "--reason", "a slip", "--id", chosen)
        assert (other[0], "is another event" in other[2]) == (1, True)
        assert await billed(running, sid) == BILLED + 2 * CREDIT_US

        [entry] = [
            each
            for each in (await client.get("/v1/usage_events", params={"session_id": sid})).json()["data"]
            if each["kind"] == "adjustment"
        ]
        assert (entry["id"], entry["credit_us"], entry["attempt"], entry["n"]) == (use_id, 2 * CREDIT_US, 0, 0)
        assert (await client.get("/v1/usage")).json()["billable_seconds"] == 2

        async def everybody_knows() -> bool:
            limits = (await client.get("/v1/limits")).json()["account"]
            balance = (await client.get("/v1/billing/credits")).json()["balance_credits"]
            shown = await running.sql("SELECT credit_us FROM r.sessions WHERE session_id = %s", sid)
            sent = await running.sql("SELECT count(*) FROM deliveries WHERE event_id = %s", use_id)
            return (
                limits["reached_credits"] == [2]
                and balance == pytest.approx(1 - 2 - BILLED / CREDIT_US)
                and (shown, sent) == ([(BILLED + 2 * CREDIT_US,)], [(1,)])
            )

        await eventually(everybody_knows, what="the adjustment everywhere")

        back = await greenroom(running, "adjust", sid, "--credits", "-2.5", "--reason", "regret", "--yes")
        assert (back[0], "more than its bill" in back[2]) == (1, True)
        await done(
            running, "adjust", sid, "--credits", "-4", "--reason", "regret", "--below-zero", "-y", "--actor", "Ann"
        )

        async def given_back() -> bool:
            limits = (await client.get("/v1/limits")).json()["account"]
            balance = (await client.get("/v1/billing/credits")).json()["balance_credits"]
            return bool(
                limits["used_credits"] == pytest.approx(BILLED / CREDIT_US - 2)
                and balance == pytest.approx(3 - BILLED / CREDIT_US)
            )

        await eventually(given_back, what="the refund")
        kinds = [each["kind"] for each in (await client.get("/v1/billing/credit_entries")).json()["data"]]
        assert kinds[0] == "refund"
        history = (await client.get(f"/v1/sessions/{sid}/events", params={"include": "heartbeats"})).json()
        assert "adjust" not in str(history)
    found = await audited(running)
    assert found.equal
    assert [event.data.actor for event, _ in await running.log(sid) if event.type == "usage.adjusted"][-1] == "Ann"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--credits 1 --reason r", "There is no session sess_nobody"),
        ("--credits one --reason r", "--credits is a number such as -2.5, not one"),
        ("--credits 0 --reason r", "and not 0"),
        ("--credits 1000001 --reason r", "between -1,000,000 and 1,000,000"),
        ("--credits 0.00000001 --reason r", "no whole number of credit_us"),
        ("--credits 1 --reason r --id evt_1", "--id is evt_ and 26 characters"),
    ],
)
async def test_what_is_refused(running: World, options: str, told: str) -> None:
    code, _, complained = await greenroom(running, "adjust", "sess_nobody", *options.split())
    assert (code, told in " ".join(complained.split())) == (1, True), complained
    assert "Traceback" not in complained


async def test_two_at_once_with_one_id_count_once(running: World) -> None:
    sid, chosen = await lived(running), new_id(EVENT)
    asked = [
        greenroom(running, "adjust", sid, "--credits", "1", "--reason", "twice", "--id", chosen, "--yes") for _ in "ab"
    ]
    answers = await asyncio.gather(*asked)
    assert [code for code, *_ in answers] == [0, 0], answers
    assert len({said.split()[-1] for _, said, _ in answers}) == 1
    assert await billed(running, sid) == BILLED + CREDIT_US


async def test_an_id_of_another_event_makes_nothing(running: World) -> None:
    sid = await lived(running)
    [(first, _), *_] = await running.log(sid)
    code, _, complained = await greenroom(
        running, "adjust", sid, "--credits", "1", "--reason", "r", "--id", first.id, "--yes"
    )
    assert (code, "made nothing of it" in " ".join(complained.split())) == (1, True), complained
    assert await billed(running, sid) == BILLED


async def test_without_the_projection_it_says_so_and_asking_again_finds_it(running: World) -> None:
    sid, chosen = await lived(running), new_id(EVENT)
    await running.stop("usage")
    asked = ("adjust", sid, "--credits", "1", "--reason", "late", "--id", chosen, "--yes")
    code, _, complained = await greenroom(running, *asked)
    assert (code, "start `greenroom project usage`" in " ".join(complained.split())) == (1, True), complained
    await running.restart("usage")
    assert (await done(running, *asked)).split()[-1].startswith("use_")
    assert await billed(running, sid) == BILLED + CREDIT_US
