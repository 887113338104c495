"""Of `make judge-avatar`: what can be counted in a frame. `luma` [side, side], `colour` [side, side]: how far chroma is
from grey; `mesh`: what the judge sees in it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.landmarks import Mesh
from faces.pixels import Floats, Pixels
from faces.shapes import points as at

_GREY, _PALE, _BRIGHT = 14, 0.55, 0.42
"""What a tooth is: this little colour, or this share of the skin's, and this share of its brightness above black."""
_TALL = 0.025
"""In mouth widths: how tall a row of teeth is at the least, and what is between two of them."""
_ALIKE, _APART = 0.8, 0.45
"""Of the best match with an iris, from which on another is one, too; and how far it is away then, in radii."""
_DISC = 1.15


def split(frame: Pixels, side: int) -> tuple[Pixels, NDArray[np.int16]]:
    """Of an I420 frame."""
    luma = frame[: side * side].reshape(side, side)
    chroma = np.abs(frame[side * side :].reshape(2, side // 2, side // 2).astype(np.int16) - 128).max(axis=0)
    return luma, chroma.repeat(2, axis=0).repeat(2, axis=1)


def inside(mesh: Mesh, side: int) -> NDArray[np.bool_]:
    """[side, side]: between the lips."""
    ring = mesh.points[[at.CORNERS[0], *at.UPPER_INNER, at.CORNERS[1], *at.LOWER_INNER[::-1]], :2]
    mask = cv2.fillPoly(np.zeros((side, side), np.uint8), [np.rint(ring).astype(np.int32)], 1)
    return np.asarray(cv2.erode(mask, np.ones((3, 3), np.uint8))) > 0


def rows_of_teeth(luma: Pixels, colour: NDArray[np.int16], mesh: Mesh) -> NDArray[np.int64]:
    """For each column of the open mouth the number of rows of teeth in it."""
    side = luma.shape[0]
    mouth = inside(mesh, side)
    width = float(np.linalg.norm(mesh.points[291, :2] - mesh.points[61, :2]))
    x, y = np.clip(mesh.points[[50, 280, 205, 425], :2], 0, side - 1).astype(int).T
    skin = float(np.median(luma[y, x])) - 16
    pale = max(_GREY, _PALE * float(np.median(colour[y, x])))
    tooth = mouth & (luma > 16 + _BRIGHT * skin) & (colour < pale)
    tall = max(2, round(_TALL * width))
    return np.array([_runs(tooth[:, x], tall) for x in np.flatnonzero(mouth.sum(axis=0) >= 2 * tall)], np.int64)


def _runs(column: NDArray[np.bool_], tall: int) -> int:
    """Of at least `tall`, and as far apart."""
    steps = np.flatnonzero(np.diff(np.concatenate([[0], column.astype(int), [0]])))
    runs: list[tuple[int, int]] = []
    for start, end in zip(steps[::2], steps[1::2], strict=True):
        if runs and start - runs[-1][1] < tall:
            runs[-1] = (runs[-1][0], int(end))
        else:
            runs.append((int(start), int(end)))
    return sum(end - start >= tall for start, end in runs)


def with_two_rows(luma: Pixels, colour: NDArray[np.int16], mesh: Mesh) -> tuple[Pixels, NDArray[np.int16]]:
    """The control: what the upper half of the mouth shows is in its lower half, too, turned over."""
    luma, colour = luma.copy(), colour.copy()
    mouth = inside(mesh, luma.shape[0])
    for x in np.flatnonzero(mouth.any(axis=0)):
        rows = np.flatnonzero(mouth[:, x])
        half = len(rows) // 2
        for plane in (luma, colour):
            plane[rows[len(rows) - half :], x] = plane[rows[:half][::-1], x]
    return luma, colour


def irises(luma: Pixels, rest: Pixels, iris: Floats) -> int:
    """How many irises an eye shows: places about as much like the iris of the frame at `rest` as the best of them, and
    not beside it. `iris` [5, 2]: where that is at rest, pixels."""
    middle, radius = iris[0], float(np.linalg.norm(iris[1:] - iris[0], axis=1).mean())
    reach, far = round(_DISC * radius), round(2.6 * radius)
    x, y = (round(float(v)) for v in middle)
    y_, x_ = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = (np.hypot(x_, y_) <= reach).astype(np.float32)
    wanted = rest[y - reach : y + reach + 1, x - reach : x + reach + 1].astype(np.float32)
    near = luma[y - reach - reach : y + reach + reach + 1, x - far - reach : x + far + reach + 1].astype(np.float32)
    alike = cv2.matchTemplate(near, wanted, cv2.TM_CCOEFF_NORMED, mask=disc)
    peak = alike >= cv2.dilate(alike, np.ones((2 * round(_APART * radius) + 1,) * 2))
    return int((peak & (alike >= _ALIKE * alike.max())).sum())
