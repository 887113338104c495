"""What the agent is told about playback: one `lk.playback_started` and exactly one `lk.playback_finished` per segment,
in order, never blocking media. No failure of an RPC ends a session. Facts: docs/reference/worker.md, "LiveKit"."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import orjson
import structlog
from livekit import rtc

from workers.playback import Finish

log = structlog.get_logger()

STARTED = "lk.playback_started"
FINISHED = "lk.playback_finished"
UNSUPPORTED = rtc.RpcError.ErrorCode.UNSUPPORTED_METHOD
RETRIED = frozenset({1401, 1501, 1503, 1505})
_TRIES, _RETRY_S = 4, 0.1
_RESPONSE_S = 2.0
_STALE_INTERRUPTION_S = 2.0
_MOST_WAITING = 1024
"""Reports of an agent that sends segments faster than it answers; none of ours says so much."""


@dataclass(frozen=True)
class _Report:
    method: str
    payload: str
    drop_after: float | None
    """Monotonic: a finish of an interruption that comes late would end the next segment."""


class AgentLink:
    """`call(identity, method, payload)` performs the RPC; the identity is known once the agent is."""

    def __init__(self, room: Callable[[], rtc.Room | None]) -> None:
        self._room = room
        self._queue: asyncio.Queue[_Report] = asyncio.Queue(_MOST_WAITING)
        self._tells_start = True
        self.agent: str | None = None

    def started(self) -> None:
        if self._tells_start:
            self._put(_Report(STARTED, "", None))

    def finished(self, finish: Finish) -> None:
        payload = {
            "playback_position": round(finish.position_s, 3),
            "interrupted": finish.interrupted,
            "synchronized_transcript": None,
        }
        drop_after = time.monotonic() + _STALE_INTERRUPTION_S if finish.interrupted else None
        self._put(_Report(FINISHED, orjson.dumps(payload).decode(), drop_after))

    def _put(self, report: _Report) -> None:
        try:
            self._queue.put_nowait(report)
        except asyncio.QueueFull:
            log.warning("playback report dropped: the agent does not take them", method=report.method)

    async def run(self) -> None:
        while True:
            report = await self._queue.get()
            try:
                await self._deliver(report)
            finally:
                self._queue.task_done()

    async def flush(self, timeout_s: float) -> None:
        """Before a leave: let what is queued reach the agent."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._queue.join()
        except TimeoutError:
            log.info("agent not told of every finish before leaving")

    async def _deliver(self, report: _Report) -> None:
        for attempt in range(_TRIES):
            if report.drop_after is not None and time.monotonic() > report.drop_after:
                return
            code = await self._call(report)
            if code is None:
                return
            if report.method == STARTED:
                # agents that do not register it say so once, and are not asked again
                self._tells_start = self._tells_start and code != UNSUPPORTED
                return
            if code not in RETRIED or attempt == _TRIES - 1:
                log.info("playback report not delivered", method=report.method, code=code)
                return
            await asyncio.sleep(_RETRY_S)

    async def _call(self, report: _Report) -> int | None:
        """None when it was answered, else the error's code."""
        room = self._room()
        if room is None or self.agent is None:
            return int(rtc.RpcError.ErrorCode.RECIPIENT_NOT_FOUND)
        try:
            async with asyncio.timeout(_RESPONSE_S + 1):
                await room.local_participant.perform_rpc(
                    destination_identity=self.agent,
                    method=report.method,
                    payload=report.payload,
                    response_timeout=_RESPONSE_S,
                )
        except rtc.RpcError as error:
            return int(error.code)
        except TimeoutError:
            return int(rtc.RpcError.ErrorCode.CONNECTION_TIMEOUT)
        return None
