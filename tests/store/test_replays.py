"""What is asked for again: it keeps its id, holds up nobody, and comes to an end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from store import deliveries, endpoints, feed, replays
from store.database import DatabaseUnreachable, Pool, pool
from store.endpoints import Endpoint
from tests.store.test_deliveries import claim, endpoint, pending, record
from tests.world import World

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture
async def connections(world: World) -> AsyncIterator[Pool]:
    async with pool(world.database_url, 8) as opened:
        yield opened
    await world.sql("DELETE FROM webhook_endpoints")


async def with_feed(world: World, connections: Pool, many: int, sessions: int = 1) -> Endpoint:
    """The endpoint of an account that has a feed of so many events."""
    account, _ = await world.new_account("replayed")
    endpoint_id = await endpoint(world, account)
    await world.sql("INSERT INTO feeds VALUES (%s, %s)", account, many)
    await world.sql(
        """
        INSERT INTO feed_events (account_id, position, event_id, type, session_id, seq, body)
        SELECT %s, n, %s || n, 'session.ended', %s || (n %% %s), n, '{}' FROM generate_series(1, %s) n
        """,
        account,
        f"evt_{account}",
        f"sess_{account}",
        sessions,
        many,
    )
    async with connections.connection() as connection:
        found = await endpoints.find(connection, account, endpoint_id)
    assert found is not None
    return found


async def test_one_that_was_given_up_as_hindered_is_sent_when_it_is_asked_for(world: World, connections: Pool) -> None:
    account, _ = await world.new_account("hindered")
    await pending(world, await endpoint(world, account), 1)
    await world.sql("UPDATE deliveries SET claims = %s", deliveries.MOST_HINDERED)
    for _ in range(2):
        (due,) = await claim(connections)
        async with connections.connection() as connection:
            await deliveries.give_up_hindered(connection, due)
            assert await replays.redeliver(connection, account, due.id)
    (due,) = await claim(connections)
    assert due.hindered == 1
    await record(connections, due, 200)
    tried = "SELECT d.state, array_agg(a.n ORDER BY a.n) FROM deliveries d JOIN delivery_attempts a ON delivery_id = id"
    assert await world.sql(f"{tried} GROUP BY 1") == [("delivered", [1, 2, 3])]


async def test_a_replay_holds_up_no_event_of_now(world: World, connections: Pool) -> None:
    to = await with_feed(world, connections, 3000, sessions=10)
    await replays.replay(connections, to, 0)
    session = f"sess_{to.account_id}9"
    new = deliveries.New("whd_live", to.id, to.account_id, session, "evt_live", "session.ended", 5001, b"{}")
    async with connections.connection() as connection:
        await deliveries.insert(connection, [new])
    assert await world.sql("SELECT next_at <= now() FROM deliveries WHERE id = 'whd_live'") == [(True,)]
    await world.sql("UPDATE deliveries SET next_at = now() + interval '1 hour' WHERE asked_again")
    assert [due.id for due in await claim(connections)] == ["whd_live"]


async def test_replays_of_an_endpoint_follow_each_other_at_one_pace(world: World, connections: Pool) -> None:
    to = await with_feed(world, connections, 2000)
    first = await replays.replay(connections, to, 0)
    assert (first.deliveries, first.through, first.more) == (2000, 2000, False)
    await world.sql("UPDATE deliveries SET state = 'delivered', finished_at = now()")
    again = await replays.replay(connections, to, 1500)
    assert again.deliveries == 500
    spans = await world.sql(
        """
        SELECT extract(epoch FROM max(next_at) - now())::int, extract(epoch FROM min(next_at) - now())::int
        FROM deliveries WHERE state = 'pending'
        """
    )
    latest, earliest = spans[0]
    assert 45 <= latest <= 50  # 2500 events, 50 a second
    assert earliest >= 35


async def test_a_replay_and_failures_do_not_wait_for_each_other_in_a_circle(world: World, connections: Pool) -> None:
    """Failures lock the deliveries of a session by `seq`, a replay by id: here one is the other backwards."""
    to = await with_feed(world, connections, 300)
    until = time.monotonic() + 5

    async def replaying() -> None:
        while time.monotonic() < until:
            await replays.replay(connections, to, 0)

    async def all_due_anew() -> None:
        async with connections.connection() as connection, connection.transaction():
            await endpoints.lock(connection, to.id)
            await connection.execute("DELETE FROM delivery_attempts")
            await connection.execute(
                """
                UPDATE deliveries SET next_at = now(), attempts = 0, claims = 0, created_at = now(), asked_again = false
                WHERE state = 'pending' AND claimed_until IS NULL
                """
            )

    async def failing() -> None:
        while time.monotonic() < until:
            await all_due_anew()
            for due in await claim(connections):
                await record(connections, due, 500)

    await asyncio.gather(replaying(), failing())


async def test_what_an_old_url_answers_is_no_matter_of_the_new_one(world: World, connections: Pool) -> None:
    account, _ = await world.new_account("moved")
    made = await endpoint(world, account)
    await pending(world, made, 2)
    gone, failed = await claim(connections)
    async with connections.connection() as connection:
        await endpoints.change(connection, account, made, {"url": "https://new.example.com/"})
    await record(connections, gone, 410)
    await record(connections, failed, 500)
    async with connections.connection() as connection:
        found = await endpoints.find(connection, account, made)
    assert found is not None
    assert (found.enabled, found.failing_since) == (True, None)


async def test_what_is_of_no_session_waits_for_nothing(world: World, connections: Pool) -> None:
    account, _ = await world.new_account("sessionless")
    made = await endpoint(world, account)
    for n, kind in enumerate(("avatar.ready", "webhook_endpoint.test")):
        new = deliveries.New(f"whd_{n}", made, account, "", f"evt_{n}", kind, 0, b"{}")
        async with connections.connection() as connection:
            await deliveries.insert(connection, [new])
        if n == 0:
            (due,) = await claim(connections)
            await record(connections, due, 500, retry_after_s=3600)
    assert [due.type for due in await claim(connections)] == ["webhook_endpoint.test"]


async def test_the_backlog_is_counted_up_to_a_bound(
    world: World, connections: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "MOST_COUNTED", 7)
    account, _ = await world.new_account("backlog")
    async with connections.connection() as connection:
        assert await deliveries.backlog(connection) == (0, 0)
        await pending(world, await endpoint(world, account), 5)
        count, oldest_s = await deliveries.backlog(connection)
        assert count == 5
        assert 9 < oldest_s < 60
        await pending(world, await endpoint(world, account), 5)
        assert (await deliveries.backlog(connection))[0] == 7


async def test_the_version_before_goes_on_with_this_schema(world: World, connections: Pool) -> None:
    """It knows one secret of an endpoint, in the endpoint's own row, and feeds without sessions."""
    account, _ = await world.new_account("before")
    await world.sql(
        "INSERT INTO webhook_endpoints (id, account_id, url, events, secret_key_id, secret)"
        " VALUES ('we_before', %s, 'https://example.com/', '{*}', 't1', 'wrapped')",
        account,
    )
    await pending(world, "we_before", 1)
    (due,) = await claim(connections)
    assert due.secrets == [("t1", b"wrapped")]
    async with connections.connection() as connection:
        made = await endpoints.create(connection, account, "https://example.com/", ["*"], "", True, world.keyring)
        assert made is not None
        rotated = await endpoints.rotate(connection, account, made[0].id, 60, world.keyring)
        assert rotated is not None
    ((key_id, secret),) = await world.sql(
        "SELECT secret_key_id, secret FROM webhook_endpoints WHERE id = %s", made[0].id
    )
    assert world.keyring.unwrap(key_id, secret, made[0].id).decode() == rotated[1]
    await world.sql(
        "SELECT append_to_feeds(%s::text[], '{evt_1}'::text[], '{session.ended}'::text[], '{x}'::bytea[])", [account]
    )
    async with connections.connection() as connection:
        assert [each.event_id for each in (await feed.part(connection, account, 0, [], 10)).events] == ["evt_1"]


async def test_a_replay_holds_no_connection_between_its_parts(
    world: World, connections: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool hangs up on whoever keeps one too long: a large replay never came to its end."""
    monkeypatch.setattr(replays, "_AT_ONCE", 100)
    to = await with_feed(world, connections, 1000)
    async with pool(world.database_url, 1) as narrow:
        monkeypatch.setattr(narrow, "_answer_within_s", 1.0)
        slow = feed.places

        async def places(*args: object) -> object:
            await asyncio.sleep(0.3)
            return await slow(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(feed, "places", places)
        try:
            done = await replays.replay(narrow, to, 0)
        except DatabaseUnreachable:
            pytest.fail("the pool hung up")
    assert done.deliveries == 1000
