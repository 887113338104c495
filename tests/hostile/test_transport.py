"""`transport.url` that leads into the operator's network: refused by the API, and by the worker in one voice."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from stack.ports import free_ports
from tests.hostile import receivers as r
from tests.nameserver import NO_SUCH_NAME, NameServer, nameserver
from tests.world import World

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture(scope="module")
async def names() -> AsyncIterator[NameServer]:
    inside = ["10.1.2.3"]
    async with nameserver(inside=inside, mixed=["93.184.216.34", *inside], nowhere=NO_SUCH_NAME) as server:
        yield server


@pytest_asyncio.fixture(scope="module")
async def running(world: World, names: NameServer) -> World:
    """Of what the API permits, the worker permits loopback alone: LiveKit's own address is inside for it."""
    await world.start("api", "all", GREENROOM_NAMESERVERS=names.address)
    await world.start(
        "worker", GREENROOM_LIVEKIT_PERMITTED_NETWORKS="127.0.0.0/8", GREENROOM_WORKER_CONNECT_TIMEOUT_S="2"
    )
    return world


@pytest_asyncio.fixture
async def client(running: World) -> AsyncIterator[httpx.AsyncClient]:
    async with running.client() as opened:
        yield opened


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("ws://10.0.0.1:7880", "unsafe"),
        ("wss://169.254.169.254/latest/meta-data", "unsafe"),
        ("wss://[64:ff9b::7f00:1]", "unsafe"),
        ("wss://[::ffff:10.0.0.1]", "unsafe"),
        ("wss://[fd00::1]", "unsafe"),
        ("wss://inside.test", "unsafe"),
        ("wss://mixed.test", "unsafe"),
        ("wss://user:pw@example.com", "invalid"),
        ("wss://10.0.0.1\\@example.com", "invalid"),
        ("wss:///example.com", "invalid"),
        ("wss://example.com:0", "invalid"),
        ("wss://example.com:99999", "invalid"),
        ("wss://127.1", "invalid"),
        ("wss://0x7f.0.0.1", "invalid"),
        ("wss://%31%32%37.0.0.1", "invalid"),
        (f"wss://{'a' * 64}.com", "invalid"),
    ],
)
async def test_urls_that_lead_inside_or_nowhere(running: World, client: httpx.AsyncClient, url: str, rule: str) -> None:
    answer = await client.post("/v1/sessions", json=running.request(transport={"url": url}))
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (f"transport.url.{rule}", "transport.url")
    assert ("GREENROOM_LIVEKIT_PERMITTED_NETWORKS" in error["message"]) == (rule == "unsafe")
    assert await running.sql("SELECT count(*) FROM admissions") == [(0,)]


async def test_the_worker_speaks_of_what_it_may_not_reach_as_of_what_is_not_there(
    running: World, client: httpx.AsyncClient
) -> None:
    (nobody,) = free_ports(1)
    failures = []
    async with r.receiver(r.silent) as silent:
        for url in (
            running.livekit.url,
            f"ws://127.0.0.1:{nobody}",
            f"ws://127.0.0.1:{silent.port}",
            "wss://nowhere.test",
        ):
            session = await running.create(client, transport={"url": url})
            failures.append((await running.until(client, session["id"], "failed"))["failure"])
        assert silent.connections, failures
    assert failures[0]["code"] == "transport.connect_failed"
    assert failures == [failures[0]] * 4


async def test_a_name_that_nobody_answers_for_is_passed_in_time_and_asked_for_once(
    running: World, client: httpx.AsyncClient, names: NameServer
) -> None:
    body = running.request(transport={"url": "wss://silent.test"})
    began = time.monotonic()
    assert (await client.post("/v1/sessions", json=body)).status_code == 201
    assert time.monotonic() - began < 8
    asked = names.asked.count("silent.test")
    assert asked > 0
    session = await running.create(client, transport={"url": "wss://silent.test:8443"})
    assert names.asked.count("silent.test") <= asked + 2  # the first question's own repetition
    await running.until(client, session["id"], "failed")
