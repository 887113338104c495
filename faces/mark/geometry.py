"""Where in a picture the mark lies, and how surely.

What is looked at is what changed as the sync carriers do, less what the picture does around it: over a window, each of
the four groups is demodulated with its own wave, and every cell compared with its neighbours. `score` is the sum over
the sync carriers in standard deviations: without a mark it is about normal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.mark.carriers import CYCLE_S, EPOCH_S, GROUPS, SIDE, Carriers
from faces.mark.samples import Chroma, Step

CELL = 4
"""Pixels of a cell in the picture that is compared."""
SPAN = SIDE * CELL
_STATIC = 0.6
"""What the mean picture counts beside its changes, where a wave's mean is not zero."""
_MEAN_DELAY_S = 0.5
_FEW = 6
"""Steps without which nothing changes: a still."""

Map = NDArray[np.float32]


@dataclass(frozen=True)
class Place:
    """The 32 × 32 cells in pixels of chroma: size, upper left corner. `mirrored`: left and right are exchanged."""

    width: float
    height: float
    x: float = 0.0
    y: float = 0.0
    mirrored: bool = False

    @property
    def warp(self) -> NDArray[np.float64]:
        """From the compared picture's pixels to the clip's."""
        across, down = self.width / SPAN, self.height / SPAN
        return np.array([[across, 0, self.x + across / 2 - 0.5], [0, down, self.y + down / 2 - 0.5]])

    def inside(self, rows: int, columns: int) -> Map:
        """[SIDE, SIDE]: 1 for each cell whose middle is in the picture."""
        middles = (np.arange(SIDE) + 0.5) / SIDE
        across, down = self.x + middles * self.width, self.y + middles * self.height
        return np.outer((down > 0) & (down < rows), (across > 0) & (across < columns)).astype(np.float32)


class Window:
    """Some seconds of a clip. `offsets`: of each step, seconds since the window's begin."""

    def __init__(self, steps: list[Step]) -> None:
        self.begin_s = steps[0].at_s
        self.offsets = np.array([step.at_s - self.begin_s for step in steps])
        self.steps: Chroma = np.stack([step.chroma for step in steps])
        self.mean: Chroma = self.steps.mean(0)
        self.still = len(steps) < _FEW
        self._demodulated: dict[int, tuple[float, float, Chroma | None]] = {}

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.mean.shape[1], self.mean.shape[2]

    @cached_property
    def changes(self) -> Chroma:
        return self.steps - self.mean

    def demodulated(self, phase: float) -> tuple[float, float, Chroma | None]:
        """(mean of the wave, its deviation, what changed with it); `phase`: seconds into its cycle at the begin."""
        key = round(phase * 10) % (10 * CYCLE_S)
        if key not in self._demodulated:
            wave = _wave(self.offsets + key / 10 - _MEAN_DELAY_S)
            mean = float(wave.mean())
            beside = (wave - mean).astype(np.float32)
            size = float(np.sqrt((beside**2).sum()))
            changed = None if self.still or not size else np.tensordot(beside / np.float32(size), self.changes, (0, 0))
            self._demodulated[key] = mean, size / float(np.sqrt(len(wave))), changed
        return self._demodulated[key]


def _wave(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the sync carriers of group 0 are multiplied by."""
    return np.where(np.floor(seconds).astype(np.int64) // EPOCH_S & 1, -1.0, 1.0)


def halves(phase: float, group: int) -> tuple[float, int]:
    """(phase within half of a cycle, sign): one half is the other's negative."""
    shifted = (phase + group) % CYCLE_S
    return (shifted, 1) if shifted < EPOCH_S else (shifted - EPOCH_S, -1)


def against_neighbours(cells: Map) -> Map:
    """Each cell less the mean around it, in its neighbourhood's deviations, clipped: an edge of the picture counts no
    more than a carrier does."""
    smooth = cv2.blur(cells, (2, 2))
    rest = smooth - cv2.blur(smooth, (3 * CELL, 3 * CELL), borderType=cv2.BORDER_REFLECT)
    spread = np.sqrt(cv2.blur(rest * rest, (5 * CELL, 5 * CELL), borderType=cv2.BORDER_REFLECT) + 0.05**2)
    return np.asarray(cv2.blur(np.clip(rest / spread, -2, 2), (3, 3)), np.float32)


def feature(window: Window, phase: float, seen: Callable[[Chroma], Chroma], still: Chroma) -> Chroma:
    """What speaks for a wave at `phase`, as `seen` shows it. `still`: the mean picture, as it is seen."""
    mean, deviation, changed = window.demodulated(phase)
    found = np.float32(_STATIC * mean) * still
    return found if changed is None else found + np.float32(deviation) * seen(changed)


def at_cells(picture: Chroma, place: Place) -> Chroma:
    """[2, SIDE, SIDE]: the picture at the middles of a place's cells, each against its neighbours."""
    pad = 2 * CELL
    warp = place.warp
    warp[:, 2] -= warp[:, :2] @ (pad, pad)
    size = SPAN + 2 * pad
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    middles = slice(pad + CELL // 2, pad + SPAN, CELL)
    found = []
    for plane in picture:
        straight = cv2.warpAffine(plane, warp, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        found.append(against_neighbours(np.asarray(straight, np.float32))[middles, middles])
    return np.stack(found)


class Scorer:
    """How well a key's sync carriers fit places and phases of one window."""

    def __init__(self, carriers: Carriers, window: Window) -> None:
        self._window = window
        maps = np.zeros((GROUPS, 2 * SIDE * SIDE), np.float32)
        for group in range(GROUPS):
            maps[group, carriers.sync[group]] = carriers.sync_signs[group]
        self.maps: Map = maps.reshape(GROUPS, 2, SIDE, SIDE)

    def score(self, place: Place, phase: float) -> float:
        window, inside = self._window, place.inside(*self._window.size)
        still = at_cells(window.mean, place)
        features: dict[float, Chroma] = {}
        total, power = 0.0, 1e-9
        for group in range(GROUPS):
            half, sign = halves(phase, group)
            if half not in features:
                features[half] = feature(window, half, lambda picture: at_cells(picture, place), still) * inside
            wanted = self.maps[group][:, :, ::-1] if place.mirrored else self.maps[group]
            fit = features[half] * wanted
            total += sign * float(fit.sum())
            power += float((fit * fit).sum())
        return total / float(np.sqrt(power))

    def best_phase(self, place: Place) -> tuple[float, float]:
        """(score, phase) of the eight whole seconds of a cycle."""
        return max((self.score(place, float(phase)), float(phase)) for phase in range(CYCLE_S))

    def refined(self, place: Place, phase: float, rounds: int = 3) -> tuple[float, Place, float]:
        """(score, place, phase) uphill from there, in steps that get smaller."""
        best = self.score(place, phase)
        steps = np.array([0.008 * place.width, 0.008 * place.height, place.width / SIDE / 4, place.height / SIDE / 4])
        for _ in range(rounds):
            for _ in range(3):
                moved = False
                for direction in _DIRECTIONS:
                    for sign in (1, -1):
                        there = _moved(place, sign * np.array(direction) * steps)
                        if (score := self.score(there, phase)) > best:
                            best, place, moved = score, there, True
                            break
                if not moved:
                    break
            for shift in (-0.5, 0.5, -0.2, 0.2):
                then = (phase + shift) % CYCLE_S
                if (score := self.score(place, then)) > best:
                    best, phase = score, then
            steps /= 2
        return best, place, phase


_DIRECTIONS = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (1, 1, 0, 0))
"""Width, height, x, y, and both sizes at once."""


def _moved(place: Place, by: NDArray[np.float64]) -> Place:
    """It grows around its middle."""
    wide, high, across, down = (float(each) for each in by)
    return replace(
        place,
        width=place.width + wide,
        height=place.height + high,
        x=place.x + across - wide / 2,
        y=place.y + down - high / 2,
    )
