"""What a face does by itself, seeded: it breathes, blinks, looks about and turns its head, stresses what it says with
nods and brows, and listens while others speak."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from typing import NamedTuple

from faces.glances import Gaze, Lids
from faces.manners import MANNERS, Manner
from faces.prosody import Prosody, Said, Sound
from faces.visemes import FPS
from schemas.moods import Mood

_MOST_TURN = 1.1
_FOLLOW, _FOLLOW_DOWN = 0.6, 0.4
"""By how many units of gaze the eyes turn back when the head turns by one: an eyeball is two irises across, so
2 · sin 8° of one of its radii, less a little: who looks at one does not follow with all of it."""
_NOD, _BROW = 0.75, 0.9
_EASE = 0.06
"""Of the way to another mood in a frame."""
_BREATH_S = 3.9
_SOON = 8
"""Ticks of its own silence after which it may be listening."""
_CALM, _QUICK = 0.55, 2.2
"""How fast a breath goes on while one speaks, and when one catches it between two phrases."""


class Bearing(NamedTuple):
    """A `Pose` but for the mouth's speech."""

    yaw: float
    pitch: float
    roll: float
    breath: float
    brow: float
    lid: float
    gaze: float
    look: float
    smile: float
    worry: float


def seed_of(name: str) -> int:
    """Of a session by its id: its face can be drawn again."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) >> 1


class Spring:
    """Goes where it is told without overshooting: `quick` 1/s, larger is faster."""

    def __init__(self, quick: float) -> None:
        self._quick = quick
        self.at = self.speed = self.to = 0.0

    def step(self) -> float:
        # Critically damped, exact over a frame.
        decay = math.exp(-self._quick / FPS)
        off = self.at - self.to
        drift = (self.speed + self._quick * off) / FPS
        self.at = self.to + (off + drift) * decay
        self.speed = (self.speed - self._quick * drift) * decay
        return self.at


class Head:
    """It turns from one bearing to another, is never quite still, and nods."""

    def __init__(self, chance: random.Random) -> None:
        self._random = chance
        self._phases = [chance.uniform(0, 2 * math.pi) for _ in range(3)]
        self._yaw, self._pitch, self._roll = Spring(5.0), Spring(5.0), Spring(4.0)
        self._nod = Spring(13.0)
        self._nods: list[tuple[int, float]] = []
        self._left = 0
        self._frame = 0

    def step(self, speaking: bool, listening: bool, manner: Manner) -> tuple[float, float, float]:
        """(yaw, pitch, roll)."""
        self._frame += 1
        self._left -= 1
        if self._left <= 0:
            self.turn(speaking, listening, manner)
        t = self._frame / FPS
        sway = [0.06 * math.sin(2 * math.pi * f * t + p) for f, p in zip((0.31, 0.27, 0.23), self._phases, strict=True)]
        self._nod.to = 0.0
        for i, (at, far) in enumerate(self._nods):
            if self._frame >= at:
                self._nod.to = far
            if self._frame >= at + 4:
                self._nods[i] = (at, 0.0)
        self._nods = [nod for nod in self._nods if nod[1]]
        nod = self._nod.step()
        return self._yaw.step() + sway[0], self._pitch.step() + sway[1] + nod, self._roll.step() + sway[2]

    def turn(self, speaking: bool, listening: bool, manner: Manner) -> None:
        """To another bearing: while speaking mostly to the other side."""
        draw, far = self._random, manner.lively
        if listening:
            self._yaw.to, self._pitch.to = draw.uniform(-0.25, 0.25), draw.uniform(-0.1, 0.25)
            self._roll.to = draw.choice((-0.55, 0.55)) * draw.random() + manner.tilt
            self._left = round(draw.uniform(3.0, 6.0) * FPS)
            return
        side = math.copysign(1.0, self._yaw.to or draw.uniform(-1, 1)) * (-1 if draw.random() < 0.75 else 1)
        wide = draw.uniform(0.35, 0.85) if speaking else draw.uniform(0.1, 0.4)
        self._yaw.to = max(-_MOST_TURN, min(_MOST_TURN, side * wide * far))
        self._pitch.to = draw.uniform(-0.35, 0.35) * far
        self._roll.to = (draw.uniform(-0.5, 0.5) - 0.3 * self._yaw.to) * far + manner.tilt
        self._left = round((draw.uniform(1.6, 4.0) if speaking else draw.uniform(3.0, 7.0)) * FPS)

    def nod(self, *beats: float, after: int = 0) -> None:
        """One for each of `beats`, a third of a second apart; the first in `after` frames."""
        self._nods += [(self._frame + after + 8 * i, far) for i, far in enumerate(beats)]


class Life:
    """25 steps a second; the same seed, sound and cues live the same life."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311
        self._random = chance
        self._prosody = Prosody()
        self._head, self._gaze, self._lids = Head(chance), Gaze(chance), Lids(chance)
        self._breath = chance.uniform(0, 2 * math.pi)
        self._manner = MANNERS["neutral"]
        self._rest = [0.0, 0.0, 0.0]
        self._brow, self._beam = Spring(9.0), Spring(2.5)
        self._raised = self._beaming = 0
        self._listening = False
        self._others_spoke = 0

    def cue(self, mood: Mood, listening: bool) -> None:
        """`listening`: somebody else speaks."""
        self._manner = MANNERS[mood]
        if listening and not self._listening:
            self._head.turn(False, True, self._manner)
        self._listening = listening

    def step(self, sound: Sound) -> Bearing:
        """The next frame, of that sound."""
        said = self._prosody.step(sound)
        speaking = said.silence < 2 * FPS
        listening = self._listening and said.silence > _SOON
        self._stress(said)
        self._end(said)
        self._hear(listening, said)
        yaw, pitch, roll = self._head.step(speaking, listening, self._manner)
        gaze, look, jumped = self._gaze.step(speaking, listening, self._manner.away, yaw)
        if jumped and self._random.random() < 0.6:
            self._lids.blink()
        lid = self._lids.step(self._manner.blinks * (0.75 if listening else 1.0))
        smile, brow, worry = self._resting(listening)
        self._raised, self._beaming = self._raised - 1, self._beaming - 1
        if self._raised <= 0:
            self._brow.to = 0.0
        if self._beaming <= 0:
            self._beam.to = 0.0
        return Bearing(
            yaw, pitch, roll, self._breathe(said), brow + self._brow.step(), lid,
            _within(gaze - _FOLLOW * yaw), _within(look - _FOLLOW_DOWN * pitch), smile + self._beam.step(), worry,
        )  # fmt: skip

    def _stress(self, said: Said) -> None:
        """Stressed syllables nod the head and lift the brows; some turn it as well."""
        if said.stress <= 0:
            return
        much = said.stress * self._manner.beat
        self._head.nod(_NOD * much)
        if self._random.random() < 0.55:
            self._brow.to, self._raised = _BROW * much, 7
        if self._random.random() < 0.25 * said.stress:
            self._head.turn(True, False, self._manner)

    def _end(self, said: Said) -> None:
        """Of a phrase: a blink, another bearing, and after what was no question a nod."""
        if not said.ended:
            return
        draw = self._random
        question = said.fall < -1.5
        if draw.random() < (0.75 if said.fall > 0.5 else 0.5):
            self._lids.blink()
        if question:
            self._brow.to, self._raised = 0.7 * self._manner.beat, 16
        elif draw.random() < 0.7:
            self._head.nod(0.6 * self._manner.beat)
        if draw.random() < 0.7:
            self._head.turn(True, False, self._manner)
        self._beam.to, self._beaming = self._manner.beam, 22

    def _hear(self, listening: bool, said: Said) -> None:
        """When the others pause, having spoken for a while, it nods that it has heard them."""
        if listening:
            self._others_spoke += 1
            return
        spoke, self._others_spoke = self._others_spoke, 0
        if spoke >= FPS and said.silence > _SOON and self._random.random() < 0.8:
            deep = self._random.uniform(0.9, 1.3)
            self._head.nod(deep, 0.6 * deep, after=self._random.randint(1, 5))
            if self._random.random() < 0.4:
                self._lids.blink()

    def _resting(self, listening: bool) -> Sequence[float]:
        """Smile, brow, worry of the mood, to which it changes in a second."""
        manner = self._manner
        wanted = (manner.smile, manner.brow + (0.12 if listening else 0.0), manner.worry)
        for i, to in enumerate(wanted):
            self._rest[i] += _EASE * (to - self._rest[i])
        return self._rest

    def _breathe(self, said: Said) -> float:
        """Out slowly while it speaks, in between two phrases."""
        out = math.cos(self._breath) < 0
        pace = (_CALM if said.silence < _SOON else _QUICK if said.silence < FPS else 1.0) if out else 1.2
        self._breath += 2 * math.pi * pace / _BREATH_S / FPS
        return math.sin(self._breath)


def _within(value: float) -> float:
    return max(-1.0, min(1.0, value))
