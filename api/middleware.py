"""What holds for every answer: a request id, a bounded body, and the error envelope even for a crash."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError, BodyTooLarge, DatabaseUnavailable, respond
from projections.database import DatabaseUnreachable
from schemas.ids import REQUEST, new_id

log = structlog.get_logger()

MAX_BODY = 256 * 1024


class Frame:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id(REQUEST)
        scope["greenroom.request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).append("X-Request-Id", request_id)
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as crash:
            if started:
                raise
            await respond(self._as_error(crash, request_id), request_id)(scope, receive, send_with_id)

    @staticmethod
    def _as_error(crash: Exception, request_id: str) -> ApiError:
        if isinstance(crash, ApiError):
            return crash
        if isinstance(crash, DatabaseUnreachable):
            log.warning("database unavailable", request_id=request_id, error=str(crash))
            return DatabaseUnavailable()
        log.error("request crashed", request_id=request_id, exc_info=crash)
        return ApiError()


async def read_body(request: Request) -> bytes:
    """The whole body. Raises BodyTooLarge as soon as that is known."""
    return b"".join([chunk async for chunk in bounded(request, MAX_BODY)])


async def bounded(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """The body's chunks. Raises BodyTooLarge as soon as it is known that there are more than `most` bytes."""
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > most:
        raise BodyTooLarge
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise BodyTooLarge
        yield chunk
