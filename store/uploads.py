"""Uploads: what the API acknowledged of avatars and the avatars projection may not have yet, deletions included."""

from __future__ import annotations

from store.data_keys import Erased
from store.database import Connection

_UNFINISHED_FOR = "1 minute"
"""An upload that its process neither renews nor finishes is undone after this: it has died, or slept through it."""


async def admit(connection: Connection, account_id: str, avatar_id: str, resource: str) -> bool:
    """Take one of the plan's avatar slots, before anything is stored; False when there is none. Failed ones hold none.

    An upload that nobody finished, because its API died, holds its slot for a minute. Raises Erased.
    """
    async with connection.transaction():
        cursor = await connection.execute(
            """
            SELECT p.custom_avatar_slots FROM accounts a JOIN plans p ON p.key = a.plan
            WHERE a.id = %s AND a.erasing_at IS NULL FOR UPDATE OF a
            """,
            [account_id],
        )
        row = await cursor.fetchone()
        if row is None:
            raise Erased(account_id)
        if await held(connection, account_id) >= row[0]:
            return False
        await connection.execute(
            "INSERT INTO avatar_admissions (avatar_id, account_id, resource) VALUES (%s, %s, %s)",
            [avatar_id, account_id, resource],
        )
    return True


async def held(connection: Connection, account_id: str) -> int:
    """How many of its plan's avatar slots the account has taken."""
    cursor = await connection.execute(
        f"""
        SELECT (SELECT count(*) FROM r.avatars v LEFT JOIN avatar_admissions a USING (avatar_id)
                WHERE v.account_id = %(account)s AND v.status <> 'failed' AND a.deleted IS NOT TRUE)
             + (SELECT count(*) FROM avatar_admissions a WHERE a.account_id = %(account)s AND NOT a.deleted
                    AND (a.acknowledged OR a.created_at > now() - interval '{_UNFINISHED_FOR}')
                    AND NOT EXISTS (SELECT 1 FROM r.all_avatars v WHERE v.avatar_id = a.avatar_id))
        """,  # noqa: S608 - a constant
        {"account": account_id},
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def renew(connection: Connection, avatar_id: str) -> bool:
    """The upload is about to be appended; False when it was abandoned meanwhile."""
    cursor = await connection.execute(
        "UPDATE avatar_admissions SET created_at = now() WHERE avatar_id = %s AND NOT acknowledged AND NOT deleted",
        [avatar_id],
    )
    return cursor.rowcount == 1


async def acknowledged(connection: Connection, avatar_id: str) -> bool:
    """The upload is in the log; False when it was abandoned meanwhile."""
    cursor = await connection.execute(
        "UPDATE avatar_admissions SET acknowledged = true WHERE avatar_id = %s AND NOT deleted", [avatar_id]
    )
    return cursor.rowcount == 1


async def abandon(connection: Connection, avatar_id: str) -> None:
    """The upload will not be finished: its slot is free. What is stored for it is still to be removed."""
    await connection.execute(
        "UPDATE avatar_admissions SET deleted = true, created_at = now() WHERE avatar_id = %s AND NOT acknowledged",
        [avatar_id],
    )


async def unfinished(connection: Connection, account_id: str) -> list[str]:
    """Uploads that are under way, or were left behind: `left_behind` has them from now on, without what they said."""
    cursor = await connection.execute(
        """
        UPDATE avatar_admissions SET deleted = true, created_at = now(), resource = ''
        WHERE account_id = %s AND NOT acknowledged RETURNING avatar_id
        """,
        [account_id],
    )
    return [row[0] for row in await cursor.fetchall()]


async def forget(connection: Connection, account_id: str) -> None:
    """What the account's uploads said. For one whose avatars are all deleted."""
    await connection.execute(
        "UPDATE avatar_admissions SET resource = '' WHERE account_id = %s AND resource <> ''", [account_id]
    )


async def drop(connection: Connection, avatar_id: str) -> None:
    """An abandoned upload has left nothing, neither in the assets nor in the log."""
    await connection.execute("DELETE FROM avatar_admissions WHERE avatar_id = %s AND NOT acknowledged", [avatar_id])


async def left_behind(connection: Connection) -> list[tuple[str, str]]:
    """(account, avatar) of uploads that nobody has finished or undone for a minute; they are the caller's for another.

    What the projection has by now is in the log, and no longer needs its row.
    """
    await connection.execute(
        f"""
        DELETE FROM avatar_admissions a USING r.all_avatars v
        WHERE v.avatar_id = a.avatar_id AND a.created_at < now() - interval '{_UNFINISHED_FOR}'
            AND (NOT a.deleted OR (a.acknowledged AND v.status = 'deleted'))
        """  # noqa: S608 - a constant
    )
    cursor = await connection.execute(
        f"""
        UPDATE avatar_admissions SET deleted = true, created_at = now() WHERE avatar_id IN (
            SELECT avatar_id FROM avatar_admissions
            WHERE NOT acknowledged AND created_at < now() - interval '{_UNFINISHED_FOR}'
            ORDER BY created_at LIMIT 100 FOR UPDATE SKIP LOCKED)
        RETURNING account_id, avatar_id
        """  # noqa: S608 - a constant
    )
    return await cursor.fetchall()


async def deleted(connection: Connection, account_id: str, avatar_id: str) -> None:
    """The deletion is in the log."""
    await connection.execute(
        """
        INSERT INTO avatar_admissions (avatar_id, account_id, resource, acknowledged, deleted)
        VALUES (%s, %s, '', true, true)
        ON CONFLICT (avatar_id) DO UPDATE SET deleted = true, acknowledged = true, resource = ''
        """,
        [avatar_id, account_id],
    )
