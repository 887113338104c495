"""Data keys, under which erasable fields are in the log: one for each session, wrapped under its account's.

Whoever writes down what they open takes `for_telling` in its transaction, and whoever drops one waits for all of
these: when a key is gone, nobody is about to store what it had opened.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events.sealing import NO_KEYS, DataKey, Keyring, KeySet, SealError
from store.database import Connection, Pool

_TELLING = 7237907
"""The lock that tellers share, and that nobody holds with them who drops a key."""


class Erased(Exception):
    """The account's data key is gone: its erasable fields cannot be read any more, and it gets nothing new."""


class DataKeys:
    """The accounts' data keys, unwrapped and kept for a minute."""

    _KEPT_S = 60.0

    def __init__(self, pool: Pool, keyring: Keyring) -> None:
        self._pool = pool
        self._keyring = keyring
        self._kept: dict[str, tuple[float, DataKey]] = {}

    async def of(self, account_id: str) -> DataKey:
        """Raises Erased."""
        kept = self._kept.get(account_id)
        if kept and kept[0] > time.monotonic():
            return kept[1]
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT data_key_id, data_key_master, data_key FROM accounts WHERE id = %s", [account_id]
            )
            row = await cursor.fetchone()
        if row is None or row[2] is None:
            self._kept.pop(account_id, None)
            raise Erased(account_id)
        key = DataKey(row[0], AESGCM(self._keyring.unwrap(row[1], row[2], row[0])))
        self._kept[account_id] = (time.monotonic() + self._KEPT_S, key)
        return key

    async def of_account(self, account_id: str) -> KeySet:
        """For what is of no session. Empty once the account is erased."""
        try:
            return KeySet(await self.of(account_id))
        except Erased:
            return NO_KEYS

    async def of_session(self, account_id: str, session_id: str, stored: bytes | None) -> KeySet:
        """`stored`: its key, wrapped; empty: erased; None: from before sessions had any, so its account's opens them.

        One that does not unwrap opens nothing. Raises SealError where a master key is missing: nothing is erased then.
        """
        if stored == b"":
            return NO_KEYS
        try:
            account = await self.of(account_id)
        except Erased:
            return NO_KEYS
        try:
            return KeySet(account if stored is None else account.unwrap(stored, session_id))
        except SealError:
            return NO_KEYS

    async def for_telling(self, connection: Connection, accounts: Mapping[str, str]) -> dict[str, KeySet]:
        """Session, or avatar → the keys that it may be told of with until this transaction ends. `accounts`: of each.

        None is dropped before then. What is kept here of an account is worth nothing once it is erased.
        """
        await connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", [_TELLING])
        cursor = await connection.execute(
            """
            SELECT x.subject, EXISTS (SELECT 1 FROM accounts a WHERE a.id = x.account_id AND a.data_key IS NOT NULL),
                (SELECT coalesce(k.key, ''::bytea) FROM session_keys k WHERE k.session_id = x.subject)
            FROM unnest(%s::text[], %s::text[]) AS x (subject, account_id)
            """,
            [list(accounts), list(accounts.values())],
            binary=True,
        )
        return {
            subject: await self.of_session(accounts[subject], subject, stored) if there else NO_KEYS
            for subject, there, stored in await cursor.fetchall()
        }


async def keep(connection: Connection, session_id: str, wrapped: bytes) -> bytes:
    """`wrapped`, or the key that the session has already. Raises Erased."""
    cursor = await connection.execute("SELECT keep_session_key(%s, %b)", [session_id, wrapped])
    row = await cursor.fetchone()
    assert row is not None
    if row[0] is None:
        raise Erased(session_id)
    return bytes(row[0])


async def await_tellers(connection: Connection) -> None:
    """In the transaction that drops a key, before it does: whoever had it has stored what it opened, and who comes
    next finds it gone."""
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_TELLING])


async def drop(connection: Connection, session_id: str) -> None:
    """Erase the session's fields from the log, for ever; those of a session without a key of its own from all that is
    shown."""
    async with connection.transaction():
        await await_tellers(connection)
        await connection.execute(
            """
            INSERT INTO session_keys (session_id, key) VALUES (%s, NULL)
            ON CONFLICT (session_id) DO UPDATE SET key = NULL
            """,
            [session_id],
        )
