"""The internal port of a process, in this one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge

from schemas import internal_port
from schemas.internal_port import JSON, Answer, opened
from stack.ports import free_ports

pytestmark = pytest.mark.unit

REGISTRY = CollectorRegistry()
ANSWER = Gauge("greenroom_answer", "Of a test.", registry=REGISTRY)


class Process:
    """What it lacks, and how often it was asked."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.asked = 0
        self.takes_s = 0.0

    async def ready(self) -> Sequence[str]:
        self.asked += 1
        await asyncio.sleep(self.takes_s)
        return self.missing


async def more() -> Answer:
    return 200, JSON, b"{}"


@asynccontextmanager
async def served(process: Process) -> AsyncIterator[httpx.AsyncClient]:
    (port,) = free_ports(1)
    async with opened("test", "127.0.0.1", port, process.ready, [REGISTRY], {"/more": more}):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            yield client


async def said(client: httpx.AsyncClient, *sent: bytes) -> bytes:
    """What comes back for these bytes, until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
    try:
        for part in sent:
            writer.write(part)
            await writer.drain()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def test_it_tells_of_its_process() -> None:
    process = Process()
    async with served(process) as client:
        ANSWER.set(42)
        for path, status, text in (
            ("/healthz", 200, "ok\n"),
            ("/readyz?from=anywhere", 200, "ok\n"),
            ("/more", 200, "{}"),
            ("/elsewhere", 404, "Here are /healthz, /readyz, /metrics, /more.\n"),
        ):
            answer = await client.get(path)
            assert (answer.status_code, answer.text) == (status, text)
        metrics = (await client.get("/metrics")).text
        assert "\ngreenroom_answer 42.0\n" in metrics
        assert 'greenroom_process_info{kind="test",version="' in metrics
        assert "\nprocess_resident_memory_bytes " in metrics
        assert "_created" not in metrics
        assert (await client.post("/metrics")).status_code == 405


async def test_what_is_missing_is_told_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internal_port, "_KEPT_S", 0.0)
    process = Process()
    async with served(process) as client:
        process.missing = ["the database does not answer", "usage may be 61 s behind the log"]
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.text.splitlines()) == (503, process.missing)
        assert (await client.get("/healthz")).status_code == 200
        process.missing = []
        assert (await client.get("/readyz")).status_code == 200


async def test_not_knowing_is_not_being_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internal_port, "_READY_S", 0.05)
    process = Process()
    process.takes_s = 60
    async with served(process) as client:
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert "was not known" in answer.text


async def test_many_that_ask_at_once_are_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internal_port, "_KEPT_S", 60.0)  # a busy machine asks for longer
    process = Process()
    process.takes_s = 0.05
    async with served(process) as client:
        answers = await asyncio.gather(*(client.get("/readyz") for _ in range(40)))
        assert {answer.status_code for answer in answers} == {200}
    assert process.asked == 1


async def test_without_a_port_it_is_nowhere() -> None:
    async with opened("test", "no such host", 0, Process().ready, []):
        pass


async def test_a_port_that_is_taken_is_told_in_a_sentence() -> None:
    async with served(Process()) as client:
        with pytest.raises(OSError, match="cannot be listened on") as failed:
            async with opened("worker", "127.0.0.1", client.base_url.port or 0, Process().ready, []):
                pass
    assert failed.value.filename == "the internal port of greenroom worker"


async def test_who_says_nothing_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(Process()) as client:
        silent = [await asyncio.open_connection("127.0.0.1", client.base_url.port) for _ in range(300)]
        assert (await client.get("/healthz")).status_code == 200
        ended = [asyncio.create_task(reader.read()) for reader, _ in silent[:200]]
        await asyncio.wait(ended, timeout=5)
        assert all(task.done() for task in ended)  # the oldest made room
        await asyncio.gather(*ended, return_exceptions=True)
        for _, writer in silent:
            writer.transport.abort()


async def test_a_request_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internal_port, "_WITHIN_S", 0.2)
    async with served(Process()) as client:
        began = time.monotonic()
        assert await said(client, b"GET /metrics HTTP/1.1\r\n", b"Host: x\r\n") == b""
        assert 0.1 < time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n", b"400"),
        (b"\0\0 \0\r\n\r\n", b"400"),
        (b"GET /" + b"y" * 100_000, b"431"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 50_000, b"431"),
        (b"DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
    ],
    ids=["TLS", "no text", "a long path", "many headers", "another method"],
)
async def test_hostile_bytes_are_refused(sent: bytes, status: bytes) -> None:
    async with served(Process()) as client:
        answer = await said(client, sent)
        assert answer == b"" or answer.split()[1] == status  # a close with unread bytes may take the answer back
        assert (await client.get("/healthz")).status_code == 200


async def test_an_end_of_the_connection_is_no_request() -> None:
    async with served(Process()) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write_eof()
        assert await reader.read() in (b"",)
        writer.transport.abort()
