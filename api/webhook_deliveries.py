"""`/v1/webhook_deliveries`: what became of what was to be sent."""

from __future__ import annotations

from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Query
from starlette.responses import Response

from api import answers, pages
from api.auth import CallerPrincipal
from api.context import Ctx
from api.errors import DeliveryNotFound, EndpointDisabled, InvalidRequest, Unprocessable, with_key
from schemas.ids import WEBHOOK_DELIVERY
from schemas.requests import Text
from schemas.times import from_datetime, now_ms, to_wire
from schemas.webhooks import WebhookAttempt, WebhookDeliveryDetail, WebhookDeliveryList, WebhookDeliveryResource
from store import outcomes, replays
from store.outcomes import Delivery, DeliveryFilter

router = APIRouter(prefix="/v1/webhook_deliveries", tags=["Webhooks"])


@router.get(
    "",
    response_model=WebhookDeliveryList,
    operation_id="list_webhook_deliveries",
    summary="List webhook deliveries",
    responses=with_key(InvalidRequest, Unprocessable),
)
async def list_deliveries(
    caller: CallerPrincipal,
    ctx: Ctx,
    endpoint_id: Text | None = None,
    session_id: Annotated[Text | None, Query(min_length=1)] = None,
    type: Annotated[Text | None, Query(description="An event type, exactly.")] = None,
    status: Literal["pending", "delivered", "given_up"] | None = None,
    limit: pages.Limit = pages.DEFAULT,
    starting_after: Annotated[str | None, pages.starting_after(WEBHOOK_DELIVERY)] = None,
) -> Response:
    """Kept for 30 days after they are finished. The newest event first."""
    only = DeliveryFilter(endpoint_id, session_id, type, status)
    cursor = pages.checked(starting_after, WEBHOOK_DELIVERY, "a webhook delivery's")
    async with ctx.pool.connection() as connection:
        found, further = await outcomes.page(connection, caller.account_id, only, cursor, limit + 1)
    page = pages.page(found, limit, lambda each: each.id)
    if further is not None:
        page |= {"has_more": True, "next_cursor": further}
    return answers.json({**page, "data": [shown(each).model_dump() for each in page["data"]]})


@router.get(
    "/{delivery_id}",
    response_model=WebhookDeliveryDetail,
    operation_id="get_webhook_delivery",
    summary="Get a webhook delivery",
    responses=with_key(DeliveryNotFound),
)
async def get(delivery_id: str, caller: CallerPrincipal, ctx: Ctx) -> Response:
    """With its body and every attempt."""
    async with ctx.pool.connection() as connection:
        found = await outcomes.find(connection, caller.account_id, delivery_id)
        if found is None:
            raise DeliveryNotFound
        tried = await outcomes.tried(connection, delivery_id)
    delivery, body = found
    detail = WebhookDeliveryDetail(
        **shown(delivery).model_dump(),
        body=orjson.loads(body),
        tried=[
            WebhookAttempt(
                n=each.n,
                at=to_wire(from_datetime(each.at)),
                status=each.status,
                latency_ms=each.latency_ms,
                error=each.error,
                answer=each.answer,
            )
            for each in tried
        ],
    )
    return answers.json(detail.model_dump())


@router.post(
    "/{delivery_id}/redeliver",
    status_code=202,
    response_model=WebhookDeliveryResource,
    operation_id="redeliver_webhook",
    summary="Deliver again",
    responses=with_key(DeliveryNotFound, EndpointDisabled),
)
async def redeliver(delivery_id: str, caller: CallerPrincipal, ctx: Ctx) -> Response:
    """Whatever became of it: now, under the same `webhook-id`, and with the whole schedule if that fails. One that
    waits for its next attempt gets it now."""
    async with ctx.pool.connection() as connection:
        try:
            again = await replays.redeliver(connection, caller.account_id, delivery_id)
        except replays.EndpointDisabled:
            raise EndpointDisabled from None
        found = await outcomes.find(connection, caller.account_id, delivery_id) if again else None
    if found is None:
        raise DeliveryNotFound
    return answers.json(shown(found[0]).model_dump(), 202)


def shown(delivery: Delivery) -> WebhookDeliveryResource:
    claimed = delivery.claimed_until
    under_way = claimed is not None and from_datetime(claimed) > now_ms()
    waits = delivery.state == "pending" and not under_way
    return WebhookDeliveryResource(
        id=delivery.id,
        endpoint_id=delivery.endpoint_id,
        session_id=delivery.session_id or None,
        event_id=delivery.event_id,
        type=delivery.type,
        status=delivery.state,
        reason=delivery.reason,
        attempts=delivery.attempts,
        next_attempt_at=to_wire(from_datetime(delivery.next_at)) if waits else None,
        created_at=to_wire(from_datetime(delivery.created_at)),
        finished_at=None if delivery.finished_at is None else to_wire(from_datetime(delivery.finished_at)),
    )
