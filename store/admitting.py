"""Admitting a create: the one round trip that gives a session its place, its slot and its ids, or refuses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import psycopg
from msgspec import Struct

from store.database import Connection


class Application(Struct, frozen=True):
    """What `admit_session()` is asked. `task` is sealed under master key `secret_key`."""

    key_id: str
    account_id: str
    session_id: str
    event_id: str
    quality: str
    target_hash: bytes
    body_hmac: bytes
    idempotency_key: str | None
    created_ms: int
    resource: str
    secret_key: str
    task: bytes
    session_key: bytes
    """The session's data key, under its account's."""


class CreateRate(Struct, frozen=True):
    """The bucket of a key, which holds a minute's creates: `remaining` now, full again after `reset_s` seconds."""

    limit: int
    remaining: int
    reset_s: int


class Admitted(Struct, frozen=True):
    """The request holds the admission. `tries` > 1: it goes on with the ids of a request that died before it."""

    session_id: str
    tries: int
    event_id: str
    worker_id: str
    public_key: str | None
    resource: str
    created_ms: int
    rate: CreateRate | None
    """None: it goes on, and was counted before."""


@dataclass(frozen=True)
class Replayed:
    """An earlier request with this key or body has been answered with `resource`."""

    session_id: str
    resource: str


@dataclass(frozen=True)
class InFlight:
    """Another request works on this key, body or place: ask again."""


@dataclass(frozen=True)
class Superseding:
    """This session holds the place; it must end first."""

    session_id: str


@dataclass(frozen=True)
class KeyReused:
    """The idempotency key was used with another body."""


Answer = Admitted | Replayed | InFlight | Superseding | KeyReused


class AdmissionRefused(Exception):
    """Nothing was changed."""


class NoFreeSlot(AdmissionRefused):
    """No worker has a free slot of this quality."""


class PlanCapReached(AdmissionRefused):
    """The account has as many live sessions as its plan allows."""


class KeyRevoked(AdmissionRefused):
    """The API key was revoked."""


class KeyCapReached(AdmissionRefused):
    """The key has as many live sessions as it may."""


class RateExceeded(AdmissionRefused):
    """The key has made as many creates as it may. One more is possible after `retry_s` seconds."""

    def __init__(self, rate: CreateRate, retry_s: int) -> None:
        super().__init__()
        self.rate = rate
        self.retry_s = retry_s


class NothingLeft(AdmissionRefused):
    """The account or the key may spend nothing more. `credits`: it has none left; else it is at its month's cap."""

    def __init__(self, credits: bool) -> None:
        super().__init__()
        self.credits = credits


_REFUSALS: dict[str, type[AdmissionRefused]] = {
    "GR001": NoFreeSlot,
    "GR002": PlanCapReached,
    "GR003": KeyRevoked,
    "GR004": KeyCapReached,
}
"""SQLSTATE → what `admit_session()` means by it."""
_RATE_EXCEEDED = "GR005"
_NOTHING_LEFT = "GR006"
_ERASED = "accounts_erased_rest"
"""The account was erased, and its keys revoked, since the create had begun."""


_Outcome = Literal["admitted", "resumed", "replayed", "in_flight", "superseding", "key_reused"]


async def admit(connection: Connection, asked: Application) -> Answer:
    """One round trip. Raises AdmissionRefused."""
    try:
        cursor = await connection.execute(
            """
            SELECT a.*, CASE WHEN a.outcome = 'admitted' THEN keep_session_key(a.session_id, %b) END
            FROM admit_session(%s, %s, %s, %s, %s, %b, %b, %s, %s, %s, %s, %b) a
            """,
            [
                asked.session_key,
                asked.key_id,
                asked.account_id,
                asked.session_id,
                asked.event_id,
                asked.quality,
                asked.target_hash,
                asked.body_hmac,
                asked.idempotency_key,
                asked.created_ms,
                asked.resource,
                asked.secret_key,
                asked.task,
            ],
        )
        row = await cursor.fetchone()
    except psycopg.errors.UniqueViolation:
        return InFlight()  # another request of this account was faster by a hair
    except psycopg.Error as failed:
        refusal = _refusal(failed)
        if refusal is None:
            raise
        raise refusal from failed
    assert row is not None
    outcome, *found, _ = row
    *found, limit, remaining, reset_s = found
    rate = None if remaining is None else CreateRate(limit, remaining, reset_s)
    return _answer(outcome, Admitted(*[*found, rate]))


def _refusal(failed: psycopg.Error) -> AdmissionRefused | None:
    if failed.sqlstate == _RATE_EXCEEDED:
        limit, reset_s, retry_s = map(int, (failed.diag.message_detail or "").split())
        return RateExceeded(CreateRate(limit, 0, reset_s), retry_s)
    if failed.sqlstate == _NOTHING_LEFT:
        return NothingLeft(failed.diag.message_detail == "credits")
    if failed.diag.constraint_name == _ERASED:
        return KeyRevoked()
    refusal = _REFUSALS.get(failed.sqlstate or "")
    return refusal() if refusal is not None else None


def _answer(outcome: _Outcome, found: Admitted) -> Answer:
    """`found`: what `admit_session()` returns beside the outcome, in its order; which of it is set depends on that."""
    match outcome:
        case "admitted" | "resumed":
            return found
        case "replayed":
            return Replayed(found.session_id, found.resource)
        case "in_flight":
            return InFlight()
        case "superseding":
            return Superseding(found.session_id)
        case "key_reused":
            return KeyReused()


@dataclass(frozen=True)
class Room:
    """Whether a create would find room right now."""

    capped: bool
    free_slot: bool
    left: bool
    """Something may be spent."""


async def room(connection: Connection, account_id: str, key_id: str, quality: str) -> Room:
    """As `admit_session()` would decide; nothing is locked."""
    cursor = await connection.execute(
        """
        SELECT a.live_sessions >= p.max_concurrency OR k.max_concurrency <= (
                SELECT count(*) FROM admissions d WHERE d.key_id = k.id AND d.state <> 'over'
            ) IS TRUE,
            EXISTS (SELECT 1 FROM slots s WHERE s.session_id IS NULL AND s.open AND %s = ANY (s.qualities)),
            NOT at_cap(a.id, k.id) AND NOT without_credits(a.id)
        FROM accounts a JOIN plans p ON p.key = a.plan JOIN api_keys k ON k.id = %s WHERE a.id = %s
        """,
        [quality, key_id, account_id],
    )
    row = await cursor.fetchone()
    assert row is not None
    return Room(*row)
