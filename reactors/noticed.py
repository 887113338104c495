"""What the roster keeps in mind between two ticks: what it has asked for, and whom a worker no longer lists. No I/O.

All of it may be forgotten at any time: then it is asked, or counted, once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from events.session_state import State
from schemas.events import WorkerState

ASKED_AGAIN_AFTER_S = 5.0
MISSED_RECORDS = 2
_MOST = 10_000


class Asked:
    """Once per (session, seq), and again only when no answer has come back through the log for a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at: dict[tuple[str, int], float] = {}

    def may_ask(self, session_id: str, seq: int) -> bool:
        """If so it counts as asked, unless it is taken back."""
        now = self._clock()
        at = self._at.get((session_id, seq))
        if at is not None and now - at < ASKED_AGAIN_AFTER_S:
            return False
        if len(self._at) >= _MOST:
            self._at.clear()
        self._at[session_id, seq] = now
        return True

    def may_send_task(self, session_id: str, attempt: int) -> bool:
        return self.may_ask(session_id, -attempt)

    def take_back(self, session_id: str, seq: int) -> None:
        """Nothing was asked after all."""
        self._at.pop((session_id, seq), None)

    def clear(self) -> None:
        self._at.clear()


class Dropped:
    """Sessions that their living worker does not list any more."""

    def __init__(self) -> None:
        self._missed: dict[str, tuple[int, int, int]] = {}
        """Session → (its attempt, how often that was missing, at which record last)."""

    def dropped(self, state: State, said: WorkerState, records: int) -> bool:
        """Whether the worker has let go of it. `said`: its latest record, `records`: how many were read.

        Dropped MISSED_RECORDS times counts, and once before: that record may have been sent before the session began.
        """
        sid = state.session_id
        if state.attempt_phase in ("assigned", "lost"):
            return False
        if (sid, state.attempt) in said.held:
            self._missed.pop(sid, None)
            return False
        attempt, count, at = self._missed.get(sid, (0, 0, 0))
        if attempt != state.attempt:
            count = at = 0
        if records != at:
            count += 1
            self._missed[sid] = (state.attempt, count, records)
        return count > MISSED_RECORDS

    def forget(self, session_id: str) -> None:
        self._missed.pop(session_id, None)

    def clear(self) -> None:
        self._missed.clear()
