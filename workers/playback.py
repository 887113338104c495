"""Speech waiting to be played: utterances in order, cut into ticks of 40 ms at 48 kHz mono.

Positions are counted in samples of speech handed over, silence and padding excluded. Pure: no clock, no network; the
caller passes what is still queued in the audio source.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

RATE = 48_000
TICK_SAMPLES = 1_920
MOST_UNPLAYED = 10 * 60 * RATE
MOST_UTTERANCES = 256
_TONE_HZ, _SWELL_HZ = 220.0, 1.5

Pcm = NDArray[np.int16]


class TooMuchUnplayed(Exception):
    """More than ten minutes of speech, or too many utterances, are waiting: this one is refused."""


@dataclass(eq=False)
class Utterance:
    """One byte stream of the agent, what LiveKit calls a segment. Samples are at 48 kHz mono."""

    id: str
    chunks: deque[Pcm] = field(default_factory=deque)
    waiting: int = 0
    played: int = 0
    complete: bool = False
    started: bool = False
    awaited: bool = True
    """Its sender waits for its finish."""
    muted: bool = False
    """A track whose speaker has muted it: nothing is to be heard."""
    arrived_at: float | None = None
    """Monotonic second of its first byte, if nothing else was to be played before it."""
    received_s: float = 0.0
    """Duration as it was sent, at the sender's own rate: what a fully played one reports."""

    def take(self, count: int) -> Pcm:
        """Up to `count` samples."""
        parts: list[Pcm] = []
        left = min(count, self.waiting)
        while left:
            chunk = self.chunks.popleft()
            if len(chunk) > left:
                self.chunks.appendleft(chunk[left:])
                chunk = chunk[:left]
            parts.append(chunk)
            left -= len(chunk)
        taken = np.concatenate(parts) if parts else np.empty(0, np.int16)
        self.waiting -= len(taken)
        self.played += len(taken)
        return taken


@dataclass(frozen=True)
class Finish:
    """What the agent is told when an utterance is over."""

    segment_id: str
    position_s: float
    interrupted: bool


@dataclass(frozen=True)
class Tick:
    """40 ms of audio; `speech` of its samples are speech. `started`: utterances whose first sample is in here.

    `done`: those whose last sample is in here; they are over once the source has played it.
    `arrived_at`: when the first byte of the one that starts in here came, if nothing had to be played before it.
    `starved`: an utterance is open, and nothing of it is there. `deaf`: that may be ours, since what it comes by, a
    track, never pauses, and nothing says yet that another receiver would bring more.
    """

    pcm: Pcm
    speech: int
    started: tuple[str, ...]
    done: tuple[Finish, ...]
    arrived_at: float | None = None
    starved: bool = False
    deaf: bool = False


class Playback:
    """The queue of one session."""

    def __init__(self) -> None:
        self._utterances: deque[Utterance] = deque()
        self._newest: Utterance | None = None
        self.remakes = 0
        """How often a track's receiver was made anew since something came of any track: a new track that brings nothing
        is no excuse."""

    @property
    def waiting_samples(self) -> int:
        return sum(s.waiting for s in self._utterances)

    @property
    def current(self) -> Utterance | None:
        return self._utterances[0] if self._utterances else None

    def open(self, segment_id: str) -> Utterance:
        """A new header. Raises TooMuchUnplayed."""
        if len(self._utterances) >= MOST_UTTERANCES:
            raise TooMuchUnplayed
        utterance = self._newest = Utterance(segment_id)
        self._utterances.append(utterance)
        return utterance

    def arrives(self, utterance: Utterance, now: float) -> None:
        """Its first byte is here, at monotonic second `now`."""
        if utterance is self.current and not utterance.played:
            utterance.arrived_at = now

    def overtaken(self, utterance: Utterance) -> bool:
        """A newer header came."""
        return utterance is not self._newest

    def feed(self, utterance: Utterance, pcm: Pcm) -> None:
        """Raises TooMuchUnplayed. One that was cleared meanwhile swallows what still comes."""
        if utterance.complete or utterance not in self._utterances or not len(pcm):
            return
        if self.waiting_samples + len(pcm) > MOST_UNPLAYED:
            raise TooMuchUnplayed
        utterance.chunks.append(pcm)
        utterance.waiting += len(pcm)

    def drop(self, utterance: Utterance) -> None:
        """Refused: it never was."""
        if utterance in self._utterances:
            self._utterances.remove(utterance)

    def tick(self) -> Tick:
        """The next 40 ms: speech as far as there is, else silence."""
        parts: list[Pcm] = []
        started: list[str] = []
        done: list[Finish] = []
        speech, arrived_at = 0, None
        while self._utterances and speech < TICK_SAMPLES:
            utterance = self._utterances[0]
            pcm = utterance.take(TICK_SAMPLES - speech)
            if len(pcm) and not utterance.started:
                utterance.started = True
                started.append(utterance.id)
                arrived_at = arrived_at or utterance.arrived_at
            parts.append(pcm)
            speech += len(pcm)
            if utterance.waiting or not utterance.complete:
                break  # the tick is full, or more is on its way
            self._utterances.popleft()
            done.append(Finish(utterance.id, utterance.received_s, interrupted=False))
        parts.append(np.zeros(TICK_SAMPLES - speech, np.int16))
        waits_for = self.current
        starved = speech == 0 and waits_for is not None and not waits_for.muted
        deaf = starved and waits_for is not None and not waits_for.awaited and self.remakes <= 1
        return Tick(np.concatenate(parts), speech, tuple(started), tuple(done), arrived_at, starved, deaf)

    def interrupt(self, queued_s: float) -> list[Finish]:
        """Drop everything; one finish per open utterance that is waited for, oldest first, unplayed ones at 0. A track
        goes on: what it brings from now on is played.

        `queued_s`: seconds that the audio source still holds, read before it is cleared; they were not heard. What
        it holds belongs to the newest played utterance, as far as that reaches.
        """
        finishes = []
        for utterance in filter(lambda each: each.awaited, self._utterances):
            unheard = min(utterance.played / RATE, queued_s) if utterance.played else 0.0
            finishes.append(Finish(utterance.id, max(0.0, utterance.played / RATE - unheard), interrupted=True))
        self._utterances = deque(each for each in self._utterances if not (each.awaited or each.complete))
        for track in self._utterances:
            track.chunks.clear()
            track.waiting = 0
        return finishes


class Tone:
    """`synthetic_audio_if_no_input`: a sine with a slow tremolo, so that the face moves."""

    def __init__(self) -> None:
        self._phase = 0

    def tick(self) -> Pcm:
        n = np.arange(self._phase, self._phase + TICK_SAMPLES)
        self._phase += TICK_SAMPLES
        swell = 0.5 + 0.5 * np.sin(2 * math.pi * _SWELL_HZ * n / RATE)
        return (6000 * swell * np.sin(2 * math.pi * _TONE_HZ * n / RATE)).astype(np.int16)


def to_mono(data: bytes, channels: int) -> Pcm:
    """Interleaved PCM16 to mono, by the mean of the channels."""
    pcm = np.frombuffer(data, np.int16)
    if channels == 1:
        return pcm
    mixed: Pcm = pcm.reshape(-1, channels).mean(axis=1).astype(np.int16)
    return mixed
