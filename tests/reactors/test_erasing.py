"""Erasures on real servers: what was planted is nowhere any more, what was billed verifies, whatever is killed."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from msgspec import structs

from api.uploads import say_deleted
from cli.processes import environment
from events.producer import EventProducer
from events.sealing import field_aad
from events.topics import ACCOUNTS
from faces.assets import Assets
from projections.resources import ERASED
from reactors import erasing
from reactors.days import Sealer
from reactors.erasing import Tools
from schemas.events import (
    EventTransport,
    SessionCreated,
)
from schemas.sessions import ERASED_AT
from schemas.webhooks import WebhookBody
from stack.ports import free_ports
from store import data_keys, erasures
from store.data_keys import DataKeys
from store.database import Pool, pool
from tests import portraits
from tests.builders import life, session_id
from tests.cli.test_admin import done, greenroom
from tests.cli.test_prove import KEY, verified
from tests.reactors.planted import Echo, Tenant, furnished, lived, queued, tenant_of, traces
from tests.reactors.test_days import Clock, caught_up
from tests.world import World, eventually, stored

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "all", "deliver", GREENROOM_SIGNING_KEY="")
    await world.fake_worker(20)
    return world


@pytest_asyncio.fixture(scope="module")
async def connections(world: World) -> AsyncIterator[Pool]:
    async with pool(world.database_url, 6) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module")
async def tools(world: World, connections: Pool) -> AsyncIterator[Tools]:
    assets = Assets(world.folder / "assets")
    async with EventProducer(world.settings) as producer:

        async def delete(account: str, avatar: str) -> None:
            await say_deleted(producer, connections, account, avatar, "req_1")

        yield Tools(connections, producer, delete, lambda avatar, _: assets.remove_owned(avatar))


@pytest_asyncio.fixture(scope="module")
async def echo() -> AsyncIterator[Echo]:
    (port,) = free_ports(1)
    opened = Echo(port)
    async with opened:
        yield opened


async def projected(world: World) -> dict[str, list[tuple[Any, ...]]]:
    """What the projections of `sessions.v1` have made of the log."""
    return {
        table: await world.sql(f"SELECT * FROM {table} ORDER BY 1, 2")
        for table in ("sessions_v1.sessions", "history_v1.session_events", "usage_v1.usage_events")
    }


class Killed(BaseException):
    """In the place of a kill."""


def dying(after: int) -> erasing.Report:
    left = after

    def report(_: str, __: int) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise Killed

    return report


# The tests go on from each other


@pytest_asyncio.fixture(scope="module")
async def acme(running: World, echo: Echo) -> Tenant:
    """Two sessions that are over, on a day that is sealed."""
    tenant = await tenant_of(running, "acme")
    tenant.ids["avatar"] = await furnished(running, tenant, echo)
    for name in ("first", "second"):
        tenant.ids[name] = await lived(running, tenant, name)
    return tenant


@pytest_asyncio.fixture(scope="module")
async def other(running: World, acme: Tenant) -> Tenant:
    """Somebody else, whom nothing of it concerns."""
    tenant = await tenant_of(running, "other")
    tenant.ids["only"] = await lived(running, tenant, "only")
    return tenant


@pytest_asyncio.fixture(scope="module")
async def sealed(running: World, acme: Tenant, other: Tenant, connections: Pool, tmp_path_factory: Any) -> bytes:
    """The proof of the first session, made while nothing was erased."""
    await caught_up(running)
    clock = Clock(1)
    async with EventProducer(running.settings) as producer:
        assert await Sealer(running.settings, connections, producer, KEY, clock).look()
    path = tmp_path_factory.mktemp("proof") / "proof.json"
    await done(running, "prove", acme.ids["first"], "--out", str(path))
    return bytes(path.read_bytes())


async def test_what_is_planted_is_found(running: World, acme: Tenant, other: Tenant, sealed: bytes) -> None:
    """Else it would prove nothing that it is not found afterwards."""
    assert await traces(running, acme) == acme.marks.keys()
    assert await traces(running, other) == other.marks.keys()


async def test_what_would_go_is_told_and_what_runs_is_refused(running: World, acme: Tenant, sealed: bytes) -> None:
    said = await done(running, "erase", acme.ids["first"], "--dry-run")
    assert "entries of the ledger" in said
    assert "Nothing was changed." in said
    assert acme.account in await done(running, "erase", acme.marks["acme"], "--dry-run")
    assert await traces(running, acme) == acme.marks.keys()
    acme.ids["third"] = await queued(running, acme, "third")

    async def shown() -> bool:
        return bool(await running.sql("SELECT 1 FROM r.sessions WHERE session_id = %s", acme.ids["third"]))

    await eventually(shown)
    code, _, complained = await greenroom(running, "erase", acme.ids["third"], "--yes")
    assert (code, "is queued: end it first" in complained) == (1, True)


async def test_a_session_is_erased_wherever_it_was_killed_before(
    running: World, acme: Tenant, tools: Tools, echo: Echo
) -> None:
    sid = acme.ids["first"]
    for after in range(1, 6):
        with pytest.raises(Killed):
            await erasing.session(tools, sid, acme.account, dying(after))
        assert await running.sql("SELECT done_at FROM erasures WHERE subject = %s", sid) == [(None,)]
    async with erasures.alone(tools.pool, sid):
        code, _, complained = await greenroom(running, "erase", sid, "--yes")
        assert (code, "Another process erases" in complained) == (1, True)
    assert f"not yet: `greenroom erase {sid}`" in await done(running, "erase")
    assert f"{sid} is erased." in await done(running, "erase", sid, "--yes")
    assert await traces(running, acme) == {what for what in acme.marks if not what.startswith("first-")}
    told = (await echo.wait_for("session.erased", sid, 30)).body
    assert WebhookBody.model_validate(told)
    assert [event.type for event, _ in await running.log(sid)].count("session.erased") == 5


async def test_an_erased_session_says_so_and_keeps_its_bill(running: World, acme: Tenant) -> None:
    sid = acme.ids["first"]
    async with running.client(acme.key) as client:

        async def shown() -> Any:
            session = (await client.get(f"/v1/sessions/{sid}")).json()
            return session if session["metadata"] else None

        session = await eventually(shown)
        assert session is not None
        assert list(session["metadata"]) == [ERASED_AT]
        assert {session["transport"][n] for n in ("url", "room_name", "worker_identity", "subscribe_to_identity")} == {
            ERASED
        }
        assert (session["status"], session["usage"]["billable_seconds"]) == ("ended", 1)
        listed = {each["id"]: each for each in (await client.get("/v1/sessions")).json()["data"]}
        assert listed[sid] == session
        assert listed[acme.ids["second"]]["metadata"] == {"note": acme.marks["second-note"]}
        history = (await client.get(f"/v1/sessions/{sid}/events")).json()["data"]
        assert [each["type"] for each in history][-2:] == ["session.ended", "session.erased"]
        assert {each["data"]["transport"]["room_name"] for each in history} == {ERASED}
        timeline = (await client.get(f"/v1/sessions/{sid}/timeline")).json()
        assert (timeline["status"], timeline["ended_by"]) == ("ended", "customer")
    inspected = json.loads(await done(running, "inspect", sid, "--json"))
    assert inspected["state"]["created"]["metadata"] == ERASED


async def test_a_session_of_before_sessions_had_keys_is_shown_nowhere_any_more(
    running: World, other: Tenant, connections: Pool
) -> None:
    """Its fields are under its account's key, as are those of others that stay."""
    key = await DataKeys(connections, running.keyring).of(other.account)
    ids = session_id(), session_id()
    for sid in ids:
        hidden = {name: key.encrypt(f"old-{name}", field_aad(sid, name)) for name in ("url", "room_name")}
        hidden["worker_identity"] = key.encrypt("old-identity", field_aad(sid, "worker_identity"))
        transport = EventTransport(
            "livekit",
            **hidden,
            audio_source="data_stream",
            subscribe_to_identity=None,
            synthetic_audio_if_no_input=False,
        )
        metadata = key.encrypt('{"old":1}', field_aad(sid, "metadata"))
        first, *rest = life(sid, beats=1, account=other.account)
        assert isinstance(first, SessionCreated)
        await running.admit(sid)
        await running.append(structs.replace(first, transport=transport, metadata=metadata), *rest)
    async with running.client(other.key) as client:

        async def both() -> list[Any] | None:
            found = [(await client.get(f"/v1/sessions/{sid}")).json() for sid in ids]
            return found if all(each.get("status") == "ended" for each in found) else None

        assert [each["metadata"] for each in await eventually(both) or ()] == [{"old": 1}, {"old": 1}]
        said = await done(running, "erase", ids[0], "--yes")
        assert f"{ids[0]} is erased, but for the log itself" in said
        assert f"`greenroom erase {other.account}`" in said
        shown = [(await client.get(f"/v1/sessions/{sid}", params={"at": "1"})).json() for sid in ids]
    assert [each["metadata"] for each in shown] == [{}, {"old": 1}]
    assert [each["transport"]["room_name"] for each in shown] == [ERASED, "old-room_name"]


async def test_nobody_is_about_to_tell_of_it_when_a_key_is_gone(
    running: World, acme: Tenant, connections: Pool
) -> None:
    sid = acme.ids["second"]
    keys = DataKeys(connections, running.keyring)
    async with connections.connection() as first, connections.connection() as teller:
        async with first.transaction(force_rollback=True):
            async with teller.transaction():
                assert len((await keys.for_telling(teller, {sid: acme.account}))[sid]) == 1
                dropping = asyncio.create_task(data_keys.drop(first, sid))

                async def waits() -> bool:
                    return bool(
                        await running.sql(
                            "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                        )
                    )

                await eventually(waits)
                assert not dropping.done()
            await dropping
            assert not len((await keys.for_telling(first, {sid: acme.account}))[sid])


async def killed_amidst(world: World, account: str) -> None:
    """kill -9 of the command while it deletes the account's endpoint."""
    async with await psycopg.AsyncConnection.connect(world.database_url) as holding:
        await holding.execute("SELECT 1 FROM webhook_endpoints WHERE account_id = %s FOR NO KEY UPDATE", [account])
        command = (sys.executable, "-m", "cli.main", "erase", account, "--yes")
        child = await asyncio.create_subprocess_exec(
            *command, env=environment("api", world.env), stdout=asyncio.subprocess.DEVNULL
        )

        async def waits() -> bool:
            return bool(
                await world.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'endpoints'")
            )

        await eventually(waits, what="the command at the endpoint")
        child.kill()
        assert await child.wait() == -9


async def test_an_account_is_erased_wherever_it_was_killed_before(
    running: World, acme: Tenant, other: Tenant, tools: Tools
) -> None:
    assert stored(running)
    async with running.client(acme.key) as client:
        assert (await client.get("/v1/account")).status_code == 200
    await killed_amidst(running, acme.account)
    steps = 0
    while True:
        try:
            await erasing.account(tools, acme.account, dying(steps := steps + 1))
        except Killed:
            continue
        break
    assert steps > 8
    assert await traces(running, acme) == set()
    assert await traces(running, other) == other.marks.keys()
    assert stored(running) == []
    told = [event for event, _ in await running.log(topic=ACCOUNTS)]
    assert {(event.type, event.subject) for event in told} == {("account.erased", acme.account)}
    assert len({event.id for event in told}) == 1
    async with running.client(acme.key) as client:
        answer = await client.get(f"/v1/sessions/{acme.ids['second']}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "api_key.revoked")
    async with running.client(other.key) as client:
        session = await running.status(client, other.ids["only"])
        assert session["metadata"] == {"note": other.marks["only-note"]}


async def test_an_erased_account_gets_nothing_new(running: World, acme: Tenant) -> None:
    code, _, complained = await greenroom(running, "keys", "create", "--account", acme.account)
    assert (code, "gets no keys any more" in complained) == (1, True)
    await running.sql("UPDATE api_keys SET revoked_at = NULL WHERE account_id = %s", acme.account)
    async with running.client(acme.key) as client:
        answers = [
            await client.post("/v1/sessions", json=running.request()),
            await client.post("/v1/webhook_endpoints", json={"url": "http://127.0.0.1:1/", "events": ["*"]}),
            await client.post(
                "/v1/avatars", files={"image": ("p.png", portraits.file(portraits.drawn()), "image/png")}
            ),
        ]
    assert {(each.status_code, each.json()["error"]["code"]) for each in answers} == {(401, "api_key.revoked")}
    await running.sql("UPDATE api_keys SET revoked_at = now() WHERE account_id = %s", acme.account)


async def test_what_was_billed_verifies_and_projections_are_the_same_again(
    running: World, acme: Tenant, sealed: bytes, tmp_path: Path
) -> None:
    await caught_up(running)
    said = await done(running, "audit")
    assert "1 sealed days, 0 differences." in said
    path = tmp_path / "proof.json"
    await done(running, "prove", acme.ids["first"], "--out", str(path))
    assert path.read_bytes() == sealed
    code, told = await verified(tmp_path, sealed, KEY.public)
    assert (code, acme.ids["first"] in told) == (0, True), told
    before = await projected(running)
    await running.stop("all")
    await running.wipe()
    await running.restart("all")

    async def again() -> bool:
        return await projected(running) == before

    await eventually(again, what="the same rows")
    assert await traces(running, acme) == set()


async def test_an_older_database_erases_again_what_the_log_tells_of(
    running: World, other: Tenant, tools: Tools
) -> None:
    """As after a backup was restored: the keys are back, and nobody here knows that they were dropped."""
    sid, account = other.ids["only"], other.account
    kept = await running.sql("SELECT key FROM session_keys WHERE session_id = %s", sid)
    master = await running.sql("SELECT name, data_key, data_key_master FROM accounts WHERE id = %s", account)
    await erasing.session(tools, sid, account, lambda _, __: None)
    await erasing.account(tools, account, lambda _, __: None)
    await running.sql("UPDATE session_keys SET key = %s WHERE session_id = %s", *kept[0], sid)
    await running.sql(
        "UPDATE accounts SET erasing_at = NULL, erased_at = NULL, name = %s, data_key = %s, data_key_master = %s"
        " WHERE id = %s",
        *master[0],
        account,
    )
    await running.sql("DELETE FROM erasures WHERE account_id = %s", account)
    assert "only-note" in await traces(running, other)
    said = await done(running, "erase", "--again", "--yes")
    assert f"{sid} is erased." in said
    assert f"{account} is erased." in said
    assert await traces(running, other) == set()
    assert "has done them all" in await done(running, "erase", "--again")
