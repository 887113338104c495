"""Webhooks on real servers: created over HTTP, fanned out from the log, delivered signed and with retries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from cli.customer import Receiver
from schemas.events import (
    Meter,
    SessionEnded,
    SessionEnding,
    SessionFirstFrame,
    SessionHeartbeat,
    SessionJoined,
    SessionStarting,
)
from schemas.webhooks import WebhookBody
from stack.ports import free_ports
from tests.world import World, eventually

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "sessions", "webhooks", "roster", "deliver")
    await world.fake_worker(20)
    return world


@pytest_asyncio.fixture
async def receiver(running: World) -> AsyncIterator[Receiver]:
    (port,) = free_ports(1)
    async with Receiver(port) as opened:
        yield opened


async def subscribe(client: httpx.AsyncClient, receiver: Receiver, *events: str) -> str:
    answer = await client.post("/v1/webhook_endpoints", json={"url": receiver.url, "events": list(events)})
    assert answer.status_code == 201, answer.text
    receiver.secret = answer.json()["secret"]
    assert receiver.secret.startswith("whsec_")
    return str(answer.json()["id"])


async def test_transitions_arrive_signed_in_order_and_with_the_resource_of_that_moment(
    running: World, receiver: Receiver
) -> None:
    async with running.client() as client:
        await subscribe(client, receiver, "session.*")
        sid = (await running.create(client, metadata={"k": "v"}))["id"]
        worker = (await running.sql("SELECT worker_id FROM admissions WHERE session_id = %s", sid))[0][0]
        await running.append(
            SessionStarting(sid, 1, worker),
            SessionJoined(sid, 1, worker, {}),
            SessionFirstFrame(sid, 1, worker, {}),
            SessionHeartbeat(sid, 1, worker, 1, Meter(900, 22, 0), None, 0, 0, None),
            SessionEnding(sid, 1, worker, "idle_timeout"),
            SessionEnded(sid, 1, "idle_timeout", worker, 2, Meter(1900, 47, 0)),
        )
        await receiver.wait_for("session.ended", sid, 90)
    assert receiver.refused == 0
    mine = [r for r in receiver.received if r.body["data"]["id"] == sid]
    kinds = ["session.created", "session.starting", "session.first_frame", "session.ending", "session.ended"]
    assert [r.type for r in mine] == kinds
    statuses = ["queued", "starting", "running", "ending", "ended"]
    assert [r.body["data"]["status"] for r in mine] == statuses
    seqs = [r.body["seq"] for r in mine]
    assert seqs == sorted(set(seqs))
    assert len({r.id for r in mine}) == len(mine)
    last = mine[-1].body
    assert set(last) == set(WebhookBody.model_fields)
    assert last["data"]["usage"] == {"billable_seconds": 2, "frames": 47}
    assert last["data"]["metadata"] == {"k": "v"}
    assert last["data"]["transport"]["worker_token"] == "[redacted]"


async def test_a_failing_receiver_gets_it_again_with_the_same_id(running: World, receiver: Receiver) -> None:
    _, key = await running.new_account("failing")
    async with running.client(key) as client:
        endpoint = await subscribe(client, receiver, "session.canceled")
        receiver.answer = 500
        sid = (await running.create(client))["id"]
        await client.post(f"/v1/sessions/{sid}/end")

        async def tried() -> list[tuple[Any, ...]]:
            return await running.sql(
                """
                SELECT a.status FROM delivery_attempts a JOIN deliveries d ON d.id = a.delivery_id
                WHERE d.endpoint_id = %s AND a.status = 500
                """,
                endpoint,
            )

        await eventually(tried)
        receiver.answer = 200
        arrived = await receiver.wait_for("session.canceled", sid, 90)  # the second attempt is due after 5 s

        async def delivered() -> list[tuple[object, ...]]:
            return await running.sql(
                "SELECT id, attempts FROM deliveries WHERE endpoint_id = %s AND state = 'delivered'", endpoint
            )

        assert await eventually(delivered) == [(arrived.id, 2)]


async def test_a_receiver_that_is_gone_is_disabled(running: World, receiver: Receiver) -> None:
    _, key = await running.new_account("gone")
    async with running.client(key) as client:
        endpoint = await subscribe(client, receiver, "session.created")
        receiver.answer = 410
        await running.create(client)

        async def given_up() -> list[tuple[Any, ...]]:
            return await running.sql(
                """
                SELECT 1 FROM deliveries d JOIN webhook_endpoints w ON w.id = d.endpoint_id
                WHERE w.id = %s AND d.state = 'given_up' AND NOT w.enabled
                """,
                endpoint,
            )

        await eventually(given_up)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"url": "https://example.com/", "events": []}, 422, "events.too_short"),
        ({"url": "https://example.com/", "events": ["Session Ended"]}, 422, "events.0.invalid"),
        ({"url": "ftp://example.com/", "events": ["*"]}, 422, "url.invalid"),
        ({"url": "http://10.0.0.1/", "events": ["*"]}, 422, "url.unsafe"),
        ({"url": "http://[::ffff:169.254.169.254]/", "events": ["*"]}, 422, "url.unsafe"),
        ({"events": ["*"]}, 422, "url.required"),
        ({"url": "https://example.com/", "events": ["*"], "secret": "mine"}, 422, "secret.unknown"),
    ],
)
async def test_bad_endpoints(running: World, body: dict[str, object], status: int, code: str) -> None:
    async with running.client() as client:
        answer = await client.post("/v1/webhook_endpoints", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_sixteen_endpoints_are_the_most_and_one_can_be_removed(running: World, receiver: Receiver) -> None:
    _, key = await running.new_account("many")
    async with running.client(key) as client:
        ids = [await subscribe(client, receiver, "session.ended") for _ in range(16)]
        body = {"url": receiver.url, "events": ["*"]}
        full = await client.post("/v1/webhook_endpoints", json=body)
        assert (full.status_code, full.json()["error"]["code"]) == (409, "webhook_endpoint.limit")
        assert (await client.delete(f"/v1/webhook_endpoints/{ids[0]}")).status_code == 204
        gone = await client.delete(f"/v1/webhook_endpoints/{ids[0]}")
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "webhook_endpoint.not_found")
        assert (await client.post("/v1/webhook_endpoints", json=body)).status_code == 201
