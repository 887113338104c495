"""Accounts and their API keys."""

from __future__ import annotations

import hmac
import re
import secrets
import zlib
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from events.sealing import DataKey, Keyring, data_key_id
from schemas.ids import ACCOUNT, API_KEY, new_id
from schemas.labels import Corner, Label
from store.data_keys import Erased, await_tellers
from store.database import Connection

_LEAST_PEPPER = 16
_SHAPE = re.compile(r"sk_([A-Za-z0-9_-]{43})([0-9a-f]{8})")


@dataclass(frozen=True)
class Principal:
    """Whoever a request speaks for, with what of the account and plan a request needs."""

    key_id: str
    account_id: str
    plan: str
    idle_timeout_seconds: int
    session_time_limit_seconds: int
    creates_per_minute: int
    scopes: tuple[str, ...]
    revoked: bool
    label: Label | None = None

    def may(self, scope: str) -> bool:
        """Whether the key has this scope, such as `sessions:read`; `sessions:write` contains it, `*` all of an account.

        Nothing contains OPERATOR: it is about all accounts.
        """
        if scope == OPERATOR:
            return OPERATOR in self.scopes
        noun, _, _ = scope.partition(":")
        return not {scope, f"{noun}:write", "*"}.isdisjoint(self.scopes)


class PepperMissing(Exception):
    """GREENROOM_KEY_PEPPER is missing or has fewer than 16 characters: API keys and request bodies could be guessed
    from their hashes. Set it to the same secret for every process, such as the output of `openssl rand -hex 32`."""

    def __init__(self) -> None:
        super().__init__(" ".join((self.__doc__ or "").split()))


def check_pepper(pepper: str) -> None:
    """Raises PepperMissing. For processes that hash something, at their start: later every key would be unknown."""
    if len(pepper) < _LEAST_PEPPER:
        raise PepperMissing


def new_secret() -> str:
    """`sk_` + 256 random bits + a checksum, so that a mistyped key is told from an unknown one without a look-up."""
    body = secrets.token_urlsafe(32)
    return f"sk_{body}{_checksum(body)}"


def well_formed(secret: str) -> bool:
    match = _SHAPE.fullmatch(secret)
    return match is not None and match[2] == _checksum(match[1])


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"


def secret_hash(secret: str, pepper: str) -> bytes:
    return hmac.digest(pepper.encode(), secret.encode(), "sha256")


async def create_account(connection: Connection, name: str, plan: str, keyring: Keyring) -> str:
    account_id = new_id(ACCOUNT)
    key_id = data_key_id(account_id)
    master, wrapped = keyring.wrap(DataKey.generate(), key_id)
    await connection.execute(
        """
        INSERT INTO accounts (id, name, plan, data_key_id, data_key_master, data_key) VALUES (%s, %s, %s, %s, %s, %s)
        """,
        [account_id, name, plan, key_id, master, wrapped],
    )
    return account_id


@dataclass(frozen=True)
class Account:
    """`live_sessions`: as admission counts them. `credit_gated`: it creates nothing without credits. `label`: drawn on
    the faces of its sessions, if it has one."""

    id: str
    name: str
    plan: str
    idle_timeout_seconds: int
    live_sessions: int
    credit_gated: bool
    label: str | None
    label_corner: Corner
    created_at: datetime
    erased_at: datetime | None


_ACCOUNTS = f"SELECT {', '.join(Account.__dataclass_fields__)} FROM accounts"  # noqa: S608 - names of ours


async def account(connection: Connection, account_id: str) -> Account | None:
    async with connection.cursor(row_factory=class_row(Account)) as cursor:
        await cursor.execute(f"{_ACCOUNTS} WHERE id = %s", [account_id])
        return await cursor.fetchone()


async def every_account(connection: Connection) -> list[Account]:
    """Oldest first."""
    async with connection.cursor(row_factory=class_row(Account)) as cursor:
        await cursor.execute(f"{_ACCOUNTS} ORDER BY id")
        return await cursor.fetchall()


async def change_account(
    connection: Connection,
    account_id: str,
    *,
    plan: str | None = None,
    idle_timeout_seconds: int | None = None,
    credit_gated: bool | None = None,
    label: str | None = None,
    label_corner: Corner | None = None,
) -> bool:
    """What is None stays; an empty label takes it away. False: there is no such account. Sessions that run keep what
    they were created with.

    Raises psycopg.errors.ForeignKeyViolation for a plan that there is none of.
    """
    cursor = await connection.execute(
        """
        UPDATE accounts SET plan = coalesce(%s, plan), idle_timeout_seconds = coalesce(%s, idle_timeout_seconds),
            credit_gated = coalesce(%s, credit_gated), label = nullif(coalesce(%s, label), ''),
            label_corner = coalesce(%s, label_corner)
        WHERE id = %s
        """,
        [plan, idle_timeout_seconds, credit_gated, label, label_corner, account_id],
    )
    return cursor.rowcount == 1


async def find_account(connection: Connection, name: str) -> str | None:
    cursor = await connection.execute("SELECT id FROM accounts WHERE name = %s ORDER BY id LIMIT 1", [name])
    row = await cursor.fetchone()
    return str(row[0]) if row else None


NOUNS = ("sessions", "events", "avatars", "webhooks", "account")
OPERATOR = "operator"
SCOPES = ("*", *(f"{noun}:{verb}" for noun in NOUNS for verb in ("read", "write")), OPERATOR)


@dataclass(frozen=True)
class KeyLimits:
    """What a key may do (of SCOPES), and its own limits; None: the plan's."""

    scopes: tuple[str, ...] = ("*",)
    creates_per_minute: int | None = None
    max_concurrency: int | None = None


async def create_key(
    connection: Connection, account_id: str, name: str, pepper: str, limits: KeyLimits = KeyLimits()
) -> tuple[str, str]:
    """Returns (key id, secret). The secret is shown once and stored only as its HMAC. Raises Erased."""
    key_id, secret = new_id(API_KEY), new_secret()
    async with connection.transaction():
        await hold(connection, account_id)
        await connection.execute(
            """
            INSERT INTO api_keys (id, account_id, name, shown, hash, scopes, creates_per_minute, max_concurrency)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
            """,
            [
                key_id,
                account_id,
                name,
                f"{secret[:7]}…",
                secret_hash(secret, pepper),
                list(limits.scopes),
                limits.creates_per_minute,
                limits.max_concurrency,
            ],
        )
    return key_id, secret


async def hold(connection: Connection, account_id: str) -> None:
    """In a transaction that gives the account something new: until it ends, nobody begins to erase it, nor gives it
    something else. Raises Erased when somebody has."""
    cursor = await connection.execute(
        "SELECT 1 FROM accounts WHERE id = %s AND erasing_at IS NULL FOR NO KEY UPDATE", [account_id]
    )
    if await cursor.fetchone() is None:
        raise Erased(account_id)


@dataclass(frozen=True)
class Key:
    """`shown`: its first characters. `creates_per_minute`, `max_concurrency`: None is the plan's."""

    id: str
    account_id: str
    name: str
    shown: str
    scopes: list[str]
    creates_per_minute: int | None
    max_concurrency: int | None
    created_at: datetime
    revoked_at: datetime | None


async def keys(connection: Connection, key_id: str | None = None) -> list[Key]:
    """Oldest first; or the one."""
    async with connection.cursor(row_factory=class_row(Key)) as cursor:
        await cursor.execute(
            """
            SELECT id, account_id, name, shown, scopes, creates_per_minute, max_concurrency, created_at, revoked_at
            FROM api_keys WHERE %(id)s::text IS NULL OR id = %(id)s ORDER BY id
            """,
            {"id": key_id},
        )
        return await cursor.fetchall()


KEY_REVOKED = "key_revoked"
"""NOTIFY: the key's id."""


async def revoke_key(connection: Connection, key_id: str) -> bool:
    """False when there is no such key that was not revoked already."""
    cursor = await connection.execute(
        "UPDATE api_keys SET revoked_at = now() WHERE id = %s AND revoked_at IS NULL RETURNING pg_notify(%s, id)",
        [key_id, KEY_REVOKED],
    )
    return cursor.rowcount == 1


async def close(connection: Connection, account_id: str) -> None:
    """The account is being erased: it gets nothing new, and its keys open nothing from now on."""
    async with connection.transaction():
        await connection.execute(
            "UPDATE accounts SET erasing_at = coalesce(erasing_at, now()) WHERE id = %s", [account_id]
        )
        await connection.execute(
            """
            UPDATE api_keys SET revoked_at = now() WHERE account_id = %s AND revoked_at IS NULL
            RETURNING pg_notify(%s, id)
            """,
            [account_id, KEY_REVOKED],
        )


async def erase(connection: Connection, account_id: str) -> bool:
    """Drop its data key, and with it those of its sessions; its name, and those of its keys. False while it has a live
    session; from then on it cannot have one."""
    async with connection.transaction():
        await await_tellers(connection)
        cursor = await connection.execute(
            """
            UPDATE accounts SET data_key = NULL, data_key_master = NULL, name = id, label = NULL,
                erased_at = coalesce(erased_at, now())
            WHERE id = %s AND live_sessions = 0
            """,
            [account_id],
        )
        if cursor.rowcount != 1:
            return False
        await connection.execute("UPDATE api_keys SET name = '' WHERE account_id = %s", [account_id])
    return True


async def is_revoked(connection: Connection, key_id: str) -> bool:
    cursor = await connection.execute("SELECT 1 FROM api_keys WHERE id = %s AND revoked_at IS NULL", [key_id])
    return await cursor.fetchone() is None


async def authenticate(connection: Connection, digest: bytes) -> Principal | None:
    cursor = await connection.execute(
        """
        SELECT k.id, a.id, a.plan, a.idle_timeout_seconds, p.session_time_limit_seconds,
            coalesce(k.creates_per_minute, p.creates_per_minute), k.scopes, k.revoked_at IS NOT NULL, a.label,
            a.label_corner
        FROM api_keys k JOIN accounts a ON a.id = k.account_id JOIN plans p ON p.key = a.plan
        WHERE k.hash = %s
        """,
        [digest],
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    *known, scopes, revoked, label, corner = row
    return Principal(*[*known, tuple(scopes), revoked, Label(label, corner) if label else None])
