"""`/v1/account`, `/v1/billing` and `/v1/capacity`: who asks, what the plan allows, what is free."""

from __future__ import annotations

from dataclasses import asdict

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from api import answers
from api.auth import CallerPrincipal
from api.context import Context, Ctx
from api.errors import DatabaseUnavailable, documented, with_key
from projections import names, states
from schemas.accounts import (
    AccountResource,
    CapacityResource,
    Held,
    KeyResource,
    PlanResource,
    QualityCapacity,
    QuotaResource,
)
from schemas.times import from_datetime, to_wire
from store import accounts, plans, slots, uploads
from store.plans import Plan

router = APIRouter(prefix="/v1", tags=["Account"])


@router.get(
    "/account",
    response_model=AccountResource,
    operation_id="get_account",
    summary="Get your account",
    responses=with_key(),
)
async def get_account(caller: CallerPrincipal, ctx: Ctx) -> Response:
    """The account, and the key that was asked with."""
    async with ctx.pool.connection() as connection:
        account = await accounts.account(connection, caller.account_id)
        [key] = await accounts.keys(connection, caller.key_id)
    assert account is not None
    shown = AccountResource(
        id=account.id,
        name=account.name,
        plan=account.plan,
        idle_timeout_seconds=account.idle_timeout_seconds,
        created_at=to_wire(from_datetime(account.created_at)),
        key=KeyResource(
            id=key.id,
            name=key.name,
            scopes=key.scopes,
            creates_per_minute=caller.creates_per_minute,
            max_concurrency=key.max_concurrency,
            created_at=to_wire(from_datetime(key.created_at)),
        ),
    )
    return answers.json(shown.model_dump())


@router.get(
    "/billing/plans",
    response_model=list[PlanResource],
    operation_id="list_billing_plans",
    summary="List the plans",
    responses=documented(DatabaseUnavailable),
    openapi_extra={"security": []},
)
async def list_plans(ctx: Ctx) -> Response:
    """Open to everybody. A bare array, the cheapest first."""
    found = await ctx.plans.get(lambda: _plans(ctx))
    return Response(orjson.dumps([_plan(plan).model_dump() for plan in found]), media_type="application/json")


async def _plans(ctx: Context) -> list[Plan]:
    async with ctx.pool.connection() as connection:
        return await plans.every(connection)


def _plan(plan: Plan) -> PlanResource:
    fields = asdict(plan)
    fields.pop("creates_per_minute")  # the published clients take exactly the others
    return PlanResource(**fields)


@router.get(
    "/billing/quota",
    response_model=QuotaResource,
    operation_id="get_billing_quota",
    summary="Get your quota",
    responses=with_key(),
)
async def get_quota(caller: CallerPrincipal, ctx: Ctx) -> Response:
    """What your plan allows, and how much of it is taken right now."""
    async with ctx.pool.connection() as connection:
        account = await accounts.account(connection, caller.account_id)
        assert account is not None
        plan = await plans.find(connection, account.plan)
        assert plan is not None
        avatars = await uploads.held(connection, caller.account_id)
    shown = QuotaResource(
        plan=plan.key,
        concurrent_sessions=Held(limit=plan.max_concurrency, used=account.live_sessions),
        custom_avatars=Held(limit=plan.custom_avatar_slots, used=avatars),
        session_time_limit_seconds=plan.session_time_limit_seconds,
        creates_per_minute=plan.creates_per_minute,
    )
    return answers.json(shown.model_dump())


@router.get(
    "/capacity",
    response_model=CapacityResource,
    operation_id="get_capacity",
    summary="Get the workers' capacity",
    responses=with_key(),
)
async def get_capacity(caller: CallerPrincipal, ctx: Ctx) -> Response:
    """Whether a create would find a worker right now, and else how long it may take until one is free."""
    async with ctx.pool.connection() as connection:
        total, by_quality = await slots.total(connection), await slots.by_quality(connection)
        ended = 0 if total.free else await states.ended_lately(connection, names.ROSTER)
    shown = CapacityResource(
        slots=total.slots,
        free=total.free,
        by_quality={quality: QualityCapacity(**asdict(free)) for quality, free in by_quality.items()},
        waiting=ctx.turns.waiting,
        estimated_wait_ms=_estimated_wait_ms(total.free, ctx.turns.waiting, ended),
    )
    return answers.json(shown.model_dump())


def _estimated_wait_ms(free: int, waiting: int, ended: int) -> int | None:
    """Slots become free as often as sessions have ended lately, and those who wait come first."""
    if free:
        return 0
    return round(states.ENDS_WITHIN_S * 1000 * (waiting + 1) / ended) if ended else None
