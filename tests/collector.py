"""An OTLP collector that keeps what it is sent: for tests, and to look at: `python -m tests.collector [PORT]`."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status

PORT = 4318
_BAR = 40


@dataclass(frozen=True)
class Seen:
    """A span as it arrived. Times in epoch ns; `error`: its `error.type`, where it failed."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    about: dict[str, Any]
    error: str | None


@dataclass
class Collector:
    """On loopback, in threads of its own. `raw`: all bodies as they came."""

    port: int = 0
    spans: list[Seen] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    def __enter__(self) -> Collector:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.raw.append(body)
                collector.spans += read(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nobody looks."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def trace(self, trace_id: str) -> list[Seen]:
        return sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.start_ns)


def read(body: bytes) -> list[Seen]:
    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    return [
        _seen(span, _named(resource.resource.attributes)["service.name"])
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _seen(span: Any, service: str) -> Seen:
    about = _named(span.attributes)
    return Seen(
        service=service,
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        about=about,
        error=about.get("error.type") if span.status.code == Status.STATUS_CODE_ERROR else None,
    )


def _named(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value") or "string_value")


def drawn(spans: list[Seen]) -> str:
    """A trace, a line for each span: when it began, how long it took, its place under its parent."""
    first, last = min(span.start_ns for span in spans), max(span.end_ns for span in spans)
    known = {span.span_id: span for span in spans}

    def depth(span: Seen) -> int:
        parent = known.get(span.parent_id)
        return 0 if parent is None else 1 + depth(parent)

    lines = []
    for span in spans:
        begins, took = (span.start_ns - first) / 1e6, (span.end_ns - span.start_ns) / 1e6
        at = int(_BAR * (span.start_ns - first) / max(1, last - first))
        width = max(1, int(_BAR * (span.end_ns - span.start_ns) / max(1, last - first)))
        name = "  " * depth(span) + span.name + (f" ({span.error})" if span.error else "")
        bar = (" " * at + "█" * width)[:_BAR].ljust(_BAR)
        lines.append(f"{begins:8.0f} {took:8.0f} ms  {bar}  {span.service.removeprefix('greenroom-'):8}{name}")
    return "\n".join(lines)


def main(port: int) -> None:
    """Draws a trace whenever something is added to it."""
    with Collector(port) as collector:
        print(f"OTEL_EXPORTER_OTLP_ENDPOINT={collector.url}", flush=True)
        shown, news = 0, threading.Event()
        while True:
            news.wait(1)
            fresh, shown = collector.spans[shown:], len(collector.spans)
            for trace_id in dict.fromkeys(span.trace_id for span in fresh):
                print(f"\ntrace {trace_id}\n{drawn(collector.trace(trace_id))}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else PORT)
