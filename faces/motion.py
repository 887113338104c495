"""What one frame shows, and how lips follow what is heard."""

from __future__ import annotations

from dataclasses import dataclass

from faces.visemes import Shape

_MOST_PER_FRAME = 0.55
"""Lips cross their whole way in 80 ms at the least; a closure is never eased."""
_CLOSED = 0.5
_RESTING = 0.05
"""A gap smaller than this is shut: a mouth that is ajar by a pixel looks broken."""


@dataclass(frozen=True)
class Pose:
    """One frame. Head angles and `breath` about -1…1; `brow` 1 up, -1 drawn down; `lid` 0 open, 1 shut; `gaze` to the
    viewer's right and `look` down, -1…1; `smile` 1, or -1: corners of the mouth down; `worry`: inner brows up.

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
    smile: float = 0.0
    worry: float = 0.0
    aperture: float = 0.0
    roundness: float = 0.1
    pressed: float = 0.0
    on_teeth: float = 0.0
    tongue: float = 0.0


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


def _within(change: float, most: float) -> float:
    return max(-most, min(most, change))
