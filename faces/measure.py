"""How far a mouth is open, seen from outside: measured on the pixels of a frame, rendered or decoded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from faces.face import Landmarks

_DARK = 56
"""Luma under which it is the inside of a mouth: lips and beards are brighter."""
_BRIGHT, _GREY, _PALE = 74, 13, 0.55
"""Luma over which it is a tooth, in whatever shade, if it has less colour than this, or than this share of the skin's.
A portrait without colour cannot be measured."""
_ABOVE, _BELOW, _ABOVE_CHIN = 0.32, 0.72, 0.8
"""In mouth widths, up and down: where it is looked, and no further than this share of the way to the chin, which goes
down with the lip."""
_AROUND, _MIDDLE, _CHEEK = 0.4, 0.14, 0.12
"""In mouth widths, to each side: where it is looked, of that the columns that count, and how much of a cheek."""
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
    low = min(_BELOW * width, _ABOVE_CHIN * (marks.chin.y * side - y))  # what is under a chin is dark, too
    top, bottom = (int((y + d) / 2) * 2 for d in (-_ABOVE * width, low))
    seen = luma[top:bottom, left:right].astype(np.int16)
    colour = np.abs(chroma.astype(np.int16) - 128).max(axis=0)
    pale = max(_GREY, _PALE * _skin(colour, marks))
    colour = colour[top // 2 : bottom // 2, left // 2 : right // 2].repeat(2, axis=0).repeat(2, axis=1)
    inside = (seen < _DARK) | ((seen > _BRIGHT) & (colour < pale))
    weight = inside.sum(axis=0)
    columns = np.arange(len(weight))
    middle = (weight * columns).sum() / weight.sum() if weight.any() else len(weight) / 2
    near = slice(max(0, round(middle - _MIDDLE * width)), round(middle + _MIDDLE * width) + 1)
    inside = inside[:, near]
    first = inside.argmax(axis=0)
    last = inside.shape[0] - inside[::-1].argmax(axis=0)
    heights = np.where(inside.any(axis=0), last - first, 0)
    return float(np.median(heights)) / width


def _skin(colour: NDArray[np.int16], marks: Landmarks) -> float:
    """Of the cheeks, half way from each eye to its corner of the mouth. `colour` [h, w], half the frame's size."""
    side = colour.shape[0]
    reach = max(1, round(_CHEEK * marks.mouth_width * side))
    cheeks = []
    for eye, corner in ((marks.eye_left, marks.mouth_left), (marks.eye_right, marks.mouth_right)):
        x, y = round((eye.x + corner.x) / 2 * side), round((eye.y + corner.y) / 2 * side)
        cheeks.append(colour[y - reach : y + reach + 1, x - reach : x + reach + 1].ravel())
    return float(np.median(np.concatenate(cheeks)))


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
