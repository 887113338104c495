"""Who may do what: every operation of the OpenAPI document with every kind of key that must not."""

from __future__ import annotations

from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio

from store.accounts import NOUNS, SCOPES
from tests import portraits
from tests.world import World

pytestmark = pytest.mark.servers

OPEN = {"GET /v1/status", "GET /v1/billing/plans"}


class Operation(NamedTuple):
    method: str
    path: str
    scope: str | None
    """None: open to everybody."""
    of_one: bool
    """It names an object, which may be another account's."""


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    await world.start("api", "sessions", "history", "avatars")
    await world.slots_of_nobody(10)
    return world


@pytest_asyncio.fixture(scope="module")
async def operations(running: World) -> list[Operation]:
    """With the ids of objects of the world's own account in their paths."""
    async with running.client() as client:
        document: dict[str, Any] = (await client.get("/openapi.json")).json()
        endpoint_id = (await client.post("/v1/webhook_endpoints", json=ENDPOINT)).json()["id"]
        made = {
            "session_id": (await running.create(client))["id"],
            "avatar_id": (
                await client.post("/v1/avatars", files={"image": portraits.file(portraits.noise())}, data=MOCK)
            ).json()["id"],
            "endpoint_id": endpoint_id,
            "delivery_id": (await client.post(f"/v1/webhook_endpoints/{endpoint_id}/test")).json()["id"],
        }
    found = []
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            scope = told.get("x-scope")
            found.append(Operation(method.upper(), path.format(**made), scope, "{" in path))
    return found


ENDPOINT = {"url": "http://127.0.0.1:1/hook", "events": ["*"]}
MOCK = {"runtime_type": "mock"}


async def asked(client: httpx.AsyncClient, operation: Operation) -> tuple[int, str]:
    answer = await client.request(operation.method, operation.path)
    body = answer.json() if answer.content else {}
    return answer.status_code, body["error"]["code"] if "error" in body else ""


async def test_every_operation_is_open_or_has_a_scope(operations: list[Operation]) -> None:
    assert {f"{each.method} {each.path}" for each in operations if each.scope is None} == OPEN
    assert {each.scope for each in operations if each.scope} <= set(SCOPES)
    assert len(operations) > 15


async def test_without_a_key(running: World, operations: list[Operation]) -> None:
    async with httpx.AsyncClient(base_url=running.api_url, trust_env=False) as nobody:
        for each in operations:
            found = await asked(nobody, each)
            assert found == ((200, "") if each.scope is None else (401, "api_key.missing")), each


async def test_with_a_revoked_key(running: World, operations: list[Operation]) -> None:
    key_id, key = await running.new_key()
    await running.revoke(key_id)
    async with running.client(key) as revoked:
        for each in operations:
            found = await asked(revoked, each)
            assert found == ((200, "") if each.scope is None else (401, "api_key.revoked")), each


async def test_without_the_scope(running: World, operations: list[Operation]) -> None:
    """A key with all scopes but the one, and without what contains it."""
    keys = {}
    for noun in NOUNS:
        others = [scope for scope in SCOPES if scope != "*" and not scope.startswith(noun)]
        keys[f"{noun}:read"] = (await running.new_key(scopes=tuple(others)))[1]
        keys[f"{noun}:write"] = (await running.new_key(scopes=(*others, f"{noun}:read")))[1]
    for each in operations:
        if each.scope is not None:
            async with running.client(keys[each.scope]) as lacking:
                answer = await lacking.request(each.method, each.path)
                assert (answer.status_code, answer.json()["error"]["code"]) == (403, "scope.missing"), each
                assert each.scope in answer.json()["error"]["message"]


async def test_with_the_scope(running: World, operations: list[Operation]) -> None:
    """The one scope is enough to get past the door: what is wrong then is something else."""
    for scope in sorted({each.scope for each in operations if each.scope}):
        _, key = await running.new_key(scopes=(scope,))
        async with running.client(key) as client:
            for each in operations:
                if each.scope == scope and each.method != "DELETE" and not each.path.endswith("/end"):
                    assert (await asked(client, each))[0] not in (401, 403), each


async def test_objects_of_another_account_are_not_there(running: World, operations: list[Operation]) -> None:
    _, key = await running.new_account("another")
    async with running.client(key) as stranger:
        for each in operations:
            if each.of_one:
                status, found = await asked(stranger, each)
                assert status == 404, each
                assert found.endswith(".not_found"), each
