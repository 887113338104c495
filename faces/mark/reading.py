"""What a mark says, once it is known where it lies: the second of its session, and the tag."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.mark.carriers import COUNT, EPOCH_S, EPOCHS, FPS, GROUPS, SECONDS, Carriers
from faces.mark.code import WORD, Soft
from faces.mark.geometry import CELL, SPAN, Map, Place, Window, at_cells
from faces.mark.samples import Chroma

_STATIC = 0.6
"""What a carrier's mean says beside its changes."""
_NOISE = 0.1
"""Levels: less than that is nothing that a carrier did."""
_STARTS = (0.0, 0.2, 0.4, 0.6, 0.8)
_OTHER_S = 2.0
"""Seconds that are closer than this say the same."""


@dataclass(frozen=True)
class Reading:
    """`second`: of the session, at the window's begin; `second_score`: what the time carriers say for it, in standard
    deviations, and `second_margin`: how many times the next best one's evidence. `soft`: what is left of the tag."""

    second: float
    second_score: float
    second_margin: float
    soft: Soft


def read(carriers: Carriers, window: Window, place: Place) -> Reading:
    evidence = _evidence(window, place)
    best, margin = _second(carriers, window, evidence)
    return Reading(best, _time_score(carriers, window, evidence, best), margin, _tag(carriers, window, evidence, best))


def _evidence(window: Window, place: Place) -> Map:
    """[steps, COUNT]: what each carrier is at each step: how far from its own mean, and some of that mean itself."""
    inside = place.inside(*window.size)
    still = at_cells(window.mean, place) * inside
    cells = np.stack([_cells(step, place) for step in window.steps]) * inside
    if place.mirrored:
        still, cells = still[:, :, ::-1], cells[..., ::-1]
    steady = np.float32(_STATIC) * still.reshape(COUNT)
    if window.still:
        return np.repeat(steady[None], len(cells), 0)
    moved = cells.reshape(-1, COUNT) - cells.reshape(-1, COUNT).mean(0)
    spread = np.sqrt((moved * moved).mean(0) + np.float32(_NOISE**2))
    clipped: Map = steady + np.clip(moved / spread, -2, 2)
    return clipped


def _cells(picture: Chroma, place: Place) -> Chroma:
    """[2, SIDE, SIDE]: the mean of each cell, less that of the cells around it."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warp = place.warp
    found = []
    for plane in picture:
        straight = cv2.warpAffine(plane, warp, (SPAN, SPAN), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        cells = cv2.blur(straight, (3, 3))[CELL // 2 :: CELL, CELL // 2 :: CELL]
        found.append(cells - cv2.blur(cells, (3, 3)))
    return np.stack(found)


def _second(carriers: Carriers, window: Window, evidence: Map) -> tuple[float, float]:
    """(the likeliest second at the window's begin, by how many times it beats the best other one).

    Every second of the circle is tried at once: the sum of its time and sync carriers over the window's steps.
    """
    best: list[tuple[float, float]] = []
    for start in _STARTS:
        total = _totals(carriers, evidence, np.floor(window.offsets + start - 0.5).astype(np.int64))
        best += [(float(total[i]), float(i) + start) for i in np.argpartition(total, -4)[-4:]]
    score, second = max(best)
    others = [value for value, at in best if _OTHER_S < abs(at - second) < SECONDS - _OTHER_S]
    return second, score / max(others, default=1e-9) if score > 0 else 0.0


def _totals(carriers: Carriers, evidence: Map, later: NDArray[np.int64]) -> Map:
    """[SECONDS]: how much speaks for each as the window's begin. `later`: of each step, the seconds since then."""
    total = np.zeros(SECONDS, np.float32)
    passed = np.unique(later)
    sums = np.stack([evidence[later == each].sum(0) for each in passed])
    alternating = np.where(np.arange(EPOCHS) & 1, -1, 1).astype(np.float32)
    for group in range(GROUPS):
        by_epoch = sums[:, carriers.time[group]] @ carriers.time_table[group].T
        sync = sums[:, carriers.sync[group]] @ carriers.sync_signs[group].astype(np.float32)
        for row, each in zip(by_epoch + sync[:, None] * alternating, passed, strict=True):
            total += np.roll(np.repeat(row, EPOCH_S)[group : group + SECONDS], -int(each))
    return total


def epochs_of(seconds: NDArray[np.int64], group: int) -> NDArray[np.int64]:
    return (seconds % SECONDS + group) // EPOCH_S


def _seconds_at(window: Window, second: float, delay: float = 0.5) -> NDArray[np.int64]:
    """Of each step: the last second that a carrier of this delay has changed for."""
    return np.floor(window.offsets + second - delay).astype(np.int64)


def _time_score(carriers: Carriers, window: Window, evidence: Map, second: float) -> float:
    """Of the time carriers alone: they say nothing that the sync carriers have said."""
    total, power = 0.0, 1e-9
    now = _seconds_at(window, second)
    for group in range(GROUPS):
        epochs = epochs_of(now, group)
        for epoch in np.unique(epochs):
            sums = evidence[epochs == epoch][:, carriers.time[group]].sum(0)
            total += float((sums * carriers.time_table[group, epoch]).sum())
            power += float((sums * sums).sum())
    return total / float(np.sqrt(power))


def _tag(carriers: Carriers, window: Window, evidence: Map, second: float) -> Soft:
    soft = np.zeros(WORD)
    for group in range(GROUPS):
        cells = carriers.session[group]
        for delay in range(FPS):
            here = np.flatnonzero(carriers.delays[cells] == delay)
            if not len(here):
                continue
            epochs = epochs_of(_seconds_at(window, second, (delay + 0.5) / FPS), group)
            for epoch in np.unique(epochs):
                signs = carriers.session_signs(group, int(epoch))[here]
                soft[here] += evidence[epochs == epoch][:, cells[here]].sum(0) * signs
    return soft
