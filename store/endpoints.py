"""Webhook endpoints. What is to be sent to them, and their removal with it: `deliveries.py`."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass

from events.sealing import Keyring
from schemas.ids import WEBHOOK_ENDPOINT, new_id
from store.database import Connection

MOST_PER_ACCOUNT = 16


@dataclass(frozen=True)
class Endpoint:
    id: str
    account_id: str
    url: str
    events: list[str]
    description: str
    enabled: bool
    created_ms: int


async def create(
    connection: Connection,
    account_id: str,
    url: str,
    events: list[str],
    description: str,
    enabled: bool,
    keyring: Keyring,
) -> tuple[Endpoint, str] | None:
    """Returns (endpoint, secret), or None when the account has its MOST_PER_ACCOUNT. The secret is shown once."""
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
                "most": MOST_PER_ACCOUNT,
            },
        )
        row = await cursor.fetchone()
    if row is None:
        return None
    return Endpoint(endpoint_id, account_id, url, events, description, enabled, row[0]), secret


async def disable(connection: Connection, account_id: str, endpoint_id: str) -> bool:
    """False when this account has none such."""
    cursor = await connection.execute(
        "UPDATE webhook_endpoints SET enabled = false WHERE id = %s AND account_id = %s", [endpoint_id, account_id]
    )
    return cursor.rowcount == 1


async def delete(connection: Connection, account_id: str, endpoint_id: str) -> bool:
    """With all that is still to be delivered to it; `deliveries.delete_endpoint` does so in parts."""
    cursor = await connection.execute(
        "DELETE FROM webhook_endpoints WHERE id = %s AND account_id = %s", [endpoint_id, account_id]
    )
    return cursor.rowcount == 1


async def lock(connection: Connection, endpoint_id: str) -> None:
    """Against a delete, which waits until this transaction is over."""
    await connection.execute("SELECT 1 FROM webhook_endpoints WHERE id = %s FOR NO KEY UPDATE", [endpoint_id])


async def succeeded(connection: Connection, endpoint_id: str) -> None:
    """It has answered: it is not failing any more."""
    await connection.execute(
        "UPDATE webhook_endpoints SET failing_since = NULL WHERE id = %s AND failing_since IS NOT NULL", [endpoint_id]
    )


async def failed(connection: Connection, endpoint_id: str, *, gone: bool) -> None:
    """It is failing since now, unless it was; disabled when it says that it is gone."""
    await connection.execute(
        """
        UPDATE webhook_endpoints
        SET failing_since = coalesce(failing_since, now()), enabled = enabled AND NOT %s WHERE id = %s
        """,
        [gone, endpoint_id],
    )


async def subscriptions(connection: Connection, accounts: set[str]) -> dict[str, list[tuple[str, list[str]]]]:
    """Account → (endpoint, the types that it wants) of each that is enabled."""
    cursor = await connection.execute(
        "SELECT account_id, id, events FROM webhook_endpoints WHERE enabled AND account_id = ANY(%s)", [list(accounts)]
    )
    found: dict[str, list[tuple[str, list[str]]]] = {}
    for account_id, endpoint_id, patterns in await cursor.fetchall():
        found.setdefault(account_id, []).append((endpoint_id, patterns))
    return found
