"""A session as it must be shown, to its own account alone."""

from __future__ import annotations

import orjson

from api.context import Context
from api.errors import SessionNotFound
from events.sealing import DataKey
from projections import sessions
from projections.resources import resource
from projections.sessions import StoredSession
from schemas.jsons import JsonObject
from store.accounts import AccountErased


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
        resource_ = resource(found.state, await data_key(ctx, account_id))
    resource_["status"] = found.status
    return resource_


async def data_key(ctx: Context, account_id: str) -> DataKey | None:
    """None: erased, and what was encrypted under it says so."""
    try:
        return await ctx.data_keys.of(account_id)
    except AccountErased:
        return None
