"""A session as it must be shown, to its own account alone."""

from __future__ import annotations

import orjson

from api.context import Context
from api.errors import SessionNotFound
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


async def shown(ctx: Context, account_id: str, found: StoredSession) -> JsonObject:
    if found.state is None:
        resource_: JsonObject = orjson.loads(found.resource or "")
    else:
        resource_ = resource(found.state, await ctx.data_keys.if_kept(account_id))
    resource_["status"] = found.status
    return resource_
