"""What a face does by itself, seeded: it breathes, blinks, looks about, moves its head, and nods to what it says."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from faces.visemes import FPS, Shape

_BLINK = (0.45, 1.0, 1.0, 0.7, 0.35, 0.1)
"""Lids over 240 ms."""
_MOST_PER_FRAME = 0.55
"""Lips cross their whole way in 80 ms at the least; a closure is never eased."""
_CLOSED = 0.5
_RESTING = 0.05
"""A gap smaller than this is shut: a mouth that is ajar by a pixel looks broken."""


@dataclass(frozen=True)
class Pose:
    """One frame. Head angles and `breath`, `brow` about -1…1; `lid` 0 open, 1 shut; `gaze` -1…1.

    `pressed`, `on_teeth`, `tongue`: shares 0…1 of the mouths that are no mere opening.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    breath: float = 0.0
    brow: float = 0.0
    lid: float = 0.0
    gaze: float = 0.0
    look: float = 0.0
    aperture: float = 0.0
    roundness: float = 0.1
    pressed: float = 0.0
    on_teeth: float = 0.0
    tongue: float = 0.0
    smile: float = 0.0


class Lips:
    """Eases what the net says into what lips can do."""

    def __init__(self) -> None:
        self._aperture = 0.0
        self._roundness = 0.1

    def step(self, said: Shape) -> tuple[float, float, float]:
        """(aperture, roundness, pressed) of this frame."""
        closed = said.closure > _CLOSED
        wanted = 0.0 if closed or said.aperture < _RESTING else said.aperture
        if closed:
            self._aperture = 0.0
        else:
            self._aperture += _within(wanted - self._aperture, _MOST_PER_FRAME)
        self._roundness += _within(said.roundness - self._roundness, _MOST_PER_FRAME)
        return self._aperture, self._roundness, max(0.0, said.closure * 2 - 1)


class Life:
    """25 steps a second; the same seed lives the same life."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311
        self._frame = 0
        self._phases = [self._random.uniform(0, 2 * math.pi) for _ in range(9)]
        self._blink: list[float] = []
        self._blink_at = self._random.randint(FPS, 4 * FPS)
        self._gaze = self._gaze_to = 0.0
        self._look_at = self._random.randint(FPS, 3 * FPS)
        self._voice = self._mean = 0.0
        self._nod = self._brow = 0.0

    def step(self, loudness: float) -> tuple[float, float, float, float, float, float, float]:
        """(yaw, pitch, roll, breath, brow, lid, gaze) of the next frame; `loudness`: RMS 0…1 of its sound."""
        t = self._frame / FPS
        self._frame += 1
        self._follow(min(1.0, loudness * 6))
        lively = 0.55 + 0.45 * min(1.0, self._mean * 3)
        yaw = lively * self._sway(t, (0.11, 0.23, 0.41), 0)
        pitch = lively * 0.6 * self._sway(t, (0.13, 0.29, 0.37), 3) + self._nod
        roll = lively * self._sway(t, (0.09, 0.19, 0.31), 6)
        breath = math.sin(2 * math.pi * t / 3.8 + self._phases[0])
        return yaw, pitch, roll, breath, self._brow, self._lid(), self._look()

    def _follow(self, voice: float) -> None:
        """Syllables that stand out lift the brows and nod the head."""
        onset = max(0.0, voice - max(self._voice, 1.4 * self._mean))
        self._voice = voice
        self._mean += 0.04 * (voice - self._mean)
        self._nod += 0.5 * onset - 0.14 * self._nod
        self._brow += 0.7 * onset - 0.12 * self._brow

    def _sway(self, t: float, hertz: tuple[float, float, float], first: int) -> float:
        parts = zip(hertz, self._phases[first : first + 3], (0.6, 0.3, 0.15), strict=True)
        return sum(size * math.sin(2 * math.pi * f * t + phase) for f, phase, size in parts)

    def _lid(self) -> float:
        if self._frame >= self._blink_at:
            self._blink = list(_BLINK)
            wait = 0.4 if self._random.random() < 0.12 else self._random.uniform(2.2, 5.5)
            self._blink_at = self._frame + round(wait * FPS)
        return self._blink.pop(0) if self._blink else 0.0

    def _look(self) -> float:
        """Mostly at the viewer; now and then a short glance beside."""
        if self._frame >= self._look_at:
            away = self._gaze_to == 0.0 and self._random.random() < 0.6
            self._gaze_to = self._random.choice((-0.7, -0.4, 0.4, 0.7)) if away else 0.0
            wait = self._random.uniform(0.4, 1.0) if away else self._random.uniform(2.0, 4.0)
            self._look_at = self._frame + round(wait * FPS)
        self._gaze += 0.6 * (self._gaze_to - self._gaze)
        return self._gaze


def _within(change: float, most: float) -> float:
    return max(-most, min(most, change))
