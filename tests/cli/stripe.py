"""Stripe's endpoint of meter events, as far as it is spoken to: on loopback, with a memory of identifiers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

KEY = "rk_test_0123456789abcdef"
PATH = "/v1/billing/meter_events"
Answer = tuple[int, dict[str, str], dict[str, object]]


@dataclass
class Stripe:
    """`counted`: what it would bill, by identifier; `asked`: how often it was sent each."""

    url: str = ""
    counted: dict[str, dict[str, str]] = field(default_factory=dict)
    billed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    asked: Counter[str] = field(default_factory=Counter)
    known: set[str] = field(default_factory=set)
    at_once: int = 0
    before: Callable[[str, int], Answer | None] = lambda identifier, nth: None
    """Answers in its place, before it is counted: (identifier, how often it was asked)."""
    late_s: Callable[[str], float] = lambda identifier: 0.0
    """How long after it was asked it answers."""
    after: Callable[[str], bool] = lambda identifier: True
    """Whether it answers once it has counted it; else it is silent for ever."""

    def forget(self) -> None:
        """As Stripe does after a day."""
        self.known.clear()

    def take(self, form: dict[str, str]) -> Answer:
        identifier = form["identifier"]
        self.asked[identifier] += 1
        if (instead := self.before(identifier, self.asked[identifier])) is not None:
            return instead
        if identifier in self.known:
            message = f"An event already exists with identifier {identifier}."
            return 400, {}, {"error": {"type": "invalid_request_error", "message": message}}
        self.known.add(identifier)
        self.counted[identifier] = form
        self.billed[form["payload[stripe_customer_id]"]] += int(form["payload[value]"])
        return 200, {}, {"object": "billing.meter_event", "identifier": identifier}


@asynccontextmanager
async def stripe() -> AsyncIterator[Stripe]:
    made = Stripe()
    busy: Counter[str] = Counter()
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                await one(reader, writer)
        handlers.discard(task)
        writer.transport.abort()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        form = dict(parse_qsl((await reader.readexactly(int(headers["content-length"]))).decode()))
        customer = form["payload[stripe_customer_id]"]
        busy[customer] += 1
        made.at_once = max(made.at_once, busy[customer])
        if start != f"POST {PATH} HTTP/1.1":
            answer: Answer = (404, {}, {})
        elif headers["authorization"] != "Basic " + base64.b64encode(f"{KEY}:".encode()).decode():
            answer = (401, {}, {"error": {"message": f"Invalid API Key provided: {KEY}"}})
        else:
            answer = made.take(form)
        await asyncio.sleep(made.late_s(form["identifier"]))
        status, more, content = answer
        if status == 200 and not made.after(form["identifier"]):
            await asyncio.Event().wait()
        busy[customer] -= 1
        body = json.dumps(content).encode()
        head = "".join(f"{name}: {value}\r\n" for name, value in more.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        for task in tuple(handlers):
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        await server.wait_closed()
