"""The ledger, changed by a superuser behind our back: the audit names exactly the rows that are not the log's."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from cli import bills
from events.topics import SESSIONS, partition_of
from events.whole import CannotRead
from projections import audit, names
from projections.usage import COLUMNS, FACT_COLUMNS, STORED
from schemas.usage import UsageFacts, chain
from tests.cli.test_admin import greenroom
from tests.projections.test_audit import billed, verdict
from tests.world import World

pytestmark = pytest.mark.servers

Place = tuple[int, int]
FAR = 10**15
TABLE = "usage_v1.usage_events"
NUMBERS = ("attempt", "billable_ms", "credit_us", "frames", "from_ms", "multiplier_milli", "n", "to_ms", "recorded_ms")
MOVES = ("partition", "offset")

ROW = "session_id = %(sid)s AND n = 2"
COPY = f"INSERT INTO {TABLE} SELECT (jsonb_populate_record(u, %(change)s)).* FROM {TABLE} u WHERE {ROW}"


@pytest.fixture(scope="module")
def sids() -> list[str]:
    return []


@pytest_asyncio.fixture
async def superuser(world: World, sids: list[str]) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """No trigger stops this one, and what it has done is undone."""
    if not sids:
        await world.start("usage")
        sids += await billed(world, 2, beats=4)
        await world.stop_all()
        await world.sql("SELECT usage_v1.ensure_month(1764000000000)")
    async with await psycopg.AsyncConnection.connect(world.database_url, autocommit=True) as connection:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(f"CREATE TABLE backup AS SELECT * FROM {TABLE}")
        try:
            yield connection
        finally:
            await connection.execute(
                f"DELETE FROM {TABLE}; INSERT INTO {TABLE} SELECT * FROM backup; DROP TABLE backup"
            )


async def places(world: World, sid: str) -> list[Place]:
    """Of its entries, in order: n = 1, 2, 3, 4, 5."""
    return await world.sql(f'SELECT partition, "offset" FROM {TABLE} WHERE session_id = %s ORDER BY "offset"', sid)


async def named(world: World) -> dict[Place, set[str]]:
    found = await verdict(world)
    told: dict[Place, set[str]] = {}
    for difference in found.differences:
        told.setdefault((difference.partition, difference.offset), set()).add(difference.kind)
    assert found.found == len(found.differences)
    return told


Superuser = psycopg.AsyncConnection[Any]


@pytest.mark.parametrize("column", [column for column in STORED if column not in MOVES])
async def test_a_column_that_was_changed(world: World, superuser: Superuser, sids: list[str], column: str) -> None:
    new = f'"{column}" + 1' if column in NUMBERS else f"""'x' || "{column}" """
    await superuser.execute(f'UPDATE {TABLE} SET "{column}" = {new} WHERE {ROW}', {"sid": sids[0]})
    place = (await places(world, sids[0]) if column != "session_id" else await places(world, "x" + sids[0]))[
        1 if column != "session_id" else 0
    ]
    under_hash = column in (*FACT_COLUMNS, "prev_hash", "hash")
    assert await named(world) == {place: {"changed", "broken_chain"} if under_hash else {"changed"}}
    (told, *_) = [d for d in (await verdict(world)).differences if d.kind == "changed"]
    assert told.detail.startswith(f"{column} is ")


def test_every_column_is_looked_at() -> None:
    assert {*NUMBERS, *MOVES} < {*STORED}
    assert {*STORED} > {*COLUMNS} > {*FACT_COLUMNS}


@pytest.mark.parametrize(
    ("which", "gone"),
    [("n = 1", [0]), ("n = 3", [2]), ("n = 5", [4]), ("n > 2", [2, 3, 4]), ("true", [0, 1, 2, 3, 4])],
    ids=["the first", "one", "the last", "all from one on", "the whole session"],
)
async def test_rows_that_were_deleted(
    world: World, superuser: Superuser, sids: list[str], which: str, gone: list[int]
) -> None:
    there = await places(world, sids[0])
    await superuser.execute(f"DELETE FROM {TABLE} WHERE session_id = %(sid)s AND {which}", {"sid": sids[0]})
    assert await named(world) == {there[n]: {"missing"} for n in gone}


async def test_all_rows_deleted(world: World, superuser: Superuser, sids: list[str]) -> None:
    there = [place for sid in sids for place in await places(world, sid)]
    await superuser.execute(f"DELETE FROM {TABLE}")
    assert await named(world) == {place: {"missing"} for place in there}


@pytest.mark.parametrize(
    "change",
    [
        {"offset": FAR},
        {"offset": -1},
        {"partition": 99},
        {"partition": -1},
        {"recorded_ms": 1764000000000},
        {"recorded_ms": 1764000000000, "id": "use_0"},
        {"offset": 0},
        {"session_id": "sess_nobody", "offset": FAR},
    ],
    ids=lambda change: ", ".join(f"{name} {value}" for name, value in change.items()),
)
async def test_a_row_that_was_inserted(
    world: World, superuser: Superuser, sids: list[str], change: dict[str, Any]
) -> None:
    """Where the log has nothing, has no such partition, has something that is no reading, or has the entry already."""
    place = (await places(world, sids[0]))[1]
    if change.get("offset") == 0:
        change = {"offset": place[1] - 2}  # what comes before its first heartbeat, n = 1, is no reading
        assert (place[0], place[1] - 2) not in await places(world, sids[0])
    values = {"sid": sids[0], "change": psycopg.types.json.Jsonb(change)}
    await superuser.execute(COPY, values)
    at = (change.get("partition", place[0]), change.get("offset", place[1]))
    found = await named(world)
    assert found.keys() == {at}
    assert "extra" in found[at]


@pytest.mark.parametrize("change", [{"offset": FAR}, {"partition": 99}], ids=["offset", "partition"])
async def test_a_row_that_was_moved(
    world: World, superuser: Superuser, sids: list[str], change: dict[str, int]
) -> None:
    """Not a fact of the bill is changed, nor the chain: it is missed in its place, and one too many in the other."""
    place = (await places(world, sids[0]))[1]
    ((column, value),) = change.items()
    await superuser.execute(f'UPDATE {TABLE} SET "{column}" = {value} WHERE {ROW}', {"sid": sids[0]})
    moved = (change.get("partition", place[0]), change.get("offset", place[1]))
    assert await named(world) == {place: {"missing"}, moved: {"extra"}}


async def test_a_row_that_was_moved_into_the_place_of_another_partition(
    world: World, superuser: Superuser, sids: list[str]
) -> None:
    place = (await places(world, sids[0]))[1]
    other = (place[0] + 1) % SESSIONS.partitions
    await superuser.execute(f"UPDATE {TABLE} SET partition = {other} WHERE {ROW}", {"sid": sids[0]})
    found = await named(world)
    assert found.keys() == {place, (other, place[1])}
    assert found[place] == {"missing"}


async def test_two_rows_that_changed_places(world: World, superuser: Superuser, sids: list[str]) -> None:
    there = await places(world, sids[0])
    (first, second) = there[1][1], there[3][1]
    for old, new in ((first, FAR), (second, first), (FAR, second)):
        await superuser.execute(
            f'UPDATE {TABLE} SET "offset" = {new} WHERE session_id = %s AND "offset" = {old}', [sids[0]]
        )
    found = await named(world)
    assert found == {there[1]: {"changed"}, there[3]: {"changed"}}


async def test_two_sessions_that_changed_a_row(world: World, superuser: Superuser, sids: list[str]) -> None:
    """Each bills what the other did."""
    there = [(await places(world, sid))[1] for sid in sids]
    await superuser.execute(
        f"UPDATE {TABLE} SET session_id = CASE session_id WHEN %(a)s THEN %(b)s ELSE %(a)s END WHERE n = 2",
        {"a": sids[0], "b": sids[1]},
    )
    found = await named(world)
    assert found == {place: {"changed", "broken_chain"} for place in there}


async def test_a_chain_that_was_made_again_from_a_changed_row_on(
    world: World, superuser: Superuser, sids: list[str]
) -> None:
    """Nothing is wrong with it but that the log says otherwise: all rows from there on are named, none before."""
    there = await places(world, sids[0])
    columns = ", ".join(f'"{column}"' for column in COLUMNS)
    cursor = await superuser.execute(
        f'SELECT {columns} FROM {TABLE} WHERE session_id = %s AND n >= 2 ORDER BY "offset"', [sids[0]]
    )
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in await cursor.fetchall()]
    prev = rows[0]["prev_hash"]
    for n, row in enumerate(rows):
        facts = {name: row[name] for name in UsageFacts.__struct_fields__}
        facts["flags"] = tuple(filter(None, row["flags"].split(",")))
        facts["billable_ms"] += 1 if n == 0 else 0
        made = chain(UsageFacts(**facts), prev)
        await superuser.execute(
            f'UPDATE {TABLE} SET billable_ms = %s, prev_hash = %s, hash = %s WHERE session_id = %s AND "offset" = %s',
            [made.facts.billable_ms, made.prev_hash, made.hash, sids[0], row["offset"]],
        )
        prev = made.hash
    assert await named(world) == {place: {"changed"} for place in there[1:]}


async def test_a_session_that_was_given_to_another_account(world: World, superuser: Superuser, sids: list[str]) -> None:
    await superuser.execute(f"UPDATE {TABLE} SET account_id = 'acct_x' WHERE session_id = %s", [sids[0]])
    expected = {place: {"changed", "broken_chain"} for place in await places(world, sids[0])}
    assert await named(world) == expected
    for account in ("acct_1", "acct_x"):  # told to both: who misses it, and who has it
        assert (await verdict(world, audit.Scope(account=account))).found == 2 * len(expected)


async def test_several_processes_find_what_one_does(world: World, superuser: Superuser, sids: list[str]) -> None:
    await superuser.execute(COPY, {"sid": sids[0], "change": psycopg.types.json.Jsonb({"partition": 99})})
    await superuser.execute(f"DELETE FROM {TABLE} WHERE session_id = %s AND n = 4", [sids[1]])
    one, several = [await greenroom(world, "audit", *more) for more in ([], ["--processes", "3"])]
    assert one[0] == several[0] == 1
    assert sorted(one[1].splitlines()) == sorted(several[1].splitlines())
    assert "The ledger differs from the log in 2 places" in several[2]


async def test_what_fails_in_a_way_of_its_own_is_no_difference(
    world: World, superuser: Superuser, sids: list[str], tmp_path: Path
) -> None:
    """Of a system that was not migrated, and in a process of its own, too: never Python's own exit code."""
    await superuser.execute("ALTER VIEW r.usage_events RENAME TO away")
    told = [await greenroom(world, "audit", *more) for more in ([], ["--processes", "2"])]
    await superuser.execute("ALTER VIEW r.away RENAME TO usage_events")
    assert [(code, "No verdict: UndefinedTable" in complained) for code, _, complained in told] == [(2, True)] * 2
    code, said, complained = await greenroom(world, "audit", "--report", str(tmp_path))
    assert (code, "could not be written" in complained, " entries, " in said) == (2, True, True)


TOTALS = {
    "UPDATE usage_v1.session_days SET billable_ms = billable_ms - 1 WHERE session_id = '{sid}'": "session {sid}, day",
    "UPDATE usage_v1.session_days SET account_id = 'acct_x' WHERE session_id = '{sid}'": "acct_x, session {sid}, day",
    "DELETE FROM usage_v1.session_days WHERE session_id = '{sid}'": "it says nothing, the entries add up to",
    "UPDATE usage_v1.months SET credit_us = credit_us - 60": "key key_1, month",
    "INSERT INTO usage_v1.months SELECT DISTINCT account_id, date '2020-01-01', '', 1, 1 FROM usage_v1.months": (
        "add up to nothing"
    ),
}
"""What somebody does to what is shown and capped by, while every entry is as it was → what is told."""


@pytest.mark.parametrize("change", TOTALS)
async def test_a_total_that_was_changed(world: World, superuser: Superuser, sids: list[str], change: str) -> None:
    table = next(table for table in ("usage_v1.session_days", "usage_v1.months") if table in change)
    await superuser.execute(f"CREATE TEMPORARY TABLE totals AS SELECT * FROM {table}")
    try:
        await superuser.execute(change.format(sid=sids[0]))
        code, said, complained = await greenroom(world, "audit")
    finally:
        await superuser.execute(f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM totals; DROP TABLE totals")
    assert (code, "are not what the entries add up to" in complained) == (1, True)
    assert TOTALS[change].format(sid=sids[0]) in said


async def test_a_scope_that_holds_nothing_is_not_told_as_equal(
    world: World, superuser: Superuser, sids: list[str]
) -> None:
    code, said, _ = await greenroom(world, "audit", "--session", "sess_mistyped")
    assert (code, "Neither the log nor" in said, "equals" in said) == (0, True, False)


def _dies(*_: object) -> audit.Verdict:
    os._exit(0)


async def test_a_process_that_dies_leaves_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bills, "_share", _dies)
    with pytest.raises(CannotRead, match="was killed"):
        await bills._shared_out(audit.Scope(), 2, lambda _, __: None)


async def test_a_key_that_nobody_wrote_down_is_no_difference(
    world: World, superuser: Superuser, sids: list[str]
) -> None:
    """As versions before did."""
    await superuser.execute(f"UPDATE {TABLE} SET key_id = NULL")
    assert await named(world) == {}


async def test_a_log_that_others_have_read_further_has_lost_its_tail(world: World, superuser: Superuser) -> None:
    """The ledger itself was made from no more than is there."""
    await superuser.execute(
        "INSERT INTO checkpoints (name, topic, partition, generation, next_offset) VALUES (%s, %s, 3, 1, 999999)",
        [names.SESSIONS, SESSIONS.name],
    )
    try:
        with pytest.raises(audit.CannotRead, match="lost its tail"):
            await verdict(world)
    finally:
        await superuser.execute("DELETE FROM checkpoints WHERE name = %s", [names.SESSIONS])


async def test_a_log_that_lost_its_head_has_no_verdict(world: World, superuser: Superuser, sids: list[str]) -> None:
    """The last one: the world's log is of no use after it."""
    place = TopicPartition(world.prefix + SESSIONS.name, partition_of(sids[0].encode()))
    admin = AIOKafkaAdminClient(bootstrap_servers=world.servers.kafka_bootstrap)
    await admin.start()
    await admin.delete_records({place: RecordsToDelete(before_offset=1)})
    await admin.close()
    with pytest.raises(audit.CannotRead, match="do not begin at offset 0"):
        await verdict(world)
