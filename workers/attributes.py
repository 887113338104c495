"""What the room is told of its avatar: attributes of the participant, for front ends and agents."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal, Protocol

import structlog

from schemas.background import Background

log = structlog.get_logger()

SESSION_ID = "greenroom.session_id"
STATUS = "greenroom.status"
SYNTHETIC = "greenroom.synthetic"
_TIMEOUT_S = 5.0
_AGAIN_S, _AGAIN_AT_MOST_S = 1.0, 60.0

Status = Literal["starting", "running", "degraded", "ending"]
"""`degraded`: the face at rest for want of what draws it, or silent for want of the speech that has begun."""


class Shown(Protocol):
    """The SDK's local participant, as far as it is asked."""

    async def set_attributes(self, attributes: dict[str, str]) -> None: ...


class Attributes:
    """Keeps the attributes as they should be. It waits for nobody: no session fails for want of an attribute.

    LiveKit takes them only with the grant `canUpdateOwnMetadata` in the worker's token, and the SDK does not say which
    it was: what fails is tried again with the next change, and less and less often.
    """

    def __init__(self, session_id: str, tasks: Background) -> None:
        self._session_id = session_id
        self._tasks = tasks
        self._wanted: Status | None = None
        self._participant: Shown | None = None
        self._told: Status | None = None
        self._telling = False
        self._news = asyncio.Event()

    def joined(self, participant: Shown | None) -> None:
        """A rejoin is another participant."""
        self._participant, self._told = participant, None
        self._news.set()
        self.show(self._wanted or "starting")

    def show(self, status: Status) -> None:
        """Returns at once; of several in a row the last one is what counts."""
        if status != self._wanted:
            self._wanted = status
            self._news.set()
        if not self._telling and self._pending() is not None:
            self._telling = True
            self._tasks.spawn(self._tell(), "participant attributes")

    def _pending(self) -> tuple[Shown, Status] | None:
        who, status = self._participant, self._wanted
        return None if who is None or status is None or status == self._told else (who, status)

    async def _tell(self) -> None:
        again_s = _AGAIN_S
        try:
            while (pending := self._pending()) is not None:
                who, status = pending
                self._news.clear()
                failed = await self._failed(who, status)
                if failed is None:
                    again_s = _AGAIN_S
                    if who is self._participant:  # else it has rejoined meanwhile
                        self._told = status
                    continue
                if again_s == _AGAIN_S:
                    log.info("status not shown in the room: it takes the grant canUpdateOwnMetadata", reason=failed)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(again_s):
                        await self._news.wait()
                again_s = min(2 * again_s, _AGAIN_AT_MOST_S)
        finally:
            self._telling = False

    async def _failed(self, who: Shown, status: Status) -> str | None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await who.set_attributes({SESSION_ID: self._session_id, STATUS: status, SYNTHETIC: "true"})
        except Exception as refused:  # the SDK has no type for it
            return repr(refused)
        return None
