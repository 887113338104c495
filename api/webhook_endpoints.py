"""`/v1/webhook_endpoints`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from api import answers, bodies
from api.auth import CallerPrincipal
from api.context import Ctx
from api.errors import (
    BodyTooLarge,
    EndpointLimit,
    EndpointNotFound,
    MalformedJson,
    Unprocessable,
    with_key,
)
from schemas.addresses import InvalidUrl, UnsafeAddress
from schemas.times import to_wire
from schemas.webhooks import CreateWebhookEndpoint, WebhookEndpointResource
from store import deliveries, endpoints
from store.resolving import ResolverAway, Unresolvable

router = APIRouter(prefix="/v1/webhook_endpoints", tags=["Webhooks"])


@router.post(
    "",
    status_code=201,
    response_model=WebhookEndpointResource,
    operation_id="create_webhook_endpoint",
    summary="Create a webhook endpoint",
    responses=with_key(MalformedJson, BodyTooLarge, EndpointLimit, Unprocessable),
    openapi_extra=bodies.documented(CreateWebhookEndpoint),
)
async def create(request: Request, caller: CallerPrincipal, ctx: Ctx) -> Response:
    """The answer carries the signing secret (`whsec_…`), once. Deliveries are signed as Standard Webhooks are."""
    body = bodies.validate(bodies.parse(await bodies.read(request)), CreateWebhookEndpoint)
    try:
        await ctx.webhook_hosts.addresses(body.url, within_s=2)
    except (InvalidUrl, UnsafeAddress, Unresolvable) as unsafe:
        raise Unprocessable(f"url: {unsafe}.", code="url.unsafe", param="url") from None
    except ResolverAway:
        raise Unprocessable("url: no name server says what its host is.", code="url.unsafe", param="url") from None
    async with ctx.pool.connection() as connection:
        made = await endpoints.create(
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
    return answers.json(shown.model_dump(), 201)


@router.delete(
    "/{endpoint_id}",
    status_code=204,
    operation_id="delete_webhook_endpoint",
    summary="Delete a webhook endpoint",
    responses=with_key(EndpointNotFound),
)
async def delete(endpoint_id: str, caller: CallerPrincipal, ctx: Ctx) -> Response:
    """What was still to be delivered to it is dropped."""
    async with ctx.pool.connection() as connection:
        if not await deliveries.delete_endpoint(connection, caller.account_id, endpoint_id):
            raise EndpointNotFound
    return Response(status_code=204)
