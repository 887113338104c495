"""Custom avatars as the log tells them, one row each, and their reading: with what the API acknowledged and the
projection may not have yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from events import dead_letters
from events.avatars import Avatar, evolve
from events.codec import Malformed, Record, Unknown, decode
from events.consumer import Batches, Recoverable
from events.topics import AVATARS
from projections import checkpoints
from projections.checkpoints import Bound, Claims, Fenced, Move
from projections.database import Connection, DatabaseUnreachable, Pool
from schemas.events import Encrypted

log = structlog.get_logger()

NAME = "avatars"
_UNKNOWN_FOR = "1 minute"
"""An upload whose API died before the log answered counts against the account's slots for this long."""


class AvatarsProjection:
    """The `events.consumer.Handler` of `avatars.v1`: rows and checkpoint in one transaction per batch."""

    def __init__(self, pool: Pool, topic: str = AVATARS.name) -> None:
        self._pool = pool
        self._topic = topic
        self._claims = Claims([NAME], topic)

    def positions(self) -> Mapping[int, int]:
        return self._claims.positions()

    async def assigned(self, partitions: frozenset[int], fresh: bool) -> Mapping[int, int]:
        try:
            async with self._pool.connection() as connection:
                return await self._claims.bind(connection, partitions, fresh)
        except DatabaseUnreachable as failed:
            raise Recoverable(str(failed)) from failed

    async def drain(self) -> None:
        return

    async def handle(self, batches: Batches) -> None:
        bound = self._claims.of[NAME].bound
        moves = []
        records = []
        for partition, fetched in batches.items():
            at = bound.get(partition)
            fresh = [record for record in fetched if at is not None and record.offset >= at.next_offset]
            if at is not None and fresh:
                moves.append(Move(NAME, partition, at.generation, at.next_offset, fresh[-1].offset + 1))
                records += fresh
        try:
            if moves:
                async with self._pool.connection() as connection, connection.transaction():
                    malformed = await _apply(connection, records)
                    await checkpoints.advance(connection, self._topic, moves)
                dead_letters.tell(NAME, malformed)
            for move in moves:
                bound[move.partition] = Bound(move.generation, move.to_offset)
            await self._claims.stand_by(self._pool, batches)
        except (DatabaseUnreachable, Fenced) as failed:
            raise Recoverable(str(failed)) from failed


async def _apply(connection: Connection, records: Iterable[Record]) -> dead_letters.Broken:
    """Returns what cannot be read."""
    events, malformed = [], []
    for record in records:
        try:
            events.append(decode(record))
        except Malformed as broken:
            malformed.append((record, str(broken)))
        except Unknown as unknown:
            log.warning("avatar event of a newer version", offset=record.offset, reason=str(unknown))
    avatars = await _load(connection, {event.subject for event in events})
    changed = {}
    for event in events:
        after = evolve(avatars.get(event.subject), event)
        if after is not None:
            avatars[event.subject] = changed[event.subject] = after
    for avatar in changed.values():
        await _store(connection, avatar)
    return malformed


async def _load(connection: Connection, avatar_ids: set[str]) -> dict[str, Avatar]:
    cursor = await connection.execute(
        "SELECT avatar_id, account_id, status, name_key_id, name, runtime_type, asset, face, failure_reason, created_ms"
        " FROM avatars_v1.avatars WHERE avatar_id = ANY(%s)",
        [list(avatar_ids)],
    )
    return {row[0]: _avatar(row) for row in await cursor.fetchall()}


def _avatar(row: tuple[Any, ...]) -> Avatar:
    avatar_id, account_id, status, key_id, name, runtime_type, asset, face, reason, created_ms = row
    return Avatar(
        avatar_id,
        status,
        account_id=account_id,
        name=Encrypted(name, key_id) if name is not None else None,
        runtime_type=runtime_type,
        asset=asset,
        face=face,
        failure_reason=reason,
        created_ms=created_ms,
    )


async def _store(connection: Connection, avatar: Avatar) -> None:
    name = avatar.name
    await connection.execute(
        """
        INSERT INTO avatars_v1.avatars VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (avatar_id) DO UPDATE SET
            status = excluded.status, name_key_id = excluded.name_key_id, name = excluded.name,
            asset = excluded.asset, face = excluded.face, failure_reason = excluded.failure_reason
        """,
        [
            avatar.avatar_id,
            avatar.account_id,
            avatar.status,
            name.key_id if name else None,
            name.enc if name else None,
            avatar.runtime_type,
            avatar.asset,
            avatar.face,
            avatar.failure_reason,
            avatar.created_ms,
        ],
    )


# Reading and admitting


@dataclass(frozen=True)
class Found:
    """Either the log's `avatar`, or the stored `resource` of an upload that the projection has not got yet."""

    avatar_id: str
    avatar: Avatar | None
    resource: str | None


async def find(connection: Connection, account_id: str, avatar_id: str | None = None) -> list[Found]:
    """The account's avatars, newest first, or the one of that id. A deletion that was answered holds at once."""
    cursor = await connection.execute(
        """
        SELECT v.avatar_id, v.account_id, v.status, v.name_key_id, v.name, v.runtime_type, v.asset, v.face,
            v.failure_reason, v.created_ms, NULL
        FROM r.avatars v LEFT JOIN avatar_admissions a USING (avatar_id)
        WHERE v.account_id = %(account)s AND a.deleted IS NOT TRUE
            AND (%(avatar)s::text IS NULL OR v.avatar_id = %(avatar)s)
        UNION ALL
        SELECT a.avatar_id, a.account_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, a.resource
        FROM avatar_admissions a
        WHERE a.account_id = %(account)s AND NOT a.deleted AND a.acknowledged
            AND (%(avatar)s::text IS NULL OR a.avatar_id = %(avatar)s)
            AND NOT EXISTS (SELECT 1 FROM avatars_v1.avatars v WHERE v.avatar_id = a.avatar_id)
        ORDER BY 1 DESC
        """,
        {"account": account_id, "avatar": avatar_id},
    )
    return [Found(row[0], None if row[10] else _avatar(row[:10]), row[10]) for row in await cursor.fetchall()]


async def admit(connection: Connection, account_id: str, avatar_id: str, resource: str) -> bool:
    """Take one of the plan's avatar slots, before the log is asked; False when there is none. Failed ones hold none."""
    async with connection.transaction():
        cursor = await connection.execute(
            """
            SELECT p.custom_avatar_slots FROM accounts a JOIN plans p ON p.key = a.plan WHERE a.id = %s FOR UPDATE OF a
            """,
            [account_id],
        )
        row = await cursor.fetchone()
        assert row is not None
        await connection.execute(
            f"""
            DELETE FROM avatar_admissions a WHERE a.account_id = %(account)s AND (
                (NOT a.acknowledged AND a.created_at < now() - interval '{_UNKNOWN_FOR}')
                OR EXISTS (SELECT 1 FROM avatars_v1.avatars v
                           WHERE v.avatar_id = a.avatar_id AND (NOT a.deleted OR v.status = 'deleted')))
            """,  # noqa: S608 - a constant
            {"account": account_id},
        )
        cursor = await connection.execute(
            """
            SELECT (SELECT count(*) FROM r.avatars v LEFT JOIN avatar_admissions a USING (avatar_id)
                    WHERE v.account_id = %(account)s AND v.status <> 'failed' AND a.deleted IS NOT TRUE)
                 + (SELECT count(*) FROM avatar_admissions a WHERE a.account_id = %(account)s AND NOT a.deleted)
            """,
            {"account": account_id},
        )
        held = await cursor.fetchone()
        assert held is not None
        if held[0] >= row[0]:
            return False
        await connection.execute(
            "INSERT INTO avatar_admissions (avatar_id, account_id, resource) VALUES (%s, %s, %s)",
            [avatar_id, account_id, resource],
        )
    return True


async def acknowledged(connection: Connection, avatar_id: str) -> None:
    """The upload is in the log."""
    await connection.execute("UPDATE avatar_admissions SET acknowledged = true WHERE avatar_id = %s", [avatar_id])


async def forget(connection: Connection, avatar_id: str) -> None:
    """The upload was given up: its slot is free again."""
    await connection.execute("DELETE FROM avatar_admissions WHERE avatar_id = %s AND NOT acknowledged", [avatar_id])


async def deleted(connection: Connection, account_id: str, avatar_id: str) -> None:
    """The deletion is in the log."""
    await connection.execute(
        """
        INSERT INTO avatar_admissions (avatar_id, account_id, resource, acknowledged, deleted)
        VALUES (%s, %s, '', true, true) ON CONFLICT (avatar_id) DO UPDATE SET deleted = true
        """,
        [avatar_id, account_id],
    )
