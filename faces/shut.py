"""A portrait whose lips are apart, with its lips shut: what a face at rest looks like, and talks from."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from faces import rig
from faces.fields import inverse
from faces.shapes import points as at

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]

AJAR = 0.05
"""Gap between the lips in mouth widths, below which they are taken as touching: the net sees 0.04 where they do."""
_MEET = 0.34
"""Where lips meet, between the upper one and the lower one."""
_FOLLOWS = 0.9, 0.75, 0.6
"""Of the way of the lips' inner edges: the rings from there outwards. Shut, lips are fuller than a smile has them."""
_TEETH = 0.012, 0.018
"""In mouth widths: what is cut off the edges of the parted lips, since the net leaves some teeth on them."""
_CORNER = 0.3
_LINE = 0.6
_LOOK = 0.1
"""How far from where the net sees it the line between the lips is looked for, in mouth widths."""


def gap(points: Floats) -> float:
    """The widest opening between the lips, in mouth widths."""
    upper, lower = points[list(at.UPPER_INNER), :2], points[list(at.LOWER_INNER), :2]
    width = np.linalg.norm(points[at.CORNERS[1], :2] - points[at.CORNERS[0], :2])
    return float(np.linalg.norm(upper - lower, axis=1).max() / width)


def shut(picture: Pixels, points: Floats) -> tuple[Pixels, Floats]:
    """The picture with its lips shut, and where its points are then. `points` [468, 3] in sides."""
    upper, lower = list(at.UPPER_INNER), list(at.LOWER_INNER)
    if gap(points) < AJAR:
        return picture, _on_the_line(picture, points)
    points = _without_teeth(points)
    moved = points.copy()
    meet = points[upper, :2] + _MEET * (points[lower, :2] - points[upper, :2])
    moved[upper, :2] = moved[lower, :2] = meet
    middle = rig.mouth_seam(moved)
    moves = np.zeros((len(points), 2))
    for follows, *rings in zip(_FOLLOWS, at.RINGS[2::2], at.RINGS[3::2], strict=True):
        for ring, inner in zip(rings, (upper, lower), strict=True):
            share = np.interp(
                points[list(ring), 0], points[inner, 0], moved[inner, 1] - points[inner, 1], left=0.0, right=0.0
            )
            moves[list(ring), 1] = follows * share
    for inner in (upper, lower):
        moves[inner] = moved[inner, :2] - points[inner, :2]
    for inner_end, *beyond in ((78, 61, 76, 62), (308, 291, 306, 292)):
        # Parted lips meet at the outer corner, shut ones at the inner: nothing is seen of the rest.
        moves[beyond] = moves[inner_end]
        points[beyond, :2] = points[inner_end, :2] + _CORNER * (points[beyond, :2] - points[inner_end, :2])
    nose = float(points[[2, 97, 326], 1].mean())
    skin = [i for i in rig.head_only(points) if i not in at.LIPS]
    above = np.interp(points[:, 0], points[upper, 0], moves[upper, 1], left=0, right=0)
    line = np.interp(points[:, 0], points[upper, 0], points[upper, 1])
    moves[skin, 1] = (0.85 * above * np.clip((points[:, 1] - nose) / (line - nose), 0, 1))[skin]
    below = np.interp(points[:, 0], points[lower, 0], moves[lower, 1], left=0, right=0)
    chin = np.setdiff1d([18, 83, 313, 182, 406, 200, 201, 421, 199, 208, 428], list(at.LIPS))
    moves[chin, 1] = 0.45 * below[chin]
    moved[:, :2] = points[:, :2] + moves
    banks = [_warped(picture, points, moves, rig.jaw_only()), _warped(picture, points, moves, rig.head_only(points))]
    side = picture.shape[0]
    columns = (np.arange(side) + 0.5) / side
    line = np.interp(columns, middle[:, 0], middle[:, 1]) * side
    rows = np.arange(side)[:, None] + 0.5
    of_jaw = np.clip((rows - line) / 1.6 + 0.5, 0, 1) * _beside(columns, middle)
    out = banks[0] + (banks[1] - banks[0]) * of_jaw[..., None]
    width = float(np.linalg.norm(middle[-1] - middle[0])) * side
    dark = np.exp(-(((rows - line) / (0.011 * width)) ** 2)) * _between(columns, middle)
    out = out * (1 - _LINE * dark[..., None] * np.array([0.85, 1.0, 1.0]))
    return np.clip(out + 0.5, 0, 255).astype(np.uint8), moved


def _without_teeth(points: Floats) -> Floats:
    """The inner edges of parted lips a little further into the lips, where they are apart."""
    cut = points.copy()
    upper, lower = list(at.UPPER_INNER), list(at.LOWER_INNER)
    width = float(np.linalg.norm(points[at.CORNERS[1], :2] - points[at.CORNERS[0], :2]))
    apart = np.clip((points[lower, 1] - points[upper, 1]) / (0.06 * width), 0, 1)
    cut[upper, 1] -= _TEETH[0] * width * apart
    cut[lower, 1] += _TEETH[1] * width * apart
    return cut


def _on_the_line(picture: Pixels, points: Floats) -> Floats:
    """The points with those of shut lips on the dark line between them, which the net misses by some pixels."""
    side = picture.shape[0]
    moved = points.copy()
    upper, lower = list(at.UPPER_INNER), list(at.LOWER_INNER)
    moved[upper, :2] = moved[lower, :2] = (points[upper, :2] + points[lower, :2]) / 2
    seam = rig.mouth_seam(moved)
    width = float(np.linalg.norm(seam[-1] - seam[0]))
    reach = np.linspace(-_LOOK, _LOOK, 41) * width
    luma = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), 0.012 * width * side).astype(np.float32)
    x = np.broadcast_to(seam[:, 0], (len(reach), len(seam))) * side - 0.5
    y = (seam[:, 1] + reach[:, None]) * side - 0.5
    seen = cv2.remap(luma, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR).astype(np.float64)
    cost = (seen - seen.min(axis=0)) / max(float(np.ptp(seen)), 1.0) + 0.5 * (reach[:, None] / (_LOOK * width)) ** 2
    path = reach[_least(cost)]
    line = rig.smooth_line(np.column_stack([seam[:, 0], seam[:, 1] + path]))
    off = np.interp(points[:, 0], seam[:, 0], line[:, 1] - seam[:, 1])
    moved[list(at.LIPS), 1] += 0.6 * off[list(at.LIPS)]
    for ring in (upper, lower, list(at.CORNERS)):
        moved[ring, 1] = np.interp(moved[ring, 0], line[:, 0], line[:, 1])
    return moved


def _least(cost: Floats) -> NDArray[np.int64]:
    """For each column the row of the cheapest way through, which changes its row by one at the most."""
    columns = cost.shape[1]
    total = cost.copy()
    came = np.zeros(cost.shape, np.int64)
    for x in range(1, columns):
        before = np.pad(total[:, x - 1], 1, constant_values=np.inf)
        three = np.stack([before[:-2] + 0.02, before[1:-1], before[2:] + 0.02])
        came[:, x] = three.argmin(axis=0) - 1
        total[:, x] += three.min(axis=0)
    way = [int(total[:, -1].argmin())]
    for x in range(columns - 1, 0, -1):
        way.append(way[-1] + int(came[way[-1], x]))
    return np.array(way[::-1])


def _warped(picture: Pixels, points: Floats, moves: Floats, without: tuple[int, ...]) -> Floats:
    kept = np.setdiff1d(np.arange(len(points)), without)
    fixed = rig.still(points)
    spline = rig.Spline(np.concatenate([points[kept, :2], fixed]))
    grid = rig.nodes().reshape(-1, 2)
    values = np.concatenate([moves[kept], np.zeros((len(fixed), 2))])
    forward = (spline.basis(grid) @ spline.solve(values)).reshape(rig.GRID, rig.GRID, 2).astype(np.float32) * rig.GRID
    side = picture.shape[0]
    back = cv2.resize(inverse(forward) / rig.GRID * side, (side, side), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    return cv2.remap(
        picture, x + back[..., 0], y + back[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float64)


def _beside(columns: Floats, seam: Floats) -> Floats:
    """1 between the corners, fading out beyond them."""
    width = seam[-1, 0] - seam[0, 0]
    beyond = np.maximum(seam[0, 0] - columns, columns - seam[-1, 0]) / (0.35 * width)
    return np.asarray(1 - np.clip(beyond, 0, 1) ** 2 * (3 - 2 * np.clip(beyond, 0, 1)))


def _between(columns: Floats, seam: Floats) -> Floats:
    width = seam[-1, 0] - seam[0, 0]
    inside = np.minimum(columns - seam[0, 0], seam[-1, 0] - columns) / (0.04 * width)
    return np.asarray(np.clip(inside, 0, 1))
