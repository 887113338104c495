"""Structured logs on stderr, one JSON object per line: static messages, values in fields, secrets in neither."""

from __future__ import annotations

import logging
import re
import sys

import structlog

_TOKEN = re.compile(r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]+")


class Redacting(logging.Formatter):
    """Takes tokens out of what libraries log: LiveKit's SDK writes the whole JWT when a server refuses it."""

    def format(self, record: logging.LogRecord) -> str:
        return _TOKEN.sub("[token]", super().format(record))


def configure_logging() -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # libraries: warnings only (httpx would log every URL, aiokafka every retry)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacting("%(levelname)s %(name)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


def trace_fields(traceparent: str | None) -> dict[str, str]:
    """What log lines say of a trace: nothing, where there is none. `traceparent`: one that we made."""
    return {"trace_id": traceparent.split("-")[1]} if traceparent else {}
