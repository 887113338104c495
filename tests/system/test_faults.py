"""What goes wrong: Kafka or Postgres away, any process killed. Servers of its own, since it breaks them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from events.topics import AVATARS, SESSIONS
from projections import audit
from schemas.events import SessionCreated, SessionEndRequested, SessionStarting
from stack import kafka, postgres
from stack import servers as embedded
from stack.ports import free_ports
from stack.process import Process
from stack.servers import Servers
from store.database import pool
from tests import portraits
from tests.builders import created, session_id
from tests.projections.windows_again import differences
from tests.reactors import test_live as windows
from tests.world import World, eventually, stored

pytestmark = pytest.mark.servers

(METRICS_PORT,) = free_ports(1)


class Broken:
    """A world whose Kafka and Postgres can be taken away."""

    def __init__(self, world: World, kafka_process: Process, postgres_process: Process) -> None:
        self.world = world
        self.kafka = kafka_process
        self.postgres = postgres_process


@pytest_asyncio.fixture(scope="module")
async def broken(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Broken]:
    folder = tmp_path_factory.mktemp("breakable")
    jars = kafka.install(embedded.cache_folder(), lambda _, __: None)
    port, controller = free_ports(2)
    specs = (
        await asyncio.to_thread(kafka.prepare, jars, folder / "kafka", port, controller),
        (await asyncio.to_thread(postgres.prepare, folder / "postgres"))[0],
    )
    _, url = postgres.prepare(folder / "postgres")
    processes = [Process(spec, folder / "logs") for spec in specs]
    for process in processes:
        await process.start()
        await process.wait_ready()
    own = replace(servers, kafka_bootstrap=f"127.0.0.1:{port}", database_url=url)
    world = World(own, Path(tmp_path_factory.mktemp("processes")))
    try:
        await world.open()
        await world.start("api", "usage", "roster")
        await world.start("sessions", GREENROOM_METRICS_PORT=str(METRICS_PORT))
        await world.fake_worker(600)
        await eventually(is_ready)
        yield Broken(world, *processes)
    finally:
        await world.close()
        for process in processes:
            await process.stop()


async def told(path: str) -> httpx.Response:
    """By the sessions projection."""
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        return await client.get(f"http://127.0.0.1:{METRICS_PORT}{path}")


async def lag_s() -> float:
    for line in (await told("/metrics")).text.splitlines():
        if line.startswith('greenroom_projection_lag_seconds{consumer="sessions"}'):
            return float(line.split()[-1])
    raise AssertionError("no lag is told")


async def is_ready() -> bool:
    try:
        return (await told("/readyz")).status_code == 200
    except httpx.HTTPError:
        return False  # it is coming up


async def no_lag() -> bool:
    return await lag_s() == 0


async def held(world: World) -> int:
    rows = await world.sql(
        "SELECT (SELECT count(*) FROM slots WHERE session_id IS NOT NULL) + (SELECT count(*) FROM admissions WHERE"
        " state <> 'over') + (SELECT coalesce(sum(live_sessions), 0) FROM accounts)"
    )
    return int(rows[0][0])


async def code_of(answer: httpx.Response) -> tuple[int, str]:
    assert "retry-after" in answer.headers or answer.status_code != 503
    return answer.status_code, answer.json()["error"]["code"]


async def test_a_dead_kafka_is_told_in_time_and_leaves_no_slot_taken(broken: Broken) -> None:
    world = broken.world
    async with world.client() as client:
        kept = await world.create(client)
        before = await held(world)
        await eventually(is_ready)
        await eventually(no_lag)
        os.kill(broken.kafka.pid, signal.SIGSTOP)  # there, and not answering: the worse kind of dead
        try:
            started = time.monotonic()
            answers = await asyncio.gather(*(client.post("/v1/sessions", json=world.request()) for _ in range(4)))
            took = time.monotonic() - started
            assert [await code_of(a) for a in answers] == [(503, "log.unavailable")] * 4
            assert took < 8
            assert await held(world) == before
            ending = await client.post(f"/v1/sessions/{kept['id']}/end")
            assert await code_of(ending) == (503, "log.unavailable")
            assert "may still happen" in ending.json()["error"]["message"]
            assert (await world.status(client, kept["id"]))["status"] == "queued"  # nothing was promised
            # Nobody knows any more where the log ends.
            assert 5 <= await lag_s() <= time.monotonic() - started + 2
            assert (await told("/healthz")).status_code == 200
        finally:
            os.kill(broken.kafka.pid, signal.SIGCONT)

        async def works() -> bool:
            return (await client.post("/v1/sessions", json=world.request())).status_code == 201

        await eventually(works)
        await eventually(no_lag)
        await world.until(client, kept["id"], "canceled")  # that end was in the log after all
        assert (await client.post(f"/v1/sessions/{kept['id']}/end")).status_code == 200


async def test_an_upload_while_kafka_is_away_leaves_nothing(broken: Broken) -> None:
    """No slot, and no portrait; a late create is followed by a deletion. The row is made older instead of waiting."""
    world = broken.world
    _, key = await world.new_account("uploads", "trial")
    before, image = stored(world), portraits.file(portraits.drawn())
    async with world.client(key) as client:

        async def upload() -> httpx.Response:
            return await client.post("/v1/avatars", files={"image": ("a", image)}, data={"runtime_type": "mock"})

        os.kill(broken.kafka.pid, signal.SIGSTOP)
        try:
            assert await code_of(await upload()) == (503, "log.unavailable")
        finally:
            os.kill(broken.kafka.pid, signal.SIGCONT)
        await world.sql("UPDATE avatar_admissions SET created_at = now() - interval '2 minutes'")

        async def undone() -> bool:
            return set(stored(world)) <= set(before)

        await eventually(undone, what="the removal of its portrait")

        async def told() -> bool:
            kinds = [event.type for event, _ in await world.log(topic=AVATARS)]
            return kinds[-1:] == ["avatar.deleted"]

        await eventually(told, what="the deletion in the log")
        assert (await upload()).status_code == 202


async def test_late_creates_of_the_outage_change_nothing(broken: Broken) -> None:
    """What aiokafka delivered after the 503 is followed by its end: no row, no list entry, no slot."""
    world = broken.world

    async def settled() -> bool:
        log = await world.log()
        created = {x.subject for x, _ in log if isinstance(x.data, SessionCreated)}
        given_up = {
            x.subject for x, _ in log if isinstance(x.data, SessionEndRequested) and x.data.reason == "append_timed_out"
        }
        shown = {row[0] for row in await world.sql("SELECT session_id FROM r.sessions")}
        return shown == created - given_up

    await eventually(settled)
    async with world.client() as client:
        listed = {s["id"] for s in (await client.get("/v1/sessions", params={"limit": 100})).json()["data"]}
        hidden = [row[0] for row in await world.sql("SELECT session_id FROM abandoned")]
        assert hidden
        assert not listed & set(hidden)
        for sid in hidden:
            assert (await client.get(f"/v1/sessions/{sid}")).status_code == 404


async def test_a_dead_postgres_is_told(broken: Broken) -> None:
    world = broken.world
    async with world.client() as client:
        kept = await world.create(client)
        await broken.postgres.stop()
        started = time.monotonic()
        for answer in (
            await client.post("/v1/sessions", json=world.request()),
            await client.get(f"/v1/sessions/{kept['id']}"),
        ):
            assert await code_of(answer) == (503, "database.unavailable")
        assert time.monotonic() - started < 10
        appended = SessionStarting(kept["id"], 1, "wrk_nobody")
        await world.append(appended)  # the log goes on without it
        assert ((await told("/readyz")).status_code, (await told("/readyz")).text) == (
            503,
            "the database does not answer\n",
        )
        assert await lag_s() > 0
        await broken.postgres.start()
        await broken.postgres.wait_ready()

        async def works() -> bool:
            return (await client.post("/v1/sessions", json=world.request())).status_code == 201

        await eventually(works)
        await eventually(is_ready)
        await eventually(no_lag)
        assert (await world.status(client, kept["id"]))["status"] == "queued"


async def test_a_killed_kafka_loses_nothing_acknowledged(broken: Broken) -> None:
    world = broken.world
    async with world.client() as client:
        made = [(await world.create(client))["id"] for _ in range(10)]
        broken.kafka.kill()
        await broken.kafka.wait()
        await broken.kafka.start()
        await broken.kafka.wait_ready()

        async def works() -> bool:
            return (await client.post("/v1/sessions", json=world.request())).status_code == 201

        await eventually(works)
        created = {x.subject for x, _ in await world.log() if isinstance(x.data, SessionCreated)}
        assert set(made) <= created  # I1
        for sid in made:
            await world.until(client, sid, "queued")


async def test_an_api_killed_under_load_leaves_what_was_acknowledged_and_nothing_else(broken: Broken) -> None:
    """I1: every 201 is in the log. What was admitted and never answered is settled by the roster."""
    world = broken.world
    acknowledged: list[str] = []

    async def customer(client: httpx.AsyncClient) -> None:
        while True:
            try:
                answer = await client.post("/v1/sessions", json=world.request())
                if answer.status_code == 201:
                    acknowledged.append(answer.json()["id"])
                    await client.post(f"/v1/sessions/{acknowledged[-1]}/end")
            except httpx.HTTPError:
                return

    async with world.client() as client:
        customers = [asyncio.create_task(customer(client)) for _ in range(8)]

        async def some() -> bool:
            return len(acknowledged) > 30

        await eventually(some)
        await world.kill("api")
        await asyncio.gather(*customers)
    await world.restart("api")
    created = {x.subject for x, _ in await world.log() if isinstance(x.data, SessionCreated)}
    assert set(acknowledged) <= created

    async def every_admission_is_in_the_log_or_gone() -> bool:
        log = {x.subject for x, _ in await world.log() if isinstance(x.data, SessionCreated)}
        rows = await world.sql("SELECT session_id FROM admissions WHERE state <> 'over'")
        return {row[0] for row in rows} <= log

    await eventually(every_admission_is_in_the_log_or_gone)
    assert await consistent(world)


async def consistent(world: World) -> bool:
    rows = await world.sql(
        "SELECT (SELECT count(*) FROM slots WHERE session_id IS NOT NULL),"
        " (SELECT count(*) FROM admissions WHERE state <> 'over'), (SELECT sum(live_sessions) FROM accounts)"
    )
    slots, admissions, counted = rows[0]
    return bool(slots == admissions == counted)


async def test_an_admission_that_never_reached_the_log_is_settled(broken: Broken) -> None:
    """The API died between admission and append: after 15 s the roster ends it; a retry makes a new session."""
    world = broken.world
    async with world.client() as client:
        sid = (await world.create(client))["id"]
        lost = "sess_01ARZ3NDEKTSV4RRFFQ69G5FAV"
        await world.sql("UPDATE slots SET session_id = %s, attempt = 1 WHERE session_id IS NULL AND slot = 599", lost)
        await world.sql("UPDATE accounts SET live_sessions = live_sessions + 1 WHERE id = %s", world.account)
        await world.sql(
            """
            INSERT INTO admissions SELECT %s, account_id, 'evt_lost', worker_id, 'live', false, 'lost', 'lost',
            created_ms, resource, now() - interval '1 minute' FROM admissions WHERE session_id = %s
            """,
            lost,
            sid,
        )

        async def settled() -> bool:
            return not await world.sql("SELECT 1 FROM admissions WHERE session_id = %s", lost)

        await eventually(settled)
        assert await world.kinds(lost) == ["session.end_requested"]
        assert (await client.get(f"/v1/sessions/{lost}")).status_code == 404
        await client.post(f"/v1/sessions/{sid}/end")
    assert await consistent(world)


async def test_a_create_without_an_admission_is_ended(broken: Broken) -> None:
    """The API was killed after it gave up and before its end was in the log."""
    from tests.builders import created, session_id

    world, sid = broken.world, session_id()
    await world.append(created(sid, account=world.account))

    async def hidden() -> bool:
        return not await world.sql("SELECT 1 FROM r.sessions WHERE session_id = %s", sid)

    await eventually(hidden)

    async def ended() -> bool:
        return await world.kinds(sid) == ["session.created", "session.end_requested"]

    await eventually(ended)


async def test_a_roster_killed_at_any_moment_frees_everything_in_the_end(broken: Broken) -> None:
    world = broken.world
    async with world.client() as client:
        for _ in range(3):
            made = [(await world.create(client))["id"] for _ in range(12)]
            ends = [asyncio.create_task(client.post(f"/v1/sessions/{sid}/end")) for sid in made]
            await world.kill("roster")
            await asyncio.gather(*ends)
            await world.restart("roster")
            ids: list[Any] = [made]

            async def freed(ids: list[Any] = ids) -> bool:
                return not await world.sql("SELECT 1 FROM slots WHERE session_id = ANY(%s)", *ids)

            await eventually(freed)
    assert await consistent(world)


async def test_a_retry_after_a_killed_api_goes_on_with_the_same_session(broken: Broken) -> None:
    """The key's first request was admitted and never answered: once its lock expires, a retry uses its ids."""
    world, body, key = broken.world, broken.world.request(), {"Idempotency-Key": "retry-1"}
    await world.stop("sessions")  # nobody knows yet that it is in the log
    async with world.client() as client:
        first = (await client.post("/v1/sessions", json=body, headers=key)).json()

        async def marked() -> list[Any]:
            return await world.sql("SELECT 1 FROM admissions WHERE session_id = %s AND acknowledged", first["id"])

        await eventually(marked)
        await world.sql("UPDATE idempotency_keys SET done = false WHERE key = 'retry-1'")
        await world.sql(
            "UPDATE admissions SET acknowledged = false, touched_at = now() - interval '7 s' WHERE session_id = %s",
            first["id"],
        )
        again = await client.post("/v1/sessions", json=body, headers=key)
        assert again.status_code == 201
        assert again.json() == first
        ids = [x.id for x, _ in await world.log(first["id"]) if isinstance(x.data, SessionCreated)]
        assert len(ids) == 2
        assert len(set(ids)) == 1  # counts once
        await world.restart("sessions")
        await client.post(f"/v1/sessions/{first['id']}/end")


async def test_an_api_that_was_paused_gives_nothing_up_that_a_retry_has_taken_over(broken: Broken) -> None:
    """Kafka hangs, then the API; a retry at another API goes on with the session and is answered. Awake again, the
    first one finds its append timed out: once that ended the session that the customer had just been given."""
    world, body, key = broken.world, broken.world.request(), {"Idempotency-Key": "paused-1"}
    second = await world.second_api()
    paused = world.processes["api"].pid
    os.kill(broken.kafka.pid, signal.SIGSTOP)
    async with world.client() as client, world.client(url=second) as other:
        first = asyncio.create_task(client.post("/v1/sessions", json=body, headers=key))

        async def admitted() -> list[Any]:
            return await world.sql("SELECT session_id FROM idempotency_keys WHERE key = 'paused-1'")

        sid = (await eventually(admitted))[0][0]
        os.kill(paused, signal.SIGSTOP)
        stopped = time.monotonic()
        os.kill(broken.kafka.pid, signal.SIGCONT)
        try:
            await world.sql("UPDATE admissions SET touched_at = now() - interval '7 s' WHERE session_id = %s", sid)

            async def resumed() -> bool:
                return (await other.post("/v1/sessions", json=body, headers=key)).status_code == 201

            await eventually(resumed)

            async def timed_out() -> bool:
                return time.monotonic() - stopped > 5

            await eventually(timed_out)
        finally:
            os.kill(paused, signal.SIGCONT)
        assert (await first).status_code in (201, 503)
        await world.until(other, sid, "queued")
        again = await other.post("/v1/sessions", json=body, headers=key)
        assert (again.status_code, again.json()["id"]) == (201, sid)
        assert set(await world.kinds(sid)) == {"session.created"}
        await other.post(f"/v1/sessions/{sid}/end")
        await world.until(other, sid, "canceled")
    await world.stop("api-2")
    assert await eventually(lambda: consistent(world))


async def test_after_all_of_it_the_ledger_equals_the_log(broken: Broken) -> None:
    world = broken.world
    assert len(await world.records(SESSIONS)) > 100
    async with pool(world.database_url, 1) as connections:
        verdict = await audit.audit(world.settings, connections, audit.Scope(), lambda _, __: None)
    assert verdict.equal


async def test_live_windows_are_exact_after_all_of_it(broken: Broken) -> None:
    """They end with the database, and end when told to while Kafka does not answer; whoever comes next goes on."""
    world = broken.world
    await world.start("live")
    await windows.caught_up(world)
    await broken.postgres.stop()
    await world.append(created(session_id(), account=world.account))
    async with asyncio.timeout(60):
        await world.processes["live"].wait()
    await broken.postgres.start()
    await broken.postgres.wait_ready()
    await world.restart("live")
    await windows.caught_up(world)
    os.kill(broken.kafka.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(15):
            await world.stop("live")
    finally:
        os.kill(broken.kafka.pid, signal.SIGCONT)
    await world.restart("live")
    await world.append(created(session_id(), account=world.account))
    await windows.caught_up(world)
    assert not differences(await windows.rows(world), await windows.log(world))
    await world.stop("live")
