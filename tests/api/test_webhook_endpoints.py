"""Endpoints as their customers handle them: changed, rotated, tested, disabled, and asked what became of deliveries."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from cli.receiver import Receiver
from schemas.webhooks import EndpointBody
from tests.world import World, eventually

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "sessions", "usage", "webhooks", "avatars", "avatar_webhooks", "deliver")
    await world.slots_of_nobody(50)
    return world


@pytest_asyncio.fixture
async def client(running: World) -> AsyncIterator[httpx.AsyncClient]:
    """Of an account of its own."""
    _, key = await running.new_account("webhooks")
    async with running.client(key) as opened:
        yield opened


async def endpoint(client: httpx.AsyncClient, receiver: Receiver, *events: str) -> str:
    answer = await client.post("/v1/webhook_endpoints", json={"url": receiver.url, "events": list(events or ["*"])})
    assert answer.status_code == 201, answer.text
    receiver.secret = answer.json()["secret"]
    return str(answer.json()["id"])


async def ended(world: World, client: httpx.AsyncClient) -> str:
    """A session that was canceled: two events."""
    session = await world.create(client)
    await client.post(f"/v1/sessions/{session['id']}/end")
    return str(session["id"])


async def delivery(client: httpx.AsyncClient, delivery_id: str, status: str) -> dict[str, Any]:
    """Once it has that status."""

    async def probe() -> dict[str, Any] | None:
        answer = await client.get(f"/v1/webhook_deliveries/{delivery_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found if found["status"] == status else None

    found = await eventually(probe, what=f"{delivery_id} {status}")
    assert found is not None
    return found


async def deliveries(client: httpx.AsyncClient, many: int, **query: str) -> list[dict[str, Any]]:
    """Once so many are there and none is pending."""

    async def probe() -> list[dict[str, Any]] | None:
        found = (await client.get("/v1/webhook_deliveries", params={"limit": "100", **query})).json()["data"]
        return found if len(found) == many and all(each["status"] != "pending" for each in found) else None

    return await eventually(probe, what=f"{many} deliveries") or []


async def test_an_endpoint_is_read_listed_and_changed(client: httpx.AsyncClient, receiver: Receiver) -> None:
    first = await endpoint(client, receiver, "session.*")
    second = await endpoint(client, receiver, "session.ended")
    listed = (await client.get("/v1/webhook_endpoints")).json()
    assert [each["id"] for each in listed["data"]] == [second, first]
    assert (listed["has_more"], listed["next_cursor"]) == (False, None)
    shown = (await client.get(f"/v1/webhook_endpoints/{first}")).json()
    assert shown == listed["data"][1]
    assert shown["secret"] is None
    body = {"events": ["session.ended", "usage.recorded"], "description": "ours"}
    changed = await client.patch(f"/v1/webhook_endpoints/{first}", json=body)
    assert changed.json() == {**shown, **body}
    off = (await client.patch(f"/v1/webhook_endpoints/{first}", json={"enabled": False})).json()
    assert (off["enabled"], off["disabled_reason"], off["disabled_at"] is None) == (False, None, False)
    on = (await client.patch(f"/v1/webhook_endpoints/{first}", json={"enabled": True})).json()
    assert on == {**shown, **body}
    assert (await client.patch(f"/v1/webhook_endpoints/{first}", json={})).json() == on


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"events": []}, "events.too_short"),
        ({"events": ["session.endet"]}, "events.0.invalid"),
        ({"events": None}, "events.invalid_type"),
        ({"url": None}, "url.invalid_type"),
        ({"url": ""}, "url.too_short"),
        ({"url": "http://10.0.0.1/"}, "url.unsafe"),
        ({"enabled": "yes"}, "enabled.invalid_type"),
        ({"secret": "mine"}, "secret.unknown"),
    ],
)
async def test_a_bad_change_changes_nothing(
    client: httpx.AsyncClient, receiver: Receiver, body: dict[str, Any], code: str
) -> None:
    made = await endpoint(client, receiver)
    before = (await client.get(f"/v1/webhook_endpoints/{made}")).json()
    answer = await client.patch(f"/v1/webhook_endpoints/{made}", json={"description": "new", **body})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)
    assert (await client.get(f"/v1/webhook_endpoints/{made}")).json() == before


async def test_while_a_secret_is_rotated_both_verify(client: httpx.AsyncClient, receiver: Receiver) -> None:
    made = await endpoint(client, receiver)
    old = receiver.secret
    answer = await client.post(f"/v1/webhook_endpoints/{made}/rotate_secret")
    assert answer.status_code == 200
    new = answer.json()["secret"]
    assert new != old
    for each in (old, new):
        receiver.secret = each
        sent = (await client.post(f"/v1/webhook_endpoints/{made}/test")).json()
        await delivery(client, sent["id"], "delivered")
    latest = await client.post(f"/v1/webhook_endpoints/{made}/rotate_secret", json={"previous_expires_in_seconds": 0})
    sent = (await client.post(f"/v1/webhook_endpoints/{made}/test")).json()
    given_up = await delivery(client, sent["id"], "given_up")  # the receiver still has the one before
    assert [each["status"] for each in given_up["tried"]] == [401]
    receiver.secret = latest.json()["secret"]
    sent = (await client.post(f"/v1/webhook_endpoints/{made}/test")).json()
    await delivery(client, sent["id"], "delivered")
    assert receiver.refused == 1


async def test_so_many_secrets_sign_and_no_more(running: World, client: httpx.AsyncClient, receiver: Receiver) -> None:
    made = await endpoint(client, receiver)
    known = [receiver.secret]
    for _ in range(5):
        known.append((await client.post(f"/v1/webhook_endpoints/{made}/rotate_secret")).json()["secret"])
    receiver.secret = known[-1]
    sent = (await client.post(f"/v1/webhook_endpoints/{made}/test")).json()
    await delivery(client, sent["id"], "delivered")
    assert await running.sql("SELECT count(*) FROM webhook_secrets WHERE endpoint_id = %s", made) == [(4,)]
    for secret in known:
        assert base64.b64decode(secret.removeprefix("whsec_"))
        stored = await running.sql("SELECT secret FROM webhook_secrets WHERE endpoint_id = %s", made)
        assert not any(secret.encode() in each for (each,) in stored)


async def test_a_test_event_is_sent_whatever_is_subscribed_to_and_tried_once(
    client: httpx.AsyncClient, receiver: Receiver
) -> None:
    made = await endpoint(client, receiver, "avatar.failed")
    answer = await client.post(f"/v1/webhook_endpoints/{made}/test")
    assert answer.status_code == 202
    sent = answer.json()
    assert (sent["type"], sent["status"], sent["session_id"]) == ("webhook_endpoint.test", "pending", None)
    found = await delivery(client, sent["id"], "delivered")
    (arrived,) = receiver.received
    assert arrived.id == sent["id"]
    assert arrived.body == found["body"]
    assert EndpointBody.model_validate(arrived.body).data.id == made
    receiver.answer = 503
    sent = (await client.post(f"/v1/webhook_endpoints/{made}/test")).json()
    found = await delivery(client, sent["id"], "given_up")
    assert (found["reason"], found["attempts"], [each["status"] for each in found["tried"]]) == ("attempts", 1, [503])
    assert (await client.get("/v1/events")).json()["data"] == []
    await client.patch(f"/v1/webhook_endpoints/{made}", json={"enabled": False})
    refused = await client.post(f"/v1/webhook_endpoints/{made}/test")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "webhook_endpoint.disabled")


async def test_what_became_of_deliveries(running: World, client: httpx.AsyncClient, receiver: Receiver) -> None:
    made = await endpoint(client, receiver)
    sessions = [await ended(running, client) for _ in range(3)]
    found = await deliveries(client, 6)
    assert [each["id"] for each in found] == sorted((each["id"] for each in found), reverse=True)
    assert {each["id"] for each in found} == {each.id for each in receiver.received}
    one = await deliveries(client, 2, session_id=sessions[1])
    assert {each["type"] for each in one} == {"session.created", "session.canceled"}
    assert len(await deliveries(client, 3, type="session.created")) == 3
    assert (await client.get("/v1/webhook_deliveries", params={"status": "given_up"})).json()["data"] == []
    assert len(await deliveries(client, 6, endpoint_id=made, status="delivered")) == 6
    first = (await client.get("/v1/webhook_deliveries", params={"limit": 4})).json()
    rest = await client.get("/v1/webhook_deliveries", params={"limit": 4, "starting_after": first["next_cursor"]})
    assert [*first["data"], *rest.json()["data"]] == found
    assert (first["has_more"], rest.json()["has_more"]) == (True, False)
    detail = await delivery(client, found[0]["id"], "delivered")
    assert detail["tried"][0] | {"at": "", "latency_ms": 0} == {
        "n": 1, "at": "", "status": 200, "latency_ms": 0, "error": None, "answer": "",
    }  # fmt: skip
    (arrived,) = [each for each in receiver.received if each.id == found[0]["id"]]
    assert detail["body"] == arrived.body
    unknown = await client.get("/v1/webhook_deliveries/whd_1")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "webhook_delivery.not_found")


async def test_a_filter_that_fits_little_is_looked_through_in_parts(
    running: World, client: httpx.AsyncClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from store import outcomes
    from store.database import pool
    from store.outcomes import DeliveryFilter

    monkeypatch.setattr(outcomes, "_MOST_LOOKED_AT", 4)
    await endpoint(client, receiver)
    for _ in range(5):
        await ended(running, client)
    await deliveries(client, 10)
    account = (await client.get("/v1/account")).json()["id"]
    created: list[outcomes.Delivery] = []
    pages, before = 0, None
    async with pool(running.database_url, 1) as connections, connections.connection() as connection:
        while True:
            found, further = await outcomes.page(
                connection, account, DeliveryFilter(type="session.created"), before, 100
            )
            created += found
            pages += 1
            if further is None:
                break
            before = further
    assert len({each.id for each in created}) == len(created) == 5
    assert pages == 3


async def test_one_is_delivered_again_with_the_same_id_and_body(
    running: World, client: httpx.AsyncClient, receiver: Receiver
) -> None:
    made = await endpoint(client, receiver, "session.canceled")
    await ended(running, client)
    (first,) = await deliveries(client, 1)
    answer = await client.post(f"/v1/webhook_deliveries/{first['id']}/redeliver")
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")

    async def twice() -> bool:
        return len(receiver.received) == 2

    await eventually(twice)
    found = await delivery(client, first["id"], "delivered")
    assert [each["n"] for each in found["tried"]] == [1, 2]
    assert [(each.id, each.body) for each in receiver.received] == [(first["id"], found["body"])] * 2
    await client.patch(f"/v1/webhook_endpoints/{made}", json={"enabled": False})
    refused = await client.post(f"/v1/webhook_deliveries/{first['id']}/redeliver")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "webhook_endpoint.disabled")


async def test_one_that_waits_for_its_next_attempt_gets_it_at_once(
    running: World, client: httpx.AsyncClient, receiver: Receiver
) -> None:
    await endpoint(client, receiver, "session.canceled")
    receiver.answer = 500
    await ended(running, client)

    async def failed_twice() -> dict[str, Any] | None:
        found = (await client.get("/v1/webhook_deliveries")).json()["data"]
        return found[0] if found and found[0]["attempts"] >= 2 and found[0]["next_attempt_at"] else None

    waiting = await eventually(failed_twice)  # the third attempt would be in five minutes
    assert waiting is not None
    receiver.answer = 200
    assert (await client.post(f"/v1/webhook_deliveries/{waiting['id']}/redeliver")).status_code == 202
    found = await delivery(client, waiting["id"], "delivered")
    assert [each["status"] for each in found["tried"]] == [500, 500, 200]


async def test_a_replay_sends_what_an_endpoint_has_missed(
    running: World, client: httpx.AsyncClient, receiver: Receiver
) -> None:
    made = await endpoint(client, receiver)
    seen = await ended(running, client)
    await deliveries(client, 2)
    await client.patch(f"/v1/webhook_endpoints/{made}", json={"enabled": False})
    missed = [await ended(running, client) for _ in range(2)]

    async def told() -> bool:
        return len((await client.get("/v1/events")).json()["data"]) == 6

    await eventually(told)
    path = f"/v1/webhook_endpoints/{made}/replay"
    refused = await client.post(path, json={"after": "0"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "webhook_endpoint.disabled")
    await client.patch(f"/v1/webhook_endpoints/{made}", json={"enabled": True})
    answer = await client.post(path, json={"session_id": missed[0]})
    assert (answer.status_code, answer.json()["deliveries"]) == (202, 2)
    await deliveries(client, 4)
    answer = await client.post(path, json={"session_id": seen, "after_seq": 1})
    assert answer.json()["deliveries"] == 1
    again = await client.post(path, json={"since": "2026-01-01T00:00:00Z"})
    assert again.json() | {"through": ""} == {
        "object": "webhook_replay", "deliveries": again.json()["deliveries"], "through": "", "has_more": False,
    }  # fmt: skip
    assert 5 <= again.json()["deliveries"] <= 6  # one may still be pending
    await deliveries(client, 6)

    async def all_twice() -> bool:
        return len(receiver.received) >= 2 + 2 + 1 + int(again.json()["deliveries"])

    await eventually(all_twice)
    assert {each.body["data"]["id"] for each in receiver.received} == {seen, *missed}
    assert len({each.id for each in receiver.received}) == 6
    behind = await client.post(path, json={"since": "2999-01-01T00:00:00Z"})
    assert behind.json()["deliveries"] == 0


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "body.invalid"),
        ({"after": "0", "session_id": "sess_1"}, 422, "body.invalid"),
        ({"after": "-1"}, 422, "after.invalid"),
        ({"after": "999"}, 400, "cursor.invalid"),
        ({"since": "yesterday"}, 422, "since.invalid"),
        ({"since": "2026-01-01T00:00:00"}, 422, "since.invalid"),
        ({"session_id": "sess_1", "after_seq": -1}, 422, "after_seq.too_small"),
    ],
)
async def test_a_bad_replay(
    client: httpx.AsyncClient, receiver: Receiver, body: dict[str, Any], status: int, code: str
) -> None:
    made = await endpoint(client, receiver)
    answer = await client.post(f"/v1/webhook_endpoints/{made}/replay", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_a_session_of_another_account_is_not_replayed(
    running: World, client: httpx.AsyncClient, receiver: Receiver
) -> None:
    made = await endpoint(client, receiver)
    _, key = await running.new_account("another")
    async with running.client(key) as other:
        session = await ended(running, other)

        async def told() -> bool:
            return len((await other.get("/v1/events")).json()["data"]) == 2

        await eventually(told)
    answer = await client.post(f"/v1/webhook_endpoints/{made}/replay", json={"session_id": session})
    assert answer.json()["deliveries"] == 0
