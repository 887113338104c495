"""Webhooks on real servers: created over HTTP, fanned out from the log, delivered signed and with retries."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import pytest_asyncio

from cli.receiver import Receiver
from schemas.events import (
    BY_NAME,
    AvatarDeleted,
    AvatarFailed,
    AvatarReady,
    Meter,
    SessionEnded,
    SessionEnding,
    SessionFirstFrame,
    SessionHeartbeat,
    SessionJoined,
    SessionStarting,
)
from schemas.webhooks import AvatarBody, EndpointBody, HeartbeatBody, WebhookBody
from stack.ports import free_ports
from tests import portraits
from tests.world import World, eventually

pytestmark = pytest.mark.servers

(METRICS_PORT,) = free_ports(1)


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "sessions", "usage", "avatars", "webhooks", "avatar_webhooks", "roster")
    await world.start("deliver", GREENROOM_DELIVER_METRICS_PORT=str(METRICS_PORT))
    await world.fake_worker(20)
    return world


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


@pytest.mark.parametrize(("answer", "failing", "reason"), [(410, "0 s", "gone"), (500, "121 hours", "failing")])
async def test_who_is_gone_or_fails_for_days_is_disabled_and_its_account_told(
    running: World, receiver: Receiver, answer: int, failing: str, reason: str
) -> None:
    _, key = await running.new_account("gone")
    (port,) = free_ports(1)
    async with running.client(key) as client, Receiver(port) as other:
        endpoint = await subscribe(client, receiver, "session.created")
        await subscribe(client, other, "webhook_endpoint.*")
        await running.sql(
            "UPDATE webhook_endpoints SET failing_since = now() - %s::interval WHERE id = %s", failing, endpoint
        )
        receiver.answer = answer
        await running.create(client)
        told = await other.wait_for("webhook_endpoint.disabled", endpoint, 90)
        shown = (await client.get(f"/v1/webhook_endpoints/{endpoint}")).json()
        assert (shown["enabled"], shown["disabled_reason"]) == (False, reason)
        assert told.body["data"] == shown
        assert EndpointBody.model_validate(told.body)
        feed = (await client.get("/v1/events", params={"types": "webhook_endpoint.*"})).json()["data"]
        assert [(each["type"], each["data"]) for each in feed] == [("webhook_endpoint.disabled", shown)]


async def test_heartbeats_and_entries_are_sent_to_whom_names_them(running: World, receiver: Receiver) -> None:
    _, key = await running.new_account("opted")
    (port,) = free_ports(1)
    async with running.client(key) as client, Receiver(port) as everything:
        await subscribe(client, receiver, "session.heartbeat", "usage.recorded")
        await subscribe(client, everything, "*", "session.*")
        sid = (await running.create(client))["id"]
        worker = (await running.sql("SELECT worker_id FROM admissions WHERE session_id = %s", sid))[0][0]
        await running.append(
            SessionStarting(sid, 1, worker),
            SessionFirstFrame(sid, 1, worker, {}),
            SessionHeartbeat(sid, 1, worker, 1, Meter(900, 22, 0), None, 0, 0, None),
            SessionHeartbeat(sid, 1, worker, 2, Meter(1900, 47, 0), None, 0, 0, None),
            SessionEnded(sid, 1, "idle_timeout", worker, 3, Meter(2500, 62, 0)),
        )
        await everything.wait_for("session.ended", sid, 90)
        beats = await receiver.wait_for_many("session.heartbeat", 2, 90)
        entries = await receiver.wait_for_many("usage.recorded", 3, 90)

        async def recorded() -> list[dict[str, Any]]:
            found = (await client.get("/v1/usage_events", params={"session_id": sid})).json()["data"]
            return found if len(found) == 3 else []

        ledger = await eventually(recorded)
    beats.sort(key=lambda each: int(each.body["n"]))
    assert [HeartbeatBody.model_validate(each.body).n for each in beats] == [1, 2]
    assert [each.body["data"]["usage"] for each in beats] == [
        {"billable_seconds": 1, "frames": 22},
        {"billable_seconds": 2, "frames": 47},
    ]
    assert sorted((each.body["data"] for each in entries), key=str) == sorted(ledger, key=str)
    assert len({each.id for each in receiver.received}) == 5
    assert not {each.type for each in everything.received} & BY_NAME


async def test_what_became_of_an_avatar_is_told_once(running: World, receiver: Receiver) -> None:
    _, key = await running.new_account("avatars")
    async with running.client(key) as client:
        await subscribe(client, receiver, "avatar.*")
        made = [
            (
                await client.post(
                    "/v1/avatars", files={"image": portraits.file(portraits.noise())}, data={"name": name}
                )
            ).json()["id"]
            for name in ("Ada", "Bob")
        ]
        await running.append(AvatarReady(made[0], "f" * 64), AvatarReady(made[0], "e" * 64))
        await running.append(AvatarFailed(made[1], "no_face"), AvatarDeleted(made[1]))
        ready = await receiver.wait_for("avatar.ready", made[0], 90)
        failed = await receiver.wait_for("avatar.failed", made[1], 90)
        await running.kill("avatar_webhooks")
        await running.restart("avatar_webhooks")
        shown = (await client.get(f"/v1/avatars/{made[0]}")).json()
        feed = (await client.get("/v1/events", params={"types": "avatar.*"})).json()["data"]
    assert AvatarBody.model_validate(ready.body).data.model_dump() == shown
    assert (failed.body["data"]["name"], failed.body["data"]["failure_reason"]) == ("Bob", "no_face")
    assert [each["type"] for each in feed] == ["avatar.ready", "avatar.failed"]
    assert len(receiver.received) == 2


async def test_what_deliverers_tell_of_themselves(running: World, receiver: Receiver) -> None:
    _, key = await running.new_account("measured")
    async with running.client(key) as client:
        await subscribe(client, receiver, "session.created")
        await receiver.wait_for("session.created", (await running.create(client))["id"], 90)

    async def told() -> bool:
        async with httpx.AsyncClient(trust_env=False) as scraper:
            text = (await scraper.get(f"http://127.0.0.1:{METRICS_PORT}/metrics")).text
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("greenroom_webhook"))
        assert {"greenroom_webhook_pending", "greenroom_webhook_oldest_due_seconds"} <= set(values)
        delivered = float(values.get('greenroom_webhook_attempts_total{outcome="delivered"}', 0))
        return delivered >= 1 and float(values["greenroom_webhook_lag_seconds_count"]) >= 1

    await eventually(told)


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
