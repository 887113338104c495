"""The application, put together."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Lifespan, Receive, Scope, Send

from api import (
    account,
    avatars,
    console,
    console_operator,
    fast_path,
    feed,
    history,
    live,
    manual,
    metrics,
    openapi,
    pipecat,
    proofs,
    sessions,
    spending,
    status,
    uploads,
    usage,
    verification,
    webhook_deliveries,
    webhook_endpoints,
)
from api.context import Context
from api.errors import (
    ApiError,
    InvalidRequest,
    MethodNotAllowed,
    RouteNotFound,
    refused,
    request_id,
    respond,
)
from api.hosts import LiveKitHosts
from api.lanes import Lanes
from api.marking import keep_marking, mark_acknowledged
from api.middleware import RequestBoundary
from api.news import News
from api.prices import Prices
from api.settings import ApiSettings
from api.turns import Turns
from api.verifiers import Verifiers
from events.producer import EventProducer
from events.sealing import Keyring
from faces.assets import Assets
from projections.history import CHANNEL as HISTORY
from projections.live import CHANNEL as LIVE
from schemas.background import Background
from schemas.jsons import JsonObject
from store import slots
from store.accounts import KEY_REVOKED
from store.data_keys import DataKeys
from store.database import DatabaseUnreachable, Pool, listen, pool
from store.feed import CHANNEL as FEED
from store.resolving import Resolver, WebhookHosts

_ANSWER_WITHIN_S = 3.0
"""A database that takes longer is told as away: every answer comes within 8 s."""

_ROUTERS = (
    sessions.router,
    history.router,
    proofs.router,
    feed.router,
    pipecat.router,
    avatars.router,
    verification.router,
    webhook_endpoints.router,
    webhook_deliveries.router,
    usage.router,
    live.router,
    account.router,
    spending.router,
    status.router,
)


def create_app(settings: ApiSettings) -> FastAPI:
    return _application(lambda app: _lifespan(app, settings))


def published_document() -> JsonObject:
    """The OpenAPI document of every server of this version: no setting changes it."""
    return openapi.document(_application(None))


class _Application(FastAPI):
    """FastAPI, with the short way around it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (found := fast_path.match(scope)) is not None:
            scope["app"] = self
            await found(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def _application(lifespan: Lifespan[FastAPI] | None) -> FastAPI:
    app = _Application(
        title=openapi.TITLE,
        version="1",
        description=openapi.DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # FastAPI's pages load scripts from elsewhere; ours is in `manual`
        redoc_url=None,
        exception_handlers={
            ApiError: _api_error,
            HTTPException: _http_error,
            RequestValidationError: _parameter_error,
        },
    )
    for router in _ROUTERS:
        app.include_router(router)
    app.include_router(manual.router)
    app.include_router(console_operator.router)
    app.include_router(console.router)
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]
    app.add_middleware(RequestBoundary)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI, settings: ApiSettings) -> AsyncIterator[None]:
    keyring = Keyring(settings.master_keys.get_secret_value())
    async with (
        pool(
            settings.database_url, settings.api_pool, connect_within_s=1.0, answer_within_s=_ANSWER_WITHIN_S
        ) as connections,
        EventProducer(settings) as producer,
        Resolver(settings.nameservers) as resolver,
    ):
        assets = Assets(settings.assets)
        ctx = Context(
            settings,
            connections,
            producer,
            keyring,
            DataKeys(connections, keyring),
            assets,
            WebhookHosts(settings, resolver),
            LiveKitHosts(settings.livekit_permitted_networks, resolver),
            Turns(settings.capacity_waiters, lambda: _free_slots(connections)),
            Prices(connections),
            Lanes(settings.api_pool),
            News(settings.api_connections),
            Verifiers(settings),
        )
        app.state.context = ctx
        metrics.WAITING.set_function(lambda: ctx.turns.waiting)
        metrics.STREAMS.set_function(lambda: ctx.news.open)
        tasks = Background()
        tasks.spawn(keep_marking(ctx), "mark acknowledged")
        told: dict[str, Callable[[str], None]] = {
            "slot_free": ctx.turns.tell,
            HISTORY: ctx.news.tell,
            LIVE: ctx.news.tell,
            FEED: ctx.news.tell,
            KEY_REVOKED: ctx.news.tell,
        }
        tasks.spawn(listen(settings.database_url, told), "listen")
        tasks.spawn(ctx.prices.keep_looking(), "rate cards")
        tasks.spawn(uploads.sweep(ctx), "sweep uploads")
        gc.collect()
        gc.freeze()
        # Requests leave few cycles: by default they would be looked for hundreds of times a second.
        gc.set_threshold(50_000, 20, 100)
        try:
            yield
        finally:
            await tasks.cancel()
            await console_operator.audits.end()
            with contextlib.suppress(DatabaseUnreachable):  # a retry goes on with what is not marked
                await mark_acknowledged(ctx)
            await ctx.leaving.cancel()  # `sweep` of the next process goes on


async def _free_slots(connections: Pool) -> Mapping[str, int]:
    async with connections.connection() as connection:
        found = await slots.by_quality(connection)
    return {quality: each.free for quality, each in found.items()}


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return respond(error, request_id(request))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known: dict[int, ApiError] = {404: RouteNotFound(), 405: MethodNotAllowed()}
    answer = known.get(error.status_code) or InvalidRequest(str(error.detail), code="request.invalid")
    answered = respond(answer, request_id(request))
    if error.status_code == 405:
        answered.headers["Allow"] = ", ".join(_methods(request, error))
    return answered


def _methods(request: Request, error: HTTPException) -> list[str]:
    """Of this path, over all of its routes: the framework names those of the first."""
    found = set(filter(None, (error.headers or {}).get("Allow", "").split(", ")))
    for route in (route for router in _ROUTERS for route in router.routes if isinstance(route, Route)):
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return sorted(found)


async def _parameter_error(request: Request, error: Exception) -> Response:
    """Path and query parameters; bodies are validated by their routes."""
    assert isinstance(error, RequestValidationError)
    problem = error.errors()[0]
    return respond(refused(problem["type"], problem["loc"][1:], problem["msg"]), request_id(request))
