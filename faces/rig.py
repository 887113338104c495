"""How a face moves: what each shape and each turn of the head moves every part of the picture by.

Everything is in sides of the square portrait, x to the right, y down, z towards the viewer. Fields live on a grid of
GRID × GRID and are smooth; where they are not (between the lips) there are two of them, one of the head with the upper
lip, one of the jaw with the lower lip, and the seam between both is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from faces.shapes import points as at
from faces.shapes import table

GRID = 80
SEAM = 33
"""Samples of a seam, from its left end to its right one."""

Floats = NDArray[np.float64]

_OPENING = ("jawOpen", "mouthFunnel", "mouthUpperUp", "mouthLowerDown")
"""The shapes that part the lips; all others move both by the same."""
_SIDES = (
    "mouthSmile", "mouthFrown", "mouthUpperUp", "mouthLowerDown", "mouthStretch", "mouthPress", "mouthDimple",
    "browOuterUp", "browDown", "cheekSquint", "eyeSquint", "eyeWide", "noseSneer",
)  # fmt: skip
_WHOLE = ("jawOpen", "mouthFunnel", "mouthPucker", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "browInnerUp")
SHAPES = (*_WHOLE, *_SIDES)
"""What a rig knows: ARKit's shapes, those of two sides together. A blink is no smooth field: it is drawn."""
RIGID = (*at.OVAL[:9], *at.OVAL[-8:], 1, 2, 4, 5, 6, 168, 197, 195, 33, 133, 362, 263, 98, 327, *at.BROW_LEFT)
"""What says how a head is turned: neither mouth nor jaw."""
_SMOOTH = 2e-5
_LID = 0.6
"""Of the way from the eye to the brow: what comes down in a blink."""


@dataclass(frozen=True)
class Seam:
    """A line along which the picture opens: `line` [SEAM, 2] at rest; what each shape moves its two banks by,
    `above` and `below` [shapes, SEAM, 2]; `depth` [SEAM] for the head's turns."""

    line: Floats
    above: Floats
    below: Floats
    depth: Floats


@dataclass(frozen=True)
class Eye:
    """The rims' samples at rest and what shapes move them by, with depth; `lid` [SEAM]: how far above the upper rim the
    skin begins that comes down in a blink; `iris` middle; `radius` of the iris."""

    upper: Seam
    lower: Seam
    lid: Floats
    iris: Floats
    radius: float


@dataclass(frozen=True)
class Rig:
    """`head`, `jaw` [shapes, GRID, GRID, 2]; `depth` [GRID, GRID] before the axis of the head; `part` [GRID, GRID]: how
    much of each place goes with the head; `pivot` [2] of its turns; `spread`: from eye to eye."""

    head: NDArray[np.float32]
    jaw: NDArray[np.float32]
    depth: NDArray[np.float32]
    part: NDArray[np.float32]
    breath: NDArray[np.float32]
    pivot: Floats
    spread: float
    mouth: Seam
    eyes: tuple[Eye, Eye]
    mouth_width: float
    names: tuple[str, ...] = field(default=SHAPES)

    @cached_property
    def index(self) -> Mapping[str, int]:
        return {name: i for i, name in enumerate(self.names)}


def nodes() -> Floats:
    """[GRID, GRID, 2]: the places of a field's values."""
    line = (np.arange(GRID) + 0.5) / GRID
    return np.stack(np.meshgrid(line, line), axis=-1)


# Smooth fields through scattered values


class Spline:
    """A thin-plate spline through `centres` [n, 2]: `basis(places) @ solve(values)` interpolates them smoothly."""

    def __init__(self, centres: Floats, smooth: float = _SMOOTH) -> None:
        self._centres = centres
        n = len(centres)
        left = np.zeros((n + 3, n + 3))
        left[:n, :n] = _plate(centres, centres) + smooth * np.eye(n)
        left[:n, n:] = _affine(centres)
        left[n:, :n] = left[:n, n:].T
        self._left = left

    def solve(self, values: Floats) -> Floats:
        """`values` [n, k] → what `basis(places) @` gives them everywhere."""
        known = np.concatenate([values, np.zeros((3, *values.shape[1:]))])
        return np.asarray(np.linalg.solve(self._left, known))

    def basis(self, places: Floats) -> Floats:
        """[m, n + 3] for places [m, 2]."""
        return np.hstack([_plate(places, self._centres), _affine(places)])


def _plate(a: Floats, b: Floats) -> Floats:
    squared = np.maximum((a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T, 0)
    return np.asarray(0.5 * squared * np.log(squared + 1e-12))


def _affine(places: Floats) -> Floats:
    return np.column_stack([np.ones(len(places)), places])


def ring(outline: Floats, wide: float, high: float) -> Floats:
    middle = outline.mean(axis=0)
    return np.asarray(middle + (outline - middle) * [wide, high])


def still(points: Floats) -> Floats:
    """Places around a face that no expression moves."""
    outline = points[list(at.OVAL), :2]
    edge = np.linspace(-0.2, 1.2, 8)
    frame = np.concatenate(
        [
            np.stack(np.broadcast_arrays(*pair), axis=1)
            for pair in ((edge, -0.2), (edge, 1.2), (-0.2, edge[1:-1]), (1.2, edge[1:-1]))
        ]
    )
    return np.concatenate([ring(outline[::2], 1.3, 1.36), ring(outline[::2], 1.6, 1.7), frame])


# Building


def jaw_only() -> tuple[int, ...]:
    """Points that the head's field must not follow: they go with the jaw, close to the upper lip."""
    outer = (146, 91, 181, 84, 17, 314, 405, 321, 375)
    return tuple({*at.LOWER_INNER, *at.LOWER_LIP} - set(outer))


def head_only(points: Floats) -> tuple[int, ...]:
    """Points that the jaw's field must not follow: the upper lip, and the skin between it and the nose."""
    left, right = points[at.CORNERS[0], :2], points[at.CORNERS[1], :2]
    width = right[0] - left[0]
    line = (left[1] + right[1]) / 2
    above = (points[:, 1] < line - 0.01 * width) & (np.abs(points[:, 0] - (left[0] + right[0]) / 2) < 0.62 * width)
    above &= points[:, 1] > points[5, 1]
    return tuple(
        {*at.UPPER_INNER, *at.UPPER_LIP, *np.nonzero(above)[0].tolist()} - {61, 291, 78, 308, 62, 292, 76, 306}
    )


def build(points: Floats, irises: Floats, alone: bool = True) -> Rig:
    """`points` [468, 3] with the lips shut, `irises` [2, 5, 2]; both in sides. `alone`: the person can be moved without
    what is behind; else the movement fades out around the head."""
    scale, turn = similarity(table.neutral()[list(RIGID)], points[list(RIGID)])
    spread = float(np.linalg.norm(irises[1, 0] - irises[0, 0]))
    moves = _moves(points, scale * turn)
    outline = points[list(at.OVAL), :2]
    grid = nodes().reshape(-1, 2)
    near = _within(grid, ring(outline, 1.3, 1.36), ring(outline, 1.6, 1.7))
    fixed = still(points)
    seam = mouth_seam(points)
    inside = np.nonzero(near > 0)[0]
    banks: list[Floats] = []
    fields: list[Floats] = []
    rims = (at.EYE_LEFT_UPPER, at.EYE_LEFT_LOWER, at.EYE_RIGHT_UPPER, at.EYE_RIGHT_LOWER)
    lids = [smooth_line(points[list(rim), :2]) for rim in rims]
    lid_moves: list[Floats] = []
    for without in (jaw_only(), head_only(points)):
        kept = np.setdiff1d(np.arange(len(points)), without)
        spline = Spline(np.concatenate([points[kept, :2], fixed]))
        values = np.concatenate([moves[:, kept], np.zeros((len(moves), len(fixed), 2))], axis=1)
        flat = values.transpose(1, 0, 2).reshape(values.shape[1], -1)
        moved = np.zeros((len(grid), flat.shape[1]))
        bends = spline.solve(flat)
        moved[inside] = spline.basis(grid[inside]) @ bends * near[inside, None]
        fields.append(moved.reshape(len(grid), -1, 2).transpose(1, 0, 2))
        lines = spline.basis(np.concatenate([seam, *lids])) @ bends
        at_lines = lines.reshape(5, SEAM, -1, 2).transpose(0, 2, 1, 3)
        banks.append(at_lines[0])
        lid_moves = lid_moves or list(at_lines[1:])
    depths = Spline(np.concatenate([points[:, :2], fixed]), 1e-3)
    axis = float((points[234, 2] + points[454, 2]) / 2)
    fronts = np.concatenate([points[:, 2] - axis, np.zeros(len(fixed))])

    height = depths.solve(fronts)

    def front(places: Floats) -> Floats:
        return np.maximum(depths.basis(places) @ height, 0.0)

    shape = (-1, GRID, GRID, 2)
    part, breath = _parts(points, grid)
    if not alone:
        around = _within(grid, ring(outline, 1.15, 1.25), ring(outline, 1.7, 1.75))
        part, breath = part * around, breath * around
    return Rig(
        fields[0].reshape(shape).astype(np.float32),
        fields[1].reshape(shape).astype(np.float32),
        front(grid).reshape(GRID, GRID).astype(np.float32),
        part.reshape(GRID, GRID).astype(np.float32),
        breath.reshape(GRID, GRID).astype(np.float32),
        np.array([(points[234, 0] + points[454, 0]) / 2, (points[234, 1] + points[454, 1]) / 2 + 0.25 * spread]),
        spread,
        Seam(seam, banks[0], banks[1], front(seam)),
        (
            _eye(points, irises, 0, lids[:2], lid_moves[:2], front),
            _eye(points, irises, 1, lids[2:], lid_moves[2:], front),
        ),
        float(np.linalg.norm(seam[-1] - seam[0])),
    )


def _eye(
    points: Floats,
    irises: Floats,
    i: Literal[0, 1],
    lids: Sequence[Floats],
    moves: Sequence[Floats],
    front: Callable[[Floats], Floats],
) -> Eye:
    """`lids`, `moves`: upper and lower. A lid may come up as far as the brow leaves room."""
    upper, lower = (Seam(lid, move, move, front(lid)) for lid, move in zip(lids, moves, strict=True))
    spread = float(np.linalg.norm(irises[1, 0] - irises[0, 0]))
    brow = points[list((at.BROW_LEFT, at.BROW_RIGHT)[i][:5]), :2]
    brow = brow[np.argsort(brow[:, 0])]
    room = lids[0][:, 1] - np.interp(lids[0][:, 0], brow[:, 0], brow[:, 1])
    radius = float(np.linalg.norm(irises[i, 1:] - irises[i, 0], axis=1).mean())
    return Eye(upper, lower, _LID * np.maximum(room, 0.05 * spread), irises[i, 0], radius)


def similarity(here: Floats, there: Floats) -> tuple[float, Floats]:
    """Scale and rotation [3, 3] that bring `here` [n, 3] to `there` (Umeyama 1991)."""
    a, b = here - here.mean(axis=0), there - there.mean(axis=0)
    u, s, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    return float((s * sign).sum() / (a * a).sum()), u @ np.diag(sign) @ vt


def angles(points: Floats) -> tuple[float, float, float]:
    """Yaw, pitch and roll of a head in degrees: 0 when it looks at the viewer, upright."""
    _, turn = similarity(table.neutral()[list(RIGID)], points[list(RIGID)])
    yaw, pitch, roll = np.arctan2(turn[0, 2], turn[2, 2]), np.arcsin(turn[1, 2]), np.arctan2(turn[1, 0], turn[0, 0])
    return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))


def _moves(points: Floats, to_portrait: Floats) -> Floats:
    """[shapes, 468, 2]: what each shape moves each point of this face by."""
    shapes = table.shapes()
    found = []
    for name in (*_WHOLE, *_SIDES):
        whole = shapes[name] if name in _WHOLE else shapes[name + "Left"] + shapes[name + "Right"]
        move = (whole @ to_portrait.T)[:, :2]
        if name not in _OPENING:
            upper, lower = list(at.UPPER_INNER), list(at.LOWER_INNER)
            move[upper] = move[lower] = (move[upper] + move[lower]) / 2
        for ring in at.RINGS:
            move[list(ring[1:-1])] = _smooth_along(points[list(ring), :2], move[list(ring)])[1:-1]
        found.append(move)
    return np.stack(found)


def mouth_seam(points: Floats) -> Floats:
    """[SEAM, 2]: where shut lips touch."""
    middle = (points[list(at.UPPER_INNER), :2] + points[list(at.LOWER_INNER), :2]) / 2
    return smooth_line(np.concatenate([points[[at.CORNERS[0]], :2], middle, points[[at.CORNERS[1]], :2]]))


def smooth_line(along: Floats) -> Floats:
    """[SEAM, 2] along a bent line with fixed ends: the noise of single points does not show."""
    start, end = along[0], along[-1]
    axis = (end - start) / np.linalg.norm(end - start)
    across = np.array([-axis[1], axis[0]])
    length = float(np.linalg.norm(end - start))
    u, v = (along - start) @ axis / length, (along - start) @ across
    fitted = np.linalg.lstsq(_bends(u), v, rcond=None)[0]
    t = np.linspace(0, 1, SEAM)
    return np.asarray(start + t[:, None] * (end - start) + (_bends(t) @ fitted)[:, None] * across)


def _smooth_along(line: Floats, moves: Floats) -> Floats:
    """The moves [n, 2] of points along a lip's edge, bent evenly between its corners, whose moves stay."""
    t = (line[:, 0] - line[0, 0]) / (line[-1, 0] - line[0, 0])
    straight = moves[0] + t[:, None] * (moves[-1] - moves[0])
    bends = _bends(t)[:, [0, 1, 2]]
    return np.asarray(straight + bends @ np.linalg.lstsq(bends, moves - straight, rcond=None)[0])


def _bends(u: Floats) -> Floats:
    bend = u * (1 - u)
    return np.stack([bend, bend * (u - 0.5), bend**2, bend**2 * (u - 0.5), bend**3], axis=1)


def _within(places: Floats, inner: Floats, outer: Floats) -> Floats:
    """1 inside of one outline, 0 outside of the other, smooth between; both are star-shaped around one middle."""
    middle = inner.mean(axis=0)
    to = places - middle
    angle, far = np.arctan2(to[:, 1], to[:, 0]), np.linalg.norm(to, axis=1)

    def reach(outline: Floats) -> Floats:
        away = outline - middle
        order = np.argsort(np.arctan2(away[:, 1], away[:, 0]))
        angles, radii = np.arctan2(away[:, 1], away[:, 0])[order], np.linalg.norm(away, axis=1)[order]
        return np.asarray(np.interp(angle, angles, radii, period=2 * np.pi))

    near, end = reach(inner), reach(outer)
    return 1 - _ease((far - near) / (end - near))


def _ease(t: Floats) -> Floats:
    t = np.clip(t, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _parts(points: Floats, grid: Floats) -> tuple[Floats, Floats]:
    """What goes with the head, fading along the neck, and what breath lifts."""
    chin = points[at.CHIN, 1]
    jaw = (points[234, 1] + points[454, 1]) / 2
    tall = chin - jaw
    middle, half = (points[234, 0] + points[454, 0]) / 2, (points[454, 0] - points[234, 0]) / 2
    # Beside the face the movement ends higher up: shoulders stand still.
    beside = np.abs(grid[:, 0] - middle) / half
    aside = np.clip((beside - 0.9) / 0.6, 0, 1)
    top = chin - 0.02 * tall - 0.5 * tall * aside
    part = 1 - _ease((grid[:, 1] - top) / (1.15 * tall))
    shoulder = _ease((grid[:, 1] - chin + 0.7 * tall) / (0.7 * tall)) * _ease((beside - 0.95) / 0.6)
    part = part * (1 - shoulder)
    foot = 1 - _ease((grid[:, 1] - 0.9) / 0.1)
    breath = (
        foot * _ease((grid[:, 1] - chin + 0.4 * tall) / tall) * (1 - _ease((np.abs(grid[:, 0] - middle) - 0.1) / 0.15))
    )
    return part, breath + 0.45 * part
