"""`greenroom deliver`: sends what the fan-out inserted, signed, with retries. Rules: docs/webhooks.md.

If the process dies after an answer and before it is stored, the delivery is sent again with the same `webhook-id`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
import structlog
from standardwebhooks.webhooks import Webhook

from events.sealing import Keyring
from projections.database import Connection, DatabaseUnreachable, Pool, listen
from projections.settings import WebhookSettings
from schemas.background import Background

log = structlog.get_logger()

SCHEDULE_S = (0, 5, 300, 1800, 7200, 18_000, 36_000, 36_000)
"""Delay before each attempt; after the last one the delivery is given up, visibly."""
TIMEOUT_S = 15.0
_LEASE_S = 30
_CLAIM = 64
_PER_ENDPOINT = 8
_ANSWER_READ = 64 * 1024
_ANSWER_KEPT = 2048
_POLL_S = 2.0

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class UnsafeUrl(Exception):
    """The endpoint's URL or address may not be called; the message says why and what to do."""


class Safety:
    """Which URLs and addresses an endpoint may have."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._insecure = settings.webhook_allow_insecure
        parts = filter(None, (p.strip() for p in settings.webhook_permitted_networks.split(",")))
        self._permitted: list[Network] = [ipaddress.ip_network(p, strict=False) for p in parts]

    def check_url(self, url: str) -> None:
        """Raises UnsafeUrl for what is wrong whatever the name resolves to."""
        try:
            parts = urlsplit(url)
            port_ok = parts.port is None or parts.port > 0
        except ValueError:
            raise UnsafeUrl("the URL cannot be read") from None
        if not parts.hostname or not port_ok:
            raise UnsafeUrl("the URL has no host")
        if parts.username or parts.password:
            raise UnsafeUrl("the URL must not contain credentials; verify our signature instead")
        if parts.scheme != "https" and not (parts.scheme == "http" and self._insecure):
            raise UnsafeUrl("the URL must start with https://")

    def check_address(self, text: str) -> None:
        """Raises UnsafeUrl for addresses inside: loopback, private, link-local, CGNAT, metadata, mapped ones."""
        address: Address = ipaddress.ip_address(text)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if any(address in network for network in self._permitted if network.version == address.version):
            return
        if not address.is_global or address.is_multicast:
            raise UnsafeUrl(f"the address {address} is not a public one")

    async def resolve(self, url: str) -> str:
        """The address to connect to: resolved once, checked, and pinned for the connection."""
        self.check_url(url)
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(5):
                found = await loop.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
        except (TimeoutError, OSError):
            raise UnsafeUrl("the host's name does not resolve") from None
        addresses = [str(entry[4][0]) for entry in found]
        for address in addresses:
            self.check_address(address)
        return addresses[0]


@dataclass(frozen=True)
class Due:
    id: str
    endpoint_id: str
    event_id: str
    body: bytes
    attempts: int
    url: str
    secret_key_id: str
    secret: bytes


@dataclass(frozen=True)
class Attempt:
    at: datetime
    status: int | None
    latency_ms: int
    error: str | None
    answer: str | None
    retry_after_s: int | None = None

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class Deliverer:
    """Claims due deliveries and sends them. Any number of these processes can run."""

    def __init__(self, pool: Pool, keyring: Keyring, settings: WebhookSettings) -> None:
        self._pool = pool
        self._keyring = keyring
        self._url = settings.database_url
        self._safety = Safety(settings)
        self._wake = asyncio.Event()
        self._busy: dict[str, int] = {}
        self._running = Background()

    async def run(self) -> None:
        listener = asyncio.create_task(listen(self._url, "delivery_due", self._wake))
        client = httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)
        try:
            async with client:
                while True:
                    self._wake.clear()
                    if not await self._claim_and_send(client):
                        await self._sleep()
        finally:
            listener.cancel()
            await self._running.cancel()
            await asyncio.gather(listener, return_exceptions=True)

    async def _sleep(self) -> None:
        try:
            async with asyncio.timeout(_POLL_S):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _claim_and_send(self, client: httpx.AsyncClient) -> bool:
        """Returns whether anything was claimed."""
        full = [endpoint for endpoint, n in self._busy.items() if n >= _PER_ENDPOINT]
        try:
            async with self._pool.connection(within_s=TIMEOUT_S) as connection:
                claimed = await claim(connection, full)
        except DatabaseUnreachable as failed:
            log.warning("deliveries cannot be claimed", error=repr(failed))
            return False
        for due in claimed:
            self._busy[due.endpoint_id] = self._busy.get(due.endpoint_id, 0) + 1
            self._running.spawn(self._deliver(client, due), "deliver")
        return bool(claimed)

    async def _deliver(self, client: httpx.AsyncClient, due: Due) -> None:
        try:
            attempt = await self._attempt(client, due)
            async with self._pool.connection(within_s=TIMEOUT_S) as connection:
                await record(connection, due, attempt)
        except DatabaseUnreachable as failed:
            log.warning("delivery attempt not stored; it will be sent again", delivery=due.id, error=repr(failed))
        finally:
            self._busy[due.endpoint_id] -= 1
            if not self._busy[due.endpoint_id]:
                del self._busy[due.endpoint_id]
            self._wake.set()

    async def _attempt(self, client: httpx.AsyncClient, due: Due) -> Attempt:
        at, started = datetime.now(UTC), time.monotonic()

        def result(
            status: int | None, error: str | None, answer: str | None, retry_after: int | None = None
        ) -> Attempt:
            return Attempt(at, status, round((time.monotonic() - started) * 1000), error, answer, retry_after)

        try:
            async with asyncio.timeout(TIMEOUT_S):
                address = await self._safety.resolve(due.url)
                request = self._request(client, due, address, at)
                response = await client.send(request, stream=True)
                try:
                    answer = await _read(response)
                finally:
                    await response.aclose()
        except UnsafeUrl as unsafe:
            return result(None, str(unsafe), None)
        except (httpx.HTTPError, TimeoutError, OSError) as failed:
            return result(None, type(failed).__name__, None)
        return result(response.status_code, None, answer, _retry_after(response))

    def _request(self, client: httpx.AsyncClient, due: Due, address: str, at: datetime) -> httpx.Request:
        secret = self._keyring.unwrap(due.secret_key_id, due.secret, due.endpoint_id).decode()
        url = httpx.URL(due.url)
        headers = {
            "host": url.netloc.decode(),
            "content-type": "application/json",
            "user-agent": "Greenroom-Webhooks/1",
            "webhook-id": due.id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(secret).sign(due.id, at, due.body.decode()),
        }
        # Connect to the very address that was checked; TLS still verifies the name.
        pinned = url.copy_with(host=address)
        extensions = {"sni_hostname": url.host} if url.scheme == "https" else {}
        return client.build_request("POST", pinned, content=due.body, headers=headers, extensions=extensions)


async def _read(response: httpx.Response) -> str:
    body = b""
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= _ANSWER_READ:
            break
    return body[:_ANSWER_KEPT].decode(errors="replace").replace("\0", "")


def _retry_after(response: httpx.Response) -> int | None:
    value = response.headers.get("retry-after", "")
    return min(int(value), 86_400) if value.isdigit() else None


async def claim(connection: Connection, full_endpoints: Sequence[str]) -> list[Due]:
    """Take due deliveries for `_LEASE_S`; whoever dies with them lets them fall due again.

    Order per session and endpoint: one waits while an earlier one is pending, for a minute at most.
    """
    cursor = await connection.execute(
        """
        UPDATE deliveries d SET next_at = now() + make_interval(secs => %(lease)s), attempts = d.attempts + 1
        FROM (
            SELECT c.id FROM deliveries c
            WHERE c.state = 'pending' AND c.next_at <= now() AND c.endpoint_id <> ALL (%(full)s)
              AND NOT EXISTS (
                SELECT 1 FROM deliveries e
                WHERE e.state = 'pending' AND e.endpoint_id = c.endpoint_id AND e.session_id = c.session_id
                  AND e.seq < c.seq AND c.created_at > now() - interval '1 minute')
            ORDER BY c.next_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        ) due, webhook_endpoints w
        WHERE d.id = due.id AND w.id = d.endpoint_id
        RETURNING d.id, d.endpoint_id, d.event_id, d.body, d.attempts, w.url, w.secret_key_id, w.secret
        """,
        {"lease": _LEASE_S, "full": list(full_endpoints), "limit": _CLAIM},
    )
    return [Due(*row) for row in await cursor.fetchall()]


async def record(connection: Connection, due: Due, attempt: Attempt) -> None:
    """Store one attempt and what follows from it: done, the next time, or given up."""
    state, delay = "pending", 0.0
    if attempt.delivered:
        state = "delivered"
    elif attempt.status == 410 or due.attempts >= len(SCHEDULE_S):
        state = "given_up"
    else:
        delay = max(SCHEDULE_S[due.attempts] * random.uniform(0.9, 1.1), attempt.retry_after_s or 0)  # noqa: S311
    async with connection.transaction():
        await connection.execute(
            """
            INSERT INTO delivery_attempts (delivery_id, n, at, status, latency_ms, error, answer)
            VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
            """,
            [due.id, due.attempts, attempt.at, attempt.status, attempt.latency_ms, attempt.error, attempt.answer],
        )
        await connection.execute(
            """
            UPDATE deliveries SET state = %(state)s, next_at = now() + make_interval(secs => %(delay)s),
                finished_at = CASE WHEN %(state)s = 'pending' THEN NULL ELSE now() END
            WHERE id = %(id)s AND state = 'pending'
            """,
            {"state": state, "delay": delay, "id": due.id},
        )
        if attempt.status == 410:
            await connection.execute("UPDATE webhook_endpoints SET enabled = false WHERE id = %s", [due.endpoint_id])
