"""Where a face looks, and when it blinks; seeded. Gaze is in units of `Pose`, to the viewer's right and down."""

from __future__ import annotations

import math
import random

from faces.visemes import FPS

_BLINK = (0.45, 1.0, 1.0, 0.7, 0.35, 0.1)
"""Lids over 240 ms."""
_APART = round(0.7 * FPS)
"""Ticks between the starts of two blinks, but for a double one."""
_LARGE = 0.42
"""A shift of gaze from which on it falls short, is corrected, and often comes with a blink."""
_BESIDE = ((-0.75, -0.2), (-0.6, 0.25), (-0.5, -0.35), (0.5, -0.35), (0.6, 0.25), (0.75, -0.2))
"""Where one looks who thinks of what to say."""
_SHORT = 0.12
_WITH_HEAD = 0.8


class Lids:
    """Blinks of their own, and those that others ask for."""

    def __init__(self, chance: random.Random) -> None:
        self._random = chance
        self._moving: list[float] = []
        self._since = 0
        self._wait = chance.randint(FPS, 4 * FPS)

    def step(self, a_minute: float) -> float:
        """0 open, 1 shut."""
        self._since += 1
        if self._since >= self._wait:
            self.blink(again=self._random.random() < 0.08)
            self._wait = round(self._random.uniform(0.45, 1.9) * 60 / a_minute * FPS)
        return self._moving.pop(0) if self._moving else 0.0

    def blink(self, again: bool = False) -> None:
        """Now, unless there was one just before; `again`: twice."""
        if self._since >= _APART:
            self._moving = [*_BLINK, 0.0, *_BLINK] if again else list(_BLINK)
            self._since = 0


class Gaze:
    """Fixations and the jumps between them: one or two frames long, large ones a little short and then corrected."""

    def __init__(self, chance: random.Random) -> None:
        self._random = chance
        self._at = self._aim = (0.0, 0.0)
        self._way: list[tuple[float, float]] = []
        self._left = chance.randint(FPS // 2, 2 * FPS)
        self._correct = 0

    def step(self, speaking: bool, listening: bool, away: float, side: float) -> tuple[float, float, bool]:
        """(gaze, look, whether a large jump begins). `away`: how often it looks beside the viewer, 1: as people do;
        `side`: to which the head is turned."""
        jumped = False
        self._left -= 1
        if self._correct > 0:
            self._correct -= 1
            if self._correct == 0:
                self._jump(self._aim)
        elif self._left <= 0:
            jumped = self._next(speaking, listening, away, side)
        if self._way:
            self._at = self._way.pop(0)
        return *self._at, jumped

    def _next(self, speaking: bool, listening: bool, away: float, side: float) -> bool:
        draw = self._random
        beside = self._aim in _BESIDE
        if not listening and not beside and draw.random() < (0.34 if speaking else 0.25) * away:
            x, y = draw.choice(_BESIDE)
            self._aim = (math.copysign(x, side) if draw.random() < _WITH_HEAD else x, y)
            self._left = round(draw.uniform(0.4, 1.1) * FPS)
        else:  # from one eye of the viewer to the other, at times to the mouth
            small = 0.07 if listening else 0.13
            self._aim = (draw.uniform(-small, small), draw.choice((0.0, 0.0, 0.5 * small)))
            self._left = round(draw.uniform(1.0, 3.2) * FPS if listening else draw.uniform(0.5, 2.2) * FPS)
        far = max(abs(self._aim[0] - self._at[0]), abs(self._aim[1] - self._at[1]))
        if far < _LARGE:
            self._jump(self._aim)
            return False
        short = 1 - draw.uniform(0.5, 1.5) * _SHORT
        self._jump(tuple(a + short * (b - a) for a, b in zip(self._at, self._aim, strict=True)))
        self._correct = draw.randint(4, 6)
        return True

    def _jump(self, to: tuple[float, ...]) -> None:
        x, y = to
        far = max(abs(x - self._at[0]), abs(y - self._at[1]))
        half = (self._at[0] + 0.6 * (x - self._at[0]), self._at[1] + 0.6 * (y - self._at[1]))
        self._way = [half, (x, y)] if far > _LARGE else [(x, y)]
