"""How far a mouth is open, seen from outside: measured on the pixels of a frame, rendered or decoded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from faces.face import Landmarks

_DARK = 56
"""Luma under which it is the inside of a mouth: lips and beards are brighter."""
_BRIGHT, _GREY = 74, 13
"""Luma over which, without colour, it is a tooth, in whatever shade."""
_AROUND, _MIDDLE = 0.4, 0.14
"""In mouth widths, to each side: where it is looked, and of that the columns that count."""
FINE = 8
"""Offsets are found to an eighth of a frame."""

Series = Sequence[float] | NDArray[np.floating]


def gap(frame: NDArray[np.uint8], side: int, marks: Landmarks) -> float:
    """The opening between the lips in mouth widths, from an I420 frame of side × side.

    In the middle columns of what is open: rows from the first to the last pixel that is dark or a tooth; their median.
    The head turns: the middle is looked for around where it is at rest.
    """
    luma = frame[: side * side].reshape(side, side)
    chroma = frame[side * side :].reshape(2, side // 2, side // 2)
    width = marks.mouth_width * side
    x, y = marks.mouth_centre.x * side, marks.mouth_centre.y * side
    left, right = (int((x + d * width) / 2) * 2 for d in (-_AROUND, _AROUND))
    top, bottom = (int((y + d * width) / 2) * 2 for d in (-0.32, 0.72))
    seen = luma[top:bottom, left:right].astype(np.int16)
    colour = np.abs(chroma[:, top // 2 : bottom // 2, left // 2 : right // 2].astype(np.int16) - 128).max(axis=0)
    colour = colour.repeat(2, axis=0).repeat(2, axis=1)
    inside = (seen < _DARK) | ((seen > _BRIGHT) & (colour < _GREY))
    weight = inside.sum(axis=0)
    columns = np.arange(len(weight))
    middle = (weight * columns).sum() / weight.sum() if weight.any() else len(weight) / 2
    near = slice(max(0, round(middle - _MIDDLE * width)), round(middle + _MIDDLE * width) + 1)
    inside = inside[:, near]
    first = inside.argmax(axis=0)
    last = inside.shape[0] - inside[::-1].argmax(axis=0)
    heights = np.where(inside.any(axis=0), last - first, 0)
    return float(np.median(heights)) / width


def correlation(a: Series, b: Series) -> float:
    """Pearson's; 0 when one of them never changes."""
    x, y = (np.asarray(v, np.float64) - np.mean(v) for v in (a, b))
    scale = np.sqrt((x * x).sum() * (y * y).sum())
    return float((x * y).sum() / scale) if scale > 0 else 0.0


def lag(seen: Series, true: Series, most: int = 8) -> float:
    """By how many frames `seen` comes after `true`, where they correlate best; negative: before. At most `most`."""
    fine = [np.interp(np.arange(0, len(v) - 1, 1 / FINE), np.arange(len(v)), v) for v in (seen, true)]
    best = max(
        range(-most * FINE, most * FINE + 1),
        key=lambda shift: correlation(*_overlap(fine[0], fine[1], shift)),
    )
    return best / FINE


def _overlap(
    seen: NDArray[np.float64], true: NDArray[np.float64], shift: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    n = min(len(seen), len(true)) - abs(shift)
    return seen[max(0, shift) : max(0, shift) + n], true[max(0, -shift) : max(0, -shift) + n]
