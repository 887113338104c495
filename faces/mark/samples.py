"""From the chroma of a clip's frames to what the detector looks at: means of 0.2 s, gathered into windows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

STEP_S = 0.2
TALLEST = 360
"""Rows of chroma that are kept: a mark whose cells are smaller than that leaves is lost already."""

Chroma = NDArray[np.float32]
"""[2, rows, columns]: U and V, 0…255."""


@dataclass(frozen=True)
class Step:
    """The mean of what was shown for STEP_S. `at_s`: their middle, on the clip's clock."""

    at_s: float
    chroma: Chroma


class Sampler:
    """Takes frames one by one, however many there are, and holds no more than one step."""

    def __init__(self) -> None:
        self._number = 0
        self._sum: Chroma | None = None
        self._count = 0

    def add(self, at_s: float, chroma: NDArray[np.uint8] | Chroma) -> Step | None:
        """One frame, shown from second `at_s` on, [2, rows, columns] of 4:2:0. Returns the step that it ends, if any.

        A frame of another size than those before it ends their step, too.
        """
        frame, number = _reduced(chroma), int(at_s / STEP_S + 1e-6)
        ended = None
        if self._sum is not None and (number != self._number or self._sum.shape != frame.shape):
            ended = self.end()
        self._number = number
        self._sum = frame if self._sum is None else self._sum + frame
        self._count += 1
        return ended

    def end(self) -> Step | None:
        """What is held, at the clip's end."""
        if self._sum is None:
            return None
        step = Step((self._number + 0.5) * STEP_S, self._sum / np.float32(self._count))
        self._sum, self._count = None, 0
        return step


def _reduced(chroma: NDArray[np.uint8] | Chroma) -> Chroma:
    planes = chroma.astype(np.float32)
    rows, columns = planes.shape[1:]
    if rows <= TALLEST:
        return planes
    size = max(1, round(columns * TALLEST / rows)), TALLEST
    return np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in planes])


def windows(steps: Iterable[Step], seconds: float = 10.0, hop_s: float = 5.0) -> Iterator[list[Step]]:
    """Steps of one size, `seconds` long, one beginning each `hop_s`; what is left at the end is one more.

    Time that runs backwards, or jumps by more than a window, begins anew.
    """
    held: deque[Step] = deque()
    new = 0
    for step in steps:
        if held and (step.chroma.shape != held[-1].chroma.shape or not 0 < step.at_s - held[-1].at_s < seconds):
            if new:
                yield list(held)
            held.clear()
        held.append(step)
        new += 1
        if step.at_s - held[0].at_s >= seconds - 1.5 * STEP_S:
            yield list(held)
            new = 0
            begin = held[0].at_s + hop_s - STEP_S / 2
            while held and held[0].at_s < begin:
                held.popleft()
    if new:
        yield list(held)
