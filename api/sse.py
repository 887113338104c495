"""Server-sent events: one way for every stream.

A stream looks for what is new, sends it, and waits until it is woken; while nothing happens a comment every 15 s keeps
proxies from closing it. It holds no database connection while it waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api import auth
from api.context import Context
from api.errors import KeyRevoked
from api.middleware import gone
from api.news import Waiter
from schemas.background import until_one_ends
from schemas.jsons import JsonObject
from store.accounts import Principal
from store.database import DatabaseUnreachable

MEDIA_TYPE = "text/event-stream"
DOCUMENTED: dict[int | str, JsonObject] = {
    200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}},
    204: {"description": "A stream has ended before, and nothing more will come: do not come back."},
}
"""For `responses=` of whatever streams when it is asked to."""
PING_S = 15.0
_RETRY_MS = 2000
LOOK_S = 120.0
"""Until a stream looks although nobody has told of news: notifications are lost with a connection, and told of then."""
_AWAY_S = 1.0


class Item(NamedTuple):
    """`id`: what the client sends back as `Last-Event-ID` to go on after this one."""

    id: str
    type: str
    data: JsonObject
    last: bool = False
    """The stream ends after it."""


Look = Callable[[], Awaitable[Sequence[Item]]]
"""What is new since it was asked last; nothing, when nothing is."""


def wanted(request: Request) -> bool:
    """Whether the caller asks for a stream."""
    return MEDIA_TYPE in request.headers.get("accept", "")


class EventStream(Response):
    """What `look` finds, now, whenever `subject` is told of, and every `every_s` seconds at the latest.

    `place`: where a client resumes that has seen all that was looked at.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        ctx: Context,
        caller: Principal,
        subject: str,
        look: Look,
        place: Callable[[], str],
        every_s: float = LOOK_S,
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._ctx = ctx
        self._caller = caller
        self._subject = subject
        self._look = look
        self._place = place
        self._every_s = every_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises StreamsExceeded or KeyRevoked before anything was sent."""
        with self._ctx.news.of(self._caller.account_id, self._subject, self._caller.key_id) as waiter:
            if await self._revoked():  # it was not when it was last looked at, up to a second ago
                raise KeyRevoked
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await until_one_ends(self._send_all(waiter, send), gone(receive))

    async def _send_all(self, waiter: Waiter, send: Send) -> None:
        """A block with an id alone sets where the client resumes, and shows it nothing: one goes first, and one in the
        place of a ping when what was looked at since was of no interest."""
        told = self._place()
        await _chunk(send, b"retry: %d\nid: %s\n\n" % (_RETRY_MS, told.encode()))
        sent_at, look_at, unsure = time.monotonic(), 0.0, False
        while not self._ctx.news.over:
            fired = await waiter.wait(0 if time.monotonic() >= look_at else self._pause(sent_at, look_at))
            if fired:
                look_at = 0.0
            unsure = unsure or self._caller.key_id in fired
            if unsure:
                revoked = await self._revoked()
                if revoked:
                    break
                unsure = revoked is None  # asked again before anything more is sent
            if time.monotonic() >= look_at and not unsure:
                found = await self._found()
                if found:
                    await _chunk(send, b"".join(map(_line, found)))
                    sent_at, told, look_at = time.monotonic(), found[-1].id, 0.0
                    if found[-1].last:
                        break
                    continue  # there may be more than one look returns
                look_at = time.monotonic() + (self._every_s if found is not None else _AWAY_S)
            elif unsure:
                await asyncio.sleep(_AWAY_S)
            if time.monotonic() >= sent_at + PING_S:
                moved, told = told != self._place(), self._place()
                await _chunk(send, b"id: %s\n\n" % told.encode() if moved else b": ping\n\n")
                sent_at = time.monotonic()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    @staticmethod
    def _pause(sent_at: float, look_at: float) -> float:
        return max(0.0, min(sent_at + PING_S, look_at) - time.monotonic())

    async def _found(self) -> Sequence[Item] | None:
        """None: the database is away. The stream stays: its client would come back and find no more."""
        try:
            return await self._look()
        except DatabaseUnreachable:
            return None

    async def _revoked(self) -> bool | None:
        """None: the database is away."""
        try:
            return await auth.is_revoked(self._ctx, self._caller)
        except DatabaseUnreachable:
            return None


async def _chunk(send: Send, lines: bytes) -> None:
    await send({"type": "http.response.body", "body": lines, "more_body": True})


def _line(item: Item) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (item.id.encode(), item.type.encode(), orjson.dumps(item.data))
