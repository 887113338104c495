"""The mouth of a face, drawn once for every opening and rounding: the lips of the portrait are warped apart, the jaw
goes down with them, and teeth, tongue and the dark between are painted into the gap.

Works in float pixels of one picture; nothing here runs while a session plays.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.face import Landmarks

APERTURES = 17
ROUNDNESSES = 5
MOST_OPEN = 0.52
"""Height of the widest opening, in mouth widths."""

_UPPER_SHARE = 0.18
_JAW_SHARE = 0.5
_NARROWING = 0.3
_DARK = np.array([66, 20, 26], np.float32)
_DEEP = np.array([34, 9, 14], np.float32)
_TOOTH = np.array([246, 243, 236], np.float32)
_TONGUE = np.array([196, 92, 98], np.float32)

Image = NDArray[np.floating]


@dataclass(frozen=True)
class Box:
    """Pixels: left and top inclusive, right and bottom exclusive; all even."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def halved(self) -> Box:
        """The same box in a chroma plane."""
        return Box(self.left // 2, self.top // 2, self.right // 2, self.bottom // 2)


@dataclass(frozen=True)
class Opening:
    """One drawn mouth. `teeth` 0…1: how much of the gap the upper teeth fill; `press`: lips squeezed thin."""

    aperture: float
    roundness: float
    teeth: float = 0.42
    press: float = 0.0
    tongue: float = 0.0
    tuck: float = 0.0


def openings() -> list[Opening]:
    """The grid, rounder ones later, then the specials."""
    grid = [Opening(a / (APERTURES - 1), r / (ROUNDNESSES - 1)) for r in range(ROUNDNESSES) for a in range(APERTURES)]
    return [
        *grid,
        Opening(0.0, 0.1, press=1.0),
        Opening(0.13, 0.05, teeth=1.0, tuck=1.0),
        Opening(0.24, 0.05, tongue=1.0),
    ]


class Mouth:
    """The warp of one portrait, `picture` [side, side, 3] float RGB in 0…255."""

    def __init__(self, picture: Image, marks: Landmarks) -> None:
        self._picture = picture
        side = picture.shape[0]
        self._width = marks.mouth_width * side
        self._x, self._y = marks.mouth_centre.x * side, marks.mouth_centre.y * side
        self._corner = (marks.mouth_left.y + marks.mouth_right.y) / 2 * side - self._y
        self._upper, self._lower = marks.lip_upper * side, marks.lip_lower * side
        self._chin = marks.chin.y * side
        self._jaw_half = marks.face_half_width * side
        self.box = self._place(side)
        rows, columns = np.mgrid[self.box.top : self.box.bottom, self.box.left : self.box.right].astype(np.float32)
        self._px, self._py = columns, rows

    def _place(self, side: int) -> Box:
        reach = max(self._jaw_half * 1.12, self._width * 1.1)
        bottom = self._chin + self._width * 0.75
        even = [round(v / 2) * 2 for v in (self._x - reach, self._y - self._width * 0.7, self._x + reach, bottom)]
        return Box(max(0, even[0]), max(0, even[1]), min(side, even[2]), min(side, even[3]))

    def draw(self, mouth: Opening) -> Image:
        """The box's pixels, [height, width, 3]."""
        x, y, width = self._px, self._py, self._width
        narrow = 1 - _NARROWING * mouth.roundness * min(1.0, 0.35 + mouth.aperture * 2)
        half = width / 2 * narrow
        u = (x - self._x) / half
        profile = np.clip(1 - u * u, 0, 1) ** 0.72
        height = mouth.aperture * MOST_OPEN * width
        line = self._y + self._corner * np.clip(np.abs(u), 0, 1.3) ** 2
        up = _UPPER_SHARE * height * profile
        down = (1 - _UPPER_SHARE) * height * profile
        top, bottom = line - up, line + down

        jaw = _JAW_SHARE * height * _fade(np.abs(x - self._x) / self._jaw_half, 0.55, 1.12)
        above = up * _fade((top - y) / (0.62 * width), 0.0, 1.0)
        lip = np.clip((y - bottom) / (self._lower * 2.2), 0, 1)
        floor = self._chin + jaw
        below = (down + (jaw - down) * _smooth(lip)) * _fade((y - floor) / (0.72 * width), 0.0, 1.0)
        share = np.clip((y - top) / np.maximum(bottom - top, 1e-3), 0, 1)
        shift = np.where(y < top, above, np.where(y > bottom, -below, above * (1 - share) - below * share))
        # Lips pushed together are thinner: more of the source's height goes into the same pixels.
        tall = self._upper + self._lower
        reach = _fade(np.abs(y - line) / (1.7 * tall), 0.1, 1.0) * _fade(np.abs(u), 0.75, 1.5)
        squeeze = 0.42 * mouth.press * (y - line) * reach
        # The lower lip goes under the upper teeth: it shows less of itself.
        squeeze = squeeze + 0.55 * mouth.tuck * np.maximum(y - bottom, 0) * reach
        wide = (1 / narrow - 1) * _fade(np.abs(x - self._x) / width, 0.5, 1.12)
        wide = wide * _fade(np.abs(y - line - down / 2) / (0.95 * width), 0.25, 1.0)
        source_x = x + (x - self._x) * wide
        source_y = y + shift + squeeze
        maps = source_x.astype(np.float32), source_y.astype(np.float32)
        warped = np.asarray(
            cv2.remap(self._picture, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
        )
        gap = np.clip(np.minimum(y - top, bottom - y) + 0.5, 0, 1) * (np.abs(u) < 1)
        return self._fill(warped, gap.astype(np.float32), u, top, bottom, mouth)

    def _fill(self, warped: Image, gap: Image, u: Image, top: Image, bottom: Image, mouth: Opening) -> Image:
        """Teeth hang from the upper lip, the tongue lies below, all of it darker towards the corners."""
        y = self._py
        open_ = np.maximum(bottom - top, 1e-3)
        deep = np.clip((y - top) / open_, 0, 1)[..., None]
        inside = _DEEP + (_DARK - _DEEP) * np.abs(deep - 0.35) * 1.4
        curve = np.clip(1 - (u / 0.86) ** 4, 0, 1)
        most = np.where(mouth.teeth >= 1, 0.92 * open_, np.minimum(0.115 * self._width, mouth.teeth * open_))
        tooth = np.clip(top + most * curve - y + 0.5, 0, 1) * np.clip((0.86 - np.abs(u)) * 12, 0, 1)
        tooth = tooth * np.clip(open_ / (0.035 * self._width), 0, 1)
        shade = (1 - 0.34 * np.abs(u) ** 2 - 0.1 * np.clip((top + 2.5 - y) / 3, 0, 1))[..., None]
        rise = 0.62 if mouth.tongue else 0.34
        tip = bottom - rise * open_ * np.clip(1 - (u / 0.72) ** 2, 0, 1) ** 0.7
        tongue = np.clip(y - tip + 0.5, 0, 1) * (np.abs(u) < 0.72) * np.clip(open_ / (0.1 * self._width) - 0.4, 0, 1)
        if mouth.tongue:
            tongue = np.clip(y - tip + 0.5, 0, 1) * (np.abs(u) < 0.72)
        muscle = _TONGUE * (0.72 + 0.34 * np.clip((y - tip) / np.maximum(bottom - tip, 1), 0, 1))[..., None]
        inside = inside + (muscle - inside) * tongue[..., None]
        inside = inside + (_TOOTH * shade - inside) * tooth[..., None]
        filled: Image = (warped + (inside - warped) * gap[..., None]).astype(np.float32)
        return filled


def _smooth(t: Image) -> Image:
    return t * t * (3 - 2 * t)


def _fade(distance: Image, full: float, gone: float) -> Image:
    """1 up to `full`, 0 from `gone` on, smooth between."""
    return 1 - _smooth(np.clip((distance - full) / (gone - full), 0, 1)).astype(np.float32)
