"""`/v1/webhook_endpoints`: where events are sent, and sent again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import APIRouter, Request
from starlette.responses import Response

from api import answers, bodies
from api.auth import CallerPrincipal
from api.context import Context, Ctx
from api.errors import (
    BodyTooLarge,
    CursorExpired,
    EndpointDisabled,
    EndpointLimit,
    EndpointNotFound,
    InvalidRequest,
    MalformedJson,
    Overloaded,
    ReplayUnderWay,
    Unprocessable,
    with_key,
)
from api.moments import moment
from api.webhook_deliveries import shown as shown_delivery
from schemas.addresses import InvalidUrl, UnsafeAddress
from schemas.events import ENDPOINT_TEST
from schemas.ids import EVENT, new_id
from schemas.times import now_ms
from schemas.webhooks import (
    CreateWebhookEndpoint,
    PatchWebhookEndpoint,
    Replay,
    ReplayResource,
    RotateSecret,
    WebhookDeliveryResource,
    WebhookEndpointList,
    WebhookEndpointResource,
)
from store import deliveries, endpoints, feed, outcomes, replays
from store.database import Connection
from store.endpoints import Endpoint
from store.feed import Beyond, Pruned
from store.resolving import ResolverAway, Unresolvable

router = APIRouter(prefix="/v1/webhook_endpoints", tags=["Webhooks"])

_REPLAYS_AT_ONCE = 2
"""Of a process."""


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
    await _check_url(ctx, body.url)
    async with ctx.pool.connection() as connection:
        made = await endpoints.create(
            connection, caller.account_id, body.url, body.events, body.description, body.enabled, ctx.keyring
        )
    if made is None:
        raise EndpointLimit
    return answers.json(endpoints.resource(*made).model_dump(), 201)


@router.get(
    "",
    response_model=WebhookEndpointList,
    operation_id="list_webhook_endpoints",
    summary="List webhook endpoints",
    responses=with_key(),
)
async def list_endpoints(caller: CallerPrincipal, ctx: Ctx) -> Response:
    """All of them: there are 16 at most."""
    async with ctx.pool.connection() as connection:
        found = await endpoints.every(connection, caller.account_id)
    data = [endpoints.resource(each) for each in found]
    return answers.json(WebhookEndpointList(data=data, has_more=False, next_cursor=None).model_dump())


@router.get(
    "/{endpoint_id}",
    response_model=WebhookEndpointResource,
    operation_id="get_webhook_endpoint",
    summary="Get a webhook endpoint",
    responses=with_key(EndpointNotFound),
)
async def get(endpoint_id: str, caller: CallerPrincipal, ctx: Ctx) -> Response:
    """With `failing_since` and, where we have disabled it, why."""
    async with ctx.pool.connection() as connection:
        found = await _find(connection, caller.account_id, endpoint_id)
    return answers.json(endpoints.resource(found).model_dump())


@router.patch(
    "/{endpoint_id}",
    response_model=WebhookEndpointResource,
    operation_id="update_webhook_endpoint",
    summary="Change a webhook endpoint",
    responses=with_key(MalformedJson, BodyTooLarge, EndpointNotFound, Unprocessable),
    openapi_extra=bodies.documented(PatchWebhookEndpoint),
)
async def update(endpoint_id: str, request: Request, caller: CallerPrincipal, ctx: Ctx) -> Response:
    """What is not given stays. What was still to be delivered goes to the new `url`. `enabled: true` also forgets that
    it was failing; what fell due while it was disabled is not sent, unless you ask for it: see replay."""
    async with ctx.pool.connection() as connection:
        await _find(connection, caller.account_id, endpoint_id)
    body = bodies.validate(bodies.parse(await bodies.read(request)), PatchWebhookEndpoint)
    given = body.model_dump(include=body.model_fields_set)
    if "url" in given:
        await _check_url(ctx, body.url)
    async with ctx.pool.connection() as connection:
        changed = await endpoints.change(connection, caller.account_id, endpoint_id, given)
    if changed is None:
        raise EndpointNotFound
    return answers.json(endpoints.resource(changed).model_dump())


@router.delete(
    "/{endpoint_id}",
    status_code=204,
    operation_id="delete_webhook_endpoint",
    summary="Delete a webhook endpoint",
    responses=with_key(EndpointNotFound),
)
async def delete(endpoint_id: str, caller: CallerPrincipal, ctx: Ctx) -> Response:
    """What was still to be delivered to it is dropped, and so is what is known of its deliveries."""
    async with ctx.pool.connection() as connection:
        if not await deliveries.delete_endpoint(connection, caller.account_id, endpoint_id):
            raise EndpointNotFound
    return Response(status_code=204)


@router.post(
    "/{endpoint_id}/rotate_secret",
    response_model=WebhookEndpointResource,
    operation_id="rotate_webhook_secret",
    summary="Rotate an endpoint's secret",
    responses=with_key(MalformedJson, BodyTooLarge, EndpointNotFound, Unprocessable),
    openapi_extra=bodies.documented(RotateSecret, required=False),
)
async def rotate_secret(endpoint_id: str, request: Request, caller: CallerPrincipal, ctx: Ctx) -> Response:
    """The answer carries the new secret, once. For 24 h, or as long as you say, deliveries are signed with the one
    before as well: verifiers accept either."""
    raw = await bodies.read(request)
    body = bodies.validate(bodies.parse(raw) if raw else {}, RotateSecret)
    async with ctx.pool.connection() as connection:
        rotated = await endpoints.rotate(
            connection, caller.account_id, endpoint_id, body.previous_expires_in_seconds, ctx.keyring
        )
    if rotated is None:
        raise EndpointNotFound
    return answers.json(endpoints.resource(*rotated).model_dump())


@router.post(
    "/{endpoint_id}/test",
    status_code=202,
    response_model=WebhookDeliveryResource,
    operation_id="test_webhook_endpoint",
    summary="Send a test event",
    responses=with_key(EndpointNotFound, EndpointDisabled),
)
async def test(endpoint_id: str, caller: CallerPrincipal, ctx: Ctx) -> Response:
    """A `webhook_endpoint.test`, whatever its `events` are, tried once. Ask for the delivery to see what became of it.
    While one is under way, that is the answer."""
    async with ctx.pool.connection() as connection:
        endpoint = await _find(connection, caller.account_id, endpoint_id)
        if not endpoint.enabled:
            raise EndpointDisabled
        delivery_id = await outcomes.pending_test(connection, endpoint.id, ENDPOINT_TEST)
        if delivery_id is None:
            delivery_id = await _insert_test(connection, endpoint)
        found = await outcomes.find(connection, caller.account_id, delivery_id)
    if found is None:  # deleted, or disabled, in between
        raise EndpointNotFound
    return answers.json(shown_delivery(found[0]).model_dump(), 202)


@router.post(
    "/{endpoint_id}/replay",
    status_code=202,
    response_model=ReplayResource,
    operation_id="replay_webhooks",
    summary="Send past events again",
    responses=with_key(
        InvalidRequest,
        MalformedJson,
        BodyTooLarge,
        EndpointNotFound,
        EndpointDisabled,
        ReplayUnderWay,
        Unprocessable,
    ),
    openapi_extra=bodies.documented(Replay),
)
async def replay(endpoint_id: str, request: Request, caller: CallerPrincipal, ctx: Ctx) -> Response:
    """All of the account's feed since a time, or behind a position, or of one session, that the endpoint's `events`
    name: up to 10,000 events, 50 a second, with the ids that they had. What is pending anyway stays as it is. They come
    about in their order, and wait for none that fails: `seq` of their bodies says it. One replay of an account at a
    time."""
    async with ctx.pool.connection() as connection:
        endpoint = await _find(connection, caller.account_id, endpoint_id)
    body = bodies.validate(bodies.parse(await bodies.read(request)), Replay)
    since_ms = moment("since", body.since)
    with _turn(ctx, caller.account_id):
        try:
            shown = await _replay(ctx, endpoint, body, since_ms)
        except replays.EndpointDisabled:
            raise EndpointDisabled from None
    return answers.json(shown.model_dump(), 202)


@contextmanager
def _turn(ctx: Context, account_id: str) -> Iterator[None]:
    """So that replays leave the connections to the database to others. Raises ReplayUnderWay, Overloaded."""
    if account_id in ctx.replaying:
        raise ReplayUnderWay
    if len(ctx.replaying) >= _REPLAYS_AT_ONCE:
        raise Overloaded
    ctx.replaying.add(account_id)
    try:
        yield
    finally:
        ctx.replaying.discard(account_id)


async def _replay(ctx: Context, endpoint: Endpoint, body: Replay, since_ms: int | None) -> ReplayResource:
    async with ctx.pool.connection() as connection:
        if body.session_id is not None:
            made = await replays.replay_session(connection, endpoint, body.session_id, body.after_seq)
            return ReplayResource(deliveries=made, through=None, has_more=False)
        after = int(body.after or 0)
        if since_ms is not None:
            after = await feed.since(connection, endpoint.account_id, since_ms)
    try:
        done = await replays.replay(ctx.pool, endpoint, after)
        return ReplayResource(deliveries=done.deliveries, through=str(done.through), has_more=done.more)
    except Beyond:
        raise InvalidRequest(
            "after is beyond the last event of your feed.", code="cursor.invalid", param="after"
        ) from None
    except Pruned as pruned:
        raise CursorExpired(pruned.oldest - 1) from None


async def _find(connection: Connection, account_id: str, endpoint_id: str) -> Endpoint:
    found = await endpoints.find(connection, account_id, endpoint_id)
    if found is None:
        raise EndpointNotFound
    return found


async def _check_url(ctx: Context, url: str) -> None:
    try:
        await ctx.webhook_hosts.addresses(url, within_s=2)
    except (InvalidUrl, UnsafeAddress, Unresolvable) as unsafe:
        raise Unprocessable(f"url: {unsafe}.", code="url.unsafe", param="url") from None
    except ResolverAway:
        raise Unprocessable("url: no name server says what its host is.", code="url.unsafe", param="url") from None


async def _insert_test(connection: Connection, endpoint: Endpoint) -> str:
    event_id = new_id(EVENT)
    new = deliveries.New(
        id=deliveries.delivery_id(event_id, endpoint.id),
        endpoint_id=endpoint.id,
        account_id=endpoint.account_id,
        session_id="",
        event_id=event_id,
        type=ENDPOINT_TEST,
        seq=0,
        body=endpoints.body(endpoint, ENDPOINT_TEST, now_ms()),
    )
    await deliveries.insert(connection, [new])
    return new.id
