"""`greenroom webhooks` as an operator and a developer type it, on a real system."""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest
import pytest_asyncio

from cli.processes import environment
from cli.receiver import Receiver
from stack.ports import free_ports
from tests.cli.test_admin import done, greenroom
from tests.world import World, eventually

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "sessions", "webhooks", "deliver")
    await world.slots_of_nobody(10)
    return world


async def test_what_an_operator_sees_and_sends_again(running: World) -> None:
    account, key = await running.new_account("acme")
    (port,) = free_ports(1)
    async with running.client(key) as client, Receiver(port) as receiver:
        body = {"url": receiver.url, "events": ["session.*"]}
        made = (await client.post("/v1/webhook_endpoints", json=body)).json()
        receiver.secret = made["secret"]
        session = (await running.create(client))["id"]
        created = await receiver.wait_for("session.created", session, 60)
        for who in ("acme", account):
            assert made["id"] in await done(running, "webhooks", "list", who)

        async def delivered() -> bool:
            return created.id in await done(running, "webhooks", "deliveries", "acme", "--status", "delivered")

        await eventually(delivered)
        assert session in await done(running, "webhooks", "deliveries", "acme", "--endpoint", made["id"])
        await done(running, "webhooks", "redeliver", "acme", created.id)
        await receiver.wait_for_many("session.created", 2, 60)
        await eventually(delivered)
        assert "1 deliveries" in await done(running, "webhooks", "replay", "acme", made["id"], "--since", "2026-01-01")
        await receiver.wait_for_many("session.created", 3, 60)
        await eventually(delivered)
        await done(running, "webhooks", "replay", "acme", made["id"], "--session", session)
        await receiver.wait_for_many("session.created", 4, 60)
        assert {each.id for each in receiver.received} == {created.id}
        await client.patch(f"/v1/webhook_endpoints/{made['id']}", json={"enabled": False})
        assert "by its customer" in await done(running, "webhooks", "list")
        for args in (("redeliver", "acme", created.id), ("replay", "acme", made["id"], "--since", "2026-01-01")):
            code, _, complained = await greenroom(running, "webhooks", *args)
            assert (code, "is disabled" in complained) == (1, True)
    for args in (("redeliver", "acme", "whd_1"), ("replay", "acme", "we_1", "--since", "2026-01-01")):
        code, _, complained = await greenroom(running, "webhooks", *args)
        assert (code, complained.startswith("acme has no")) == (1, True)
    assert (await greenroom(running, "webhooks", "replay", "acme", made["id"]))[0] == 1


async def test_a_developer_listens(running: World) -> None:
    _, key = await running.new_account("developer")
    env = environment("api", running.env) | {"GREENROOM_API_KEY": key, "GREENROOM_API_URL": running.api_url}
    command = [sys.executable, "-m", "cli.main", "webhooks", "listen", "--event", "session.*"]
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, env=env, stdout=pipe, stderr=pipe)
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        assert b"listens at http://127.0.0.1:" in await asyncio.wait_for(child.stderr.readline(), 60)
        async with running.client(key) as client:
            session = (await running.create(client))["id"]
            line = (await asyncio.wait_for(child.stdout.readline(), 60)).decode()
            assert f"session.created  {session}  queued  whd_" in line
            child.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(child.wait(), 30) == 0
            assert (await client.get("/v1/webhook_endpoints")).json()["data"] == []
    finally:
        if child.returncode is None:
            child.kill()


async def test_what_goes_wrong_is_a_sentence(running: World) -> None:
    code, _, complained = await greenroom(
        running, "webhooks", "listen", "--api", running.api_url, "--key", "sk_made_up"
    )
    assert (code, "This API key is not known" in complained) == (1, True)
    code, _, complained = await greenroom(running, "webhooks", "listen", "--api", "http://127.0.0.1:1", "--key", "sk")
    assert (code, "cannot be reached" in complained) == (1, True)
