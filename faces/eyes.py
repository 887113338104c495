"""The eyes: irises that look about between the lids, and lids that come down over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.edges import Edges
from faces.pixels import Frame, Patch, Pixels, Values, along, clipped, halved, look_up, shrunk
from faces.rig import Eye, Rig

_LOOK = 0.45
"""How far a whole unit of gaze moves the iris, in its radii."""
_CORNER = 0.08
_NOTHING = 0.02
_OVER = 0.9
"""Of the lashes: how far a shut lid reaches over the lower rim, whose edge is known to a pixel or two."""
_LASHES_HIGH = 0.075
_SHINES, _DARK = 44, 0.42
"""Steps of luma above a lid's skin, and the share of it, from which on something is none of it."""
_LASHES = 0.016
"""Of the distance of the eyes: half the height of the lashes of a shut eye."""


@dataclass(frozen=True)
class _Gaze:
    """Of one eye at rest: by how much of a gaze each pixel of `patch` moves, across and down: `share` [h, w, 2], and
    `small` of chroma's. Nothing is looked up beyond the lids, which stay. `middle` of its rims; pixels of a
    whole `unit` of gaze."""

    patch: Patch
    share: Values
    small: Values
    middle: Values
    unit: float

    @classmethod
    def of(cls, eye: Eye, side: int) -> _Gaze:
        upper, lower = ((seam.line * side).astype(np.float32) for seam in (eye.upper, eye.lower))
        patch = Patch.around(upper[0, 0], upper[:, 1].min(), upper[-1, 0], lower[:, 1].max(), Patch(0, 0, side, side))
        columns, rows = patch.columns, patch.rows
        radius = eye.radius * side
        inside = (rows > along(columns, upper) + 1) & (rows < along(columns, lower) - 1)
        end = _CORNER * (upper[-1, 0] - upper[0, 0])  # lashes and the tear duct
        inside &= (columns > upper[0, 0] + end) & (columns < upper[-1, 0] - end)
        share = np.stack([_room(inside), _room(inside.T).T], axis=-1) / np.float32(1.25 * _LOOK * radius)
        clipped(share)
        small = shrunk(share, patch.half.size)
        middle = np.concatenate([upper, lower]).mean(axis=0)
        return cls(patch, share, small, middle, _LOOK * radius)


class Eyes:
    """`luma`: the person's, eyes open."""

    def __init__(self, rig: Rig, luma: Pixels) -> None:
        self._side = side = luma.shape[0]
        self._thick = max(0.7, _LASHES * rig.spread * side)
        lids = np.concatenate([eye.upper.line[4:-4] for eye in rig.eyes]) * side
        x, y = np.clip(lids.astype(int), 0, side - 1).T
        self._lash = np.float32(np.percentile(luma[y, x], 30) * 0.8 + 6)
        self._lids = [_skin_above(eye, luma, _LASHES_HIGH * rig.spread * side) for eye in rig.eyes]
        self._gazes = [_Gaze.of(eye, side) for eye in rig.eyes]

    def look(self, edges: Edges, gaze: tuple[float, float], box: Patch, at: Values, at_half: Values) -> None:
        """Where the box's pixels come from, with the irises moved by `gaze` (to the viewer's right and down, in whole
        units) between the lids. In place."""
        if abs(gaze[0]) + abs(gaze[1]) <= _NOTHING:
            return
        for i, eye in enumerate(self._gazes):
            moved = np.array(gaze, np.float32) * np.float32(eye.unit)
            away = edges.eyes[2 * i : 2 * i + 2].mean(axis=(0, 1)) - eye.middle
            x, y = (round(float(v) / 2) * 2 for v in away)
            there = Patch(eye.patch.left + x, eye.patch.top + y, eye.patch.right + x, eye.patch.bottom + y)
            if Patch.around(there.left, there.top, there.right - 2, there.bottom - 2, box) != there:
                continue  # the eye is at the very edge of what moves
            there = there.within(box)
            at[there.at] -= eye.share * moved
            at_half[there.half.at] -= eye.small * (moved * np.float32(0.5))

    def blink(self, edges: Edges, lid: float, box: Patch, frame: Frame) -> None:
        """`lid` 0 open, 1 shut."""
        if lid <= _NOTHING:
            return
        for i in (0, 1):
            upper, lower = edges.lids[2 * i], edges.lids[2 * i + 1]
            start = upper[:, 1] - self._lids[i]
            patch = Patch.around(upper[0, 0] - 2, start.min() - 1, upper[-1, 0] + 2, lower[:, 1].max() + 2, box)
            if not patch.empty:
                begin = np.interp(patch.columns, upper[:, 0], start).astype(np.float32)
                over, under = along(patch.columns, upper), along(patch.columns, lower)
                self._blink(patch, begin, over, under, min(1.0, lid), frame)

    def _blink(self, patch: Patch, start: Values, over: Values, under: Values, lid: float, frame: Frame) -> None:
        """In each column the skin between `start` and the rim is drawn out down to where the rim is now; the lashes at
        the rim come as they are."""
        rows, columns = patch.rows, patch.columns
        down = over + np.float32(lid) * np.maximum(under - over + np.float32(_OVER * self._thick), 0)
        lash = np.minimum(np.float32(2.5 * self._thick), 0.5 * (over - start))
        stretch = (over - lash - start) / np.maximum(down - lash - start, np.float32(1e-3))
        y = np.where(rows < down - lash, start + (rows - start) * stretch, rows - (down - over))
        y = np.where((rows < start) | (rows > down + 0.5), rows, y)
        at = np.dstack([np.broadcast_to(columns - 0.5 - patch.left, y.shape), y - np.float32(0.5 + patch.top)])
        at = np.ascontiguousarray(at, np.float32)
        shown = look_up(np.ascontiguousarray(frame.luma[patch.at]), at).astype(np.float32)
        ends = np.minimum(columns - columns[0], columns[-1] - columns) / (5 * self._thick) - 0.4
        line = np.exp(-(((rows - down) / (0.8 * self._thick)) ** 2)) * np.clip(ends, 0, 1) * min(0.9, 1.5 * lid)
        frame.luma[patch.at] = (shown + (self._lash - shown) * line + 0.5).astype(np.uint8)
        half = patch.half
        small = halved(at, half.size)
        for plane in frame.chroma:
            plane[half.at] = look_up(np.ascontiguousarray(plane[half.at]), small)


def _skin_above(eye: Eye, luma: Pixels, lashes: float) -> Values:
    """[SEAM] pixels: how far above the upper rim the skin begins that comes down in a blink, but for what is no skin:
    the frame of glasses, and what their lenses reflect, stay where they are. `lashes`: how high they reach, pixels."""
    side = luma.shape[0]
    line, room = eye.upper.line * side, eye.lid * side
    columns = []
    for (x, y), most in zip(line, room, strict=True):
        rows = np.clip(np.arange(round(y - lashes), round(y - most) - 1, -1), 0, side - 1)
        columns.append(luma[rows, min(side - 1, int(x))].astype(int))
    skin = np.median(np.concatenate([*columns, [0]]))
    clear = room.copy()
    for i, seen in enumerate(columns):
        strange = (seen > skin + _SHINES) | (seen < _DARK * skin)
        if strange.any():
            clear[i] = lashes + strange.argmax() - 1
    near = np.min([np.pad(clear, 4, mode="edge")[k : k + len(clear)] for k in range(9)], axis=0)
    smooth = np.convolve(np.pad(near, 4, mode="edge"), np.ones(9) / 9, "valid")
    return np.asarray(np.minimum(np.maximum(smooth, lashes), room), np.float32)


def _room(inside: NDArray[np.bool_]) -> Values:
    """[h, w]: how many pixels each is away from the end of its row's opening, on the nearer side."""
    reach = np.zeros(inside.shape, np.float32)
    for row, flags in zip(reach, inside, strict=True):
        steps = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
        for start, end in zip(steps[::2], steps[1::2], strict=True):
            length = end - start
            row[start:end] = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
    return reach
