"""Traces: what others say of one is believed only if it is one, and no collector keeps anybody waiting."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from events import tracing
from schemas.events import SessionAttemptLost, SessionFirstFrame, SessionJoined
from stack.ports import free_ports
from tests.collector import Collector
from tests.world import eventually
from workers.tracing import AttemptSpans

unit, processes = pytest.mark.unit, pytest.mark.processes

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@unit
def test_off_nothing_happens_and_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENDPOINT, raising=False)
    spans = AttemptSpans(f"00-{TRACE}-{SPAN}-01", "sess_1", 1, "wrk_1")
    spans.given()
    spans.close()
    assert (tracing.on(), spans.traceparent, spans.logged) == (False, None, {})


@unit
@pytest.mark.parametrize(
    "variables",
    [
        {ENDPOINT: ""},
        {ENDPOINT: "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {ENDPOINT: "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
        {ENDPOINT: "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {ENDPOINT: "http://127.0.0.1:9", "OTEL_BSP_MAX_QUEUE_SIZE": "0"},  # wrong: told, and no process fails for it
    ],
)
async def test_what_turns_it_off(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with tracing.opened("api"):
        assert not tracing.on()


@processes
@pytest.mark.parametrize(
    ("said", "believed"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-of-a-later-version", True),
        (f"00-{TRACE}-{SPAN}-01-more", False),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{TRACE.upper()}-{SPAN}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE}-{SPAN}", False),
        ("\0\n\x1b[31m", False),
        ("00-" + "é" * 100_000, False),
        ("", False),
    ],
)
async def test_only_a_traceparent_is_followed(monkeypatch: pytest.MonkeyPatch, said: str, believed: bool) -> None:
    """From a header of HTTP or of Kafka: anything may stand there. What is sent on is always one."""
    with Collector() as collector:
        monkeypatch.setenv(ENDPOINT, collector.url)
        async with tracing.opened("api"):
            with tracing.begin("first", said) as span:
                assert span.traceparent is not None
            tracing.begin("second", span.traceparent).end()
    first, second = sorted(collector.spans, key=lambda seen: seen.name)
    assert (first.trace_id == TRACE, first.parent_id == SPAN) == (believed, believed)
    assert (second.trace_id, second.parent_id) == (first.trace_id, first.span_id)


@processes
async def test_an_attempt_that_is_lost_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    with Collector() as collector:
        monkeypatch.setenv(ENDPOINT, collector.url)
        async with tracing.opened("worker"):
            spans = AttemptSpans(f"00-{TRACE}-{SPAN}-01", "sess_1", 2, "wrk_1")
            spans.given()
            spans.said(SessionJoined("sess_1", 2, "wrk_1", sdk={}))
            spans.said(SessionFirstFrame("sess_1", 2, "wrk_1", latencies_ms={"joined": 70, "of its own": 1}))
            spans.said(SessionAttemptLost("sess_1", 2, "wrk_1", "process_hung", None))
            spans.close()
            spans.close()
    found = {span.name: span for span in collector.trace(TRACE)}
    assert list(found) == ["accept", "join", "first frame", "play"]
    assert [span.error for span in found.values()] == [None, None, None, "process_hung"]
    about = {"greenroom.session_id": "sess_1", "greenroom.attempt": 2, "greenroom.worker_id": "wrk_1"}
    assert found["join"].about == about
    assert found["first frame"].about == {**about, "greenroom.joined_ms": 70}


@contextmanager
def hanging() -> Iterator[str]:
    """It takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def away() -> Iterator[str]:
    yield f"http://127.0.0.1:{free_ports(1)[0]}"


@processes
@pytest.mark.parametrize("collector", [hanging, away])
async def test_a_collector_that_does_not_take_them_keeps_nobody(
    monkeypatch: pytest.MonkeyPatch, collector: Callable[[], AbstractContextManager[str]]
) -> None:
    """Neither the loop, nor the end of the process; what does not fit into the queue is forgotten."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    with collector() as url:
        monkeypatch.setenv(ENDPOINT, url)
        async with asyncio.timeout(20):  # the SDK alone would wait for 30 s, with a minute's retries
            async with tracing.opened("api"):
                turns = 0

                async def turning() -> bool:
                    nonlocal turns
                    for _ in range(500):
                        tracing.begin("one of many").end()
                    turns += 1
                    return turns > 10

                await eventually(turning)
    assert not tracing.on()
