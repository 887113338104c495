"""Webhook endpoints and their secrets. What is to be sent to them, and their removal with it: `deliveries.py`."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from events.sealing import Keyring
from schemas import webhooks
from schemas.events import BY_NAME
from schemas.ids import WEBHOOK_ENDPOINT, new_id
from schemas.times import from_datetime, to_wire
from schemas.webhooks import WebhookEndpointResource
from store.accounts import hold
from store.database import Connection, Pool, Row, delete_by_batches

MOST_PER_ACCOUNT = 16
FAILING_MOST = "120 hours"
"""Without a success for so long, an endpoint is disabled by its next failure."""
_MOST_RETIRED = 3
"""Secrets that sign beside the newest; older ones end at once."""

_COLUMNS = "id, account_id, url, events, description, enabled, disabled_reason, disabled_at, failing_since, created_at"

_COLUMNS_NEW = ", ".join(f"new.{column}" for column in _COLUMNS.split(", "))


@dataclass(frozen=True)
class Endpoint:
    """`disabled_reason`: why we disabled it; none where its customer did."""

    id: str
    account_id: str
    url: str
    events: list[str]
    description: str
    enabled: bool
    disabled_reason: Literal["gone", "failing"] | None
    disabled_at: datetime | None
    failing_since: datetime | None
    created_at: datetime


def resource(endpoint: Endpoint, secret: str | None = None) -> WebhookEndpointResource:
    """As customers see it; `secret` where it is new."""
    return WebhookEndpointResource(
        id=endpoint.id,
        url=endpoint.url,
        events=endpoint.events,
        description=endpoint.description,
        enabled=endpoint.enabled,
        disabled_reason=endpoint.disabled_reason,
        disabled_at=_time(endpoint.disabled_at),
        failing_since=_time(endpoint.failing_since),
        created_at=to_wire(from_datetime(endpoint.created_at)),
        secret=secret,
    )


def body(endpoint: Endpoint, kind: str, at_ms: int) -> bytes:
    """Of an event that tells of the endpoint itself."""
    return webhooks.body(kind, at_ms, resource(endpoint).model_dump())


def _time(at: datetime | None) -> str | None:
    return None if at is None else to_wire(from_datetime(at))


async def create(
    connection: Connection,
    account_id: str,
    url: str,
    events: list[str],
    description: str,
    enabled: bool,
    keyring: Keyring,
) -> tuple[Endpoint, str] | None:
    """Returns (endpoint, secret), or None when the account has its MOST_PER_ACCOUNT. The secret is shown once.

    Raises Erased.
    """
    endpoint_id = new_id(WEBHOOK_ENDPOINT)
    async with connection.transaction():
        # Counted by a statement of its own: one that waits for the lock goes on seeing what was there before it waited.
        await hold(connection, account_id)
        cursor = await connection.execute(
            f"""
            INSERT INTO webhook_endpoints (id, account_id, url, events, description, enabled)
            SELECT %(id)s, %(account)s, %(url)s, %(events)s, %(description)s, %(enabled)s
            WHERE (SELECT count(*) FROM webhook_endpoints w WHERE w.account_id = %(account)s) < %(most)s
            RETURNING {_COLUMNS}
            """,  # noqa: S608 - constants
            {
                "id": endpoint_id,
                "account": account_id,
                "url": url,
                "events": events,
                "description": description,
                "enabled": enabled,
                "most": MOST_PER_ACCOUNT,
            },
        )
        row = await cursor.fetchone()
        if row is None:
            return None
        return Endpoint(*row), await _new_secret(connection, endpoint_id, keyring)


async def _new_secret(connection: Connection, endpoint_id: str, keyring: Keyring) -> str:
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    key_id, wrapped = keyring.wrap(secret.encode(), endpoint_id)
    await connection.execute(
        """
        INSERT INTO webhook_secrets (endpoint_id, n, key_id, secret)
        SELECT %(id)s, coalesce(max(n), 0) + 1, %(key)s, %(secret)s FROM webhook_secrets WHERE endpoint_id = %(id)s
        """,
        {"id": endpoint_id, "key": key_id, "secret": wrapped},
    )
    return secret


async def find(connection: Connection, account_id: str, endpoint_id: str) -> Endpoint | None:
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM webhook_endpoints WHERE id = %s AND account_id = %s",  # noqa: S608 - constants
        [endpoint_id, account_id],
    )
    return _one(await cursor.fetchone())


async def every(connection: Connection, account_id: str | None) -> Sequence[Endpoint]:
    """Of the account, or of all; the newest first."""
    cursor = await connection.execute(
        f"""
        SELECT {_COLUMNS} FROM webhook_endpoints WHERE %(account)s::text IS NULL OR account_id = %(account)s
        ORDER BY id DESC
        """,  # noqa: S608 - constants
        {"account": account_id},
    )
    return [Endpoint(*row) for row in await cursor.fetchall()]


async def change(
    connection: Connection, account_id: str, endpoint_id: str, given: Mapping[str, object]
) -> Endpoint | None:
    """Change url, events, description, enabled, as far as they are given; None when this account has none such.

    One that is enabled, or called elsewhere, is not failing any more, and why it was disabled is forgotten.
    """
    anew = given.get("enabled") is True or "url" in given
    cursor = await connection.execute(
        f"""
        UPDATE webhook_endpoints SET
            url = coalesce(%(url)s, url), events = coalesce(%(events)s, events),
            description = coalesce(%(description)s, description), enabled = coalesce(%(enabled)s, enabled),
            failing_since = CASE WHEN NOT %(anew)s THEN failing_since END,
            disabled_reason = CASE WHEN %(enabled)s IS NULL THEN disabled_reason END,
            disabled_at = CASE WHEN %(enabled)s IS TRUE THEN NULL
                WHEN %(enabled)s IS FALSE THEN coalesce(disabled_at, now()) ELSE disabled_at END
        WHERE id = %(id)s AND account_id = %(account)s RETURNING {_COLUMNS}
        """,  # noqa: S608 - constants
        {
            "id": endpoint_id,
            "account": account_id,
            "anew": anew,
            **{name: given.get(name) for name in ("url", "events", "description", "enabled")},
        },
    )
    return _one(await cursor.fetchone())


async def rotate(
    connection: Connection, account_id: str, endpoint_id: str, previous_for_s: int, keyring: Keyring
) -> tuple[Endpoint, str] | None:
    """Returns (endpoint, the new secret); those before sign for `previous_for_s` more. None: no such endpoint.

    If the answer is lost, the secret is: rotate again, which leaves what is verified now verifiable.
    """
    async with connection.transaction():
        endpoint = await find(connection, account_id, endpoint_id)
        if endpoint is None:
            return None
        await lock(connection, endpoint_id)
        await connection.execute(
            """
            UPDATE webhook_secrets SET until = least(until, now() + make_interval(secs => %s)) WHERE endpoint_id = %s
            """,
            [previous_for_s, endpoint_id],
        )
        secret = await _new_secret(connection, endpoint_id, keyring)
        await connection.execute(
            """
            DELETE FROM webhook_secrets s WHERE s.endpoint_id = %(id)s AND (s.until <= now() OR s.n <
                (SELECT max(n) - %(kept)s FROM webhook_secrets WHERE endpoint_id = %(id)s))
            """,
            {"id": endpoint_id, "kept": _MOST_RETIRED},
        )
        return endpoint, secret


async def disable(connection: Connection, account_id: str, endpoint_id: str) -> bool:
    """False when this account has none such."""
    return await change(connection, account_id, endpoint_id, {"enabled": False}) is not None


async def delete(connection: Connection, account_id: str, endpoint_id: str) -> bool:
    """With all that is still to be delivered to it; `deliveries.delete_endpoint` does so in parts."""
    cursor = await connection.execute(
        "DELETE FROM webhook_endpoints WHERE id = %s AND account_id = %s", [endpoint_id, account_id]
    )
    return cursor.rowcount == 1


async def lock(connection: Connection, endpoint_id: str) -> None:
    """Against a delete, which waits until this transaction is over."""
    await connection.execute("SELECT 1 FROM webhook_endpoints WHERE id = %s FOR NO KEY UPDATE", [endpoint_id])


async def lock_all(connection: Connection, account_id: str) -> None:
    """Against replays, which copy what the feed has: those that have begun are over, none begins until this ends."""
    await connection.execute(
        "SELECT 1 FROM webhook_endpoints WHERE account_id = %s ORDER BY id FOR NO KEY UPDATE", [account_id]
    )


async def succeeded(connection: Connection, endpoint_id: str) -> None:
    """It has answered: it is not failing any more."""
    await connection.execute(
        "UPDATE webhook_endpoints SET failing_since = NULL WHERE id = %s AND failing_since IS NOT NULL", [endpoint_id]
    )


async def failed(connection: Connection, endpoint_id: str, url: str, *, gone: bool) -> Endpoint | None:
    """It is failing since now, unless it was, or is called elsewhere meanwhile. Returns it when that disables it: it
    says that it is gone, or has failed for FAILING_MOST. Whoever disables it tells its account, in this transaction."""
    cursor = await connection.execute(
        f"""
        UPDATE webhook_endpoints w SET
            failing_since = coalesce(failing_since, now()), enabled = enabled AND why IS NULL,
            disabled_reason = CASE WHEN enabled THEN why ELSE disabled_reason END,
            disabled_at = CASE WHEN enabled AND why IS NOT NULL THEN now() ELSE disabled_at END
        FROM (
            SELECT e.id AS of, CASE WHEN %(gone)s THEN 'gone' WHEN e.failing_since < now() - %(most)s::interval
                THEN 'failing' END AS why
            FROM webhook_endpoints e WHERE e.id = %(id)s
        ) x
        WHERE w.id = x.of AND w.url = %(url)s RETURNING old.enabled AND NOT new.enabled, {_COLUMNS_NEW}
        """,  # noqa: S608 - constants
        {"id": endpoint_id, "url": url, "gone": gone, "most": FAILING_MOST},
    )
    row = await cursor.fetchone()
    return Endpoint(*row[1:]) if row is not None and row[0] else None


Subscriptions = dict[str, list[tuple[str, list[str]]]]
"""Account → (endpoint, the types that it wants) of each."""


async def subscriptions(connection: Connection, accounts: Collection[str]) -> Subscriptions:
    """Of those endpoints that are enabled."""
    cursor = await connection.execute(
        "SELECT account_id, id, events FROM webhook_endpoints WHERE enabled AND account_id = ANY(%s)", [list(accounts)]
    )
    found: Subscriptions = {}
    for account_id, endpoint_id, patterns in await cursor.fetchall():
        found.setdefault(account_id, []).append((endpoint_id, patterns))
    return found


async def opted_in(connection: Connection, accounts: Collection[str]) -> frozenset[str]:
    """Those of these accounts that have an enabled endpoint for what is sent by its exact name alone."""
    names = ", ".join(f"'{name}'" for name in sorted(BY_NAME))  # constants: the partial index is for these very words
    cursor = await connection.execute(
        f"""
        SELECT DISTINCT account_id FROM webhook_endpoints
        WHERE enabled AND events && ARRAY[{names}] AND account_id = ANY(%s)
        """,  # noqa: S608 - constants
        [list(accounts)],
    )
    return frozenset(row[0] for row in await cursor.fetchall())


def _one(row: Row | None) -> Endpoint | None:
    return None if row is None else Endpoint(*row)


async def prune(pool: Pool) -> int:
    """Delete secrets that do not sign any more; returns how many."""
    condition = "until < now() - make_interval(secs => %(older_s)s)"
    return await delete_by_batches(pool, "webhook_secrets", "endpoint_id, n", condition, 0)
