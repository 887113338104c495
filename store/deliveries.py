"""Deliveries as they are stored: claimed, attempted, done, tried again or given up.

`claims` counts what we began, `attempts` what the receiver answered or failed to. A claim without an attempt was
hindered by something of ours, or its process died.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from schemas.events import ENDPOINT_TEST, HEARTBEAT
from schemas.ids import WEBHOOK_DELIVERY, derived_id, time_of
from store import endpoints
from store.database import Connection, Pool, delete_by_batches
from store.endpoints import Endpoint

SCHEDULE_S = (0, 5, 300, 1800, 7200, 18_000, 36_000, 36_000)
"""Delay before each attempt; after the last one the delivery is given up, visibly."""
_TRIES = {ENDPOINT_TEST: 1, HEARTBEAT: 2}
"""Of what is worth less later."""
PER_ENDPOINT, PER_ACCOUNT = 8, 32
"""In flight at once, over all processes."""
MOST_COUNTED = 100_000
MOST_HINDERED = 200
"""About 32 hours of hindrances: then it is given up, too."""
_LEASE = "30 seconds"
"""Longer than an attempt and its storing take together."""
_LONGEST_PAUSE_S = 600
_MOST_RETRY_AFTER_S = 86_400
_SWEPT_AT_ONCE = 1000
_DELETED_AT_ONCE = 2000

Reason = Literal["attempts", "gone", "endpoint_disabled", "hindered"]


@dataclass(frozen=True)
class New:
    """A delivery to be made. `id` is stable: the same event and endpoint give the same one in every replay."""

    id: str
    endpoint_id: str
    account_id: str
    session_id: str
    event_id: str
    type: str
    seq: int
    body: bytes


@dataclass(frozen=True)
class Due:
    """A claimed delivery. `attempts` are those made before, `attempts_before` those of an earlier schedule; `claims`
    count this one, too. `secrets`: (master key, wrapped secret) of each that signs, the newest first."""

    id: str
    endpoint_id: str
    session_id: str
    type: str
    seq: int
    body: bytes
    attempts: int
    attempts_before: int
    claims: int
    created_at: datetime
    asked_again: bool
    url: str
    secrets: list[tuple[str, bytes]]

    @property
    def hindered(self) -> int:
        """Claims that came to no attempt: 1 where this is the first since the last attempt."""
        return self.claims - self.attempts


@dataclass(frozen=True)
class Attempt:
    """What the receiver answered, or how it failed."""

    at: datetime
    status: int | None
    latency_ms: int
    error: str | None
    answer: str | None
    retry_after_s: int | None = None

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        return self.status == 410


def retry_after_s(value: str, now: datetime) -> int | None:
    """Seconds that a `Retry-After` asks for, at most a day; None for what is neither seconds nor an HTTP date."""
    text = value.strip()
    if len(text) > 64 or not text.isascii():
        return None
    if text.isdigit():
        return min(int(text), _MOST_RETRY_AFTER_S)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    if at.tzinfo is None:  # "-0000": UTC, says RFC 5322
        at = at.replace(tzinfo=UTC)
    return max(0, min(round((at - now).total_seconds()), _MOST_RETRY_AFTER_S))


def next_attempt_s(kind: str, made: int, retry_after: int | None, jitter: float) -> float | None:
    """Seconds until the attempt after `made` ones of the schedule; None when those were all."""
    if made >= _TRIES.get(kind, len(SCHEDULE_S)):
        return None
    return max(SCHEDULE_S[made] * jitter, retry_after or 0)


def pause_s(hindered: int) -> float:
    """Before the next try of one that was hindered so often."""
    return float(min(2 ** min(hindered - 1, 10), _LONGEST_PAUSE_S))


def delivery_id(event_id: str, endpoint_id: str) -> str:
    """The `webhook-id`: the same in every retry, redelivery and replay."""
    return derived_id(WEBHOOK_DELIVERY, time_of(event_id), event_id, endpoint_id)


async def insert(connection: Connection, made: Sequence[New]) -> None:
    """Deliveries of the endpoints that are still there and enabled; a delete waits until our batch is stored."""
    columns = [list(column) for column in zip(*map(astuple, made), strict=True)]
    await connection.execute("SELECT insert_deliveries(%s, %s, %s, %s, %s, %s, %s, %b::bytea[])", columns)


async def claim(connection: Connection, most: int) -> list[Due]:
    """Take due deliveries; whoever dies with them lets them fall due again when the lease is over."""
    cursor = await connection.execute(
        "SELECT claim_deliveries(%s, %s::interval, %s, %s)", [most, _LEASE, PER_ENDPOINT, PER_ACCOUNT]
    )
    row = await cursor.fetchone()
    assert row is not None
    if not row[0]:
        return []
    cursor = await connection.execute(
        """
        SELECT d.id, d.endpoint_id, d.session_id, d.type, d.seq, d.body, d.attempts, d.attempts_before, d.claims,
            d.created_at, d.asked_again, w.url, s.keys, s.secrets
        FROM deliveries d JOIN webhook_endpoints w ON w.id = d.endpoint_id CROSS JOIN LATERAL (
            SELECT array_agg(s.key_id ORDER BY s.n DESC) AS keys, array_agg(s.secret ORDER BY s.n DESC) AS secrets
            FROM webhook_secrets s WHERE s.endpoint_id = w.id AND (s.until > now()) IS NOT FALSE
        ) s WHERE d.id = ANY(%s)
        """,
        [row[0]],
        prepare=False,  # a plan that was made while the table was empty reads all of it
    )
    return [
        Due(*[*columns, list(zip(keys, secrets, strict=True))]) for *columns, keys, secrets in await cursor.fetchall()
    ]


async def record_delivered(connection: Connection, ended: Sequence[tuple[Due, Attempt]]) -> list[str]:
    """Store attempts that have succeeded, all in one statement; returns the endpoints that were failing until now.

    If we die before it, they are sent again. If we die after it, an endpoint that was failing gets one at a time until
    its next success. Storing them twice is storing them once.
    """
    ordered = sorted(ended, key=lambda each: each[0].id)  # as another process locks them, to which they may be due anew
    cursor = await connection.execute(
        "SELECT record_delivered(%s, %s, %s, %s, %s, %s)",
        [
            [due.id for due, _ in ordered],
            [due.endpoint_id for due, _ in ordered],
            [attempt.at for _, attempt in ordered],
            [attempt.status for _, attempt in ordered],
            [attempt.latency_ms for _, attempt in ordered],
            [attempt.answer for _, attempt in ordered],
        ],
    )
    row = await cursor.fetchone()
    assert row is not None
    recovered: list[str] = row[0]
    for endpoint_id in recovered:
        await endpoints.succeeded(connection, endpoint_id)
    return recovered


async def record_failed(connection: Connection, due: Due, attempt: Attempt) -> Endpoint | None:
    """Store an attempt that has failed and what follows from it: the next time, or given up. Returns the endpoint when
    that disables it; its account is to be told within the same transaction.

    Of an endpoint that was deleted meanwhile nothing is left to store.
    """
    made = due.attempts - due.attempts_before + 1
    delay = next_attempt_s(due.type, made, attempt.retry_after_s, random.uniform(0.9, 1.1))  # noqa: S311
    async with connection.transaction():
        # Locks in the order of a delete: the endpoint, then its deliveries.
        await endpoints.lock(connection, due.endpoint_id)
        if attempt.gone:
            stored = await _store(connection, due, attempt, "given_up", "gone", None)
        elif delay is None:
            stored = await _store(connection, due, attempt, "given_up", "attempts", None)
        else:
            stored = await _store(connection, due, attempt, "pending", None, delay)
            if due.session_id and not due.asked_again:
                await _hold_followers(connection, due, delay)
        return await endpoints.failed(connection, due.endpoint_id, due.url, gone=attempt.gone) if stored else None


async def _store(
    connection: Connection, due: Due, attempt: Attempt, state: str, reason: Reason | None, delay: float | None
) -> bool:
    """False when it is decided already, or claimed anew since."""
    cursor = await connection.execute(
        """
        WITH attempted AS (
            UPDATE deliveries SET state = %(state)s, reason = %(reason)s, attempts = attempts + 1, claimed_until = NULL,
                next_at = now() + make_interval(secs => %(delay)s),
                finished_at = CASE WHEN %(state)s <> 'pending' THEN now() END
            WHERE id = %(id)s AND state = 'pending' AND claims = %(claims)s
            RETURNING id, attempts
        )
        INSERT INTO delivery_attempts (delivery_id, n, at, status, latency_ms, error, answer)
        SELECT id, attempts, %(at)s, %(status)s, %(latency)s, %(error)s, %(answer)s FROM attempted
        """,
        {
            "state": state,
            "reason": reason,
            "delay": delay or 0.0,
            "id": due.id,
            "claims": due.claims,
            "at": attempt.at,
            "status": attempt.status,
            "latency": attempt.latency_ms,
            "error": attempt.error,
            "answer": attempt.answer,
        },
        prepare=False,  # as in a claim
    )
    return cursor.rowcount == 1


async def _hold_followers(connection: Connection, due: Due, delay: float) -> None:
    """Later ones of the same session fall due with this one, or a minute after they were made."""
    await connection.execute(
        """
        UPDATE deliveries SET next_at = least(now() + make_interval(secs => %s), created_at + interval '1 minute')
        WHERE state = 'pending' AND endpoint_id = %s AND session_id = %s AND seq > %s AND attempts = 0
            AND claimed_until IS NULL AND created_at > now() - interval '1 minute' AND NOT asked_again
        """,
        [delay, due.endpoint_id, due.session_id, due.seq],
    )


async def postpone(connection: Connection, due: Due) -> None:
    """Something of ours failed: try again soon, and count no attempt of the receiver."""
    await connection.execute(
        """
        UPDATE deliveries SET next_at = now() + make_interval(secs => %s), claimed_until = NULL
        WHERE id = %s AND claims = %s AND state = 'pending'
        """,
        [pause_s(due.hindered), due.id, due.claims],
    )


async def give_up_hindered(connection: Connection, due: Due) -> None:
    """It is we who could not, for more than a day: an attempt without an answer says so."""
    error = "It could not be sent: name servers or this system failed each time."
    await connection.execute(
        """
        WITH over AS (
            UPDATE deliveries SET state = 'given_up', reason = 'hindered', attempts = attempts + 1,
                claimed_until = NULL, finished_at = now()
            WHERE id = %s AND claims = %s AND state = 'pending' RETURNING id, attempts
        )
        INSERT INTO delivery_attempts (delivery_id, n, at, latency_ms, error)
        SELECT id, attempts, now(), 0, %s FROM over
        """,
        [due.id, due.claims, error],
    )


async def give_up_disabled(connection: Connection) -> int:
    """Give up what falls due of disabled endpoints, so many at once; returns how many."""
    cursor = await connection.execute(
        """
        WITH due AS (
            SELECT d.id FROM deliveries d WHERE d.id = ANY (ARRAY(
                SELECT first.id FROM webhook_endpoints w CROSS JOIN LATERAL (
                    SELECT d.id FROM deliveries d
                    WHERE d.state = 'pending' AND d.endpoint_id = w.id AND d.next_at <= now()
                    ORDER BY d.next_at, d.seq LIMIT %(most)s
                ) first
                WHERE NOT w.enabled LIMIT %(most)s
            )) AND d.state = 'pending' AND d.next_at <= now() FOR UPDATE SKIP LOCKED
        )
        UPDATE deliveries d
        SET state = 'given_up', reason = 'endpoint_disabled', claimed_until = NULL, finished_at = now()
        FROM due WHERE d.id = due.id
        """,
        {"most": _SWEPT_AT_ONCE},
    )
    return cursor.rowcount


async def backlog(connection: Connection) -> tuple[int, float]:
    """(how many are pending, MOST_COUNTED at the most; for how many seconds the oldest of them has been due)."""
    cursor = await connection.execute(
        """
        WITH RECURSIVE first AS (
            (SELECT d.endpoint_id, d.next_at FROM deliveries d WHERE d.state = 'pending'
                ORDER BY d.endpoint_id, d.next_at, d.seq LIMIT 1)
            UNION ALL
            SELECT n.endpoint_id, n.next_at FROM first f CROSS JOIN LATERAL (
                SELECT d.endpoint_id, d.next_at FROM deliveries d
                WHERE d.state = 'pending' AND d.endpoint_id > f.endpoint_id
                ORDER BY d.endpoint_id, d.next_at, d.seq LIMIT 1
            ) n
        )
        SELECT (SELECT count(*) FROM (SELECT 1 FROM deliveries d WHERE d.state = 'pending' LIMIT %s) counted),
            greatest(0, coalesce(extract(epoch FROM now() - (SELECT min(next_at) FROM first)), 0))::float8
        """,
        [MOST_COUNTED],
    )
    row = await cursor.fetchone()
    assert row is not None
    return row[0], row[1]


async def give_back(connection: Connection, dues: Sequence[Due]) -> None:
    """Give claims back that will come to nothing, as if they had not been made."""
    await connection.execute(
        """
        UPDATE deliveries d SET next_at = now(), claimed_until = NULL, claims = d.claims - 1
        FROM unnest(%s::text[], %s::int[]) AS mine (id, claims)
        WHERE d.id = mine.id AND d.claims = mine.claims AND d.state = 'pending' AND d.claimed_until IS NOT NULL
        """,
        [[due.id for due in dues], [due.claims for due in dues]],
    )


async def delete_endpoint(connection: Connection, account_id: str, endpoint_id: str) -> bool:
    """The endpoint with its deliveries. False when this account has none such.

    The fan-out waits for a delete of the endpoint's row, and everybody's events with it. So a backlog of any size goes
    first, part by part; if we die in between, the endpoint is disabled and the next delete goes on.
    """
    left = int(await endpoints.disable(connection, account_id, endpoint_id))
    while left:
        cursor = await connection.execute(
            """
            DELETE FROM deliveries WHERE id IN (
                SELECT d.id FROM deliveries d WHERE d.endpoint_id = %s LIMIT %s FOR UPDATE SKIP LOCKED)
            """,
            [endpoint_id, _DELETED_AT_ONCE],
        )
        left = cursor.rowcount
    return await endpoints.delete(connection, account_id, endpoint_id)


async def rewrite(connection: Connection, bodies: Mapping[str, bytes]) -> None:
    """Delivery → what is sent from now on. What was answered to the body of before is forgotten."""
    await connection.execute(
        """
        UPDATE deliveries d SET body = x.body FROM unnest(%s::text[], %b::bytea[]) AS x (id, body) WHERE d.id = x.id
        """,
        [list(bodies), list(bodies.values())],
    )
    await forget_answers(connection, list(bodies))


async def forget_answers(connection: Connection, ids: Sequence[str]) -> None:
    await connection.execute(
        "UPDATE delivery_attempts SET answer = NULL WHERE delivery_id = ANY (%s) AND answer IS NOT NULL", [list(ids)]
    )


async def prune(pool: Pool, older_s: float) -> int:
    """Delete finished ones, with their attempts; returns how many."""
    condition = "state <> 'pending' AND finished_at < now() - make_interval(secs => %(older_s)s)"
    return await delete_by_batches(pool, "deliveries", "id", condition, older_s)
