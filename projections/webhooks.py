"""Webhook endpoints, and the fan-out: one delivery per endpoint and transition, inserted with the checkpoint."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass

import orjson

from events.sealing import DataKey, Keyring
from events.sessions import State
from projections.accounts import AccountErased, DataKeys
from projections.database import Connection
from projections.folding import Change, Folded, StoredStates
from projections.resources import resource
from schemas.ids import WEBHOOK_DELIVERY, WEBHOOK_ENDPOINT, derived_id, new_id
from schemas.times import to_wire

MAX_ENDPOINTS = 16
_DELETED_AT_ONCE = 2000
INTERNAL = frozenset({"session.assigned", "session.declined", "session.joined", "session.end_requested"})
"""Transitions that stay inside: no webhook, no history."""


def wanted(kind: str, patterns: list[str]) -> bool:
    """Whether an endpoint's `events` name this type: exactly, by `*`, or by a prefix such as `session.*`."""
    return any(p in ("*", kind) or (p.endswith(".*") and kind.startswith(p[:-1])) for p in patterns)


@dataclass(frozen=True)
class Endpoint:
    id: str
    account_id: str
    url: str
    events: list[str]
    description: str
    enabled: bool
    created_ms: int


async def create_endpoint(
    connection: Connection,
    account_id: str,
    url: str,
    events: list[str],
    description: str,
    enabled: bool,
    keyring: Keyring,
) -> tuple[Endpoint, str] | None:
    """Returns (endpoint, secret), or None when the account has its MAX_ENDPOINTS. The secret is shown once."""
    endpoint_id = new_id(WEBHOOK_ENDPOINT)
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    master, wrapped = keyring.wrap(secret.encode(), endpoint_id)
    async with connection.transaction():
        # Counted by a statement of its own: one that waits for the lock goes on seeing what was there before it waited.
        await connection.execute("SELECT 1 FROM accounts WHERE id = %s FOR NO KEY UPDATE", [account_id])
        cursor = await connection.execute(
            """
            INSERT INTO webhook_endpoints (id, account_id, url, events, description, enabled, secret_key_id, secret)
            SELECT %(id)s, %(account)s, %(url)s, %(events)s, %(description)s, %(enabled)s, %(master)s, %(secret)s
            WHERE (SELECT count(*) FROM webhook_endpoints w WHERE w.account_id = %(account)s) < %(most)s
            RETURNING (extract(epoch FROM created_at) * 1000)::bigint
            """,
            {
                "id": endpoint_id,
                "account": account_id,
                "url": url,
                "events": events,
                "description": description,
                "enabled": enabled,
                "master": master,
                "secret": wrapped,
                "most": MAX_ENDPOINTS,
            },
        )
        row = await cursor.fetchone()
    if row is None:
        return None
    return Endpoint(endpoint_id, account_id, url, events, description, enabled, row[0]), secret


async def delete_endpoint(connection: Connection, account_id: str, endpoint_id: str) -> bool:
    """With its deliveries. False when this account has none such.

    The fan-out waits for a delete of the endpoint's row, and everybody's events with it. So a backlog of any size goes
    first, part by part; if we die in between, the endpoint is disabled and the next delete goes on.
    """
    cursor = await connection.execute(
        "UPDATE webhook_endpoints SET enabled = false WHERE id = %s AND account_id = %s", [endpoint_id, account_id]
    )
    while cursor.rowcount:
        cursor = await connection.execute(
            """
            DELETE FROM deliveries WHERE id IN (
                SELECT d.id FROM deliveries d WHERE d.endpoint_id = %s LIMIT %s FOR UPDATE SKIP LOCKED)
            """,
            [endpoint_id, _DELETED_AT_ONCE],
        )
    cursor = await connection.execute(
        "DELETE FROM webhook_endpoints WHERE id = %s AND account_id = %s", [endpoint_id, account_id]
    )
    return cursor.rowcount == 1


class WebhooksProjection(StoredStates):
    """A reactor: it writes what must be sent; `greenroom deliver` sends it."""

    name = "webhooks"

    def __init__(self, keys: DataKeys) -> None:
        self._keys = keys

    async def apply(self, connection: Connection, folded: Folded) -> None:
        changes = [c for c in folded.changes if _public(c)]
        if changes:
            await self._fan_out(connection, changes)
        await self.save(connection, folded)

    async def _fan_out(self, connection: Connection, changes: list[Change]) -> None:
        endpoints = await _endpoints(connection, {_account(c.evolved.state) for c in changes})
        if not endpoints:
            return
        abandoned = await _abandoned(connection, [c.event.subject for c in changes])
        rows: list[tuple[object, ...]] = []
        for change in changes:
            kind = change.evolved.transition
            account_id = _account(change.evolved.state)
            matching = [e for e, patterns in endpoints.get(account_id, ()) if wanted(kind or "", patterns)]
            if matching and change.event.subject not in abandoned:
                body = _body(change, await self._key(account_id))
                rows.extend(_row(endpoint_id, change, body) for endpoint_id in matching)
        if rows:
            await _insert(connection, rows)

    async def _key(self, account_id: str) -> DataKey | None:
        try:
            return await self._keys.of(account_id)
        except AccountErased:
            return None


def _public(change: Change) -> bool:
    return change.evolved.transition not in INTERNAL | {None} and not change.evolved.state.hidden


def _account(state: State) -> str:
    assert state.created is not None  # public transitions have one
    return state.created.account_id


def _body(change: Change, key: DataKey | None) -> bytes:
    """Frozen now: a late retry tells what was true then."""
    state = change.evolved.state
    return orjson.dumps(
        {
            "type": change.evolved.transition,
            "timestamp": to_wire(state.last_ms),
            "seq": state.seq,
            "attempt": state.attempt,
            "data": resource(state, key),
        }
    )


def _row(endpoint_id: str, change: Change, body: bytes) -> tuple[object, ...]:
    event, state = change.event, change.evolved.state
    return (
        derived_id(WEBHOOK_DELIVERY, event.time_ms, event.id, endpoint_id),
        endpoint_id,
        _account(state),
        state.session_id,
        event.id,
        change.evolved.transition,
        state.seq,
        body,
    )


async def _insert(connection: Connection, rows: list[tuple[object, ...]]) -> None:
    """Deliveries of the endpoints that are still there and enabled; a delete waits until our batch is stored.

    One behind a delivery that waits for its next attempt falls due with that, or after a minute: else those that may
    not go yet would stand before those that may.
    """
    columns = [list(column) for column in zip(*rows, strict=True)]
    await connection.execute(
        """
        WITH there AS (
            SELECT w.id FROM webhook_endpoints w WHERE w.id = ANY(%s) AND w.enabled ORDER BY w.id FOR KEY SHARE
        )
        INSERT INTO deliveries (id, endpoint_id, account_id, session_id, event_id, type, seq, body, next_at)
        SELECT x.*, least(greatest(now(), before.next_at), now() + interval '1 minute')
        FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::int[], %b::bytea[])
            AS x (id, endpoint_id, account_id, session_id, event_id, type, seq, body)
        JOIN there ON there.id = x.endpoint_id
        LEFT JOIN LATERAL (
            SELECT d.next_at FROM deliveries d
            WHERE d.state = 'pending' AND d.endpoint_id = x.endpoint_id AND d.session_id = x.session_id
                AND d.claimed_until IS NULL
            ORDER BY d.seq LIMIT 1
        ) before ON true
        ON CONFLICT DO NOTHING
        """,
        [list({row[1] for row in rows}), *columns],
    )
    await connection.execute("SELECT pg_notify('delivery_due', '')")


async def _endpoints(connection: Connection, accounts: set[str]) -> dict[str, list[tuple[str, list[str]]]]:
    cursor = await connection.execute(
        "SELECT account_id, id, events FROM webhook_endpoints WHERE enabled AND account_id = ANY(%s)", [list(accounts)]
    )
    found: dict[str, list[tuple[str, list[str]]]] = {}
    for account_id, endpoint_id, patterns in await cursor.fetchall():
        found.setdefault(account_id, []).append((endpoint_id, patterns))
    return found


async def _abandoned(connection: Connection, session_ids: list[str]) -> set[str]:
    """Sessions whose create was answered 503: their create may be in the log before the end that hides it."""
    cursor = await connection.execute("SELECT session_id FROM abandoned WHERE session_id = ANY(%s)", [session_ids])
    return {row[0] for row in await cursor.fetchall()}
