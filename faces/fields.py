"""A rig's fields at work: from weights and a turn of the head to where each pixel comes from."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.edges import BREATH, Turn
from faces.pixels import Patch, Pixels, Values
from faces.rig import GRID, Rig

_ROUNDS, _JAW_ROUNDS = 2, 7
_EMPTY = np.empty((0, 0), np.float32)
_STRIPS = 3
_MOST_WAY = 0.03
"""In sides: how far a silhouette goes at the most."""


def inverse(forward: Values, rounds: int = 4) -> Values:
    """Of a field of moves in nodes: where each node's content comes from, less the node. A fixed point: what moved by d
    to here was at here - d, and d is asked for there."""
    here = _places(*forward.shape[:2])
    back = -forward
    for _ in range(rounds):
        there = cv2.remap(forward, here + back, _EMPTY, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        back = np.negative(there, out=np.asarray(there, np.float32))
    return back


@cache
def _places(height: int, width: int) -> Values:
    return _pixels(Patch(0, 0, width, height))


class HeadField:
    """The whole of what moves: `nodes` of the grid, and the same `box` in pixels of a frame of `side`; of that the
    `strips` where the person is or may come to be."""

    def __init__(self, rig: Rig, side: int, matte: Pixels | None) -> None:
        moves_at = _moving(rig, side, matte)
        self.nodes, self.box = _extent(moves_at, side)
        at = self.nodes.at
        y, x = np.mgrid[0:GRID, 0:GRID].astype(np.float32)
        places = (np.stack([x, y], axis=-1) + 0.5) / GRID - rig.pivot.astype(np.float32)
        self._here = np.dstack([places, rig.depth])[at].reshape(-1, 3).astype(np.float32)
        self._part = np.ascontiguousarray(rig.part[at][..., None] * GRID, np.float32)
        self._breath = np.ascontiguousarray(rig.breath[at] * -BREATH * GRID, np.float32)
        moves = rig.head[(slice(None), *at)]
        used = np.abs(moves).max(axis=(0, 3)) > 1e-5
        rows, columns = np.nonzero(used.any(axis=1))[0], np.nonzero(used.any(axis=0))[0]
        self._face = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        face = moves[(slice(None), *self._face)]
        self._shape = face.shape[1:]
        self._moves = np.ascontiguousarray(face.reshape(len(face), -1) * GRID, np.float32)
        self._scale = np.float32(side / GRID)
        self.strips = _strips(moves_at, self.box)
        self._luma_at, self._chroma_at = (_pixels(box) for box in (self.box, self.box.half))

    def rigid(self, turn: Turn) -> Values:
        """What the head's turn and the breath move each node by, in nodes."""
        moves = (self._here @ turn.lean.T).reshape(*self._part.shape[:2], 2)
        moves *= self._part
        moves[..., 1] += self._breath * np.float32(turn.breath)
        return moves

    def back(self, weights: Values, rigid: Values) -> tuple[Values, Values]:
        """Where the box's pixels come from, of luma and of chroma."""
        moves = rigid.copy()
        moves[self._face] += (weights @ self._moves).reshape(self._shape)
        back = inverse(moves, _ROUNDS)
        back *= self._scale
        luma = cv2.resize(back, self.box.size, interpolation=cv2.INTER_LINEAR)
        cv2.add(luma, self._luma_at, luma)
        back *= np.float32(0.5)
        chroma = cv2.resize(back, self.box.half.size, interpolation=cv2.INTER_LINEAR)
        cv2.add(chroma, self._chroma_at, chroma)
        return np.asarray(luma, np.float32), np.asarray(chroma, np.float32)


class JawField:
    """Around the mouth, of the lower lip and what goes with it."""

    def __init__(self, rig: Rig, side: int, head: HeadField) -> None:
        line, width, n = rig.mouth.line * GRID, rig.mouth_width * GRID, head.nodes
        wide, high = n.size
        left, right = line[0, 0] - 0.9 * width - n.left, line[-1, 0] + 0.9 * width - n.left
        top, bottom = line[:, 1].min() - 0.8 * width - n.top, line[:, 1].max() + 1.9 * width - n.top
        self._at = (
            slice(max(0, int(top)), min(high, int(bottom) + 1)),
            slice(max(0, int(left)), min(wide, int(right) + 1)),
        )
        jaw = rig.jaw[(slice(None), *n.at)][(slice(None), *self._at)]
        self._shape = jaw.shape[1:]
        self._moves = np.ascontiguousarray(jaw.reshape(len(jaw), -1) * GRID, np.float32)
        self._corner = n.left + self._at[1].start, n.top + self._at[0].start
        self._scale = np.float32(side / GRID)
        self._all = _pixels(Patch(0, 0, side, side))

    def back(self, weights: Values, rigid: Values, patch: Patch) -> Values:
        """Where the patch's pixels of luma come from; `rigid` as the head's field has it."""
        moves = rigid[self._at] + (weights @ self._moves).reshape(self._shape)
        back = inverse(moves, _JAW_ROUNDS)
        back *= self._scale
        node = 1 / float(self._scale)
        off = [
            (edge + 0.5) * node - 0.5 - first for edge, first in zip((patch.left, patch.top), self._corner, strict=True)
        ]
        to = np.array([[node, 0, off[0]], [0, node, off[1]]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        at = np.asarray(cv2.warpAffine(back, to, patch.size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32)
        at += self._all[patch.at]
        return at


def _pixels(patch: Patch) -> Values:
    y, x = np.mgrid[patch.top : patch.bottom, patch.left : patch.right].astype(np.float32)
    return np.dstack([x, y])


def _moving(rig: Rig, side: int, matte: Pixels | None) -> NDArray[np.bool_]:
    """[side, side]: what may have to be drawn anew, with room for its movement."""
    nodes = ((rig.part > 5e-3) | (rig.breath > 0.03)).astype(np.uint8)
    moves = np.asarray(cv2.resize(nodes, (side, side), interpolation=cv2.INTER_NEAREST), np.uint8)
    if matte is not None:
        moves &= matte > 2
        reach = 2 * round(_MOST_WAY * side) + 1
        moves = np.asarray(cv2.dilate(moves, np.ones((reach, reach), np.uint8)), np.uint8)
    return moves > 0


def _extent(moves: NDArray[np.bool_], side: int) -> tuple[Patch, Patch]:
    """The nodes around what moves, and their pixels; whole nodes whose pixels are even."""
    step = next(n for n in range(1, GRID + 1) if n * side % GRID == 0 and n * side // GRID % 2 == 0)
    pixels = step * side // GRID
    rows, columns = (np.nonzero(moves.any(axis=axis))[0] // pixels for axis in (1, 0))
    edges = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    return Patch(*(min(GRID, v * step) for v in edges)), Patch(*(min(side, v * pixels) for v in edges))


def _strips(moves: NDArray[np.bool_], box: Patch) -> list[Patch]:
    high = max(2, (box.bottom - box.top) // _STRIPS // 2 * 2)
    strips = []
    for top in range(box.top, box.bottom, high):
        bottom = min(box.bottom, top + high)
        columns = np.nonzero(moves[top:bottom].any(axis=0))[0]
        if len(columns):
            strips.append(Patch(int(columns[0]) // 2 * 2, top, int(columns[-1]) // 2 * 2 + 2, bottom))
    return strips
