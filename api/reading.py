"""A session as it must be shown, to its own account alone."""

from __future__ import annotations

import orjson

from api.context import Context
from api.errors import SessionNotFound
from events.sealing import NO_KEYS, KeySet
from projections import sessions
from projections.resources import resource
from projections.sessions import StoredSession
from schemas.jsons import JsonObject


async def find(ctx: Context, account_id: str, session_id: str) -> StoredSession:
    """Raises SessionNotFound."""
    async with ctx.pool.connection() as connection:
        found = await sessions.find(connection, account_id, session_id)
    if found is None:
        raise SessionNotFound
    return found


async def keys(ctx: Context, account_id: str, found: StoredSession) -> KeySet:
    """What its erasable fields open with."""
    return await ctx.data_keys.of_session(account_id, found.session_id, found.key)


async def keys_now(ctx: Context, account_id: str, session_id: str) -> KeySet:
    """For who goes on telling of a session, which may have been erased meanwhile."""
    async with ctx.pool.connection() as connection:
        found = await sessions.find(connection, account_id, session_id)
    return NO_KEYS if found is None else await keys(ctx, account_id, found)


async def shown(ctx: Context, account_id: str, found: StoredSession) -> JsonObject:
    if found.state is None:
        resource_: JsonObject = orjson.loads(found.resource or "")
    else:
        resource_ = resource(found.state, await keys(ctx, account_id, found))
    resource_["status"] = found.status
    return resource_
