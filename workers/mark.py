"""The mark of one session's frames: the supervisor, which has the key, makes patterns; the session process, which
decodes what strangers send and gets no secret, lays them on frames. What it knows of the key is what anybody can see
who looks hard enough at the frames that it publishes.

Seconds are those since the session's first frame, through all of its attempts. The supervisor is ahead by a minute at
least; if it dies, its session processes leave, and the next attempt goes on with the second by the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from faces.mark.carriers import COUNT, FPS
from faces.mark.code import Signs
from faces.mark.embed import KeyPatterns, Marker
from faces.mark.keys import MarkKey
from schemas.assignments import Task
from schemas.events import EventMark
from schemas.times import now_ms
from workers.messages import MarkPlan, Marks
from workers.renderers import Format

AHEAD_S = 60
_BYTES = COUNT // 8
_BEHIND_FRAMES = FPS // 2
"""So much may the number of a frame be behind the clock: ticks come in bursts."""


def session_frame(task: Task, at_ms: int) -> int:
    """The number of a frame that is shown at this time."""
    return max(0, at_ms - task.first_frame_ms) * FPS // 1000 if task.first_frame_ms is not None else 0


class MarkMaker:
    """The supervisor's side, for one attempt."""

    def __init__(self, key: MarkKey, task: Task, now: Callable[[], float] = time.monotonic) -> None:
        self.key_id, tag = key.key_id, key.tag(task.session_id)
        self.tag = f"{tag:010x}"
        self._patterns = KeyPatterns(key, tag)
        self._now = now
        self._began = now()
        self._second = session_frame(task, now_ms()) // FPS
        self._made = self._second - 2
        """A frame may begin in the middle of a second, whose pattern needs the one before."""

    def plan(self) -> MarkPlan:
        return MarkPlan(self.key_id, self.tag, self._patterns.delays.tobytes(), self._until(2 * AHEAD_S))

    def more(self) -> Marks | None:
        """What the session process has to get now, if anything. Asked at least twice a minute."""
        second = self._second + int(self._now() - self._began)
        return self._until(2 * AHEAD_S) if self._made - second < AHEAD_S else None

    def _until(self, ahead_s: int) -> Marks:
        begin = self._made
        self._made = max(begin, self._second + int(self._now() - self._began) + ahead_s)
        patterns = (np.packbits(self._patterns.at(second) > 0).tobytes() for second in range(begin, self._made))
        return Marks(begin, b"".join(patterns))


class SentPatterns:
    """The session process' side. Before a second that nobody has sent stands what was before it."""

    def __init__(self, plan: MarkPlan) -> None:
        self.delays: NDArray[np.uint8] = np.frombuffer(plan.delays, np.uint8)
        self._sent: dict[int, bytes] = {}
        self._last: Signs = np.ones(COUNT, np.int8)
        self.take(plan.marks)

    def take(self, marks: Marks) -> None:
        for i in range(len(marks.patterns) // _BYTES):
            self._sent[marks.second + i] = marks.patterns[i * _BYTES : (i + 1) * _BYTES]

    def at(self, second: int) -> Signs:
        if (sent := self._sent.get(second)) is not None:
            bits = np.unpackbits(np.frombuffer(sent, np.uint8))
            self._last = bits.astype(np.int8) * 2 - 1
        for past in [each for each in self._sent if each < second - 1]:
            del self._sent[past]
        return self._last


class FrameMark:
    """Marks what a session publishes. Its numbers are those of the clock: a stall leaves some out, and a clip of it has
    the seconds that passed."""

    def __init__(self, plan: MarkPlan, task: Task, frame: Format, now: Callable[[], float] = time.monotonic) -> None:
        self._plan = plan
        self._patterns = SentPatterns(plan)
        self._marker = Marker(self._patterns, frame.width, frame.height)
        self._task = task
        self._now = now
        self._began = 0.0
        self._number = -1
        self._first: int | None = None

    @property
    def facts(self) -> EventMark:
        """For the log."""
        return EventMark(self._plan.key_id, self._plan.tag, self._first or 0)

    def take(self, marks: Marks) -> None:
        self._patterns.take(marks)

    def on(self, frame: bytes) -> bytearray:
        """A marked copy: the frame itself may be shown again."""
        if self._first is None:
            self._first = session_frame(self._task, now_ms())
            self._began, self._number = self._now(), self._first
        else:
            due = self._first + int((self._now() - self._began) * FPS)
            self._number = due if due - self._number > _BEHIND_FRAMES else self._number + 1
        return self._marker.mark(frame, self._number)
