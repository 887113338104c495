"""Custom avatars as the log tells them, one row each, and their reading: with what the API acknowledged and the
projection may not have yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from events.avatars import Avatar
from events.sealing import KeySet
from projections import names
from projections.folding import Folded, Projection
from projections.resources import ERASED, opened
from projections.versions import FIRST, Version
from schemas.avatars import AvatarResource
from schemas.events import Encrypted
from schemas.jsons import JsonObject
from schemas.times import to_wire
from store.database import Connection, Row

_COLUMNS = (
    "avatar_id, account_id, status, name_key_id, name, runtime_type, asset, face, failure_reason, created_ms, shape"
)


class AvatarsProjection(Projection[Avatar]):
    name = names.AVATARS

    def __init__(self) -> None:
        self.use(FIRST[self.name])

    def use(self, version: Version) -> None:
        """Its table is there; readers use the views in `r`."""
        super().use(version)
        self._select = f"SELECT {_COLUMNS} FROM {version.schema}.avatars WHERE avatar_id = ANY(%s)"  # noqa: S608
        self._upsert = _UPSERT.format(schema=version.schema)

    async def load(self, connection: Connection, subjects: Sequence[str]) -> dict[str, Avatar]:
        cursor = await connection.execute(self._select, [list(subjects)])
        return {row[0]: _avatar(row) for row in await cursor.fetchall()}

    async def apply(self, connection: Connection, folded: Folded[Avatar]) -> None:
        if folded.states:
            async with connection.cursor() as cursor:
                await cursor.executemany(self._upsert, [_row(avatar) for avatar in folded.states.values()])


_UPSERT = """
    INSERT INTO {schema}.avatars VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (avatar_id) DO UPDATE SET
        status = excluded.status, name_key_id = excluded.name_key_id, name = excluded.name,
        asset = excluded.asset, face = excluded.face, failure_reason = excluded.failure_reason
"""


def _row(avatar: Avatar) -> tuple[object, ...]:
    name = avatar.name
    return (
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
        avatar.shape,
    )


def _avatar(row: Row) -> Avatar:
    avatar_id, account_id, status, key_id, name, runtime_type, asset, face, reason, created_ms, shape = row
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
        shape=shape,
    )


def resource(avatar: Avatar, keys: KeySet) -> AvatarResource:
    """As customers see it; not of one that is deleted. A name that does not open says so."""
    assert avatar.status != "deleted"
    return AvatarResource(
        id=avatar.avatar_id,
        name=opened(avatar.avatar_id, "name", avatar.name, keys) if avatar.name else ERASED,
        status=avatar.status,
        runtime_type=avatar.runtime_type,
        is_demo=False,
        created_at=to_wire(avatar.created_ms),
        failure_reason=avatar.failure_reason,
    )


# Reading: the projection where it has the avatar, the upload until then


@dataclass(frozen=True)
class StoredAvatar:
    """Either the log's `avatar`, or the stored `resource` of an upload that the projection has not got yet."""

    avatar_id: str
    avatar: Avatar | None
    resource: str | None

    def shown(self, keys: KeySet) -> AvatarResource:
        return resource(self.avatar, keys) if self.avatar else AvatarResource.model_validate_json(self.resource or "")


async def find(connection: Connection, account_id: str, avatar_id: str) -> list[StoredAvatar]:
    """The account's avatar of that id, or none. A deletion that was answered holds at once."""
    return await _find(connection, account_id, "{id} = %(avatar)s", {"avatar": avatar_id})


async def page(connection: Connection, account_id: str, after: str | None, limit: int) -> list[StoredAvatar]:
    """Up to `limit` of the account's avatars, newest first, behind `after`, which may have been deleted meanwhile."""
    before = "TRUE" if after is None else "{id} < %(after)s"
    return await _find(connection, account_id, before, {"after": after, "limit": limit})


async def _find(connection: Connection, account_id: str, condition: str, values: JsonObject) -> list[StoredAvatar]:
    cursor = await connection.execute(
        f"""
        (SELECT v.avatar_id, v.account_id, v.status, v.name_key_id, v.name, v.runtime_type, v.asset, v.face,
            v.failure_reason, v.created_ms, v.shape, NULL
        FROM r.avatars v LEFT JOIN avatar_admissions a USING (avatar_id)
        WHERE v.account_id = %(account)s AND a.deleted IS NOT TRUE AND {condition.format(id="v.avatar_id")}
        ORDER BY v.avatar_id DESC LIMIT %(limit)s)
        UNION ALL
        (SELECT a.avatar_id, a.account_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, a.resource
        FROM avatar_admissions a
        WHERE a.account_id = %(account)s AND NOT a.deleted AND a.acknowledged AND {condition.format(id="a.avatar_id")}
            AND NOT EXISTS (SELECT 1 FROM r.all_avatars v WHERE v.avatar_id = a.avatar_id)
        ORDER BY a.avatar_id DESC LIMIT %(limit)s)
        ORDER BY 1 DESC LIMIT %(limit)s
        """,  # noqa: S608 - constants
        {"account": account_id, "limit": 1, **values},
    )
    return [StoredAvatar(row[0], None if row[11] else _avatar(row[:11]), row[11]) for row in await cursor.fetchall()]


@dataclass(frozen=True)
class Owned:
    """An avatar that an account has, or had. `assets`: what the log names of it."""

    avatar_id: str
    deleted: bool
    assets: list[str]


async def owned(connection: Connection, account_id: str) -> list[Owned]:
    """All that the account has ever had, also those that the projection has not got yet."""
    cursor = await connection.execute(
        """
        SELECT v.avatar_id, v.status = 'deleted' OR coalesce(a.deleted, false),
            array_remove(ARRAY[v.asset, v.face], NULL)
        FROM r.all_avatars v LEFT JOIN avatar_admissions a USING (avatar_id) WHERE v.account_id = %(account)s
        UNION ALL
        SELECT a.avatar_id, a.deleted, '{}' FROM avatar_admissions a
        WHERE a.account_id = %(account)s AND a.acknowledged
            AND NOT EXISTS (SELECT 1 FROM r.all_avatars v WHERE v.avatar_id = a.avatar_id)
        """,
        {"account": account_id},
    )
    return [Owned(*row) for row in await cursor.fetchall()]


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
