"""Which portraits are refused, each with its reason and what to do."""

from __future__ import annotations

import cv2
import numpy as np

from faces import rig, shut, teeth
from faces.landmarks import Mesh
from faces.pixels import Floats, Pixels
from faces.shapes import points as at

MOST_YAW, MOST_PITCH, MOST_ROLL = 20.0, 25.0, 35.0
"""Degrees: a head turned further hides what the other side of a turn would show."""
_MOST_GAP = 0.42
"""Between the lips, in mouth widths: what is behind cannot be told from lips any more."""
_LEAST_EYE = 0.09
"""Height of an open eye, in its widths."""
_DARKEST, _BRIGHTEST = 28.0, 247.0
_HIDDEN = 0.38
"""Luma around the eyes, in that of the cheeks, below which something dark is in front of them."""
_OUTSIDE = 0.06
_FULL = 0.1
"""Gap between the lips, in mouth widths, from which on what is between them is looked at."""


class Unfit(Exception):
    """The message is the avatar's `failure_reason`."""


def refuse(picture: Pixels, mesh: Mesh) -> None:
    """`mesh` in pixels of the upload. Raises Unfit."""
    points = mesh.points
    yaw, pitch, roll = rig.angles(points)
    if abs(roll) > MOST_ROLL:
        raise Unfit(
            f"The head is tilted by {abs(roll):.0f}°; send a portrait that is upright, at most {MOST_ROLL:.0f}°."
        )
    if abs(yaw) > MOST_YAW:
        raise Unfit(
            f"The face is not frontal: it is turned by {abs(yaw):.0f}°; send one that looks into the camera,"
            f" at most {MOST_YAW:.0f}°."
        )
    if abs(pitch) > MOST_PITCH:
        raise Unfit(f"The face looks {'down' if pitch > 0 else 'up'}; send one that looks into the camera.")
    _whole(picture, points)
    if max(_openness(points, *eye) for eye in _EYES) < _LEAST_EYE:
        raise Unfit("The eyes are shut; send a portrait with open eyes.")
    if shut.gap(points) > _MOST_GAP:
        raise Unfit("The mouth is wide open; send a portrait with the mouth shut, or smiling.")
    _lit(picture, points)


def refuse_full_mouth(square: Pixels, mesh: Mesh) -> None:
    """`mesh` in pixels of the levelled picture. Raises Unfit."""
    side = square.shape[0]
    points = mesh.points / side
    if shut.gap(points) < _FULL or teeth.own(square, points, teeth.place(points, side)) is not None:
        return
    inside = np.zeros((side, side), np.uint8)
    lips = [at.CORNERS[0], *at.UPPER_INNER, at.CORNERS[1], *at.LOWER_INNER[::-1]]
    cv2.fillPoly(inside, [np.rint(mesh.points[lips, :2]).astype(np.int32)], 1)
    luma = float(np.median(square[inside > 0].astype(np.float64) @ [0.299, 0.587, 0.114]))
    if luma > 0.5 * _luma(square, mesh.points, (50, 280, 205, 425)):
        raise Unfit(
            "Something is between the lips, the tongue perhaps; send a portrait with the mouth shut, or smiling."
        )


_EYES = (at.EYE_LEFT_UPPER, at.EYE_LEFT_LOWER), (at.EYE_RIGHT_UPPER, at.EYE_RIGHT_LOWER)


def _whole(picture: Pixels, points: Floats) -> None:
    height, width = picture.shape[:2]
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    room = _OUTSIDE * (high - low)
    if (low < -room).any() or (high > np.array([width, height]) + room).any():
        raise Unfit(
            "The face is cut off at the picture's edge; send a portrait that shows all of it, with some space around."
        )


def _openness(points: Floats, upper: tuple[int, ...], lower: tuple[int, ...]) -> float:
    flat = points[:, :2]
    height = np.linalg.norm(flat[list(upper[1:-1])] - flat[list(lower[1:-1])], axis=1).max()
    return float(height / np.linalg.norm(flat[upper[-1]] - flat[upper[0]]))


def _lit(picture: Pixels, points: Floats) -> None:
    cheeks = _luma(picture, points, (50, 280, 205, 425, 5, 151))
    if cheeks < _DARKEST:
        raise Unfit("The face is too dark to be seen; send a portrait in more light.")
    if cheeks > _BRIGHTEST:
        raise Unfit("The face is overexposed, without any shading left; send a portrait in less light.")
    around = max(_luma(picture, points, ring) for ring in ((23, 24, 22, 230, 27, 29), (253, 254, 252, 450, 257, 259)))
    if around < _HIDDEN * cheeks:
        raise Unfit("The eyes are hidden, by dark glasses perhaps; send a portrait that shows them.")


def _luma(picture: Pixels, points: Floats, indices: tuple[int, ...]) -> float:
    """The median around some points."""
    height, width = picture.shape[:2]
    reach = max(1, round(0.01 * float(np.ptp(points[:, 1]))))
    parts = []
    for x, y in points[list(indices), :2].astype(int):
        x, y = min(max(x, reach), width - reach - 1), min(max(y, reach), height - reach - 1)
        parts.append(picture[y - reach : y + reach + 1, x - reach : x + reach + 1].reshape(-1, 3))
    return float(np.median(np.concatenate(parts).astype(np.float64) @ [0.299, 0.587, 0.114]))
