"""A bad day, and a ledger that can prove every second of it.

A thousand sessions from a seed (duplicates, disorder, wrong clocks, zombies, wild meters, bytes that are no event)
while projections are killed and partitions move; then: the audit is equal; wiped and read again, and made again beside
the live ones, every table has the same content; fifty changes behind everybody's back are named; an account is erased.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import importlib.util
import random
import sys
import time
from collections import Counter
from typing import Any

import psycopg

from bench.chaos import Chaos
from bench.common import report, run, world
from bench.tampers import WAYS, Tamper, Tamperer, unnamed
from events.codec import Event
from events.producer import EventProducer
from events.topics import SESSIONS
from projections import audit
from stack.process import Process
from store.database import pool
from tests.cli.test_admin import greenroom
from tests.projections.test_rebuilding import CONTENT, active
from tests.world import World, eventually

ACCOUNTS = 8
AT_ONCE = 60
PROJECTORS = ("sessions", "usage", "history", "usage-2", "sessions-2", "history-2")
OF_SESSIONS = ("sessions", "usage", "history")
SETTLE_S = 300.0
_SEND_S = 60.0
"""What is not acknowledged in time might be there or not; a busy machine takes its time."""
Rows = list[tuple[str, object]]


# The day


async def day(system: World, chaos: Chaos, sessions: int, per_s: float, accounts: list[str]) -> int:
    """AT_ONCE sessions at a time, at this pace. Returns how many records were sent."""
    queues: list[list[Event | bytes]] = []
    pending = list[asyncio.Future[object]]()
    begun = sent = 0
    pick = random.Random(1)
    started = time.monotonic()
    async with EventProducer(system.settings, linger_ms=2) as producer:
        while begun < sessions or queues:
            while begun < sessions and len(queues) < AT_ONCE:
                queues.append(chaos.session(accounts[begun % len(accounts)]))
                begun += 1
            queue = pick.choice(queues)
            record = queue.pop(0)
            if isinstance(record, bytes):
                await producer.send_as_it_is(SESSIONS, pick.choice(accounts).encode(), record, [], _SEND_S)
            else:
                pending.append(await producer.enqueue(SESSIONS, record, _SEND_S))
            if not queue:
                queues.remove(queue)
            sent += 1
            await asyncio.sleep(max(0.0, started + sent / per_s - time.monotonic()))
        await asyncio.gather(*pending)
    return sent


async def harm(system: World, done: Counter[str], seed: int) -> None:
    """Projectors of the same partitions come and go: each kill and each start moves partitions."""
    pick = random.Random(seed)
    while True:
        await asyncio.sleep(pick.uniform(0.5, 2.5))
        process = system.processes[pick.choice(PROJECTORS)]
        if process.running:
            process.kill()
            done["projectors killed"] += 1
            await process.wait()
        await process.start()
        done["projectors started, partitions moved"] += 1


async def settled(system: World) -> None:
    """All that the log has is read."""
    total = len(await system.records(SESSIONS))

    async def read() -> bool:
        rows = await system.sql(
            "SELECT name, sum(next_offset) FROM checkpoints WHERE name = ANY (%s) GROUP BY name", list(OF_SESSIONS)
        )
        return len(rows) == len(OF_SESSIONS) and all(at >= total for _, at in rows)

    await eventually(read, SETTLE_S, "the end of the log")


# What is derived


async def hashes(system: World) -> dict[str, str]:
    """Table → SHA-256 of all of its content, and of the states that it is made on."""
    consumers = {name: f"{name}@{n}" if n > 1 else name for name, n in (await active(system)).items()}
    states = [
        "(SELECT session_id, partition, live, state FROM fold_states"
        f" WHERE consumer = '{consumers[name]}') {name}_states ORDER BY session_id"
        for name in ("usage", "history")
    ]
    found: dict[str, str] = {}
    async with await psycopg.AsyncConnection.connect(system.database_url, autocommit=True) as connection:
        for table in (*CONTENT, *states):
            digest = hashlib.sha256()
            async with connection.cursor() as cursor, cursor.copy(f"COPY (SELECT * FROM {table}) TO STDOUT") as copy:
                async for part in copy:
                    digest.update(part)
            found[table.split(" ORDER")[0].split(" ")[-1]] = digest.hexdigest()
    return found


async def wipe(system: World) -> None:
    """All that is derived, as if it had never been."""
    async with await superuser(system) as connection:
        for name, number in (await active(system)).items():
            cursor = await connection.execute(
                "SELECT format('%%I.%%I', schemaname, tablename) FROM pg_tables WHERE schemaname = %s",
                [f"{name}_v{number}"],
            )
            for (table,) in await cursor.fetchall():
                await connection.execute(f"TRUNCATE {table} CASCADE")
        await connection.execute("DELETE FROM checkpoints WHERE name <> 'usage-publish'")
        await connection.execute("DELETE FROM fold_states")
        await connection.execute("DELETE FROM parked")


async def superuser(system: World) -> psycopg.AsyncConnection[Any]:
    """Whom no trigger stops."""
    connection = await psycopg.AsyncConnection.connect(system.database_url, autocommit=True)
    await connection.execute("SET session_replication_role = replica")
    return connection


async def judged(system: World) -> audit.Verdict:
    async with pool(system.database_url, 1) as connections:
        return await audit.audit(system.settings, connections, audit.Scope(), lambda _, __: None)


# The proof


async def tampered(system: World, seed: int) -> tuple[list[Tamper], list[Tamper], int]:
    """(all tampers, those that were not named, how many places were named for nothing). Undone afterwards."""
    table = f"usage_v{(await active(system))['usage']}.usage_events"
    await system.sql(f"SELECT {table.split('.')[0]}.ensure_month(1764000000000)")
    async with await superuser(system) as connection:
        await connection.execute(f"CREATE TABLE backup AS SELECT * FROM {table}")
        tampers = await Tamperer(connection, table, seed).all()
        verdict = await judged(system)
        await connection.execute(f"DELETE FROM {table}")
        await connection.execute(f"INSERT INTO {table} SELECT * FROM backup; DROP TABLE backup")
    named = {(each.partition, each.offset) for each in verdict.differences}
    missed, innocent = unnamed(tampers, named)
    return tampers, missed, len(innocent)


async def erased(system: World, account: str) -> str:
    """An account is erased: ledger and chains still verify."""
    if importlib.util.find_spec("cli.erase") is None:
        return "not part of this version"
    before = (await hashes(system))["r.usage_events"]
    code, _, complained = await greenroom(system, "erase", account, "--yes")
    if code:
        return f"refused: {complained.strip()}"
    await settled(system)
    equal = (await judged(system)).equal and (await hashes(system))["r.usage_events"] == before
    return "equal, the same ledger" if equal else "NOT EQUAL"


async def prove(system: World, sessions: int, per_s: float, seed: int) -> tuple[Rows, list[Tamper], bool]:
    chaos, done = Chaos(seed), Counter[str]()
    accounts = [(await system.new_account(f"proof {n}"))[0] for n in range(ACCOUNTS)]
    await system.start(*PROJECTORS)
    harming = asyncio.create_task(harm(system, done, seed))
    try:
        sent = await day(system, chaos, sessions, per_s, accounts)
    finally:
        harming.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await harming
    await _all_running(system.processes)
    await settled(system)
    verdict, live = await judged(system), await hashes(system)
    rows: Rows = [("records sent", sent), *sorted((chaos.done + done).items())]
    rows += [
        ("entries of the ledger", verdict.entries),
        ("events rejected by the fold", verdict.rejected),
        ("audit after the day", _said(verdict.equal)),
    ]
    await wipe(system)
    for name in PROJECTORS:
        await system.stop(name)
    await system.start(*PROJECTORS)
    await settled(system)
    again = await hashes(system)
    code, _, complained = await greenroom(system, "replay", "all")
    if code:
        print(complained)
    beside = await hashes(system) if code == 0 else {}
    rows += [
        ("tables and states whose content was compared", len(live)),
        ("different after they were wiped and read again", _different(live, again)),
        ("different after `greenroom replay all`", _different(live, beside)),
        ("audit after that", _said((await judged(system)).equal)),
    ]
    tampers, missed, innocent = await tampered(system, seed)
    rows += [
        ("ways in which the ledger was changed", len(tampers)),
        ("of these named", len(tampers) - len(missed)),
        ("rows named that nobody had changed", innocent),
    ]
    after = await erased(system, accounts[0])
    rows.append(("audit after an account was erased", after))
    held = (
        verdict.equal and live == again == beside and len(tampers) == WAYS and not missed and not innocent
        and "NOT" not in after and "refused" not in after
    )  # fmt: skip
    return rows, missed, held


async def _all_running(processes: dict[str, Process]) -> None:
    for process in processes.values():
        if not process.running:
            await process.start()


def _said(equal: bool) -> str:
    return "equal" if equal else "DIFFERS"


def _different(one: dict[str, str], other: dict[str, str]) -> str:
    return ", ".join(sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))) or "none"


async def main(sessions: int, per_s: float, seed: int) -> None:
    async with world() as system:
        rows, missed, held = await prove(system, sessions, per_s, seed)
    report(
        "prove-ledger",
        "A ledger that proves a bad day",
        ("", ""),
        rows,
        (
            f"{sessions} sessions of seed {seed}, {AT_ONCE} at a time, {per_s:g} records/s; real Kafka and PostgreSQL,"
            f" {len(PROJECTORS)} projectors, two for each of {', '.join(OF_SESSIONS)}.",
            "A clock is up to 5 minutes wrong, an event up to an hour; a zombie goes on beside who took over.",
            "A superuser whom no trigger stops makes the changes, each to a session of its own, all before one audit.",
            *(f"NOT NAMED: {tamper.way}" for tamper in missed),
        ),
        "make prove-ledger",
    )
    if not held:
        sys.exit("It did not hold.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--per-second", type=float, default=400.0)
    parser.add_argument("--seed", type=int, default=12)
    given = parser.parse_args()
    run(main(given.sessions, given.per_second, given.seed))
