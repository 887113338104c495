"""How loud and how high 40 ms of a voice are."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from faces.hearing import RATE, TICK
from faces.prosody import Sound

_FEWER = 8
"""Samples of 48 kHz in one of those that pitch is sought in."""
_LOWEST, _HIGHEST = 70.0, 380.0
"""Hertz of voices."""
_RECENT = 2 * TICK // _FEWER
_SHORTEST, _LONGEST = int(RATE / _FEWER / _HIGHEST), int(RATE / _FEWER / _LOWEST) + 2
"""Shifts that are tried."""
_ONES = np.ones(_FEWER, np.float32)
_VOICED = 0.42
"""Share of its energy that a sound repeats after one period; noise and whispers repeat less."""
_AUDIBLE = 0.004


class Ear:
    """One stream's sound, tick by tick: pitch needs more of it than a tick."""

    def __init__(self) -> None:
        self._recent = np.zeros(_RECENT, np.float32)

    def hear(self, pcm: NDArray[np.int16]) -> Sound:
        """`pcm`: 1,920 samples at 48 kHz."""
        samples = pcm.astype(np.float32)
        fewer = samples.reshape(-1, _FEWER) @ _ONES
        self._recent[: -len(fewer)] = self._recent[len(fewer) :]
        self._recent[-len(fewer) :] = fewer
        loudness = math.sqrt(float(samples @ samples) / TICK) / 32768
        return Sound(loudness, _pitch(self._recent) if loudness > _AUDIBLE else None)


def _pitch(samples: NDArray[np.float32]) -> float | None:
    """By the shift at which the sound is most like itself; of those that are about as good, the shortest."""
    first = samples[: _RECENT - _LONGEST]
    like = np.correlate(samples[_SHORTEST:], first, "valid")
    best = float(like.max())
    if best < _VOICED * float(first @ first):
        return None
    middle = like[1:-1]
    good = (middle >= 0.85 * best) & (middle >= like[:-2]) & (middle >= like[2:])
    if not good.any():
        return None  # it grows to the end of what is looked at: no period of a voice
    peak = int(good.argmax()) + 1
    before, at, after = like[peak - 1 : peak + 2].tolist()
    bend = before - 2 * at + after
    lag = _SHORTEST + peak + (0.5 * (before - after) / bend if bend < 0 else 0.0)
    return 12 * math.log2(RATE / _FEWER / lag / 55)
