"""`greenroom usage` as finance types it: its sums are the ledger's, and what is sent counts once."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from msgspec.structs import replace

from cli.processes import environment
from reactors.meter_events import Sender, Stopped, opened
from schemas.events import UsageAdjusted
from schemas.focus import COLUMNS, shown
from schemas.rates import CREDIT_US
from schemas.times import now_ms, to_wire
from schemas.usage import RecordedEntry
from tests.api.test_usage import APRIL, MARCH, enter
from tests.builders import beat, life, session_id
from tests.cli.stripe import KEY, Answer, Stripe, stripe
from tests.cli.test_admin import done
from tests.schemas.test_focus import adjustment
from tests.world import World, eventually

pytestmark = pytest.mark.servers

SPRING = ("--from", "2026-03-01", "--to", "2026-04-01")


@dataclass
class Books:
    """Two customers' keys and a list of Stripe customers. `since`: the time from which on sessions were run."""

    keys: dict[str, str]
    customers: Path
    since: str


@pytest_asyncio.fixture(scope="module")
async def books(world: World, tmp_path_factory: pytest.TempPathFactory) -> Books:
    """March has entries at both of its edges, and one that belongs to April. Today has sessions and adjustments."""
    await world.start("usage", "api")
    other, other_key = await world.new_account('Müller, "other"')
    for at_ms, session, ms in (
        (MARCH, "sess_1", 1500),
        (MARCH + 1, "sess_1", 1),
        (MARCH + 5000, "sess_2", 700),
        (APRIL - 1, "sess_3", 4000),
        (APRIL, "sess_3", 9000),
    ):
        await enter(world, world.account, session, at_ms, ms)
    await enter(world, other, "sess_9", MARCH + 7, 333)
    since, sids = to_wire(now_ms()), [session_id() for _ in range(6)]
    for n, sid in enumerate(sids):
        account = other if n % 2 else world.account
        await world.append(*life(sid, beats=3, account=account))
    idle = session_id()
    await world.append(*life(idle, beats=0, account=world.account)[:4], beat(idle, 1, 0))
    await world.append(UsageAdjusted(sids[0], -CREDIT_US // 100, "a slip", "tests"))
    await world.append(UsageAdjusted(sids[1], -2 * CREDIT_US, "a refund", "tests"))

    async def entered() -> bool:
        return await world.sql("SELECT count(*) FROM r.usage_events") == [(6 + 6 * 4 + 1 + 2,)]

    await eventually(entered, what="the ledger")
    customers = tmp_path_factory.mktemp("books") / "customers.csv"
    customers.write_text(f"account_id,stripe_customer_id\n{world.account},cus_A\n{other},cus_B\nacct_later,\n")
    return Books({world.account: world.key, other: other_key}, customers, since)


async def run(world: World, *args: str, **env: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr)."""
    child = await begin(world, *args, **env)
    said, complained = await asyncio.wait_for(child.communicate(), 100)
    return child.returncode or 0, said.decode(), " ".join(complained.decode().split())


async def begin(world: World, *args: str, **env: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    known = environment("project", world.env) | {"COLUMNS": "400", **env}
    command = [sys.executable, "-m", "cli.main", "usage", *args]
    return await asyncio.create_subprocess_exec(*command, env=known, stdout=pipe, stderr=pipe)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


async def test_focus_adds_up_to_the_bill(world: World, books: Books, tmp_path: Path) -> None:
    """Of each account: seconds as /v1/usage shows them, credits as the ledger has them, money as the price says."""
    path = tmp_path / "march.csv"
    options = (*SPRING, "--out", str(path), "--price", "0.1", "--currency", "EUR")
    code, said, complained = await run(world, "focus", *options)
    assert (code, complained) == (0, "")
    assert "5 entries, 6.534 s, 0.108900 credits" in said
    rows = read(path)
    assert list(rows[0]) == list(COLUMNS)
    for account, key in books.keys.items():
        mine = [row for row in rows if row["BillingAccountId"] == account]
        ms: dict[str, int] = defaultdict(int)
        for row in mine:
            ms[row["ResourceId"]] += int(1000 * Decimal(row["ConsumedQuantity"]))
        async with world.client(key) as client:
            asked = {"period_start": to_wire(MARCH), "period_end": to_wire(APRIL)}
            told = (await client.get("/v1/usage", params=asked)).json()
        assert told["billable_seconds"] == sum(-(-each // 1000) for each in ms.values())
        [(amount,)] = await world.sql(
            "SELECT sum(credit_us)::bigint FROM r.usage_events WHERE account_id = %s AND recorded_ms >= %s"
            " AND recorded_ms < %s",
            account,
            MARCH,
            APRIL,
        )
        assert sum(int(row["x_CreditUs"]) for row in mine) == amount
        assert sum(int(10**6 * Decimal(row["PricingCurrencyEffectiveCost"])) for row in mine) == amount
        exact = Decimal(amount) * Decimal("0.1") / CREDIT_US
        assert sum(Decimal(row["BilledCost"]) for row in mine) == round(exact, 10)
    assert {row["BillingAccountName"] for row in rows} == {"tests", 'Müller, "other"'}


async def test_parquet_and_an_archive_say_the_same(world: World, books: Books, tmp_path: Path) -> None:
    until, archive = to_wire(now_ms()), tmp_path / "archive"
    ways = {
        "now.csv": (),
        "now.parquet": (),
        "then.csv": ("--from-archive", str(archive)),
    }
    await world.append(*life(session_id(), beats=1, account="acct_later"))
    await done(world, "export", "--to", str(archive))
    for name, more in ways.items():
        options = ("--from", "2026-03-01", "--to", until, "--out", str(tmp_path / name))
        away = {"GREENROOM_KAFKA_BOOTSTRAP": "127.0.0.1:1", "GREENROOM_DATABASE_URL": "postgresql://127.0.0.1:1/none"}
        money = {"GREENROOM_PRICE_PER_CREDIT": "0.12", "GREENROOM_CURRENCY": "USD", "GREENROOM_PROVIDER_NAME": "Acme"}
        code, said, complained = await run(world, "focus", *options, *more, **money, **(away if more else {}))
        assert (code, complained) == (0, ""), complained
        assert "33 entries" in said
    rows = read(tmp_path / "now.csv")
    adjusted = [row for row in rows if row["ChargeCategory"] == "Adjustment"]
    assert sorted((row["ChargeClass"], row["x_CreditUs"]) for row in adjusted) == [("", "-120000000"), ("", "-600000")]
    assert [{**row, "BillingAccountName": ""} for row in rows] == read(tmp_path / "then.csv")
    table = pq.read_table(tmp_path / "now.parquet")
    assert table.schema.field("BilledCost").type == pa.decimal128(38, 10)
    assert not [field.name for field in table.schema if pa.types.is_floating(field.type)]
    assert table.schema.metadata[b"FocusVersion"] == b"1.2"
    assert [{name: shown(value) for name, value in row.items()} for row in table.to_pylist()] == rows


async def test_a_file_of_meter_events(world: World, books: Books, tmp_path: Path) -> None:
    """Each entry that costs something, in the log's order; an account that no line names has nothing written at all."""
    path = tmp_path / "events.jsonl"
    period = ("--from", books.since, "--to", to_wire(now_ms()))
    some = tmp_path / "some.csv"
    some.write_text(f"account_id,stripe_customer_id\n{world.account},cus_A\n")
    other = next(account for account in books.keys if account != world.account)
    code, _, complained = await run(
        world, "stripe", *period, "--account", other, "--customers", str(some), "--out", str(path)
    )
    assert (code, f"No line of --customers names {other}. Nothing was written" in complained) == (1, True), complained
    assert list(tmp_path.iterdir()) == [some]
    some.write_text(f"account_id,stripe_customer_id\n{world.account},cus_A\n{other},\nacct_later,")
    code, said, complained = await run(world, "stripe", *period, "--customers", str(some), "--out", str(path))
    assert (code, complained) == (0, ""), complained
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    ledger = await world.sql(
        "SELECT id, credit_us::text, recorded_ms / 1000 FROM r.usage_events WHERE account_id = %s AND partition < 24"
        ' AND credit_us <> 0 ORDER BY partition, "offset"',
        world.account,
    )
    assert [(line["identifier"], line["payload"]["value"], line["timestamp"]) for line in lines] == ledger
    assert {(line["event_name"], line["payload"]["stripe_customer_id"]) for line in lines} == {
        ("greenroom_credit_us", "cus_A")
    }
    assert f"{len(lines)} meter events" in said


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Stripe]:
    async with stripe() as server:
        yield server


def sending(books: Books, server: Stripe, *more: str) -> tuple[tuple[str, ...], dict[str, str]]:
    period = ("--from", books.since, "--to", to_wire(now_ms()))
    options = ("stripe", *period, "--customers", str(books.customers), "--send", "--rate", "500", *more)
    return options, {"GREENROOM_STRIPE_URL": server.url, "GREENROOM_STRIPE_API_KEY": KEY}


async def of_ledger(world: World, books: Books) -> dict[str, int]:
    """By customer, of today."""
    rows = await world.sql(
        "SELECT account_id, sum(credit_us)::bigint FROM r.usage_events WHERE partition < 24 GROUP BY 1"
    )
    names = dict(line.split(",") for line in books.customers.read_text().splitlines())
    return {names[account]: amount for account, amount in rows if account in books.keys}


async def test_what_is_sent_counts_once_whatever_is_killed(world: World, books: Books, server: Stripe) -> None:
    """Killed with events on their way, sent again at once, and once more when Stripe has forgotten all identifiers."""
    options, env = sending(books, server)
    server.after = lambda _: len(server.counted) <= 5
    child = await begin(world, *options, **env)

    async def silent() -> bool:
        return len(server.counted) > 5

    await eventually(silent, what="events on their way")
    child.kill()
    await child.communicate()
    server.after = lambda _: True
    code, said, complained = await run(world, *options, **env)
    assert code == 0, complained
    assert "cus_B" not in complained
    assert "got back 1.8" in complained
    assert "Give it a credit note." in complained
    assert server.billed == await of_ledger(world, books)
    assert {form["payload[value]"] for form in server.counted.values()} >= {"-120000000", "-600000"}
    assert "1 cost nothing" in said
    asked = server.asked.total()
    server.forget()
    code, again, complained = await run(world, *options, **env)
    assert code == 0, complained
    assert f"0 sent, {len(server.counted)} before" in again
    assert server.asked.total() == asked
    assert KEY not in said + again + complained
    kept = await world.sql("SELECT destination, identifier FROM meter_events WHERE acknowledged_at IS NOT NULL")
    assert {identifier for _, identifier in kept} == set(server.counted)
    assert KEY not in str(kept)


async def test_a_stripe_that_stumbles_is_asked_again(world: World, books: Books, server: Stripe) -> None:
    stumbles: list[Answer] = [(500, {}, {}), (429, {"retry-after": "0"}, {}), (409, {}, {})]
    server.before = lambda _, nth: stumbles.pop() if nth == 1 and stumbles else None
    options, env = sending(books, server, "--event-name", "stumbles")
    code, _, complained = await run(world, *options, **env)
    assert code == 0, complained
    assert stumbles == []
    assert server.at_once == 1
    assert server.billed == await of_ledger(world, books)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((401, {}, {"error": {"message": f"Invalid API Key: {KEY}"}}), "Stripe refuses the key (401): see GREENROOM_"),
        ((404, {}, {}), "There are no meter events at"),
        ((200, {}, {}), "is not Stripe: see GREENROOM_STRIPE_URL"),
    ],
    ids=["key", "place", "somebody else"],
)
async def test_who_does_not_take_events_gets_no_more(
    world: World, books: Books, server: Stripe, answer: Answer, told: str
) -> None:
    server.before = lambda *_: answer
    options, env = sending(books, server, "--event-name", "nowhere")
    code, _, complained = await run(world, *options, **env)
    assert (code, told in complained) == (1, True), complained
    assert KEY not in complained
    assert server.asked.total() <= 2
    left = await world.sql("SELECT count(*) FROM meter_events WHERE destination LIKE %s", f"{server.url}% nowhere")
    assert left == [(server.asked.total() if answer[0] == 200 else 0,)]


async def test_what_is_on_its_way_when_another_is_refused_is_not_left_unknown(world: World, server: Stripe) -> None:
    """Two customers, each with two events of today: both first ones hear that the key is bad, one of them later."""
    server.before = lambda *_: (401, {}, {})
    server.late_s = lambda _: 0.3 * (server.asked.total() - 1)
    entry = adjustment(-1, at=now_ms())
    entries = [entry._replace(facts=replace(entry.facts, id=f"use_{n}", account_id=f"acct_{n % 2}")) for n in range(4)]

    async def batches() -> AsyncIterator[list[RecordedEntry]]:
        yield entries

    async with (
        opened(server.url, KEY, "on_its_way", 500) as endpoint,
        await psycopg.AsyncConnection.connect(world.database_url, autocommit=True) as connection,
    ):
        sender = Sender(connection, endpoint, {"acct_0": "cus_A", "acct_1": "cus_B"})
        with pytest.raises(Stopped, match="refuses the key"):
            await sender.run(batches(), lambda _: None)
    assert server.asked == {"use_0": 1, "use_1": 1}
    assert await world.sql("SELECT * FROM meter_events WHERE destination LIKE '%% on_its_way'") == []


async def test_an_event_that_is_refused_is_named_and_keeps_nobody(world: World, books: Books, server: Stripe) -> None:
    options, env = sending(books, server, "--event-name", "refusing")
    bad = set[str]()

    def refuse(identifier: str, nth: int) -> Answer | None:
        if len(bad) < 2:
            bad.add(identifier)
        return (400, {}, {"error": {"message": "No such customer"}}) if identifier in bad else None

    server.before = refuse
    code, said, complained = await run(world, *options, **env)
    assert (code, "2 refused by Stripe" in complained, "No such customer" in complained) == (1, True, True), complained
    assert all(identifier in complained for identifier in bad)
    assert f"{len(server.counted)} sent" in said
    server.before = lambda *_: None
    code, said, complained = await run(world, *options, **env)
    assert (code, "2 sent" in said) == (0, True), complained
    assert server.billed == await of_ledger(world, books)


@pytest.mark.parametrize("became", ["sent", "lost"])
async def test_what_only_stripe_knows_is_left_to_the_operator(
    world: World, books: Books, server: Stripe, became: str
) -> None:
    """On its way when the process died, more than 23 hours ago: sent again it could be billed twice."""
    options, env = sending(books, server, "--event-name", "unknown")
    [(identifier,)] = await world.sql("SELECT id FROM r.usage_events WHERE kind = 'adjustment' ORDER BY id LIMIT 1")
    await world.sql(
        "INSERT INTO meter_events VALUES (%s, %s, now() - interval '25 h')",
        f"{server.url}/v1/billing/meter_events test unknown",
        identifier,
    )
    code, _, complained = await run(world, *options, **env)
    told = f"1 perhaps sent, over 23 hours ago: look at the meter, then say --unknown sent or lost: {identifier}"
    assert (code, told in complained) == (1, True), complained
    assert server.asked[identifier] == 0
    code, _, complained = await run(world, *options, "--unknown", became, **env)
    assert code == 0, complained
    assert server.asked[identifier] == (1 if became == "lost" else 0)
    assert (await run(world, *options, **env))[0] == 0
    assert max(server.asked.values()) == 1


async def test_what_is_too_old_for_stripe_is_named_and_not_sent(world: World, books: Books, server: Stripe) -> None:
    _, env = sending(books, server)
    code, _, complained = await run(world, "stripe", *SPRING, "--customers", str(books.customers), "--send", **env)
    assert (code, "5 older than the 35 days that Stripe takes: use_" in complained) == (1, True), complained
    assert server.asked.total() == 0


async def test_two_do_not_send_at_once(world: World, books: Books, server: Stripe) -> None:
    options, env = sending(books, server, "--event-name", "twice")
    server.after = lambda _: False
    first = await begin(world, *options, **env)

    async def sends() -> bool:
        return bool(server.counted)

    await eventually(sends, what="the first one")
    code, _, complained = await run(world, *options, **env)
    assert (code, "Somebody else sends these meter events right now." in complained) == (1, True), complained
    first.kill()
    await first.communicate()


async def test_a_ledger_that_is_not_made_yet_is_not_exported(world: World, books: Books, tmp_path: Path) -> None:
    await world.stop("usage")
    await world.append(*life(session_id(), beats=1, account="acct_later"))
    period = ("--from", books.since, "--to", to_wire(now_ms()))
    code, _, complained = await run(world, "focus", *period, "--out", str(tmp_path / "some.csv"))
    assert (code, "Not exported: the usage projection is" in complained) == (2, True), complained
    assert list(tmp_path.iterdir()) == []
