"""Custom avatars as the log tells them, one row each, and their reading: with what the API acknowledged and the
projection may not have yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from schemas.events import Encrypted
from store.database import Connection, DatabaseUnreachable, Pool

log = structlog.get_logger()

NAME = "avatars"


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


async def _apply(connection: Connection, records: Sequence[Record]) -> dead_letters.Broken:
    """Returns what cannot be read."""
    parked = await _parked(connection, {_key(record) for record in records})
    events, malformed = [], []
    for record in records:
        try:
            event = decode(record)
        except Malformed as broken:
            malformed.append((record, str(broken)))
        except Unknown as unknown:
            if _key(record) not in parked:
                parked.add(_key(record))
                await _park(connection, record, str(unknown))
        else:
            if event.subject not in parked:
                events.append(event)
    avatars = await _load(connection, {event.subject for event in events})
    changed = {}
    for event in events:
        after = evolve(avatars.get(event.subject), event)
        if after is not None:
            avatars[event.subject] = changed[event.subject] = after
    for avatar in changed.values():
        await _store(connection, avatar)
    return malformed


def _key(record: Record) -> str:
    return str((record.key or b"").decode(errors="replace").replace("\0", ""))


async def _parked(connection: Connection, avatar_ids: set[str]) -> set[str]:
    """Of these, the avatars with an event of a newer version: what comes after it means nothing without it."""
    cursor = await connection.execute(
        "SELECT session_id FROM parked WHERE consumer = %s AND session_id = ANY(%s)", [NAME, list(avatar_ids)]
    )
    return {row[0] for row in await cursor.fetchall()}


async def _park(connection: Connection, record: Record, reason: str) -> None:
    log.warning("avatar parked", avatar_id=_key(record), offset=record.offset, reason=reason)
    await connection.execute(
        """
        INSERT INTO parked (consumer, topic, partition, session_id, "offset", reason) VALUES (%s, %s, %s, %s, %s, %s)
        ON CONFLICT DO NOTHING
        """,
        [NAME, AVATARS.name, record.partition, _key(record), record.offset, reason.replace("\0", "")],
    )


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


async def find(connection: Connection, account_id: str, avatar_id: str) -> list[Found]:
    """The account's avatar of that id, or none. A deletion that was answered holds at once."""
    return await _find(connection, account_id, "{id} = %(avatar)s", {"avatar": avatar_id})


async def page(connection: Connection, account_id: str, after: str | None, limit: int) -> list[Found]:
    """Up to `limit` of the account's avatars, newest first, behind `after`, which may have been deleted meanwhile."""
    before = "TRUE" if after is None else "{id} < %(after)s"
    return await _find(connection, account_id, before, {"after": after, "limit": limit})


async def _find(connection: Connection, account_id: str, condition: str, values: dict[str, Any]) -> list[Found]:
    cursor = await connection.execute(
        f"""
        (SELECT v.avatar_id, v.account_id, v.status, v.name_key_id, v.name, v.runtime_type, v.asset, v.face,
            v.failure_reason, v.created_ms, NULL
        FROM r.avatars v LEFT JOIN avatar_admissions a USING (avatar_id)
        WHERE v.account_id = %(account)s AND a.deleted IS NOT TRUE AND {condition.format(id="v.avatar_id")}
        ORDER BY v.avatar_id DESC LIMIT %(limit)s)
        UNION ALL
        (SELECT a.avatar_id, a.account_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, a.resource
        FROM avatar_admissions a
        WHERE a.account_id = %(account)s AND NOT a.deleted AND a.acknowledged AND {condition.format(id="a.avatar_id")}
            AND NOT EXISTS (SELECT 1 FROM r.all_avatars v WHERE v.avatar_id = a.avatar_id)
        ORDER BY a.avatar_id DESC LIMIT %(limit)s)
        ORDER BY 1 DESC LIMIT %(limit)s
        """,  # noqa: S608 - constants
        {"account": account_id, "limit": 1, **values},
    )
    return [Found(row[0], None if row[10] else _avatar(row[:10]), row[10]) for row in await cursor.fetchall()]


async def failed_beyond(connection: Connection, account_id: str, kept: int) -> list[str]:
    """Failed avatars behind the latest `kept`; some of them, when they are many."""
    cursor = await connection.execute(
        """
        SELECT v.avatar_id FROM r.avatars v LEFT JOIN avatar_admissions a USING (avatar_id)
        WHERE v.account_id = %s AND v.status = 'failed' AND a.deleted IS NOT TRUE
        ORDER BY v.avatar_id DESC LIMIT 20 OFFSET %s
        """,
        [account_id, kept],
    )
    return [row[0] for row in await cursor.fetchall()]
