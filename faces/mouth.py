"""The open mouth: the lower lip goes with the jaw, and between the lips are teeth, tongue and the dark."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from faces.edges import Edges
from faces.fields import JawField
from faces.pixels import Floats, Frame, Patch, Pixels, Values, along, clipped, halved, lay, planes, shrunk, steepness
from faces.rig import SEAM, Rig
from faces.teeth import Box

_DARK = np.array([52.0, 22.0, 24.0])
_SHUT = 0.25
"""Pixels between the lips that nobody sees."""
_BELOW, _BESIDE = 0.36, 0.2
"""How far from the lips' edges the jaw's own layer reaches, in mouth widths; the head's is the same from there on."""
_FADE = 0.16
_TONGUE_SHOWS = 0.26
_MIDDLE = SEAM // 2


@dataclass(frozen=True)
class Plates:
    """`upper` teeth and `tongue` [h, w, 4] RGBA of the same size, where they lie at rest, and the light on the face."""

    upper: Pixels
    tongue: Pixels
    box: Box
    bright: float


def _yuva(rgba: Pixels) -> Values:
    """[h, w, 4]: luma, chroma and alpha, 0…1, at each pixel."""
    height, width = rgba.shape[0] // 2 * 2, rgba.shape[1] // 2 * 2
    rgba = rgba[:height, :width]
    luma, chroma = planes(rgba[..., :3])
    wide = cv2.resize(chroma, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.dstack([luma, wide, rgba[..., 3].astype(np.float32) / 255])


def _lay_plate(plate: Values, at: Floats, inside: Values) -> None:
    """`at` [2, 3]: from pixel indices of `inside` [h, w, 3] to the plate's. In place."""
    size = inside.shape[1], inside.shape[0]
    mine = cv2.warpAffine(plate, at, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    inside += (mine[..., :3] - inside) * mine[..., 3:]


class Mouth:
    def __init__(self, rig: Rig, jaw: JawField, plates: Plates, side: int) -> None:
        self._jaw = jaw
        self._width = rig.mouth_width * side
        self._rest = rig.mouth.line[_MIDDLE] * side
        self._upper, self._tongue = _yuva(plates.upper), _yuva(plates.tongue)
        self._origin = np.array([plates.box.left, plates.box.top], float)
        luma, chroma = planes(np.broadcast_to(_DARK * plates.bright, (2, 2, 3)))
        self._dark = np.concatenate([luma[0, :1], chroma[0, 0]]).astype(np.float32)

    def part(self, edges: Edges, weights: Values, rigid: Values, box: Patch, at: Values, at_half: Values) -> None:
        """Where the box's pixels come from, luma and chroma: below the seam from where the jaw has them. In place."""
        if _gap(edges) < _SHUT:
            return
        line, width = np.float32(0.5) * (edges.upper + edges.lower), self._width
        left, right = float(line[0, 0]), float(line[-1, 0])
        top, bottom = float(line[:, 1].min()), float(edges.lower[:, 1].max())
        aside = _BESIDE * width
        patch = Patch.around(left - aside, top - 1, right + aside, bottom + _BELOW * width, box)
        if patch.empty:
            return
        columns, rows = patch.columns, patch.rows
        fade = np.float32(_FADE * width)
        beyond = np.maximum(left - columns, columns - right)
        # Within the mouth the switch is sharp and nobody sees it; beyond its corners there is skin on both sides.
        share = clipped((rows - along(columns, line)) / np.maximum(2 * beyond, np.float32(0.01)))
        share *= clipped((patch.bottom - 1 - rows) / fade)
        share *= clipped(np.float32(0.75) - beyond / fade)
        jaw = self._jaw.back(weights, rigid, patch)
        here = at[patch.within(box).at]
        here += (jaw - here) * share[..., None]
        half = patch.half
        here_half = at_half[half.within(box.half).at]
        here_half += (halved(jaw, half.size) - here_half) * share[::2, ::2, None]

    def fill(self, edges: Edges, tongue: float, box: Patch, frame: Frame) -> None:
        """What is between the lips."""
        upper, lower = edges.upper, edges.lower
        left, right = min(upper[0, 0], lower[0, 0]), max(upper[-1, 0], lower[-1, 0])
        patch = Patch.around(left - 1, upper[:, 1].min() - 1, right + 1, lower[:, 1].max() + 1, box)
        if _gap(edges) >= _SHUT and not patch.empty:
            self._behind(edges, patch, _gap(edges), tongue, frame)

    def _behind(self, edges: Edges, patch: Patch, gap: float, tongue: float, frame: Frame) -> None:
        columns, rows, width = patch.columns, patch.rows, np.float32(self._width)
        top, bottom = along(columns, edges.upper), along(columns, edges.lower)
        share = clipped((rows - top) * steepness(top) + np.float32(0.5))
        share *= clipped((bottom - rows) * steepness(bottom) + np.float32(0.5))
        share *= (columns > edges.upper[0, 0]) & (columns < edges.upper[-1, 0])
        inside = np.empty((*share.shape, 3), np.float32)
        inside[:] = self._dark
        axis = edges.mouth[-1] - edges.mouth[0]
        axis = axis / np.hypot(*axis)
        to = np.array([[axis[0], axis[1]], [-axis[1], axis[0]]], float)
        if tongue > 0 or gap > 0.08 * width:
            rise = (0.17 * (1 - min(1.0, gap / (_TONGUE_SHOWS * self._width))) - 0.13 * tongue) * self._width
            _lay_plate(self._tongue, self._from(to, patch, edges.lower[_MIDDLE] + [0, rise]), inside)
        _lay_plate(self._upper, self._from(to, patch, edges.mouth[_MIDDLE]), inside)
        # The lips and the depth take the light.
        least = np.float32(0.75 - 0.5 * min(1.0, gap / (0.2 * self._width)))
        shade = np.clip(0.5 + (rows - top) / (0.085 * width), 0, 1)
        shade *= np.clip(least + (bottom - rows) / (0.11 * width), 0, 1)
        aside = np.minimum(columns - edges.upper[0, 0], edges.upper[-1, 0] - columns) / (0.22 * width)
        shade *= np.clip(0.3 + aside, 0, 1)
        luma = inside[..., 0]
        luma -= 16
        luma *= shade
        luma += 16
        lay(frame.luma[patch.at], luma, share)
        half = patch.half
        small = shrunk(share, half.size)
        for i in (0, 1):
            lay(frame.chroma[i][half.at], inside[::2, ::2, i + 1], small)

    def _from(self, to: Floats, patch: Patch, middle: Values) -> Floats:
        """From the patch's pixel indices to those of a plate whose middle, at rest the seam's, is at `middle` now."""
        corner = np.array([patch.left, patch.top], float)
        return np.column_stack([to, to @ (corner - middle) + self._rest - self._origin])


def _gap(edges: Edges) -> float:
    return float((edges.lower[:, 1] - edges.upper[:, 1]).max())
