"""Where the edges of a face's lips and lids are in one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from faces.pixels import Values
from faces.rig import SEAM, Rig

BREATH = 0.003
"""In sides: how far a whole breath lifts the shoulders; the head goes less."""
HEAD_BREATH = 0.45


@dataclass(frozen=True)
class Turn:
    """How the head is held: the first two rows of its rotation less the identity, [2, 3], and the breath, -1…1."""

    lean: Values
    breath: float


@dataclass(frozen=True)
class Edges:
    """In pixels, [SEAM, 2] each. `mouth`: the seam as the head alone moves it; `upper`, `lower`: the lips' edges;
    `lids`: the upper and lower rim of the viewer's left eye, then of the right one; `eyes`: by the head alone."""

    mouth: Values
    upper: Values
    lower: Values
    lids: Values
    eyes: Values


class EdgeFinder:
    def __init__(self, rig: Rig, side: int) -> None:
        seams = [rig.mouth, *(seam for eye in rig.eyes for seam in (eye.upper, eye.lower))]
        lines = np.concatenate([seam.line for seam in seams])
        self._here = np.column_stack([lines - rig.pivot, np.concatenate([seam.depth for seam in seams])]) * side
        self._here = self._here.astype(np.float32)
        self._lines = (lines * side).astype(np.float32)
        moves = np.concatenate([rig.mouth.above, rig.mouth.below, *(seam.above for seam in seams[1:])], axis=1)
        self._moves = np.ascontiguousarray(moves.reshape(len(moves), -1) * side, np.float32)
        self._breath = np.float32(-BREATH * HEAD_BREATH * side)

    def __call__(self, weights: Values, turn: Turn) -> Edges:
        here = self._lines + self._here @ turn.lean.T
        here[:, 1] += self._breath * np.float32(turn.breath)
        moved = np.asarray((weights @ self._moves).reshape(6, SEAM, 2), np.float32)
        head = np.asarray(here.reshape(5, SEAM, 2), np.float32)
        upper, lower = head[0] + moved[0], head[0] + moved[1]
        lids = np.asarray(head[1:] + moved[2:], np.float32)
        lower[:, 1] = np.maximum(lower[:, 1], upper[:, 1])
        return Edges(head[0], upper, lower, lids, head[1:])
