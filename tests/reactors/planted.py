"""Tenants with all that may tell of people, each with marks of its own, and where these marks still are."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from starlette.requests import Request
from starlette.responses import Response

from cli.receiver import Receiver
from events import topics
from events.sealing import DataKey, KeySet, SealError, field_aad
from schemas.events import Encrypted, SessionEnded, SessionEnding, SessionFirstFrame, SessionStarting
from tests import portraits
from tests.builders import beat
from tests.cli.test_admin import done
from tests.world import World, eventually


class Echo(Receiver):
    """Answers with what it was sent, as some do."""

    async def _take(self, request: Request) -> Response:
        answer = await super()._take(request)
        return Response(await request.body(), answer.status_code)


@dataclass
class Tenant:
    """An account with all that it may tell of people, each with a mark of its own."""

    account: str
    key: str
    marks: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def plant(self, what: str) -> str:
        return self.marks.setdefault(what, f"plant-{what}-{secrets.token_hex(6)}")


# A life, and its traces


async def queued(world: World, tenant: Tenant, name: str) -> str:
    async with world.client(tenant.key) as client:
        room, identity = tenant.plant(f"{name}-room"), tenant.plant(f"{name}-identity")
        transport = {
            "url": f"{world.livekit.url}/{tenant.plant(f'{name}-url')}",
            "worker_token": world.livekit.token(room, identity, behalf="agent"),
            "subscribe_to_identity": tenant.plant(f"{name}-agent"),
        }
        body = world.request(room, transport=transport, metadata={"note": tenant.plant(f"{name}-note")})
        answer = await client.post("/v1/sessions", json=body, headers={"Idempotency-Key": tenant.plant(f"{name}-key")})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


async def lived(world: World, tenant: Tenant, name: str) -> str:
    """A session from its create to its end, of which everybody has been told."""
    sid = await queued(world, tenant, name)
    [(worker,)] = await world.sql("SELECT worker_id FROM admissions WHERE session_id = %s", sid)
    await world.append(
        SessionStarting(sid, 1, worker),
        SessionFirstFrame(sid, 1, worker, {}),
        beat(sid, 1, 900, worker=worker),
        SessionEnding(sid, 1, worker, "api_request"),
        SessionEnded(sid, 1, "api_request", worker, 2, None),
    )
    async with world.client(tenant.key) as client:
        await world.until(client, sid, "ended")

    async def told() -> bool:
        rows = await world.sql(
            "SELECT (SELECT count(*) FROM feed_events WHERE session_id = %(sid)s AND type = 'session.ended'),"
            " (SELECT count(*) FROM deliveries WHERE session_id = %(sid)s AND state <> 'delivered')".replace(
                "%(sid)s", f"'{sid}'"
            )
        )
        return rows == [(1, 0)]

    await eventually(told, what=f"everybody told of {sid}")
    return sid


async def tenant_of(world: World, name: str) -> Tenant:
    tenant = Tenant("", "")
    tenant.account, tenant.key = await world.new_account(tenant.plant(name))
    await world.sql("UPDATE api_keys SET name = %s WHERE account_id = %s", tenant.plant("keyname"), tenant.account)
    return tenant


async def furnished(world: World, tenant: Tenant, receiver: Receiver) -> str:
    """An endpoint, credits with a note, an avatar; returns the avatar."""
    async with world.client(tenant.key) as client:
        body = {
            "url": f"{receiver.url}?{tenant.plant('endpoint')}",
            "events": ["*"],
            "description": tenant.plant("description"),
        }
        answer = await client.post("/v1/webhook_endpoints", json=body)
        assert answer.status_code == 201, answer.text
        receiver.secret = answer.json()["secret"]
        await done(world, "credits", "grant", tenant.account, "1000", "--note", tenant.plant("credit"))
        answer = await client.post(
            "/v1/avatars",
            files={"image": ("p.png", portraits.file(portraits.drawn()), "image/png")},
            data={"name": tenant.plant("avatar"), "runtime_type": "mock"},
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])


async def keys_that_remain(world: World) -> KeySet:
    found: dict[str, DataKey] = {}
    rows = await world.sql("SELECT id, data_key_id, data_key_master, data_key FROM accounts WHERE data_key IS NOT NULL")
    for account, key_id, master, wrapped in rows:
        found[account] = DataKey(key_id, AESGCM(world.keyring.unwrap(master, wrapped, key_id)))
    rows = await world.sql(
        "SELECT k.session_id, k.key, s.account_id FROM session_keys k JOIN r.all_sessions s USING (session_id)"
        " WHERE k.key IS NOT NULL"
    )
    for sid, wrapped, account in rows:
        if account in found:
            found[sid] = found[account].unwrap(wrapped, sid)
    return KeySet(*found.values())


def fields(value: Any, name: str = "") -> Iterator[tuple[str, Encrypted]]:
    if isinstance(value, dict) and value.keys() == {"enc", "key_id"}:
        yield name, Encrypted(**value)
    elif isinstance(value, dict):
        for each, inner in value.items():
            yield from fields(inner, each)


async def everything(world: World) -> str:
    """All tables, all topics as they are and as the keys that remain open them, and all files of the processes."""
    parts: list[str] = []
    for (table,) in await world.sql(
        "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname !~ '^(pg_|info)'"
    ):
        parts += [row[0] for row in await world.sql(f"SELECT t::text FROM {table} t")]
    keys = await keys_that_remain(world)
    for topic in topics.ALL:
        for record in await world.records(topic):
            value = bytes(record.value or b"")
            parts += [repr((record.key, value, record.headers))]
            if topic.name in ("sessions.v1", "avatars.v1"):
                for name, hidden in fields(json.loads(value)):
                    try:
                        parts.append(keys.decrypt(hidden, field_aad(record.key.decode(), name)))
                    except SealError:
                        continue
    parts += [path.read_bytes().decode("latin-1") for path in world.folder.rglob("*") if path.is_file()]
    return "\n".join(parts)


async def traces(world: World, tenant: Tenant, *names: str) -> set[str]:
    """Those of the tenant's marks (beginning with one of `names`) that are still anywhere."""
    found = await everything(world)
    return {
        what
        for what, mark in tenant.marks.items()
        if (not names or what.split("-")[0] in names) and (mark in found or mark.encode().hex() in found)
    }
