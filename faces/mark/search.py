"""The mark at any size and place: each of 53 sizes is compared at all places at once, by FFT. Seconds of work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.mark.carriers import EPOCH_S, GROUPS
from faces.mark.geometry import CELL, SPAN, Map, Place, Scorer, Window, against_neighbours, feature, halves
from faces.mark.samples import Chroma

SMALLEST, LARGEST = 0.27, 1.27
"""Of the mark's height in the clip's."""
_STEP = 1.03
_BEYOND = int(0.35 * SPAN)
"""How far the mark may reach out of the picture."""
_FLOOR = 0.12
"""Where little of the mark would be in the picture, the little that there is must not count for much."""


def search(window: Window, scorer: Scorer) -> tuple[float, Place, float] | None:
    """(score, place, phase) of the best place of all; None where the clip is too small for any."""
    return max(
        (found for size in _sizes() for found in _at_size(window, scorer, size)),
        key=lambda found: found[0],
        default=None,
    )


def _sizes() -> Iterator[float]:
    size = SMALLEST
    while size <= LARGEST:
        yield size
        size *= _STEP


def _at_size(window: Window, scorer: Scorer, size: float) -> Iterator[tuple[float, Place, float]]:
    """The best of each direction."""
    rows, columns = window.size
    side = size * rows
    high, wide = max(8, round(rows * SPAN / side)), max(8, round(columns * SPAN / side))
    shape = (cv2.getOptimalDFTSize(high + 2 * _BEYOND + SPAN), cv2.getOptimalDFTSize(wide + 2 * _BEYOND + SPAN))
    places = (slice(high + 2 * _BEYOND - SPAN + 1), slice(wide + 2 * _BEYOND - SPAN + 1))
    if places[0].stop < 1 or places[1].stop < 1:
        return

    def seen(picture: Chroma) -> Chroma:
        inter = cv2.INTER_AREA if side > SPAN else cv2.INTER_LINEAR
        return np.stack([against_neighbours(cv2.resize(each, (wide, high), interpolation=inter)) for each in picture])

    still = seen(window.mean)
    pictures = []
    for phase in range(EPOCH_S):
        framed = np.zeros((2, *shape), np.float32)
        framed[:, _BEYOND : _BEYOND + high, _BEYOND : _BEYOND + wide] = feature(window, float(phase), seen, still)
        pictures.append((np.fft.rfft2(framed), np.fft.rfft2(framed * framed)))
    for mirrored in (False, True):
        wanted = [_wanted(each[:, :, ::-1] if mirrored else each, shape) for each in scorer.maps]
        for phase in range(EPOCH_S):
            scores = _scores(pictures, wanted, phase, shape)[places]
            for sign in (1, -1):
                row, column = np.unravel_index(int((sign * scores).argmax()), scores.shape)
                place = Place(
                    side,
                    side,
                    (float(column) - _BEYOND - CELL / 2) * columns / wide,
                    (float(row) - _BEYOND - CELL / 2) * rows / high,
                    mirrored,
                )
                yield float(sign * scores[row, column]), place, float(phase if sign > 0 else phase + EPOCH_S)


Spectrum = NDArray[np.complexfloating]


def _wanted(signs: Map, shape: tuple[int, int]) -> tuple[Spectrum, Spectrum]:
    """Of the sync carriers of a group: their signs, and where they are."""
    comb = np.zeros((2, *shape), np.float32)
    comb[:, :SPAN:CELL, :SPAN:CELL] = signs
    return np.conj(np.fft.rfft2(comb)), np.conj(np.fft.rfft2(np.abs(comb)))


def _scores(
    pictures: Sequence[tuple[Spectrum, Spectrum]],
    wanted: Sequence[tuple[Spectrum, Spectrum]],
    phase: int,
    shape: tuple[int, int],
) -> NDArray[np.floating]:
    total: Spectrum = np.zeros(1, np.complex64)
    power: Spectrum = np.zeros(1, np.complex64)
    for group in range(GROUPS):
        half, sign = halves(phase, group)
        picture, squares = pictures[int(half)]
        signs, where = wanted[group]
        total = total + sign * (picture * signs).sum(0)
        power = power + (squares * where).sum(0)
    power_at = np.fft.irfft2(power, s=shape)
    spread = np.sqrt(np.maximum(power_at, 0) + _FLOOR * power_at.max() + 1e-12)
    return np.asarray(np.fft.irfft2(total, s=shape) / spread)
