"""Creates that are in the log, told to the database: in the background, many at once."""

from __future__ import annotations

import asyncio

import structlog

from api.context import Context
from store import admissions
from store.database import DatabaseUnreachable

log = structlog.get_logger()

_MARK_EVERY_S = 0.02


async def keep_marking(ctx: Context) -> None:
    """Mark what is in the log, many at once, for ever. What is lost with the process costs a retry 6 s."""
    while True:
        await asyncio.sleep(_MARK_EVERY_S)
        try:
            await mark_acknowledged(ctx)
        except DatabaseUnreachable:
            await asyncio.sleep(0.5)
        except Exception:  # it must go on, whatever was wrong once: creates that are not marked cost retries seconds
            log.exception("creates not marked")
            await asyncio.sleep(5)


async def mark_acknowledged(ctx: Context) -> None:
    """Raises DatabaseUnreachable, and then nothing is forgotten."""
    if not ctx.acknowledged:
        return
    done, ctx.acknowledged = ctx.acknowledged, []
    try:
        async with ctx.pool.connection() as connection:
            await admissions.mark_acknowledged(
                connection, [sid for sid, _ in done], [sid for sid, has_key in done if has_key]
            )
    except BaseException:
        ctx.acknowledged = done + ctx.acknowledged
        raise
