"""The mark at any size and place: each of 53 sizes is compared at all places at once, by FFT. Seconds of work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.mark.carriers import EPOCH_S, GROUPS, SIDE
from faces.mark.code import WORD
from faces.mark.geometry import CELL, SPAN, Map, Place, Scorer, Window, against_neighbours, feature, halves
from faces.mark.samples import Chroma

SMALLEST, LARGEST = 0.27, 1.27
"""Of the mark's height in the clip's."""
_STEP = 1.03
_BEYOND = int(0.35 * SPAN)
"""How far the mark may reach out of the picture."""
_FEWEST = 40
"""Pixels of chroma of the mark's side: with fewer, no cell is left."""
_SHARE = WORD / (2 * SIDE * SIDE)
"""Of a group's sync carriers in all cells."""
_FLOOR = 0.12
"""Where little of the mark would be in the picture, the little that there is must not count for much."""


def search(window: Window, scorer: Scorer, without: Sequence[Place] = ()) -> tuple[float, Place, float] | None:
    """(score, place, phase) of the best place of all; None where the clip is too small for any.

    `without`: what is looked at no more, since another mark was found there.
    """
    return max(
        (found for size in _sizes() for found in _at_size(window, scorer, size, without)),
        key=lambda found: found[0],
        default=None,
    )


def _sizes() -> Iterator[float]:
    size = SMALLEST
    while size <= LARGEST:
        yield size
        size *= _STEP


def _at_size(
    window: Window, scorer: Scorer, size: float, without: Sequence[Place]
) -> Iterator[tuple[float, Place, float]]:
    """The best of each phase and direction."""
    rows, columns = window.size
    side = size * rows
    high, wide = max(8, round(rows * SPAN / side)), max(8, round(columns * SPAN / side))
    shape = _padded(high + 2 * _BEYOND + SPAN), _padded(wide + 2 * _BEYOND + SPAN)
    places = (slice(high + 2 * _BEYOND - SPAN + 1), slice(wide + 2 * _BEYOND - SPAN + 1))
    if side < _FEWEST or places[0].stop < 1 or places[1].stop < 1:
        return

    def seen(picture: Chroma) -> Chroma:
        inter = cv2.INTER_AREA if side > SPAN else cv2.INTER_LINEAR
        return np.stack([against_neighbours(cv2.resize(each, (wide, high), interpolation=inter)) for each in picture])

    looked_at = np.ones((high, wide), np.float32)
    for each in without:
        down, across = (
            slice(max(0, round(a)), max(0, round(b))) for a, b in _pixels(each, high / rows, wide / columns)
        )
        looked_at[down, across] = 0
    still = seen(window.mean)
    pictures, power = [], np.zeros(shape, np.float32)
    for phase in range(EPOCH_S):
        framed = np.zeros((2, *shape), np.float32)
        found = feature(window, float(phase), seen, still) * looked_at
        framed[:, _BEYOND : _BEYOND + high, _BEYOND : _BEYOND + wide] = found
        pictures.append(np.fft.rfft2(framed))
        power += (framed * framed).sum(0)
    spread = _spread(power)[places]
    for mirrored in (False, True):
        wanted = [_wanted(each[:, :, ::-1] if mirrored else each, shape) for each in scorer.maps]
        for phase in range(EPOCH_S):
            scores = _sums(pictures, wanted, phase, shape)[places] / spread
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


def _pixels(place: Place, down: float, across: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """From which row to which, from which column to which, of a picture that is scaled."""
    rows = place.y * down, (place.y + place.height) * down
    return rows, (place.x * across, (place.x + place.width) * across)


Spectrum = NDArray[np.complexfloating]


def _padded(size: int) -> int:
    """A size that is transformed fast, and has whole cells."""
    return CELL * cv2.getOptimalDFTSize(-(-size // CELL))


def _spread(power: Map) -> Map:
    """By place, the deviation of the sum there. Carriers are everywhere alike: it is that of all pixels of the square
    that begins there, by how many of them are carriers."""
    box = cv2.boxFilter(power, -1, (SPAN, SPAN), anchor=(0, 0), normalize=True, borderType=cv2.BORDER_CONSTANT)
    among: Map = np.asarray(box, np.float32) * np.float32(SIDE * SIDE * _SHARE)
    return np.asarray(np.sqrt(among + _FLOOR * among.max() + 1e-12), np.float32)


def _wanted(signs: Map, shape: tuple[int, int]) -> Spectrum:
    """The spectrum of a group's sync signs. They stand a cell apart, so it repeats CELL times in each direction."""
    cells = np.fft.fft2(signs, s=(shape[0] // CELL, shape[1] // CELL))
    return np.conj(np.tile(cells, (1, CELL, CELL))[:, :, : shape[1] // 2 + 1])


def _sums(
    pictures: Sequence[Spectrum], wanted: Sequence[Spectrum], phase: int, shape: tuple[int, int]
) -> NDArray[np.floating]:
    total: Spectrum = np.zeros(1, np.complex64)
    for group in range(GROUPS):
        half, sign = halves(phase, group)
        total = total + sign * (pictures[int(half)] * wanted[group]).sum(0)
    return np.fft.irfft2(total, s=shape)
