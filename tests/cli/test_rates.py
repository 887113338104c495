"""`greenroom rates` as an operator types it: cards, and a past period billed anew under another one."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import psycopg
import pytest

from schemas.events import SessionEvent, UsageAdjusted
from schemas.rates import CREDIT_US, FIRST
from schemas.times import to_wire
from tests.builders import created, life, session_id
from tests.cli.test_admin import done, greenroom
from tests.world import World, eventually

pytestmark = pytest.mark.servers

CARD = ("--lite", "400", "--standard", "1100", "--pro", "2500")


async def test_a_card_is_published_once(world: World) -> None:
    assert "in force" in await done(world, "rates", "show")
    said = await done(world, "rates", "publish", "2027-01", *CARD, "--from", "2999-01-01")
    assert said == "2027-01 is in force from 2999-01-01T00:00:00Z on."
    assert await done(world, "rates", "publish", "2027-01", *CARD) == said
    assert "in a minute" in (await greenroom(world, "rates", "publish", "--help"))[1]
    await done(world, "rates", "publish", "at-once", *CARD)
    rows = await world.sql(
        "SELECT effective_from - published_at BETWEEN '60 s' AND '62 s' FROM rate_cards WHERE version = 'at-once'"
    )
    assert rows == [(True,)]
    assert "2999-01-01" in await done(world, "rates", "show")
    for change in ("UPDATE rate_cards SET lite = 1", "DELETE FROM rate_cards", "TRUNCATE rate_cards"):
        with pytest.raises(psycopg.Error, match="never changed"):
            await world.sql(change)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("publish 2026-11 --lite 1 --standard 2 --pro 3", "There is a card 2026-11 already, and it is another one"),
        ("publish x --lite 1 --standard 2 --pro 3 --from 2020-01-01", "takes effect 60 s after it is published"),
        ("publish y --lite 1 --standard 2 --pro 3 --from 2999-01-01", "Another card takes effect at that very time"),
        ("publish y --lite 1 --standard 2 --pro 3 --from soon", "--from is a day such as 2026-11-01"),
        ("publish a/b --lite 1 --standard 2 --pro 3", "A card's name has up to 64 letters"),
        ("preview gold --from 2026-01-01 --to 2026-02-01", "There is no card gold"),
        ("preview 2026-11 --from 2026-02-01 --to 2026-01-01", "--from must be before --to"),
        ("preview 2026-11 --from 2026-01-01 --to 2026-02-01 --report out.xml", "--report ends in .json or .csv"),
    ],
)
async def test_what_is_refused(world: World, command: str, told: str) -> None:
    await world.sql("INSERT INTO rate_cards VALUES ('far', 1, 2, 3, '2999-01-01Z') ON CONFLICT DO NOTHING")
    code, _, complained = await greenroom(world, "rates", *command.split())
    assert (code, told in " ".join(complained.split())) == (1, True), complained
    assert "Traceback" not in complained


def lived(sid: str, account: str, quality: str) -> list[SessionEvent]:
    begin = created(sid, account=account, quality=quality, rate=FIRST.rate(quality))
    return [begin, *life(sid, beats=1)[1:]]


async def test_a_preview_is_a_replay(world: World, tmp_path: Path) -> None:
    """By account, exactly, of what was recorded in the period; an adjustment costs the same under every card."""
    await world.start("usage")
    other, _ = await world.new_account("other")
    before = session_id()
    await world.append(*lived(before, world.account, "pro"))
    start_ms = max(at for _, at in await world.log()) + 1

    async def later() -> bool:
        rows = await world.sql("SELECT extract(epoch FROM clock_timestamp()) * 1000 > %s", start_ms + 5)
        return bool(rows[0][0])

    await eventually(later)
    lite, pro, mock = session_id(), session_id(), session_id()
    await world.append(*lived(lite, world.account, "lite"), *lived(pro, other, "pro"), *lived(mock, other, "mock"))
    await world.append(UsageAdjusted(pro, 5 * CREDIT_US, "a slip", "tests"))
    span = ("--from", to_wire(start_ms), "--to", "2999-01-01")

    async def entered() -> bool:
        return await world.sql("SELECT count(*) FROM r.usage_events") == [(4 * 2 + 1,)]

    await eventually(entered, what="the ledger")
    report = tmp_path / "out.json"
    code, said, complained = await greenroom(
        world, "rates", "preview", "2026-11", *span, "--lite", "400", "--pro", "2500", "--report", str(report)
    )
    assert code == 0, complained
    assert "other" in said
    found = {row["account_id"]: row for row in json.loads(report.read_bytes())}
    assert found[world.account] == {
        "account_id": world.account,
        "account": "tests",
        "sessions": 1,
        "billable_ms": 1500,
        "credit_us": 1500 * 500,
        "other_us": 1500 * 400,
        "difference_us": -1500 * 100,
    }
    assert found[other] | {"account": "other", "sessions": 2, "billable_ms": 3000} == found[other]
    assert found[other]["credit_us"] == 1500 * 2000 + 1500 * 1000 + 5 * CREDIT_US
    assert found[other]["difference_us"] == 1500 * 500
    ledger = await world.sql(
        "SELECT account_id, sum(credit_us) FROM r.usage_events WHERE recorded_ms >= %s GROUP BY 1", start_ms
    )
    assert {account: row["credit_us"] for account, row in found.items()} == dict(ledger)

    await done(world, "rates", "preview", "2026-11", *span, "--report", str(tmp_path / "same.csv"))
    rows = list(csv.DictReader((tmp_path / "same.csv").read_text().splitlines()))
    assert {row["difference_us"] for row in rows} == {"0"}
    assert {row["account_id"]: int(row["other_us"]) for row in rows} == dict(ledger)


async def test_a_report_that_cannot_be_written_is_told(world: World) -> None:
    span = ("--from", "2026-01-01", "--to", "2999-01-01")
    code, _, complained = await greenroom(world, "rates", "preview", "2026-11", *span, "--report", "/nowhere/out.csv")
    assert (code, "could not be written" in complained) == (1, True)
