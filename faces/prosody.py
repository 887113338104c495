"""How something is said, 25 times a second: what is stressed, and where a phrase ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from faces.visemes import FPS

_PHRASE = 0.5
_PAUSE = 4
"""Ticks of silence that end a phrase, after `_PHRASE` seconds of voice."""
_APART = 7
"""Ticks between two stresses."""
_RISE = 2.0
"""Semitones above a voice's usual height from which on a syllable is stressed."""

_LEAP = 4.0


class Sound(NamedTuple):
    """40 ms. `loudness`: RMS, 0…1. `pitch`: semitones above 55 Hz, None where nothing is voiced."""

    loudness: float
    pitch: float | None


SILENT = Sound(0.0, None)


@dataclass(frozen=True)
class Said:
    """What of the last 40 ms a listener would nod at. `voice` 0…1: how much is said; `stress` 0…1 at the start of a
    stressed syllable; `ended`: a phrase is over, its last syllables by `fall` semitones under the voice's usual height
    (negative: above it, as a question's); `silence`: ticks since anything was said."""

    voice: float
    stress: float
    ended: bool
    fall: float
    silence: int


class Prosody:
    """Follows a voice: what is loud or high is so beside what it was before."""

    def __init__(self) -> None:
        self._voice = self._mean = 0.0
        self._height: float | None = None
        self._before: float | None = None
        self._last: list[float] = []
        self._said = 0
        self._silence = 10**6
        self._since = _APART

    def step(self, sound: Sound) -> Said:
        voice = min(1.0, 6 * sound.loudness)
        stress = max(self._louder(voice), self._higher(sound.pitch))
        stress = stress if self._since >= _APART else 0.0
        self._since = 0 if stress > 0 else self._since + 1
        audible = voice > 0.03 + 0.12 * self._mean
        self._voice = voice
        self._mean += 0.04 * (voice - self._mean)
        if audible:
            self._silence, self._said = 0, self._said + 1
        else:
            self._silence += 1
        ended = self._silence == _PAUSE and self._said >= _PHRASE * FPS
        said = Said(min(1.0, 3 * self._mean), stress, ended, self._fall() if ended else 0.0, self._silence)
        if self._silence >= _PAUSE:
            self._said, self._last = 0, []
        return said

    def _louder(self, voice: float) -> float:
        onset = voice - max(self._voice, 1.4 * self._mean)
        return min(1.0, 1.3 * onset) if onset > 0.12 else 0.0

    def _higher(self, pitch: float | None) -> float:
        before, self._before = self._before, pitch
        if pitch is None or before is None or abs(pitch - before) > _LEAP:
            return 0.0  # no voice leaps so far in 40 ms: it was misheard
        if self._height is None:
            self._height = pitch
        above = pitch - self._height
        self._height += 0.03 * above
        self._last = [*self._last[-3:], pitch]
        return min(1.0, 0.3 + (above - _RISE) / 6) if above > _RISE else 0.0

    def _fall(self) -> float:
        if self._height is None or not self._last:
            return 0.0
        return self._height - sum(self._last) / len(self._last)
