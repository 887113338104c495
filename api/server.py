"""`greenroom api`: the public port, and the internal one."""

from __future__ import annotations

import resource
import socket
from collections.abc import Sequence

import msgspec
import structlog
import uvicorn
from fastapi import FastAPI

from api import metrics
from api.app import create_app
from api.context import Context
from api.front import KEEP_ALIVE_S, Limits, bounded_by
from api.settings import ApiSettings
from events import tracing
from projections.overview import overview
from schemas.internal_port import JSON, TEXT, Answer, opened
from schemas.times import now_ms
from store import database
from store.accounts import check_pepper
from store.database import DatabaseUnreachable

log = structlog.get_logger()

_GRACE_S = 8
_OTHER_FILES = 256
"""Connections to Kafka, PostgreSQL and the internal port, assets, and what Python has open."""


def _context(app: FastAPI) -> Context | None:
    """None while it is starting."""
    found: Context | None = getattr(app.state, "context", None)
    return found


async def _live(app: FastAPI) -> Answer:
    """Of all accounts."""
    if (context := _context(app)) is None:
        return 503, TEXT, b"it is starting\n"
    try:
        async with context.pool.connection(2, within_s=2) as connection:
            found = await overview(connection, now_ms())
    except DatabaseUnreachable:
        return 503, TEXT, b"the database does not answer\n"
    return 200, JSON, msgspec.json.encode(found)


async def serve(settings: ApiSettings) -> None:
    """Until SIGTERM or Ctrl-C; open requests get some seconds to end.

    Raises PepperMissing; OSError, with a sentence, when a port cannot be had.
    """
    check_pepper(settings.key_pepper.get_secret_value())
    _refuse_taken(settings.api_host, settings.api_port)
    app = create_app(settings)
    _allow_files(settings.api_connections + _OTHER_FILES)
    limits = Limits(settings.api_connections, settings.api_head_s, settings.api_body_s)
    server = _Public(_config(app, settings.api_host, settings.api_port, limits))

    host, port, pages = settings.metrics_host, settings.internal_port, {"/live": lambda: _live(app)}
    async with tracing.opened("api"), opened("api", host, port, lambda: missing(app, server), metrics.TOLD, pages):
        await server.serve()


async def missing(app: FastAPI, server: uvicorn.Server) -> Sequence[str]:
    """For the readiness of the process. The public port is opened after the application has started, and closed first.

    Who is sent here between would be refused.
    """
    context = _context(app)
    if context is None or not server.started:
        return ["it is starting"]
    return ["it is stopping"] if server.should_exit else await database.missing(context.pool)


def _refuse_taken(host: str, port: int) -> None:
    """uvicorn finds out that it is taken when all else has been started. Raises OSError, with a sentence."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                tried.bind(address)
    except OSError as failed:
        why = f"{host}:{port} cannot be listened on ({failed.strerror})"
        raise OSError(failed.errno, why, "the public port of greenroom api") from failed


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
        proxy_headers=False,  # whether a browser speaks https, its Origin says (api/cookies.py)
    )


def _allow_files(wanted: int) -> None:
    """Many systems start processes with 1,024 open files; with all of them taken by strangers, nothing would work."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        if most < wanted:
            log.warning("fewer open files than connections: raise the limit", wanted=wanted, allowed=most)
