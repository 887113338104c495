"""`/v1/limits` and `/v1/billing/credits`: what may be spent, and what is left."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api import answers, bodies, pages, usage
from api.auth import CallerPrincipal
from api.context import Ctx
from api.errors import (
    BodyTooLarge,
    InvalidRequest,
    KeyNotFound,
    MalformedJson,
    Unprocessable,
    with_key,
)
from schemas.rates import CREDIT_US
from schemas.requests import Text
from schemas.spending import (
    CreditEntry,
    CreditEntryList,
    CreditsResource,
    GrantResource,
    LimitsResource,
    PutLimits,
    SpendingLimits,
)
from schemas.times import from_datetime, to_wire
from store import accounts, credits, spending
from store.database import Connection
from store.spending import OF_ACCOUNT, Limits, Spending

router = APIRouter(prefix="/v1", tags=["Account"])

_ENTRY = "ce"


@router.get(
    "/limits", operation_id="get_limits", summary="Get your limits", response_model=LimitsResource, responses=with_key()
)
async def get_limits(caller: CallerPrincipal, ctx: Ctx) -> Response:
    """Of the account and of its keys, with what has been used this month."""
    async with ctx.pool.connection() as connection:
        return answers.json((await _limits(connection, caller.account_id)).model_dump())


@router.put(
    "/limits",
    operation_id="put_limits",
    summary="Set limits",
    response_model=LimitsResource,
    responses=with_key(MalformedJson, BodyTooLarge, KeyNotFound, Unprocessable),
    openapi_extra=bodies.documented(PutLimits),
)
async def put_limits(
    request: Request,
    caller: CallerPrincipal,
    ctx: Ctx,
    key_id: Annotated[Text | None, Query(description="Of this key; default: of the whole account.")] = None,
) -> Response:
    """They hold from now on. A threshold that is below what has been used is told of at once."""
    body = bodies.validate(bodies.parse(await bodies.read(request)), PutLimits)
    limits = Limits(
        None if body.hard_cap_credits is None else _us(body.hard_cap_credits),
        tuple(sorted({_us(each) for each in body.threshold_credits})),
    )
    async with ctx.pool.connection() as connection:
        if not await spending.put(connection, caller.account_id, key_id or OF_ACCOUNT, limits):
            raise KeyNotFound
        return answers.json((await _limits(connection, caller.account_id)).model_dump())


async def _limits(connection: Connection, account_id: str) -> LimitsResource:
    found = dict(await spending.of_account(connection, account_id))
    start_ms, end_ms = usage.this_month()
    of_account = found.pop(OF_ACCOUNT)
    return LimitsResource(
        period_start=to_wire(start_ms),
        period_end=to_wire(end_ms),
        account=_shown(of_account),
        keys={key_id: _shown(each) for key_id, each in found.items()},
    )


def _shown(found: Spending) -> SpendingLimits:
    cap_us = found.limits.cap_us
    return SpendingLimits(
        hard_cap_credits=None if cap_us is None else cap_us / CREDIT_US,
        threshold_credits=[each / CREDIT_US for each in found.limits.thresholds_us],
        used_credits=found.spent_us / CREDIT_US,
        reached_credits=[each / CREDIT_US for each in found.reached_us],
    )


@router.get(
    "/billing/credits",
    operation_id="get_credits",
    summary="Get your credits",
    response_model=CreditsResource,
    responses=with_key(),
)
async def get_credits(caller: CallerPrincipal, ctx: Ctx) -> Response:
    """The balance lags what runs by a heartbeat. What expires first pays first."""
    async with ctx.pool.connection() as connection:
        account = await accounts.account(connection, caller.account_id)
        balance = await credits.balance_us(connection, caller.account_id)
        grants = await credits.grants(connection, caller.account_id)
    assert account is not None
    shown = CreditsResource(
        gated=account.credit_gated,
        balance_credits=balance / CREDIT_US,
        grants=[
            GrantResource(
                id=grant.id,
                granted_credits=grant.granted_us / CREDIT_US,
                left_credits=grant.left_us / CREDIT_US,
                expires_at=None if grant.expires_at is None else to_wire(from_datetime(grant.expires_at)),
                note=grant.note,
                created_at=to_wire(from_datetime(grant.created_at)),
            )
            for grant in grants
        ],
    )
    return answers.json(shown.model_dump())


@router.get(
    "/billing/credit_entries",
    operation_id="list_credit_entries",
    summary="List changes of your credits",
    response_model=CreditEntryList,
    responses=with_key(InvalidRequest, Unprocessable),
)
async def list_credit_entries(
    caller: CallerPrincipal,
    ctx: Ctx,
    limit: pages.Limit = pages.DEFAULT,
    starting_after: Annotated[str | None, pages.starting_after(_ENTRY, "[0-9]{1,9}")] = None,
) -> Response:
    """The history of the balance, the latest change first."""
    cursor = pages.checked(starting_after, _ENTRY, "a credit entry's")
    number = cursor.removeprefix(f"{_ENTRY}_") if cursor is not None else None
    if number is not None and not (number.isascii() and number.isdigit() and len(number) < 10):
        raise pages.unknown("a credit entry's")
    async with ctx.pool.connection() as connection:
        found = await credits.entries(connection, caller.account_id, None if number is None else int(number), limit + 1)
    page = pages.page([_entry(entry) for entry in found], limit, lambda entry: entry.id)
    return answers.json({**page, "data": [entry.model_dump() for entry in page["data"]]})


def _entry(entry: credits.Entry) -> CreditEntry:
    return CreditEntry(
        id=f"{_ENTRY}_{entry.n}",
        at=to_wire(from_datetime(entry.at)),
        kind=entry.kind,
        grant_id=entry.grant_id,
        amount_credits=entry.amount_us / CREDIT_US,
        balance_credits=entry.balance_us / CREDIT_US,
        note=entry.note,
    )


def _us(amount: float) -> int:
    return round(amount * CREDIT_US)
