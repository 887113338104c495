"""Deliveries on a real database: who gets the places, what is tried again, and what is given up."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import WEBHOOK_DELIVERY, WEBHOOK_ENDPOINT, new_id
from store import deliveries, endpoints
from store.database import Pool, pool
from store.deliveries import PER_ACCOUNT, PER_ENDPOINT, Attempt, Due
from tests.world import World, eventually

pytestmark = pytest.mark.servers

NOW = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)


@pytest_asyncio.fixture
async def connections(world: World) -> AsyncIterator[Pool]:
    async with pool(world.database_url, 8) as opened:
        yield opened
    await world.sql("DELETE FROM webhook_endpoints")


async def endpoint(world: World, account: str, *, enabled: bool = True) -> str:
    made = new_id(WEBHOOK_ENDPOINT)
    await world.sql(
        """
        WITH made AS (
            INSERT INTO webhook_endpoints (id, account_id, url, events, enabled)
            VALUES (%s, %s, 'https://example.com/', '{*}', %s) RETURNING id
        )
        INSERT INTO webhook_secrets (endpoint_id, n, key_id, secret) SELECT id, 1, 't1', '' FROM made
        """,
        made,
        account,
        enabled,
    )
    return made


async def pending(
    world: World,
    endpoint_id: str,
    many: int,
    *,
    sessions: int | None = None,
    on: psycopg.AsyncConnection[Any] | None = None,
) -> None:
    """`many` deliveries that are due, of as many sessions unless said otherwise, the oldest first.

    `on`: a connection whose transaction goes on.
    """
    query = """
        INSERT INTO deliveries (id, endpoint_id, account_id, session_id, event_id, type, seq, body, next_at, created_at)
        SELECT %s || n, w.id, w.account_id, %s || n %% %s, 'evt_' || n, 'session.ended', n, '{}',
            now() - interval '10 s' + n * interval '1 us', now() - interval '10 s'
        FROM generate_series(1, %s) n, webhook_endpoints w WHERE w.id = %s
    """
    values = [new_id(WEBHOOK_DELIVERY), secrets.token_hex(4), sessions or many, many, endpoint_id]
    if on is None:
        await world.sql(query, *values)
    else:
        await on.execute(query, values)


async def claim(connections: Pool, most: int = 1000) -> list[Due]:
    async with connections.connection() as connection:
        return await deliveries.claim(connection, most)


async def record(connections: Pool, due: Due, status: int | None, **more: Any) -> None:
    error = None if status else "ConnectError"
    attempt = Attempt(datetime.now(UTC), status, 3, error, None, **more)
    async with connections.connection() as connection:
        if attempt.delivered:
            await deliveries.record_delivered(connection, [(due, attempt)])
        else:
            await deliveries.record_failed(connection, due, attempt)


async def test_an_endpoint_and_an_account_have_their_places_and_no_more(world: World, connections: Pool) -> None:
    many, _ = await world.new_account("many endpoints")
    single, _ = await world.new_account("one endpoint")
    for _ in range(16):
        await pending(world, await endpoint(world, many), 20)
    alone = await endpoint(world, single)
    await pending(world, alone, 20)
    claimed = await claim(connections)
    per_endpoint = Counter(due.endpoint_id for due in claimed)
    assert max(per_endpoint.values()) == PER_ENDPOINT
    assert per_endpoint.pop(alone) == PER_ENDPOINT
    assert sum(per_endpoint.values()) == PER_ACCOUNT
    assert await claim(connections) == []
    mine = [due for due in claimed if due.endpoint_id == alone]
    await record(connections, mine[0], 200)
    await record(connections, mine[1], 500)
    assert [due.endpoint_id for due in await claim(connections)] == [alone, alone]


async def test_processes_that_race_do_not_pass_the_caps(world: World, connections: Pool) -> None:
    account, _ = await world.new_account("raced for")
    for _ in range(8):
        await pending(world, await endpoint(world, account), 50)
    for _ in range(5):
        rounds = await asyncio.gather(*(claim(connections, 16) for _ in range(8)))
        claimed = [due for found in rounds for due in found]
        assert len({due.id for due in claimed}) == len(claimed) == PER_ACCOUNT
        assert max(Counter(due.endpoint_id for due in claimed).values()) <= PER_ENDPOINT
        async with connections.connection() as connection:
            await deliveries.give_back(connection, claimed)


async def test_when_places_are_few_the_account_with_the_fewest_in_flight_is_first(
    world: World, connections: Pool
) -> None:
    greedy, _ = await world.new_account("greedy")
    for _ in range(4):
        await pending(world, await endpoint(world, greedy), 50)
    assert len(await claim(connections, 10)) == 10
    late, _ = await world.new_account("late")
    one = await endpoint(world, late)
    await pending(world, one, 5)
    assert [due.endpoint_id for due in await claim(connections, 5)] == [one] * 5


async def test_an_endpoint_that_goes_on_failing_gets_one_place(world: World, connections: Pool) -> None:
    account, _ = await world.new_account("fails")
    failing = await endpoint(world, account)
    await pending(world, failing, 40)
    for due in await claim(connections):
        await record(connections, due, None)
    await world.sql("UPDATE webhook_endpoints SET failing_since = failing_since - interval '31 s'")
    (due,) = await claim(connections)
    await record(connections, due, 500)
    assert await world.sql("SELECT failing_since < now() - interval '30 s' FROM webhook_endpoints") == [(True,)]
    (due,) = await claim(connections)
    await record(connections, due, 204)
    assert len(await claim(connections)) == PER_ENDPOINT


@pytest.mark.parametrize("statistics", ["none", "of before", "of now"])
async def test_a_claim_costs_the_same_with_a_backlog(world: World, connections: Pool, statistics: str) -> None:
    """100,000 due of one endpoint, which is at its cap or not, and 200 endpoints that wait for something.

    Statistics of before: taken while the backlog was being written, they say that a large table has next to no rows.
    """
    await world.sql("DELETE FROM deliveries; ALTER TABLE deliveries SET (autovacuum_enabled = off)")  # no other ones
    busy, _ = await world.new_account("busy")
    backlog = await endpoint(world, busy)
    for _ in range(200):
        await pending(world, await endpoint(world, busy), 1)
    async with await psycopg.AsyncConnection.connect(world.database_url) as connection:
        await pending(world, backlog, 100_000, on=connection)
        if statistics == "of before":
            await world.sql("ANALYZE deliveries")
    await world.sql("UPDATE deliveries SET next_at = now() + interval '1 hour' WHERE endpoint_id <> %s", backlog)
    if statistics == "of now":
        await world.sql("ANALYZE deliveries")
    for _ in range(4):
        async with await psycopg.AsyncConnection.connect(world.database_url) as connection:
            await deliveries.claim(connection, 128)
            cursor = await connection.execute(
                "SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'deliveries'"
            )
            scanned, fetched = await cursor.fetchone() or (None, None)
        assert (scanned, fetched < 2000) == (0, True), f"{fetched} rows read"
    await world.sql("ALTER TABLE deliveries RESET (autovacuum_enabled)")


async def test_order_within_a_session_and_for_a_minute_at_most(world: World, connections: Pool) -> None:
    account, _ = await world.new_account("ordered")
    of = await endpoint(world, account)
    await pending(world, of, 6, sessions=2)
    first = await claim(connections)
    assert sorted(due.seq for due in first) == [1, 2]
    await world.sql(
        "UPDATE deliveries SET next_at = now()"
    )  # whoever asks for one again does not send it twice at once
    assert await claim(connections) == []
    odd, even = sorted(first, key=lambda due: due.seq)
    await record(connections, odd, 200)
    await record(connections, even, 500)
    (third,) = await claim(connections)
    assert third.seq == 3
    # Those behind the failed one do not stand before others meanwhile: they fall due with it.
    waiting = await world.sql("SELECT seq, next_at > now() FROM deliveries WHERE state = 'pending' ORDER BY seq")
    assert waiting == [(2, True), (3, True), (4, True), (5, False), (6, True)]
    await world.sql("UPDATE deliveries SET created_at = now() - interval '61 s', next_at = now() WHERE seq IN (4, 6)")
    assert sorted(due.seq for due in await claim(connections)) == [4, 6]


async def test_what_is_hindered_by_us_counts_no_attempt_and_ends(world: World, connections: Pool) -> None:
    account, _ = await world.new_account("hindered")
    await pending(world, await endpoint(world, account), 1)
    for n in range(1, 4):
        (due,) = await claim(connections)
        assert (due.hindered, due.attempts) == (n, 0)
        async with connections.connection() as connection:
            await deliveries.postpone(connection, due)
        await world.sql("UPDATE deliveries SET next_at = now()")
    (due,) = await claim(connections)
    async with connections.connection() as connection:
        await deliveries.give_up_hindered(connection, due)
    assert await world.sql("SELECT state, reason, attempts FROM deliveries") == [("given_up", "hindered", 1)]
    assert await world.sql("SELECT status, error LIKE '%%name servers%%' FROM delivery_attempts") == [(None, True)]


async def test_who_dies_with_a_claim_lets_it_fall_due_and_answers_late_only_with_a_success(
    world: World, connections: Pool
) -> None:
    account, _ = await world.new_account("dies")
    await pending(world, await endpoint(world, account), 2)
    stale = await claim(connections)
    await world.sql("UPDATE deliveries SET next_at = now(), claimed_until = now()")
    again = {due.id: due for due in await claim(connections)}
    assert set(again) == {due.id for due in stale}
    await record(connections, stale[0], 500)
    await record(connections, stale[1], 200)
    found = await world.sql("SELECT id, state, attempts FROM deliveries ORDER BY state")
    assert found == [(stale[1].id, "delivered", 1), (stale[0].id, "pending", 0)]
    await record(connections, again[stale[0].id], 500)
    await record(connections, again[stale[1].id], 500)
    assert await world.sql("SELECT attempts FROM deliveries") == [(1,), (1,)]


async def test_successes_are_stored_together_once_and_of_deleted_endpoints_not_at_all(
    world: World, connections: Pool
) -> None:
    account, _ = await world.new_account("together")
    failing, deleted, kept = [await endpoint(world, account) for _ in range(3)]
    for of in (failing, deleted, kept):
        await pending(world, of, 3)
    await world.sql("UPDATE webhook_endpoints SET failing_since = now() WHERE id = %s", failing)
    ended = [(due, Attempt(datetime.now(UTC), 200, 3, None, "ok")) for due in await claim(connections)]
    assert len(ended) == 9
    async with await psycopg.AsyncConnection.connect(world.database_url) as deleting:
        # it holds the endpoint's row and waits for nobody; nobody waits for it
        await deleting.execute("DELETE FROM webhook_endpoints WHERE id = %s", [deleted])
        async with asyncio.timeout(5), connections.connection() as connection:
            assert await deliveries.record_delivered(connection, ended) == [failing]
            assert await deliveries.record_delivered(connection, ended) == []
        await deleting.commit()
    stored = "SELECT endpoint_id, state, attempts, count(*) FROM deliveries GROUP BY 1, 2, 3"
    assert set(await world.sql(stored)) == {(of, "delivered", 1, 3) for of in (failing, kept)}
    assert await world.sql("SELECT count(*), min(answer) FROM delivery_attempts") == [(6, "ok")]
    assert await world.sql("SELECT DISTINCT failing_since FROM webhook_endpoints") == [(None,)]


async def test_a_backlog_is_inserted_into_a_table_that_was_empty(world: World, connections: Pool) -> None:
    """The planner, which had seen it empty, used to read all of it for each row: 20,000 at once took longer than a
    statement may, and all projections with them."""
    account, _ = await world.new_account("empty")
    of = await endpoint(world, account)
    await world.sql("DELETE FROM deliveries")
    await world.sql("VACUUM ANALYZE deliveries")
    made = [
        deliveries.New(f"dlv_{n}", of, account, f"sess_{n}", f"evt_{n}", "session.ended", 1, b"{}")
        for n in range(20_000)
    ]
    async with await psycopg.AsyncConnection.connect(world.database_url) as connection:
        await deliveries.insert(connection, made)
        cursor = await connection.execute(
            "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'deliveries'"
        )
        assert await cursor.fetchone() == (0,)
        await connection.rollback()


async def test_gone_disables_and_what_falls_due_of_the_disabled_is_given_up(world: World, connections: Pool) -> None:
    account, _ = await world.new_account("gone")
    of = await endpoint(world, account)
    await pending(world, of, 1500)
    (due, *rest) = await claim(connections)
    await record(connections, due, 410)
    async with connections.connection() as connection:
        await deliveries.give_back(connection, rest)
    await world.sql("UPDATE deliveries SET next_at = now() + interval '1 h' WHERE id = %s", rest[0].id)
    assert await claim(connections) == []
    async with connections.connection() as connection:
        assert [await deliveries.give_up_disabled(connection) for _ in range(3)] == [1000, 498, 0]
    counted = await world.sql("SELECT state, reason, count(*) FROM deliveries GROUP BY 1, 2 ORDER BY 3")
    assert counted[-1] == ("given_up", "endpoint_disabled", 1498)
    assert set(counted[:2]) == {("given_up", "gone", 1), ("pending", None, 1)}
    await world.sql("UPDATE webhook_endpoints SET enabled = true")
    await world.sql("UPDATE deliveries SET next_at = now() WHERE state = 'pending'")
    assert [due.id for due in await claim(connections)] == [rest[0].id]


async def test_forty_creates_at_once_make_sixteen_endpoints(world: World, connections: Pool) -> None:
    account, _ = await world.new_account("forty")

    async def create() -> bool:
        async with connections.connection() as connection:
            made = await endpoints.create(connection, account, "https://example.com/", ["*"], "", True, world.keyring)
            return made is not None

    assert sum(await asyncio.gather(*(create() for _ in range(40)))) == 16
    assert await world.sql("SELECT count(*) FROM webhook_endpoints WHERE account_id = %s", account) == [(16,)]


async def test_a_delete_between_looking_and_inserting_drops_its_deliveries_alone(
    world: World, connections: Pool
) -> None:
    """It used to be a ForeignKeyViolation that ended all projections of the process."""
    account, _ = await world.new_account("deletes")
    kept, deleted = [await endpoint(world, account) for _ in range(2)]
    made = [
        deliveries.New(f"dlv_{e}", e, account, "sess_1", "evt_1", "session.ended", 1, b"{}") for e in (kept, deleted)
    ]
    async with (
        await psycopg.AsyncConnection.connect(world.database_url) as deleting,
        connections.connection() as inserting,
    ):
        await deleting.execute("DELETE FROM webhook_endpoints WHERE id = %s", [deleted])
        insert = asyncio.create_task(deliveries.insert(inserting, made))

        async def waits() -> bool:
            return bool(
                await world.sql(
                    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s", world.database
                )
            )

        await eventually(waits, what="the insert that waits for the delete")
        await deleting.commit()
        await insert
    assert await world.sql("SELECT endpoint_id FROM deliveries WHERE account_id = %s", account) == [(kept,)]


async def test_an_endpoint_is_deleted_with_any_backlog_while_it_is_worked_on(world: World, connections: Pool) -> None:
    account, _ = await world.new_account("deleted")
    of = await endpoint(world, account)
    await pending(world, of, 5000)
    dues = await claim(connections)
    async with connections.connection() as connection:
        assert await deliveries.delete_endpoint(connection, account, of)
        assert not await deliveries.delete_endpoint(connection, account, of)
    assert await world.sql("SELECT count(*) FROM deliveries WHERE endpoint_id = %s", of) == [(0,)]
    for status, due in zip((200, 500, 410, None), dues, strict=False):
        await record(connections, due, status)
    async with connections.connection() as connection:
        await deliveries.postpone(connection, dues[5])
        await deliveries.give_up_hindered(connection, dues[6])
        await deliveries.give_back(connection, dues)


async def test_what_is_locked_by_somebody_else_is_passed(world: World, connections: Pool) -> None:
    """An endpoint that is being deleted with its backlog must not stop the claims of others."""
    account, _ = await world.new_account("locked")
    locked, free = [await endpoint(world, account) for _ in range(2)]
    await pending(world, locked, 3)
    await pending(world, free, 3)
    async with await psycopg.AsyncConnection.connect(world.database_url) as deleting:
        await deleting.execute("DELETE FROM webhook_endpoints WHERE id = %s", [locked])
        async with asyncio.timeout(5):
            assert [due.endpoint_id for due in await claim(connections)] == [free] * 3
        await deleting.rollback()


# Pure


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("99999999999", 86_400),
        ("9" * 5000, None),
        ("²", None),
        ("٣", None),
        ("-5", None),
        ("1.5", None),
        ("", None),
        ("soon", None),
        ("Mon, 23 Nov 2026 05:02:00 GMT", 120),
        ("Mon, 23 Nov 2026 04:00:00 GMT", 0),
        ("Mon, 23 Nov 2026 05:02:00 -0000", 120),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("Mon, 32 Nov 2026 05:02:00 GMT", None),
        ("Sat, 01 Jan 0001 00:00:00 +2359", 0),
    ],
)
def test_retry_after(value: str, expected: int | None) -> None:
    assert deliveries.retry_after_s(value, NOW) == expected


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{1,5} \d\d:\d\d:\d\d [A-Z+-][A-Z0-9]{0,6}"))
def test_no_retry_after_raises(value: str) -> None:
    assert (deliveries.retry_after_s(value, NOW) or 0) in range(86_401)


@given(st.integers(0, 86_400))
def test_a_date_says_the_same_as_its_seconds(seconds: int) -> None:
    text = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert deliveries.retry_after_s(text, NOW) == seconds


def test_the_schedule_ends_and_pauses_grow_to_ten_minutes() -> None:
    kind = "session.ended"
    assert [deliveries.next_attempt_s(kind, n, None, 1.0) for n in range(1, 9)] == [*deliveries.SCHEDULE_S[1:], None]
    assert deliveries.next_attempt_s(kind, 1, 60, 1.0) == 60
    assert deliveries.next_attempt_s(kind, 2, 60, 1.0) == 300
    assert deliveries.next_attempt_s("webhook_endpoint.test", 1, 60, 1.0) is None
    assert [deliveries.next_attempt_s("session.heartbeat", n, None, 1.0) for n in (1, 2)] == [5, None]
    pauses = [deliveries.pause_s(n) for n in range(1, deliveries.MOST_HINDERED + 2)]
    assert pauses[:4] == [1, 2, 4, 8]
    assert max(pauses) == 600
    assert 24 < sum(pauses) / 3600 < 48
