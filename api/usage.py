"""`/v1/usage` and `/v1/usage_events`: what was used, summed up and entry by entry."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response
from ulid import ULID

from api import answers, pages
from api.auth import CallerPrincipal
from api.context import Ctx
from api.errors import InvalidRequest, Unprocessable, with_key
from api.moments import Moment, moment
from projections import summaries
from projections.resources import ledger_entry
from projections.summaries import EntryFilter, NoSuchEntry
from schemas.ids import USAGE
from schemas.requests import Text
from schemas.times import now_ms, to_wire
from schemas.usage import UsageEventList, UsageSummary

router = APIRouter(prefix="/v1", tags=["Account"])

_PERIODS = ("current_month", "previous_month")
Period = Annotated[
    str, Query(description="UTC months. Or `period_start` and `period_end`.", json_schema_extra={"enum": [*_PERIODS]})
]
Start = Annotated[Moment | None, Query(description="Inclusive.")]
End = Annotated[Moment | None, Query(description="Exclusive.")]


@router.get(
    "/usage",
    response_model=UsageSummary,
    operation_id="get_usage",
    summary="Get your usage",
    responses=with_key(InvalidRequest, Unprocessable),
)
async def get_usage(
    caller: CallerPrincipal,
    ctx: Ctx,
    period: Period | None = None,
    period_start: Start = None,
    period_end: End = None,
) -> Response:
    """Of the current month, when nothing else is asked for. To a period that has ended nothing is added later."""
    start_ms, end_ms = _period(period, period_start, period_end)
    async with ctx.pool.connection() as connection:
        found = await summaries.summary(connection, caller.account_id, start_ms, end_ms)
    shown = UsageSummary(
        period_start=to_wire(start_ms),
        period_end=to_wire(end_ms),
        billable_seconds=sum(found.seconds.values()),
        sessions=found.sessions,
        by_quality=found.seconds,
    )
    return answers.json(shown.model_dump())


@router.get(
    "/usage_events",
    response_model=UsageEventList,
    operation_id="list_usage_events",
    summary="List ledger entries",
    responses=with_key(InvalidRequest, Unprocessable),
)
async def list_usage_events(
    caller: CallerPrincipal,
    ctx: Ctx,
    session_id: Text | None = None,
    period_start: Start = None,
    period_end: End = None,
    limit: pages.Limit = pages.DEFAULT,
    starting_after: Annotated[str | None, pages.starting_after(USAGE)] = None,
) -> Response:
    """What bills are made of, the latest recorded first. The entries of a session form a chain of hashes."""
    only = EntryFilter(session_id, moment("period_start", period_start), moment("period_end", period_end))
    if only.start_ms is not None and only.end_ms is not None and only.start_ms >= only.end_ms:
        raise _invalid("period_start must be before period_end.")
    cursor = pages.checked(starting_after, USAGE, "a ledger entry's")
    async with ctx.pool.connection() as connection:
        try:
            found = await summaries.entries(
                connection, caller.account_id, only, cursor, _made_ms(cursor) if cursor else 0, limit + 1
            )
        except NoSuchEntry:
            raise pages.unknown("a ledger entry's") from None
    page = pages.page(found, limit, lambda entry: str(entry.facts["id"]))
    return answers.json({**page, "data": [ledger_entry(entry) for entry in page["data"]]})


def _period(period: str | None, start: str | None, end: str | None) -> tuple[int, int]:
    if period is not None and (start is not None or end is not None):
        raise _invalid("Give either period, or period_start and period_end.")
    if (start is None) != (end is None):
        raise _invalid("period_start and period_end belong together.")
    start_ms, end_ms = moment("period_start", start), moment("period_end", end)
    if start_ms is not None and end_ms is not None:
        if start_ms >= end_ms:
            raise _invalid("period_start must be before period_end.")
        return start_ms, end_ms
    if period not in (None, *_PERIODS):
        raise _invalid(f"{period} is not a period: current_month or previous_month.")
    if period == "previous_month":
        return _ms(_month_after(_this(), -1)), _ms(_this())
    return this_month()


def this_month() -> tuple[int, int]:
    """When it began and when it ends, in UTC."""
    return _ms(_this()), _ms(_month_after(_this(), 1))


def _this() -> datetime:
    return datetime.fromtimestamp(now_ms() / 1000, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _month_after(first: datetime, months: int) -> datetime:
    index = first.year * 12 + first.month - 1 + months
    return first.replace(year=index // 12, month=index % 12 + 1)


def _ms(when: datetime) -> int:
    return int(when.timestamp()) * 1000


def _invalid(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="range.invalid", param="period")


def _made_ms(entry_id: str) -> int:
    """An id says when its event was made."""
    try:
        return int(ULID.from_str(entry_id.removeprefix(f"{USAGE}_")).milliseconds)
    except ValueError:
        raise pages.unknown("a ledger entry's") from None
