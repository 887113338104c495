"""Stopping a client of Kafka, whatever its state."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

log = structlog.get_logger()

_WITHIN_S = 5.0


class Client(Protocol):
    """aiokafka's, and faust's application."""

    async def stop(self) -> None: ...


async def stop(client: Client, within_s: float = _WITHIN_S) -> None:
    """Stop it, or leave it after `within_s`. Raises nothing but the caller's own cancellation.

    In a task of its own: aiokafka awaits tasks that it has just cancelled, so after an outage its `stop()` can raise
    CancelledError although nobody cancelled us, and would end whoever wanted to begin anew.
    """
    stopping = asyncio.ensure_future(client.stop())
    done, _ = await asyncio.wait({stopping}, timeout=within_s)
    if not done:
        stopping.cancel()
        log.warning("kafka client not stopped in time")
    elif not stopping.cancelled() and (failure := stopping.exception()) is not None:
        log.warning("kafka client not stopped cleanly", error=repr(failure))
