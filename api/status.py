"""`/v1/status`: whether the system works, for everybody to see."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from starlette.responses import Response

from api import answers
from api.context import Context, Ctx
from api.errors import documented
from schemas.status import Health, StatusComponent, StatusResource
from schemas.times import now_ms, to_wire
from store import admissions, slots
from store.database import DatabaseUnreachable

router = APIRouter(prefix="/v1/status", tags=["Status"])

_WITHIN_S = 1.5
_BEHIND_S = 5.0
"""Sessions that the log has for longer and the projection does not show."""


@router.get(
    "",
    response_model=StatusResource,
    operation_id="get_status",
    summary="Get the status",
    responses=documented(),
    openapi_extra={"security": []},
)
async def get(ctx: Ctx) -> Response:
    """Open to everybody, and an answer whatever is away. `outage`: no session can begin."""
    return answers.json((await ctx.status.get(lambda: _look(ctx))).model_dump())


async def _look(ctx: Context) -> StatusResource:
    (database, projections, workers), log = await asyncio.gather(_database(ctx), ctx.producer.reachable(_WITHIN_S))
    components = [
        StatusComponent(name="api", status="operational"),
        StatusComponent(name="database", status=database),
        StatusComponent(name="log", status="operational" if log else "outage"),
        StatusComponent(name="projections", status=projections),
        StatusComponent(name="workers", status=workers),
    ]
    found: list[Health] = [component.status for component in components]
    worst: Health = "outage" if "outage" in found else "degraded" if "degraded" in found else "operational"
    return StatusResource(status=worst, components=components, updated_at=to_wire(now_ms()))


async def _database(ctx: Context) -> tuple[Health, Health, Health]:
    """Of the database, the projections and the workers."""
    try:
        async with ctx.pool.connection(_WITHIN_S, within_s=_WITHIN_S) as connection:
            total = await slots.total(connection)
            behind = await admissions.not_shown(connection, now_ms() - round(_BEHIND_S * 1000))
    except DatabaseUnreachable:
        return "outage", "outage", "outage"
    workers: Health = "operational" if total.free else "degraded" if total.slots else "outage"
    return "operational", "degraded" if behind else "operational", workers
