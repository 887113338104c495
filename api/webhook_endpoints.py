"""`/v1/webhook_endpoints`."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError
from starlette.responses import Response

from api.auth import CallerPrincipal
from api.context import Context, context
from api.errors import (
    DatabaseUnavailable,
    EndpointLimit,
    EndpointNotFound,
    KeyInvalid,
    KeyMissing,
    KeyRevoked,
    MalformedJson,
    Unprocessable,
    documented,
    from_validation,
)
from api.middleware import read_body
from projections import webhooks
from projections.deliver import Safety, UnsafeUrl
from schemas.times import to_wire
from schemas.webhooks import CreateWebhookEndpoint, WebhookEndpointResource

router = APIRouter(prefix="/v1/webhook_endpoints", tags=["Webhooks"])


@router.post(
    "",
    status_code=201,
    response_model=WebhookEndpointResource,
    summary="Create a webhook endpoint",
    responses=documented(
        MalformedJson, KeyMissing, KeyInvalid, KeyRevoked, EndpointLimit, Unprocessable, DatabaseUnavailable
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": CreateWebhookEndpoint.model_json_schema()}},
        }
    },
)
async def create(request: Request, caller: CallerPrincipal, ctx: Annotated[Context, Depends(context)]) -> Response:
    """The answer carries the signing secret (`whsec_…`), once. Deliveries are signed as Standard Webhooks are."""
    raw = await read_body(request)
    try:
        content = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise MalformedJson from None
    try:
        body = CreateWebhookEndpoint.model_validate(content)
    except ValidationError as failed:
        raise from_validation(failed) from None
    try:
        await Safety(ctx.settings).resolve(body.url)
    except UnsafeUrl as unsafe:
        raise Unprocessable(f"url: {unsafe}.", code="url.unsafe", param="url") from None
    async with ctx.pool.connection() as connection:
        made = await webhooks.create_endpoint(
            connection, caller.account_id, body.url, body.events, body.description, body.enabled, ctx.keyring
        )
    if made is None:
        raise EndpointLimit
    endpoint, secret = made
    shown = WebhookEndpointResource(
        id=endpoint.id,
        url=endpoint.url,
        events=endpoint.events,
        description=endpoint.description,
        enabled=endpoint.enabled,
        created_at=to_wire(endpoint.created_ms),
        secret=secret,
    )
    return Response(shown.model_dump_json(), status_code=201, media_type="application/json")


@router.delete(
    "/{endpoint_id}",
    status_code=204,
    summary="Delete a webhook endpoint",
    responses=documented(KeyMissing, KeyInvalid, KeyRevoked, EndpointNotFound, DatabaseUnavailable),
)
async def delete(endpoint_id: str, caller: CallerPrincipal, ctx: Annotated[Context, Depends(context)]) -> Response:
    """What was still to be delivered to it is dropped."""
    async with ctx.pool.connection() as connection:
        if not await webhooks.delete_endpoint(connection, caller.account_id, endpoint_id):
            raise EndpointNotFound
    return Response(status_code=204)
