"""The short way to what is asked for most: creates, reads and the first page of the list.

FastAPI has five layers around a request before it looks through the routers, opens exit stacks and solves dependencies
anew, though here nothing of that depends on it. docs/decisions/0051 says what that costs.

Path, tags, operation id and handler are those of the documented route; only how the handler is called differs. A
request with a query takes FastAPI's way, where its parameters are validated; without one they have their defaults. What
is raised is answered by `RequestBoundary`, in the very form of the application's own handlers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api import sessions
from api.auth import principal
from api.context import Context, context
from api.middleware import RequestBoundary
from store.accounts import Principal

Call = Callable[[Request, Principal, Context], Awaitable[Response]]


async def _create(request: Request, caller: Principal, ctx: Context) -> Response:
    return await sessions.create(request, caller, ctx)


async def _get(request: Request, caller: Principal, ctx: Context) -> Response:
    return await sessions.get(request.path_params["session_id"], caller, ctx)


async def _list(request: Request, caller: Principal, ctx: Context) -> Response:
    return await sessions.list_sessions(caller, ctx)


def _route_to(handler: object) -> APIRoute:
    (found,) = (each for each in sessions.router.routes if isinstance(each, APIRoute) and each.endpoint is handler)
    return found


ROUTES: list[tuple[APIRoute, Call]] = [
    (_route_to(sessions.create), _create),
    (_route_to(sessions.get), _get),
    (_route_to(sessions.list_sessions), _list),
]


async def _called(call: Call, scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    ctx = await context(request)
    response = await call(request, await principal(request, ctx), ctx)
    await response(scope, receive, send)


_WAYS: list[tuple[APIRoute, ASGIApp]] = [(route, RequestBoundary(partial(_called, call))) for route, call in ROUTES]


def match(scope: Scope) -> ASGIApp | None:
    """The short way of an HTTP request, if it has one. Sets in `scope` what FastAPI sets there."""
    if scope["query_string"]:
        return None
    for route, way in _WAYS:
        if scope["method"] in (route.methods or ()) and (found := route.path_regex.match(scope["path"])):
            scope["route"], scope["path_params"] = route, found.groupdict()
            return way
    return None
