"""Strangers with sockets against a real API process: what they send is bounded, and others are served meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
import pytest
import pytest_asyncio

from api.server import _allow_files
from stack.ports import free_ports
from tests.world import World, eventually

pytestmark = pytest.mark.servers

MB = 1024 * 1024
MOST_GROWTH = 100 * MB
CONNECTIONS = 1024
HEAD_S, BODY_S = 2.0, 3.0
GET = b"GET /v1/sessions HTTP/1.1\r\nHost: x\r\n"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of the envelope, which must be whole."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        assert set(error) == {"type", "code", "message", "param", "request_id"}
        assert error["request_id"] == self.headers["x-request-id"]
        return str(error["code"])


@pytest_asyncio.fixture(scope="module")
async def running(world: World) -> World:
    seconds = {"GREENROOM_API_HEAD_S": str(HEAD_S), "GREENROOM_API_BODY_S": str(BODY_S)}
    await world.start("api", "sessions", GREENROOM_API_CONNECTIONS=str(CONNECTIONS), **seconds)
    return world


@pytest_asyncio.fixture(autouse=True)
async def bounded_and_alive(running: World) -> AsyncIterator[None]:
    """Around every test: memory grows by little, a normal client is served during it and after it."""
    process = psutil.Process(running.processes["api"].pid)
    before, most = process.memory_info().rss, 0
    stop = asyncio.Event()

    async def look() -> None:
        nonlocal most
        async with running.client() as client:
            while not stop.is_set():
                most = max(most, process.memory_info().rss)
                assert (await client.get("/v1/sessions")).status_code == 200
                await asyncio.sleep(0.02)

    async with running.client() as warm:
        await warm.get("/v1/sessions")
    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        stop.set()
        await looking
    assert most - before < MOST_GROWTH, f"{(most - before) / MB:.0f} MB more"


class Stranger:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *parts: bytes) -> None:
        """As much as the server takes: it may close at any moment."""
        with contextlib.suppress(ConnectionError):
            for part in parts:
                self.writer.write(part)
                await self.writer.drain()

    async def answer(self) -> Answer:
        async with asyncio.timeout(30):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(head[0].split()[1]), headers, body)

    async def closed(self, within_s: float = 30) -> bytes:
        """What else comes until the server closes."""
        async with asyncio.timeout(within_s):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def refused(self, *parts: bytes) -> Answer:
        """Send all of it in the background; the answer that comes, after which the server closes."""
        sending = asyncio.create_task(self.send(*parts))
        try:
            answer = await self.answer()
            assert answer.headers["connection"] == "close"
            assert await self.closed() == b""
            return answer
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


@pytest_asyncio.fixture
async def stranger(running: World) -> AsyncIterator[Stranger]:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.api_port)
    yield Stranger(reader, writer)
    writer.close()


# Heads


async def test_13_mb_of_headers(stranger: Stranger) -> None:
    answer = await stranger.refused(GET, *[b"X-%d: %s\r\n" % (n, b"y" * 130_000) for n in range(100)])
    assert (answer.status, answer.code) == (431, "request.headers_too_large")


async def test_one_header_of_13_mb(stranger: Stranger) -> None:
    answer = await stranger.refused(GET, b"X: ", *[b"y" * 65536] * 200)
    assert (answer.status, answer.code) == (431, "request.headers_too_large")


async def test_a_header_name_of_13_mb(stranger: Stranger) -> None:
    assert (await stranger.refused(GET, *[b"y" * 65536] * 200)).status == 431


async def test_a_million_tiny_headers(stranger: Stranger) -> None:
    answer = await stranger.refused(GET, *[b"a:b\r\n" * 10_000] * 100)
    assert (answer.status, answer.code) == (431, "request.headers_too_large")


async def test_a_url_of_10_mb(stranger: Stranger) -> None:
    answer = await stranger.refused(b"GET /", *[b"y" * 65536] * 160)
    assert (answer.status, answer.code) == (414, "request.url_too_long")


@pytest.mark.parametrize(("size", "status"), [(8190, 404), (8193, 414)])
async def test_the_bound_of_a_url(stranger: Stranger, size: int, status: int) -> None:
    await stranger.send(b"GET /" + b"y" * (size - 1) + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await stranger.answer()).status == status


@pytest.mark.parametrize(("count", "status"), [(99, 401), (100, 431)])
async def test_the_bound_of_headers(stranger: Stranger, count: int, status: int) -> None:
    await stranger.send(GET + b"".join(b"X-%d: y\r\n" % n for n in range(count)) + b"\r\n")
    assert (await stranger.answer()).status == status


async def test_a_head_that_drips(stranger: Stranger) -> None:
    async def drip() -> None:
        await stranger.send(GET)
        for n in range(1000):
            await stranger.send(b"X-%d: y\r\n" % n)
            await asyncio.sleep(0.1)

    dripping = asyncio.create_task(drip())
    answer = await stranger.answer()
    assert (answer.status, answer.code) == (408, "request.timeout")
    assert await stranger.closed() == b""
    dripping.cancel()


@pytest.mark.parametrize("drip", [b"", b"\r\n", b"\n"])
async def test_a_connection_that_never_asks_is_closed(stranger: Stranger, drip: bytes) -> None:
    async def send() -> None:
        while True:
            await stranger.send(drip)
            await asyncio.sleep(0.1)

    dripping = asyncio.create_task(send())
    assert await stranger.closed(within_s=20) == b""
    dripping.cancel()


async def test_a_connection_that_has_asked_is_kept(running: World, stranger: Stranger) -> None:
    one = post(running, b"Content-Length: 2") + b"{}"
    for start in (0, 20):
        await stranger.send(one[:start])
        await stranger.send(one[start:])
        assert (await stranger.answer()).code == "avatar_id.required"
        with pytest.raises(TimeoutError):
            await stranger.closed(within_s=HEAD_S + 1)


async def test_endless_line_breaks(stranger: Stranger) -> None:
    answer = await stranger.refused(*[b"\r\n" * 32768] * 200)
    assert (answer.status, answer.code) == (400, "http.malformed")


# Bodies


def post(running: World, *headers: bytes) -> bytes:
    key = f"Authorization: Bearer {running.key}".encode()
    return b"\r\n".join([b"POST /v1/sessions HTTP/1.1", b"Host: x", key, *headers, b"", b""])


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
async def test_a_body_that_drips(running: World, stranger: Stranger, declared: bool) -> None:
    async def drip() -> None:
        await stranger.send(post(running, b"Content-Length: 1000" if declared else b"Transfer-Encoding: chunked"))
        for _ in range(1000):
            await stranger.send(b"{" if declared else b"1\r\n{\r\n")
            await asyncio.sleep(0.1)

    dripping = asyncio.create_task(drip())
    answer = await stranger.answer()
    assert (answer.status, answer.code) == (408, "request.timeout")
    assert await stranger.closed() == b""
    dripping.cancel()


async def test_a_body_that_nobody_wants_ends(stranger: Stranger) -> None:
    """Refused at its head; what still comes is thrown away, but not for ever."""

    async def go_on() -> None:
        while True:
            await stranger.send(b"x" * 10_000)
            await asyncio.sleep(0.05)

    await stranger.send(b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n")
    sending = asyncio.create_task(go_on())
    assert (await stranger.answer()).code == "api_key.missing"
    assert await stranger.closed(within_s=20) == b""
    sending.cancel()


async def test_a_refused_body_that_is_whole_leaves_the_connection_open(stranger: Stranger) -> None:
    for _ in range(2):
        await stranger.send(b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        assert (await stranger.answer()).code == "api_key.missing"
        await stranger.send(b"x" * 100_000)


@pytest.mark.parametrize(
    "parts",
    [
        [b"5;" + b"x" * 65536 * 20],
        [b"1\r\n{\r\n0\r\nX-Trailer: " + b"y" * 65536 * 20],
        [b"1;x\r\n{\r\n0\r\n"] + [b"a:b\r\n" * 9000] * 20,
    ],
    ids=["extension", "trailer", "trailers"],
)
async def test_what_stands_beside_the_body_is_bounded(running: World, stranger: Stranger, parts: list[bytes]) -> None:
    answer = await stranger.refused(post(running, b"Transfer-Encoding: chunked"), *parts)
    assert (answer.status, answer.code) == (400, "http.malformed")


async def test_trailers_are_forgotten(running: World, stranger: Stranger) -> None:
    trailer = b"Idempotency-Key: " + b"x" * 300
    await stranger.send(post(running, b"Transfer-Encoding: chunked"), b"2\r\n{}\r\n0\r\n" + trailer + b"\r\n\r\n")
    assert (await stranger.answer()).code == "avatar_id.required"


async def test_expect_continue(running: World, stranger: Stranger) -> None:
    await stranger.send(post(running, b"Expect: 100-continue", b"Content-Length: 2"))
    assert (await stranger.answer()).status == 100
    await stranger.send(b"{}")
    answer = await stranger.answer()
    assert (answer.code, answer.headers["connection"]) == ("avatar_id.required", "close")


async def test_expect_continue_that_is_refused(stranger: Stranger) -> None:
    """Nobody knows whether the body still comes, so the connection ends."""
    await stranger.send(b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
    answer = await stranger.answer()
    assert (answer.status, answer.headers["connection"]) == (401, "close")
    assert await stranger.closed() == b""


# Connections


async def test_2000_idle_connections(running: World) -> None:
    """The fixture's client is served meanwhile; the oldest idle ones make room."""
    opened = [await asyncio.open_connection("127.0.0.1", running.api_port) for _ in range(2000)]
    process = psutil.Process(running.processes["api"].pid)
    assert len(process.net_connections("tcp")) < CONNECTIONS + 100
    async with running.client() as client:
        assert (await client.get("/v1/sessions")).status_code == 200
    for _, writer in opened:
        writer.close()


async def test_2000_heads_that_never_end(running: World) -> None:
    opened = []
    for _ in range(2000):
        reader, writer = await asyncio.open_connection("127.0.0.1", running.api_port)
        writer.write(GET + b"X: " + b"y" * 20_000)
        opened.append((reader, writer))
    async with running.client() as client:
        assert (await client.get("/v1/sessions")).status_code == 200
    for _, writer in opened:
        writer.transport.abort()


async def test_1500_bodies_that_never_end(running: World) -> None:
    """Even of one who has a key."""
    opened = []
    for _ in range(1500):
        reader, writer = await asyncio.open_connection("127.0.0.1", running.api_port)
        writer.write(post(running, b"Content-Length: 1000") + b"{")
        opened.append((reader, writer))
    async with running.client() as client:
        assert (await client.get("/v1/sessions")).status_code == 200
    for _, writer in opened:
        writer.transport.abort()


@pytest_asyncio.fixture(scope="module")
async def small(running: World) -> int:
    """The port of an API for 16 connections; with no worker here, a create waits 3 s for a slot."""
    port, internal = free_ports(2)
    ports = {"GREENROOM_API_PORT": str(port), "GREENROOM_INTERNAL_PORT": str(internal)}
    await running.start("api-2", **ports, GREENROOM_API_CONNECTIONS="16", GREENROOM_CAPACITY_WAIT_SECONDS="3")

    async def ready() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            async with httpx.AsyncClient(trust_env=False) as client:
                return (await client.get(f"http://127.0.0.1:{internal}/readyz")).status_code == 200
        return False

    await eventually(ready)
    return port


async def waiting(running: World, port: int) -> Stranger:
    body = json.dumps(running.request()).encode()
    made = Stranger(*await asyncio.open_connection("127.0.0.1", port))
    await made.send(post(running, b"Content-Length: %d" % len(body)) + body)
    return made


async def test_when_all_are_being_answered_one_more_is_told(running: World, small: int) -> None:
    async def told() -> bool:
        """False when the server had not read all of the others yet: then the oldest of those made room."""
        held = [await waiting(running, small) for _ in range(16)]
        one_more = Stranger(*await asyncio.open_connection("127.0.0.1", small))
        try:
            await one_more.send(GET + b"\r\n")
            answer = await one_more.answer()
            if answer.status != 503:
                return False
            assert (answer.code, answer.headers["retry-after"]) == ("overloaded", "1")
            assert answer.headers["connection"] == "close"
            assert [(await each.answer()).code for each in held] == ["at_capacity"] * 16
            return True
        finally:
            for each in [*held, one_more]:
                each.writer.close()

    await eventually(told)


async def test_requests_whose_clients_have_left_are_bounded(running: World, small: int) -> None:
    told: list[str] = []
    for _ in range(60):
        left = await waiting(running, small)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                told.append((await left.answer()).code)
        left.writer.transport.abort()
    assert "overloaded" in told

    async def over() -> bool:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"http://127.0.0.1:{small}/v1/sessions")).status_code == 401

    await eventually(over)


async def test_a_request_before_the_answer_is_not_read(running: World, stranger: Stranger) -> None:
    one = post(running, b"Content-Length: 2") + b"{}"
    await stranger.send(one * 3)
    answer = await stranger.answer()
    assert (answer.code, answer.headers["connection"]) == ("avatar_id.required", "close")
    assert await stranger.closed() == b""


async def test_20000_requests_before_the_answer(running: World, stranger: Stranger) -> None:
    one = post(running, b"Content-Length: 2") + b"{}"
    sending = asyncio.create_task(stranger.send(*[one * 1000] * 20))
    assert (await stranger.closed()).count(b"HTTP/1.1 422") <= 1
    await sending


@pytest.mark.parametrize(
    "garbage", [b"\x00" * 100, b"\x16\x03\x01\x02\x00", b"GARBAGE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
)
async def test_garbage(stranger: Stranger, garbage: bytes) -> None:
    answer = await stranger.refused(garbage)
    assert (answer.status, answer.code) == (400, "http.malformed")
    assert answer.headers["content-type"] == "application/json"


async def test_garbage_behind_a_request(running: World, stranger: Stranger) -> None:
    key = f"Authorization: Bearer {running.key}\r\n\r\n".encode()
    await stranger.send(GET + key + b"\x00GARBAGE" * 10_000)
    answer = await stranger.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await stranger.closed() == b""


@pytest.mark.parametrize(
    "headers",
    [
        b"X: \x00\r\n",
        b"X: a\x7fb\r\n",
        b"X Y: z\r\n",
        b"Content-Length: 1\r\nContent-Length: 2\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: -1\r\n",
    ],
)
async def test_heads_that_are_none(stranger: Stranger, headers: bytes) -> None:
    answer = await stranger.refused(GET + headers + b"\r\n")
    assert (answer.status, answer.code) == (400, "http.malformed")


@pytest.mark.parametrize("target", [b"*", b"http://[", b"//", b"x:80", b"/\xff", b"/ x"])
async def test_targets(stranger: Stranger, target: bytes) -> None:
    await stranger.send(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await stranger.answer()
    assert answer.status in (400, 404)
    assert answer.code in ("http.malformed", "route.not_found")


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
async def test_no_other_protocol_is_spoken(running: World, stranger: Stranger, protocol: bytes) -> None:
    upgrade = (
        b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n"
    )
    await stranger.send(GET + f"Authorization: Bearer {running.key}\r\n".encode() + upgrade + b"\r\n")
    answer = await stranger.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await stranger.closed() == b""


async def test_a_body_cannot_be_lost_to_another_protocol(running: World, stranger: Stranger) -> None:
    answer = await stranger.refused(
        post(running, b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 2") + b"{}"
    )
    assert (answer.status, answer.code) == (400, "http.malformed")


async def test_a_byte_at_a_time_is_understood(running: World, stranger: Stranger) -> None:
    for byte in post(running, b"Content-Length: 2") + b"{}":
        await stranger.send(bytes([byte]))
    assert (await stranger.answer()).code == "avatar_id.required"


async def test_answers_that_nobody_fetches(running: World) -> None:
    """Requests without end on one connection whose answers are never read: nothing piles up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.api_port, limit=1024)
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(5):
            while True:
                writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.001)
    writer.transport.abort()


async def test_a_client_that_leaves_in_the_middle_is_no_error_of_ours(running: World) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", running.api_port)
    writer.write(post(running, b"Content-Length: 1000") + b"{")
    await writer.drain()
    writer.transport.abort()
    async with running.client() as client:
        await client.get("/v1/sessions")
    log = (running.folder / "api.log").read_text()
    assert "ClientDisconnect" not in log
    assert "request crashed" not in log


async def test_the_internal_port_is_bounded_too(running: World) -> None:
    """How: tests/schemas/test_internal_port.py."""
    opened = [await asyncio.open_connection("127.0.0.1", running.internal_port) for _ in range(300)]
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"http://127.0.0.1:{running.internal_port}/healthz")).status_code == 200
    for _, writer in opened:
        writer.close()


def test_more_files_are_allowed_where_the_system_lets_us() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
        _allow_files(1280)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 1280
        _allow_files(1000)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 1280
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
