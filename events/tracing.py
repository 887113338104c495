"""One trace per session, by OpenTelemetry. Off, and as good as free, unless the `otel` extra is installed and the
standard variables (OTEL_EXPORTER_OTLP_ENDPOINT …) say where spans are to go.

A trace crosses processes as a W3C `traceparent`: in the header of a create, in `ce_traceparent` of records. What
others say there is believed if it is one, and else forgotten. No span waits for a collector: what cannot be sent in
time is dropped. Nothing that names people, rooms or secrets is an attribute.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Literal, Self

import structlog

if TYPE_CHECKING:  # imported when it is on: half a second, and an extra
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as Recorded
    from opentelemetry.trace import Tracer

log = structlog.get_logger()

Kind = Literal["internal", "server", "producer", "consumer"]
Value = str | int | float | bool
About = Mapping[str, Value]

ENVIRONMENT = "OTEL_"
"""How the variables begin that say whether, where to and how much."""
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_CLOSE_S = 2.0
"""For what is not sent yet when a process ends."""
_HEADER = "traceparent"
_NS = 1_000_000

_tracer: Tracer | None = None


class Span:
    """One that is off: nothing happens. As a context it ends with its block, and tells what the block raised."""

    traceparent: str | None = None
    """Of this span, for those that follow from it in other processes."""

    def note(self, about: About) -> None:
        """Further attributes."""

    def happened(self, name: str, at_ms: int) -> None:
        """Something within it, at epoch ms."""

    def end(self, error: str | None = None) -> None:
        """Once; `error`: why it did not do what it is for, in a word of ours."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(kind.__name__ if kind is not None else None)


OFF = Span()


class _Recording(Span):
    def __init__(self, span: Recorded) -> None:
        self._span = span
        seen = span.get_span_context()
        self.traceparent = f"00-{seen.trace_id:032x}-{seen.span_id:016x}-{seen.trace_flags:02x}"

    def note(self, about: About) -> None:
        self._span.set_attributes(about)

    def happened(self, name: str, at_ms: int) -> None:
        self._span.add_event(name, timestamp=at_ms * _NS)

    def end(self, error: str | None = None) -> None:
        from opentelemetry.trace import StatusCode

        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


def begin(
    name: str,
    parent: str | None = None,
    kind: Kind = "internal",
    about: About = MappingProxyType({}),
    since_ns: int | None = None,
) -> Span:
    """A span that follows from `parent`; without one, or with one that is none, it begins a trace.

    `since_ns`: epoch ns, if it began before now.
    """
    if _tracer is None:
        return OFF
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    # An empty context of its own: what this task happens to carry is no parent.
    context = TraceContextTextMapPropagator().extract({_HEADER: parent} if parent else {}, Context())
    known = SpanKind[kind.upper()]
    return _Recording(_tracer.start_span(name, context, known, about, start_time=since_ns))


def on() -> bool:
    return _tracer is not None


def of_attempt(session_id: str, attempt: int, worker_id: str) -> dict[str, Value]:
    """The attributes of all that is about one attempt."""
    return {"greenroom.session_id": session_id, "greenroom.attempt": attempt, "greenroom.worker_id": worker_id}


@asynccontextmanager
async def opened(kind: str) -> AsyncIterator[None]:
    """While a process of this kind (`api`, `project`, `worker`) works. Nothing that is wrong with it stops one."""
    global _tracer
    provider = _provider(kind)
    if provider is None:
        yield
        return
    _tracer = provider.get_tracer("greenroom", version("greenroom"))
    try:
        yield
    finally:
        _tracer = None
        await asyncio.to_thread(_close, provider)


def _close(provider: TracerProvider) -> None:
    """Send what is left, for a while: with a collector that hangs the SDK would stay for 30 s."""
    closing = threading.Thread(target=provider.shutdown, name="traces' last", daemon=True)
    closing.start()
    closing.join(_CLOSE_S)


def _wanted() -> bool:
    """An empty variable is none, as OpenTelemetry says."""
    told = os.environ.get
    off = told("OTEL_SDK_DISABLED", "").lower() == "true" or told("OTEL_TRACES_EXPORTER", "") == "none"
    return not off and _first(_ENDPOINTS) != ""


def _first(names: Sequence[str]) -> str:
    return next((value for name in names if (value := os.environ.get(name))), "")


def _provider(kind: str) -> TracerProvider | None:
    if not _wanted():
        return None
    if (protocol := _first(_PROTOCOLS)) not in ("", "http/protobuf"):
        log.warning("no traces are sent: the collector has to take http/protobuf", asked=protocol)
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("no traces are sent: install greenroom[otel]")
        return None
    # A collector that is away is told of once per batch that is lost, not at each try.
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
    about = {SERVICE_VERSION: version("greenroom")}
    if not os.environ.get("OTEL_SERVICE_NAME"):
        about[SERVICE_NAME] = f"greenroom-{kind}"
    try:
        provider = TracerProvider(resource=Resource.create(dict(about)), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except Exception as wrong:  # of a variable: a process must not fail for what only watches it
        log.warning("no traces are sent: a variable OTEL_… is wrong", error=str(wrong))
        return None
    log.info("traces are sent")
    return provider
