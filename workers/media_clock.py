"""The media clock of one attempt: every tick hands over one frame and exactly 40 ms of audio, and what was handed over
is counted.

It waits for nobody but the face and the room, whose queues push back: that is the only pace. It has no thread and no
task, so an interruption comes between two ticks or while one is under way. If the process dies, all in here is gone:
the next attempt begins with silence, and knows of the segment that was playing from the last heartbeat.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from schemas.events import Segment
from workers.face import SessionFace
from workers.messages import SEGMENT_CHARS, Measure
from workers.meter import TICK_S, MediaMeter
from workers.playback import RATE, TICK_SAMPLES, Finish, Pcm, Playback, Tick, Tone
from workers.stalls import Resumed, Stalled, StallWatch

_SILENCE = (np.zeros(TICK_SAMPLES, np.int16), Tick(np.zeros(TICK_SAMPLES, np.int16), 0, (), ()))

LATER = 1
"""Ticks by which a frame goes out behind its sound, so that it is seen with it: a participant needs that much longer to
hear than to see (docs/decisions/0041-a-frame-goes-with-its-sound.md).
"""

QUEUE_S = 0.06
"""What the audio source holds."""
LEAVES_S = QUEUE_S - TICK_S
"""From when that has taken a tick's sound to when it begins to leave, while it is full."""

Frame = bytes | bytearray
"""I420."""


class Output(Protocol):
    """The room, as far as it is played into."""

    @property
    def queued_s(self) -> float:
        """Seconds of audio that were pushed and are not heard yet."""

    async def push(self, frame: Frame, pcm: Pcm, /) -> None:
        """One frame and 40 ms of audio; returns when that has found room, the frame goes out when it leaves. Raises
        TimeoutError."""

    def clear(self) -> None:
        """Drop the audio that is not heard yet."""


@dataclass(frozen=True)
class Played:
    """One tick. `started`: segments whose first sample was in it. `finishes`: those that are over by now.

    `heard_at`: the monotonic second when its speech has left the source; None when there was none in it.
    `audible`: that was no silence. `notice`: a stall of the speech that began or is over.
    """

    started: tuple[str, ...]
    finishes: tuple[Finish, ...]
    heard_at: float | None
    audible: bool = False
    notice: Stalled | Resumed | None = None
    measured: tuple[tuple[Measure, float], ...] = ()


@dataclass
class _Due:
    """A finish whose last sample leaves the audio source at monotonic second `at`: never, while it is being pushed."""

    finish: Finish
    at: float = math.inf


class MediaClock:
    """Plays `playback` through `face`. `tone`: a sine where there is no speech. `mark`: what each frame gets last."""

    def __init__(
        self,
        face: SessionFace,
        playback: Playback,
        now: Callable[[], float] = time.monotonic,
        mark: Callable[[bytes], Frame] | None = None,
    ) -> None:
        self._face = face
        self._mark = mark
        self._playback = playback
        self._now = now
        self._ahead: deque[tuple[Pcm, Tick]] = deque()
        """Sound that the face has and the room has not: as many ticks as frames trail it too far."""
        self._held: Frame | None = None
        """The last tick's frame, of a face whose frames trail nothing."""
        self._due: deque[_Due] = deque()
        self._tone = Tone()
        self.tone = False
        self.meter = MediaMeter()
        self._cleared_at: float | None = None
        """When the agent asked for silence, until that is out."""
        self._stalls = StallWatch()

    @property
    def stalled(self) -> bool:
        """Speech has begun and does not come."""
        return self._stalls.stalled

    @property
    def open_segment(self) -> Segment | None:
        """The oldest utterance whose finish is not told yet, and how far it was handed over."""
        done = next((due.finish for due in self._due), None)
        done = done or next((finish for _, tick in self._ahead for finish in tick.done), None)
        if done is not None:
            return Segment(done.segment_id[:SEGMENT_CHARS], int(done.position_s * 1000))
        current = self._playback.current
        if current is None or not current.awaited:
            return None
        return Segment(current.id[:SEGMENT_CHARS], current.played * 1000 // RATE)

    @property
    def _trails(self) -> int:
        """Ticks for which the sound waits."""
        return max(0, self._face.lookahead - LATER)

    async def tick(self, output: Output) -> Played:
        """One frame and 40 ms of audio. Raises RendererLost, TimeoutError.

        The audio waits as long as frames trail it by more than LATER, and frames that trail it by less wait.
        """
        heard = self._playback.tick()
        self._ahead.append((self._tone.tick() if self.tone and not heard.speech else heard.pcm, heard))
        frame = await self._face.show(self._ahead[-1][0])
        # An interruption may have emptied it meanwhile: then silence goes out with the frame.
        pcm, tick = self._ahead.popleft() if len(self._ahead) > self._trails else _SILENCE
        cleared_at, self._cleared_at = self._cleared_at, None
        # Known before it is pushed: whatever becomes of the push, an interruption or the leave reports these, once.
        done = [_Due(finish) for finish in tick.done]
        self._due.extend(done)
        try:
            await output.push(self._later(frame if self._mark is None else self._mark(frame)), pcm)
        except BaseException:
            for due in done:
                due.at = self._now()  # nobody knows whether it is heard: told with the next tick, if there is one
            raise
        return self._count(tick, done, cleared_at, output.queued_s)

    def _later(self, frame: Frame) -> Frame:
        """The frame that goes out with this tick. The first does at once, and once more: somebody waits for it."""
        if self._face.lookahead >= LATER:
            self._held = None  # of the face before
            return frame
        shown, self._held = self._held or frame, frame
        return shown

    def _count(self, tick: Tick, done: Sequence[_Due], cleared_at: float | None, queued_s: float) -> Played:
        """`tick` was pushed just now; its last sample is heard in `queued_s`."""
        now = self._now()
        for due in done:
            due.at = now + queued_s
        notice = self._stalls.tick(tick.starved, self.meter.read().billable_ms)
        if self._face.lost or (self._stalls.stalled and tick.deaf):
            self.meter.pause()  # what fails here is not what the customer pays for; a sender that pauses is
        else:
            self.meter.tick(now, tick.speech, self._face.behind)
        finishes = []
        while self._due and self._due[0].at <= now:
            finishes.append(self._due.popleft().finish)
        return Played(
            tick.started,
            tuple(finishes),
            now + queued_s if tick.speech else None,
            bool(tick.speech and tick.pcm.any()),
            notice,
            tuple(_measured(tick, cleared_at, now, queued_s)),
        )

    def clear(self, output: Output) -> list[Finish]:
        """The agent asks for silence; `interrupt`, and it is measured how long that takes."""
        at = self._now()
        finishes = self.interrupt(output)
        if finishes and self._cleared_at is None:
            self._cleared_at = at
        return finishes

    def interrupt(self, output: Output) -> list[Finish]:
        """Clear the source and all buffers; one finish per open segment, oldest first."""
        ahead = [tick for _, tick in self._ahead]
        queued_s = output.queued_s + sum(tick.speech for tick in ahead) / RATE
        output.clear()
        self._face.clear()
        self._ahead.clear()
        finished = [due.finish for due in self._due] + [finish for tick in ahead for finish in tick.done]
        handed = [Finish(f.segment_id, max(0.0, f.position_s - queued_s), True) for f in finished]
        self._due.clear()
        return handed + self._playback.interrupt(0.0 if handed else queued_s)


def _measured(tick: Tick, cleared_at: float | None, now: float, queued_s: float) -> Iterator[tuple[Measure, float]]:
    """What is known now that `tick` is out; `cleared_at` is of before it was pushed."""
    leaves_at = now + max(0.0, queued_s - TICK_S)  # its first sample, from the source
    if tick.arrived_at is not None:
        yield "playback_latency", leaves_at - tick.arrived_at
        yield "audio_to_mouth", now + LATER * TICK_S + LEAVES_S - tick.arrived_at
    if cleared_at is not None:
        yield "clear_to_silence", leaves_at - cleared_at
