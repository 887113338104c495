"""What the room is told of its avatar: attributes of the participant, for front ends and agents."""

from __future__ import annotations

import asyncio
from typing import Literal

import structlog
from livekit import rtc

from schemas.background import Background

log = structlog.get_logger()

SESSION_ID = "greenroom.session_id"
STATUS = "greenroom.status"
SYNTHETIC = "greenroom.synthetic"
_TIMEOUT_S = 5.0

Status = Literal["starting", "running", "degraded", "ending"]
"""`degraded`: the face at rest, or no sound, for want of what draws or hears. It is not billed."""


class Attributes:
    """Keeps the attributes as they should be. It waits for nobody: no session fails for want of an attribute.

    LiveKit takes them only with the grant `canUpdateOwnMetadata` in the worker's token; without it nothing is told.
    """

    def __init__(self, session_id: str, tasks: Background) -> None:
        self._session_id = session_id
        self._tasks = tasks
        self._wanted: Status | None = None
        self._participant: rtc.LocalParticipant | None = None
        self._told: Status | None = None
        self._telling = False
        self._refused = False

    def joined(self, participant: rtc.LocalParticipant | None) -> None:
        """A rejoin is another participant."""
        self._participant, self._told, self._refused = participant, None, False
        self.show(self._wanted or "starting")

    def show(self, status: Status) -> None:
        """Returns at once; of several in a row the last one is what counts."""
        self._wanted = status
        if not self._telling and self._pending() is not None:
            self._telling = True
            self._tasks.spawn(self._tell(), "participant attributes")

    def _pending(self) -> tuple[rtc.LocalParticipant, Status] | None:
        who, status = self._participant, self._wanted
        if self._refused or who is None or status is None or status == self._told:
            return None
        return who, status

    async def _tell(self) -> None:
        try:
            while (pending := self._pending()) is not None:
                who, status = pending
                failed = await self._failed(who, status)
                if who is self._participant:  # else it has rejoined meanwhile
                    self._told, self._refused = status, failed is not None
                if failed is not None:
                    log.info("status not shown in the room: it takes the grant canUpdateOwnMetadata", reason=failed)
        finally:
            self._telling = False

    async def _failed(self, who: rtc.LocalParticipant, status: Status) -> str | None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await who.set_attributes({SESSION_ID: self._session_id, STATUS: status, SYNTHETIC: "true"})
        except Exception as refused:  # the SDK has no type for it
            return repr(refused)
        return None
