"""The list of sessions: what an account with years of them costs, and what each filter lets through."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from events.session_state import State, dump_state
from projections.sessions import Filter, page
from store.database import Connection, pool
from tests.builders import created
from tests.world import World

pytestmark = pytest.mark.servers

MANY = 20_000
STATE = dump_state(State("sess_x", created=created("sess_x")))


@pytest_asyncio.fixture(scope="module")
async def account(world: World) -> str:
    """Its sessions are numbered by age; every hundredth is live, every tenth is of another avatar."""
    account, _ = await world.new_account("years")
    await world.sql(
        """
        INSERT INTO sessions_v1.sessions
        SELECT 'sess_' || lpad(n::text, 6, '0'), 0, false, %s, CASE n %% 10 WHEN 0 THEN 'av_2' ELSE 'av_1' END, 'mock',
            CASE n %% 100 WHEN 0 THEN 'running' ELSE 'ended' END, 1, 1, 'wrk_1', n, NULL, NULL, NULL, NULL, NULL,
            0, 0, 0, %s
        FROM generate_series(1, %s) n
        """,
        account,
        STATE,
        MANY,
    )
    await world.sql("ANALYZE sessions_v1.sessions")
    return account


@pytest_asyncio.fixture
async def connection(world: World) -> AsyncIterator[Connection]:
    async with pool(world.database_url, 1) as opened, opened.connection() as connection:
        yield connection


async def ids(connection: Connection, account: str, limit: int = 3, **only: Any) -> list[int]:
    return [int(found.session_id[5:]) for found in await page(connection, account, Filter(**only), limit)]


async def test_what_each_filter_lets_through(account: str, connection: Connection) -> None:
    assert await ids(connection, account) == [20_000, 19_999, 19_998]
    assert await ids(connection, account, before_id="sess_000003") == [2, 1]
    assert await ids(connection, account, statuses=["running", "queued"]) == [20_000, 19_900, 19_800]
    assert await ids(connection, account, statuses=["ended"]) == [19_999, 19_998, 19_997]
    assert await ids(connection, account, statuses=["ended", "running"], before_id="sess_000101") == [100, 99, 98]
    assert await ids(connection, account, avatar_id="av_2", statuses=["ended"]) == [19_990, 19_980, 19_970]
    assert await ids(connection, account, created_after_ms=5, created_before_ms=7) == [6, 5]
    assert await ids(connection, account, statuses=["failed"]) == []


async def test_an_end_that_was_acknowledged_shows_at_once(world: World, account: str, connection: Connection) -> None:
    await world.sql(
        """
        INSERT INTO admissions
            (session_id, account_id, event_id, worker_id, state, target_hash, body_hmac, created_ms, resource)
        VALUES ('sess_019900', %s, 'evt_1', 'wrk_1', 'ending', 'a', 'a', 19900, '{}')
        """,
        account,
    )
    assert await ids(connection, account, statuses=["running"]) == [20_000, 19_800, 19_700]
    assert await ids(connection, account, statuses=["ending"]) == [19_900]


@pytest.mark.parametrize(
    "only",
    [
        {},
        {"before_id": "sess_010000"},
        {"statuses": ["queued", "starting", "running", "ending"]},
        {"statuses": ["ended"]},
    ],
    ids=str,
)
async def test_a_page_costs_what_it_shows(account: str, connection: Connection, only: dict[str, Any]) -> None:
    """It used to sort all of an account's sessions for each page."""

    async with connection.transaction():
        before = await looked_at(connection)
        assert len(await ids(connection, account, 21, **only)) == 21
        assert await looked_at(connection) - before < 500  # of 20,000; without statistics all 200 live ones are sorted


async def test_a_page_costs_nothing_of_what_else_runs(world: World, connection: Connection) -> None:
    """It used to ask of each live session whether the projection has it, before it showed twenty."""
    live = 3_000
    account, _ = await world.new_account("busy")
    await world.sql(
        """
        INSERT INTO sessions_v1.sessions
        SELECT 'sess_b' || lpad(n::text, 6, '0'), 0, false, %s, 'av_1', 'mock', 'running', 1, 1, 'wrk_1', n,
            NULL, NULL, NULL, NULL, NULL, 0, 0, 0, %s
        FROM generate_series(1, %s) n
        """,
        account,
        STATE,
        live,
    )
    await world.sql(
        """
        INSERT INTO admissions
            (session_id, account_id, event_id, worker_id, state, target_hash, body_hmac, created_ms, resource)
        SELECT 'sess_b' || lpad(n::text, 6, '0'), %s, 'evt_1', 'wrk_1', 'live', ('b' || n)::bytea, ('b' || n)::bytea,
            n, '{}'
        FROM generate_series(1, %s) n
        """,
        account,
        live + 1,
    )
    await world.sql("ANALYZE sessions_v1.sessions")
    await world.sql("ANALYZE admissions")

    shown = await page(connection, account, Filter(), 21)

    assert [found.session_id for found in shown[:2]] == ["sess_b003001", "sess_b003000"]
    assert [found.resource for found in shown[:2]] == ["{}", None]
    async with connection.transaction():
        before = await looked_at(connection)
        assert len(await page(connection, account, Filter(), 21)) == 21
        assert await looked_at(connection) - before < 500  # of 3,000 live ones


async def looked_at(connection: Connection) -> int:
    """Rows of sessions and of admissions that this transaction has read so far."""
    cursor = await connection.execute(
        """
        SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_xact_all_tables
        WHERE relid IN ('sessions_v1.sessions'::regclass, 'admissions'::regclass)
        """
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])
