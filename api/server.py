"""`greenroom api`: the public port, and an internal one for health and metrics."""

from __future__ import annotations

import asyncio
import resource
import socket
from dataclasses import replace

import msgspec
import structlog
import uvicorn
from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from api.app import create_app
from api.front import KEEP_ALIVE_S, Limits, bounded_by
from api.settings import ApiSettings
from projections.overview import overview
from schemas.times import now_ms
from store.accounts import check_pepper
from store.database import DatabaseUnreachable

log = structlog.get_logger()

_GRACE_S = 8
_INTERNAL_CONNECTIONS = 64
_OTHER_FILES = 256
"""Connections to Kafka, PostgreSQL and the internal port, assets, and what Python has open."""


def internal_app(public: FastAPI) -> FastAPI:
    """/healthz: the process answers. /readyz: its database does too. /metrics: Prometheus. /live: of all accounts."""

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        try:
            async with public.state.context.pool.connection(2, within_s=2) as connection:
                await connection.execute("SELECT 1")
        except (AttributeError, DatabaseUnreachable):
            return PlainTextResponse("database unavailable\n", status_code=503)
        return PlainTextResponse("ok\n")

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def live(_: Request) -> Response:
        try:
            async with public.state.context.pool.connection(2) as connection:
                found = await overview(connection, now_ms())
        except (AttributeError, DatabaseUnreachable):
            return PlainTextResponse("database unavailable\n", status_code=503)
        return Response(msgspec.json.encode(found), media_type="application/json")

    return FastAPI(
        openapi_url=None,
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/live", live),
        ],
    )


async def serve(settings: ApiSettings) -> None:
    """Until SIGTERM or Ctrl-C; open requests get some seconds to end. Raises PepperMissing."""
    check_pepper(settings.key_pepper.get_secret_value())
    app = create_app(settings)
    _allow_files(settings.api_connections + _OTHER_FILES)
    limits = Limits(settings.api_connections, settings.api_head_s, settings.api_body_s)
    servers: list[uvicorn.Server] = [_Public(_config(app, settings.api_host, settings.api_port, limits))]
    if settings.internal_port:
        inside = replace(limits, connections=_INTERNAL_CONNECTIONS)
        servers.append(uvicorn.Server(_config(internal_app(app), "127.0.0.1", settings.internal_port, inside)))
    tasks = [asyncio.create_task(server.serve()) for server in servers]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*tasks)


class _Public(uvicorn.Server):
    """It waits for open requests before it ends the application, and a stream is one that would never end."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.app.state.context.news.end()  # type: ignore[union-attr]  # FastAPI
        await super().shutdown(sockets)


def _config(app: FastAPI, host: str, port: int, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=bounded_by(limits),
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_S,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=_GRACE_S,
        server_header=False,
    )


def _allow_files(wanted: int) -> None:
    """Many systems start processes with 1,024 open files; with all of them taken by strangers, nothing would work."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        if most < wanted:
            log.warning("fewer open files than connections: raise the limit", wanted=wanted, allowed=most)
