"""A webhook receiver: for `greenroom webhooks listen`, the demo and the tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schemas.jsons import JsonObject


@dataclass(frozen=True)
class Received:
    id: str
    type: str
    body: JsonObject
    at_ms: int


class Receiver:
    """A webhook receiver on loopback that refuses what is not signed with its secret."""

    def __init__(self, port: int, told: Callable[[Received], None] = lambda _: None) -> None:
        """`told` is called with each as it arrives."""
        self._told = told
        self.url = f"http://127.0.0.1:{port}/hooks"
        self.secret = ""
        self.received: list[Received] = []
        self.refused = 0
        self.answer = 200
        self._news = asyncio.Event()
        app = Starlette(routes=[Route("/hooks", self._take, methods=["POST"])])
        self._server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None))
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Receiver:
        self._task = asyncio.create_task(self._server._serve())
        while not self._server.started:
            await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.should_exit = True
        if self._task is not None:
            await self._task

    async def _take(self, request: Request) -> Response:
        raw = await request.body()
        try:
            body = Webhook(self.secret).verify(raw, dict(request.headers))
        except WebhookVerificationError:
            self.refused += 1
            return Response(status_code=401)
        if self.answer == 200:
            seen = Received(request.headers["webhook-id"], body["type"], body, time.time_ns() // 1_000_000)
            self.received.append(seen)
            self._told(seen)
            self._news.set()
        return Response(status_code=self.answer)

    async def wait_for(self, kind: str, session_id: str, timeout_s: float) -> Received:
        """Raises TimeoutError."""
        return (await self._wait_for(1, lambda seen: _is(seen, kind, session_id), timeout_s))[0]

    async def wait_for_many(self, kind: str, many: int, timeout_s: float) -> list[Received]:
        """Raises TimeoutError."""
        return await self._wait_for(many, lambda seen: seen.type == kind, timeout_s)

    async def _wait_for(self, many: int, wanted: Callable[[Received], bool], timeout_s: float) -> list[Received]:
        async with asyncio.timeout(timeout_s):
            while True:
                found = [each for each in self.received if wanted(each)]
                if len(found) >= many:
                    return found
                self._news.clear()
                await self._news.wait()


def _is(seen: Received, kind: str, object_id: str) -> bool:
    return bool(seen.type == kind and seen.body["data"].get("id") == object_id)
