"""Deliveries to receivers that really misbehave, by real `greenroom deliver` processes."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import psutil
import psycopg
import pytest
import pytest_asyncio

from schemas.ids import SESSION, WEBHOOK_DELIVERY, new_id
from store import endpoints
from store.database import pool
from store.deliveries import PER_ACCOUNT, PER_ENDPOINT
from tests.hostile import receivers as r
from tests.nameserver import NO_SUCH_NAME, NameServer, nameserver
from tests.world import World, eventually

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture(scope="module")
async def names() -> AsyncIterator[NameServer]:
    async with nameserver(one=["127.0.0.1"], two=["127.0.0.1"], nowhere=NO_SUCH_NAME) as server:
        yield server


@pytest_asyncio.fixture(scope="module")
async def running(world: World, names: NameServer) -> World:
    await world.start("deliver", "deliver-2", GREENROOM_NAMESERVERS=names.address)
    await listening(world, 2)
    return world


async def listening(world: World, many: int) -> None:
    """Until so many deliverers are up."""
    await until(
        world,
        "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND query LIKE 'LISTEN%%due%%' HAVING count(*) = %s",
        world.database,
        many,
    )


async def subscribe(world: World, account: str, url: str) -> str:
    async with pool(world.database_url, 1) as pools, pools.connection() as connection:
        made = await endpoints.create(connection, account, url, ["*"], "", True, world.keyring)
    assert made is not None
    return made[0].id


async def owe(world: World, endpoint_id: str, many: int = 1) -> list[str]:
    """Deliveries that are due now, each of a session of its own, as the fan-out inserts them."""
    ids = [new_id(WEBHOOK_DELIVERY) for _ in range(many)]
    await world.sql(
        """
        WITH made AS (
            INSERT INTO deliveries (id, endpoint_id, account_id, session_id, event_id, type, seq, body)
            SELECT x.id, w.id, w.account_id, x.session, 'evt_' || x.id, 'session.ended', 1, '{}'
            FROM unnest(%s::text[], %s::text[]) AS x (id, session), webhook_endpoints w WHERE w.id = %s
        ) SELECT pg_notify('delivery_due', '')
        """,
        ids,
        [new_id(SESSION) for _ in ids],
        endpoint_id,
    )
    return ids


async def until(world: World, condition: str, *args: Any, timeout_s: float = 60) -> list[tuple[Any, ...]]:
    return await eventually(lambda: world.sql(condition, *args), timeout_s, condition)


async def attempted(world: World, delivery: str, n: int = 1) -> tuple[Any, ...]:
    """(state, reason, attempts, seconds until the next, status, error) once the n-th attempt is stored."""
    found = await until(
        world,
        """
        SELECT d.state, d.reason, d.attempts, extract(epoch FROM d.next_at - a.at)::float, a.status, a.error
        FROM deliveries d JOIN delivery_attempts a ON a.delivery_id = d.id WHERE d.id = %s AND a.n = %s
        """,
        delivery,
        n,
    )
    return found[0]


async def test_those_who_misbehave_keep_nobody_waiting(running: World) -> None:
    """Twelve endpoints of three accounts that hold every connection as long as they can, and a healthy one beside them.

    Two of these used to take all of the process's connections; others then failed for want of one.
    """
    behaviours = [r.silent, r.drips, r.continue_flood, r.header_flood, r.dripping_body, r.endless_body] * 2
    good, _ = await running.new_account("healthy")
    async with AsyncExitStack() as stack:
        bad = []
        for n, behaviour in enumerate(behaviours):
            if n % 4 == 0:
                account, _ = await running.new_account(f"hostile {n}")
            hostile = await stack.enter_async_context(r.receiver(behaviour))
            bad.append((hostile, await subscribe(running, account, hostile.url())))
        for _, endpoint_id in bad:
            await owe(running, endpoint_id, 30)
        await eventually(lambda: _connected([hostile for hostile, _ in bad]), what="a connection to each of them")
        healthy = await stack.enter_async_context(r.receiver(r.answers()))
        mine = await subscribe(running, good, healthy.url())
        sent: set[str] = set()
        for _ in range(10):
            sent |= set(await owe(running, mine, 20))
            worst = await running.sql(
                """
                SELECT max(of_endpoint), max(of_account) FROM (
                    SELECT count(*) OVER (PARTITION BY endpoint_id) AS of_endpoint,
                        count(*) OVER (PARTITION BY account_id) AS of_account
                    FROM deliveries WHERE state = 'pending' AND claimed_until > now()
                ) flying
                """
            )
            assert (worst[0][0] or 0) <= PER_ENDPOINT
            assert (worst[0][1] or 0) <= PER_ACCOUNT
        await until(
            running,
            "SELECT 1 FROM deliveries WHERE endpoint_id = %s HAVING bool_and(state = 'delivered') AND count(*) = 200",
            mine,
        )
        assert healthy.ids == sent
        assert await running.sql("SELECT max(attempts) FROM deliveries WHERE endpoint_id = %s", mine) == [(1,)]
        assert await running.sql("SELECT enabled, failing_since FROM webhook_endpoints WHERE id = %s", mine) == [
            (True, None)
        ]
    for _, endpoint_id in bad:
        await running.sql("DELETE FROM webhook_endpoints WHERE id = %s", endpoint_id)


async def _connected(hostile: list[r.Receiver]) -> bool:
    return all(one.connections for one in hostile)


HTTP_DATE = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True).encode()


@pytest.mark.parametrize(
    ("behaviour", "state", "status", "error", "least_s", "most_s"),
    [
        (r.endless_body, "delivered", 200, None, 0, 40),
        (r.dripping_body, "delivered", 200, None, 0, 40),
        (r.answers("204 No Content"), "delivered", 204, None, 0, 40),
        (r.silent, "pending", None, "Timeout", 4, 40),
        (r.drips, "pending", None, "Timeout", 4, 40),
        (r.continue_flood, "pending", None, "AnswerTooLong", 4, 40),
        (r.header_flood, "pending", None, "AnswerTooLong", 4, 40),
        (r.garbage, "pending", None, "RemoteProtocolError", 4, 40),
        (r.hangs_up, "pending", None, "RemoteProtocolError", 4, 40),
        (r.resets, "pending", None, "ReadError", 4, 40),
        (r.answers("500 No"), "pending", 500, None, 4, 40),
        (r.answers("301 Moved", b"Location: http://127.0.0.1:1/"), "pending", 301, None, 4, 40),
        (r.answers("429 Slowly", b"Retry-After: 300"), "pending", 429, None, 300, 340),
        (r.answers("429 Slowly", b"Retry-After: " + HTTP_DATE), "pending", 429, None, 3600, 7300),
        (r.answers("429 Slowly", b"Retry-After: \xb2"), "pending", 429, None, 4, 40),
        (r.answers("429 Slowly", b"Retry-After: " + b"9" * 5000), "pending", 429, None, 4, 40),
        (r.answers("429 Slowly", b"Retry-After: -1"), "pending", 429, None, 4, 40),
        (r.answers("410 Gone"), "given_up", 410, None, 0, 40),
    ],
)
async def test_every_misbehaviour_is_an_attempt(
    running: World,
    behaviour: r.Behaviour,
    state: str,
    status: int | None,
    error: str | None,
    least_s: float,
    most_s: float,
) -> None:
    account, _ = await running.new_account("attempts")
    async with r.receiver(behaviour) as hostile:
        endpoint_id = await subscribe(running, account, hostile.url())
        (delivery,) = await owe(running, endpoint_id)
        found = await attempted(running, delivery)
    assert (found[0], found[2], found[4]) == (state, 1, status)
    assert error is None if found[5] is None else error is not None and error in found[5]
    assert least_s <= found[3] <= most_s
    assert await running.sql("SELECT enabled FROM webhook_endpoints WHERE id = %s", endpoint_id) == [(status != 410,)]
    await running.sql("DELETE FROM webhook_endpoints WHERE id = %s", endpoint_id)


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://127.0.0.1:1/", "ConnectError"),
        ("http://127.0.0.1:1/\x01", "URL must not contain spaces or control characters"),
        ("http://nowhere.test/", "The host's name has no address"),
        ("http://10.0.0.1/", "The host's address is not a public one"),
        ("http://[64:ff9b::7f00:1]/", "The host's address is not a public one"),
        ("http://127.1/", "URL has no usable host"),
        ("ftp://127.0.0.1/", "URL must start with https://"),
        (f"http://{'a' * 64}.test/", "URL has no usable host"),
        ("", "URL has no host"),
    ],
)
async def test_every_url_that_cannot_be_called_is_an_attempt(running: World, url: str, error: str) -> None:
    """Stored before it was checked for, or changed since: the delivery must end all the same."""
    account, _ = await running.new_account("urls")
    endpoint_id = await subscribe(running, account, "http://127.0.0.1:1/")
    await running.sql("UPDATE webhook_endpoints SET url = %s WHERE id = %s", url, endpoint_id)
    (delivery,) = await owe(running, endpoint_id)
    found = await attempted(running, delivery)
    assert (found[0], found[2], found[4]) == ("pending", 1, None)
    assert found[5].startswith(error)
    await running.sql("UPDATE deliveries SET attempts = 7, next_at = now() WHERE id = %s", delivery)
    assert (await attempted(running, delivery, 8))[:3] == ("given_up", "attempts", 8)


async def test_two_names_on_one_address_share_nothing(running: World) -> None:
    """Neither a connection nor a cookie: each request has a connection of its own, with its own name."""
    one, _ = await running.new_account("one")
    two, _ = await running.new_account("two")
    async with r.receiver(r.keeps_alive) as both:
        first = await subscribe(running, one, both.url("one.test"))
        second = await subscribe(running, two, both.url("two.test"))
        for _ in range(10):  # one after the other, so that a connection that was kept could be used again
            for endpoint_id in (first, second):
                (delivery,) = await owe(running, endpoint_id)
                await until(running, "SELECT 1 FROM deliveries WHERE id = %s AND state = 'delivered'", delivery)
    assert len(both.requests) == 20
    assert len({request.connection for request in both.requests}) == 20
    hosts = [request.headers["host"] for request in both.requests]
    assert {host: hosts.count(host) for host in hosts} == {f"one.test:{both.port}": 10, f"two.test:{both.port}": 10}
    assert not any("cookie" in request.headers for request in both.requests)


async def test_silent_name_servers_are_no_attempt_and_slow_nobody(running: World, names: NameServer) -> None:
    account, _ = await running.new_account("silent names")
    good, _ = await running.new_account("named well")
    async with r.receiver(r.answers()) as healthy:
        mine = await subscribe(running, good, healthy.url("one.test"))
        waiting, owed = [], set()
        for n in range(10):
            waiting.append(await subscribe(running, account, healthy.url(f"silent{n}.test")))
            owed |= set(await owe(running, waiting[-1], 3))
        await eventually(lambda: _asked(names, "silent9.test"), what="a question for the silent name")
        expected = set(await owe(running, mine, 50))
        await until(
            running, "SELECT 1 FROM deliveries WHERE endpoint_id = %s HAVING bool_and(state = 'delivered')", mine
        )
        assert healthy.ids == expected
        await until(running, "SELECT 1 FROM deliveries WHERE endpoint_id = %s AND claims > 2", waiting[0])
        found = await running.sql(
            "SELECT DISTINCT state, attempts FROM deliveries WHERE endpoint_id = ANY(%s)", waiting
        )
        assert found == [("pending", 0)]
        names.names |= {f"silent{n}.test": ["127.0.0.1"] for n in range(10)}
        await running.sql("UPDATE deliveries SET next_at = now() WHERE endpoint_id = ANY(%s)", waiting)
        done = "SELECT 1 FROM deliveries WHERE endpoint_id = ANY(%s) HAVING bool_and(state = 'delivered')"
        await until(running, done + " AND max(attempts) = 1", waiting)
    lines = [json.loads(line) for line in _log(running, "deliver") + _log(running, "deliver-2") if "hindered" in line]
    logged = [line for line in lines if line["delivery"] in owed]
    assert {line["delivery"] for line in logged} == owed
    assert all(line["reason"].startswith("name servers") and line["again_in_s"] >= 1 for line in logged)


async def _asked(names: NameServer, name: str) -> bool:
    return name in names.asked


def _log(world: World, name: str) -> list[str]:
    return (world.folder / f"{name}.log").read_text().splitlines()


async def test_a_shortage_of_our_own_is_no_attempt(running: World) -> None:
    """Out of file descriptors: the receiver has not had its chance."""
    account, _ = await running.new_account("shortage")
    processes = [psutil.Process(running.processes[name].pid) for name in ("deliver", "deliver-2")]
    before = processes[0].rlimit(resource.RLIMIT_NOFILE)
    async with r.receiver(r.answers()) as healthy:
        endpoint_id = await subscribe(running, account, healthy.url())
        for process in processes:
            process.rlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        (delivery,) = await owe(running, endpoint_id)
        await until(running, "SELECT 1 FROM deliveries WHERE id = %s AND claims > 1 AND attempts = 0", delivery)
        for process in processes:
            process.rlimit(resource.RLIMIT_NOFILE, before)
        assert (await attempted(running, delivery))[0] == "delivered"
    assert "EMFILE" in "".join(_log(running, "deliver") + _log(running, "deliver-2"))


async def test_a_deliverer_that_stops_gives_back_what_it_holds_and_one_that_dies_lets_it_fall_due(
    running: World,
) -> None:
    account, _ = await running.new_account("stops")
    flying = "SELECT count(*) FROM deliveries WHERE endpoint_id = %s AND claimed_until > now()"
    async with r.receiver(r.silent) as hostile:
        endpoint_id = await subscribe(running, account, hostile.url())
        await running.stop("deliver-2")
        await owe(running, endpoint_id, 8)
        await until(running, flying + " HAVING count(*) = 8", endpoint_id)
        await running.stop("deliver")
        assert await running.sql(flying, endpoint_id) == [(0,)]
        assert await running.sql(
            "SELECT DISTINCT claims, attempts FROM deliveries WHERE endpoint_id = %s", endpoint_id
        ) == [(0, 0)]
        await running.restart("deliver")
        await until(running, flying + " HAVING count(*) = 8", endpoint_id)
        await running.kill("deliver")
        await running.sql("UPDATE deliveries SET claimed_until = now(), next_at = now() WHERE claimed_until > now()")
        await running.restart("deliver-2")
        await until(running, "SELECT 1 FROM deliveries WHERE endpoint_id = %s HAVING max(claims) = 2", endpoint_id)
        await running.restart("deliver")
    await until(running, "SELECT 1 FROM deliveries WHERE endpoint_id = %s HAVING min(attempts) > 0", endpoint_id)


async def test_a_deliverer_that_is_stopped_amidst_a_claim_gives_it_back(running: World) -> None:
    """What it has claimed is known to the database before it is known to itself."""
    account, _ = await running.new_account("stopped")
    flying = "SELECT count(*) FROM deliveries WHERE endpoint_id = %s AND claimed_until > now()"
    async with r.receiver(r.silent) as hostile:
        endpoint_id = await subscribe(running, account, hostile.url())
        await running.stop("deliver-2")
        async with await psycopg.AsyncConnection.connect(running.database_url) as holding:
            await holding.execute("LOCK TABLE webhook_secrets")  # which a claim reads in its second half
            await owe(running, endpoint_id, 8)
            await until(running, flying + " HAVING count(*) = 8", endpoint_id)
            stopping = asyncio.create_task(running.stop("deliver"))
            await asyncio.sleep(0.5)  # the signal arrives, which nobody tells
        await stopping
    assert await running.sql(flying, endpoint_id) == [(0,)]
    await running.sql("DELETE FROM webhook_endpoints WHERE id = %s", endpoint_id)
    await running.restart("deliver")
    await running.restart("deliver-2")


@pytest.mark.parametrize("dies", [True, False])
async def test_what_was_answered_and_not_stored_is_stored_or_sent_again(running: World, dies: bool) -> None:
    """The process dies, or the database is away, after the answers and before they are stored."""
    account, _ = await running.new_account("answered")
    await running.stop("deliver-2")
    gate = asyncio.Event()

    async def answers_later(self: r.Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await self.read(reader, self.connections)
        await gate.wait()
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    waiting = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%%record_delivered%%' AND wait_event_type = 'Lock'"
    async with r.receiver(answers_later) as slow:
        endpoint_id = await subscribe(running, account, slow.url())
        owed = await owe(running, endpoint_id, 4)
        await eventually(lambda: _asked_for(slow, 4), what="four requests")
        async with await psycopg.AsyncConnection.connect(running.database_url) as holding:
            await holding.execute("SELECT 1 FROM deliveries WHERE endpoint_id = %s FOR UPDATE", [endpoint_id])
            gate.set()
            for _ in range(1 if dies else 3):
                ((backend,),) = await until(running, waiting)
                if dies:
                    await running.kill("deliver")
                await running.sql("SELECT pg_terminate_backend(%s, 5000)", backend)
        if dies:
            await running.sql("UPDATE deliveries SET claimed_until = now(), next_at = now() WHERE state = 'pending'")
            await running.restart("deliver")
        done = "SELECT attempts, claims FROM deliveries WHERE endpoint_id = %s AND state = 'delivered'"
        expected = [(1, 2 if dies else 1)] * 4

        async def stored() -> bool:
            return await running.sql(done, endpoint_id) == expected

        await eventually(stored, what="four that are delivered")
    assert slow.ids == set(owed)
    assert len(slow.requests) == (8 if dies else 4)
    await running.restart("deliver-2")


async def _asked_for(receiver: r.Receiver, many: int) -> bool:
    return len(receiver.requests) == many


async def test_a_tenant_that_makes_and_deletes_endpoints_stops_no_projection(running: World) -> None:
    """It used to be a ForeignKeyViolation in the fan-out, which ended all projections."""
    await running.start("api", "all")
    await running.fake_worker(4)
    _, key = await running.new_account("loops")
    pid = running.processes["all"].pid
    stop = asyncio.Event()

    async def loop(url: str) -> None:
        async with running.client(key) as client:
            while not stop.is_set():
                made = await client.post("/v1/webhook_endpoints", json={"url": url, "events": ["*"]})
                assert made.status_code == 201, made.text
                assert (await client.delete(f"/v1/webhook_endpoints/{made.json()['id']}")).status_code == 204

    async with r.receiver(r.answers()) as healthy, running.client(key) as client:
        loops = [asyncio.create_task(loop(healthy.url())) for _ in range(4)]
        for _ in range(40):
            sid = (await running.create(client))["id"]
            await client.post(f"/v1/sessions/{sid}/end")
        await running.until(client, sid, "canceled")
        stop.set()
        await asyncio.gather(*loops)
    assert psutil.Process(pid).is_running()
    assert running.processes["all"].pid == pid
