"""`greenroom api`: the public port, and an internal one for health and metrics."""

from __future__ import annotations

import asyncio

import uvicorn
from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from api.app import create_app
from api.settings import ApiSettings
from projections.database import DatabaseUnreachable

_GRACE_S = 8


def internal_app(public: FastAPI) -> FastAPI:
    """/healthz: the process answers. /readyz: its database does too. /metrics: Prometheus."""

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

    return FastAPI(
        openapi_url=None,
        routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)],
    )


async def serve(settings: ApiSettings) -> None:
    """Until SIGTERM or Ctrl-C; open requests get some seconds to end."""
    app = create_app(settings)
    servers = [uvicorn.Server(_config(app, settings.api_host, settings.api_port))]
    if settings.internal_port:
        servers.append(uvicorn.Server(_config(internal_app(app), "127.0.0.1", settings.internal_port)))
    tasks = [asyncio.create_task(server.serve()) for server in servers]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*tasks)


def _config(app: FastAPI, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http="httptools",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=_GRACE_S,
        server_header=False,
    )
