"""What holds for every request and answer: a request id, a path and query without control characters, a bounded body,
and the error envelope even for a crash."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import metrics
from api.errors import ApiError, BodyTooLarge, DatabaseUnavailable, InvalidRequest, KeyRevoked, RouteNotFound, respond
from schemas.background import until_one_ends
from schemas.ids import REQUEST, new_id
from schemas.requests import CONTROLS
from store.data_keys import Erased
from store.database import DatabaseUnreachable

log = structlog.get_logger()

T = TypeVar("T")

BY_COOKIE = "greenroom.by_cookie"
"""Of a scope whose request has the console's log-in in the place of a key."""
_ESCAPED_CONTROL = re.compile(rb"%[01][0-9A-Fa-f]")


class RequestBoundary:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id(REQUEST)
        scope["greenroom.request_id"] = request_id
        scope["greenroom.arrived_ns"] = time.time_ns()
        started, since = False, time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                measured = metrics.seconds(metrics.operation(scope), str(message["status"]))
                measured.observe(time.perf_counter() - since)
                headers = MutableHeaders(scope=message)
                headers.append("X-Request-Id", request_id)
                if scope.get(BY_COOKIE):  # a browser would keep it for whoever sits there next
                    headers.setdefault("Cache-Control", "private, no-store")
            await send(message)

        try:
            _look_at_url(scope)
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            return  # nobody is there to be told
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
        if isinstance(crash, Erased):  # since the key was looked at
            return KeyRevoked()
        log.error("request crashed", request_id=request_id, exc_info=crash)
        return ApiError()


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """`work`, cancelled when whoever asked for it has gone. The body is read by then. Raises ClientDisconnect."""
    done: list[T] = []

    async def worked() -> None:
        done.append(await work)

    await until_one_ends(worked(), gone(request.receive))
    if not done:
        raise ClientDisconnect
    return done[0]


async def gone(receive: Receive) -> None:
    """Returns when whoever has asked is not there any more."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _look_at_url(scope: Scope) -> None:
    """Raises RouteNotFound or InvalidRequest for a control character, whatever the route: no store could hold it."""
    if CONTROLS.search(scope["path"]):
        raise RouteNotFound
    query: bytes = scope["query_string"]
    if _ESCAPED_CONTROL.search(query):
        for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
            if CONTROLS.search(name):
                raise InvalidRequest(
                    "The query has a parameter with a control character in its name.", code="query.invalid"
                )
            if CONTROLS.search(value):
                code = "cursor.invalid" if name == "starting_after" else f"{name}.invalid"
                raise InvalidRequest(f"{name} has a control character, such as %00.", code=code, param=name)


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
