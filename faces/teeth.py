"""What lies behind the lips: a plate that moves with the head, the upper teeth, and one that moves with the jaw, the
tongue.

Teeth are the portrait's own wherever it shows some; else a row is drawn, as bright as the face is lit.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.shapes import points as at

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]

WIDE, HIGH, ABOVE = 1.3, 1.0, 0.35
"""A plate in mouth widths: how large, and how much of it is above the seam's middle."""
_EDGES = (0.0, 0.165, 0.295, 0.415, 0.51, 0.58)
"""Where a row's teeth end, from the middle, in mouth widths; their heights below the seam follow."""
_BELOW = (0.062, 0.050, 0.056, 0.038, 0.020)
_TOOTH = np.array([232.0, 222.0, 205.0])
_LUMA = np.array([0.299, 0.587, 0.114])
_SKIN = np.array([205.0, 165.0, 140.0])
_TONGUE = np.array([168.0, 84.0, 82.0])
_FINE = 4
_SHOWING = 0.05
"""Gap between the lips, in mouth widths, from which on a portrait's own teeth may show."""
_DARKEST_TOOTH = 40.0
_COLOURLESS = 0.05
"""Saturation that every tooth may have: in a photograph in black and white lips have none either."""


@dataclass(frozen=True)
class Box:
    """In pixels: left, top, and the size of a plate."""

    left: int
    top: int
    width: int
    height: int


def place(points: Floats, side: int) -> Box:
    """Where a plate lies in a picture of `side`, `points` in sides."""
    left, right = points[at.CORNERS[0], :2] * side, points[at.CORNERS[1], :2] * side
    width = float(np.linalg.norm(right - left))
    middle = (points[13, :2] + points[14, :2]) / 2 * side
    return Box(
        round((left[0] + right[0]) / 2 - WIDE / 2 * width), round(middle[1] - ABOVE * width),
        round(WIDE * width), round(HIGH * width),
    )  # fmt: skip


def light(picture: Pixels, points: Floats) -> Floats:
    """[3]: the light on the face; about 1 for light skin in good light. Half of a skin's colour is taken for it."""
    skin = _skin(picture, points)
    cast = np.asarray((skin / _SKIN / (skin / _SKIN).mean()) ** 0.5)
    return np.asarray(cast / (cast @ _LUMA) * np.clip((skin @ _LUMA / 190) ** 0.6, 0.35, 1.0))


def grey(picture: Pixels, points: Floats) -> float:
    """0…1: how much of its colour a photograph lacks; 1 for black and white."""
    skin = _skin(picture, points)
    return float(np.clip(1 - np.ptp(skin) / max(skin.max(), 1) / 0.15, 0, 1))


def faded(plate: Pixels, grey_: float) -> Pixels:
    """A plate for a photograph with less colour."""
    luma = plate[..., :3].astype(np.float64) @ _LUMA
    colour = plate[..., :3] + (luma[..., None] - plate[..., :3]) * grey_
    return np.dstack([np.rint(colour), plate[..., 3]]).astype(np.uint8)


def _skin(picture: Pixels, points: Floats) -> Floats:
    side = picture.shape[0]
    cheeks = np.clip(points[[50, 280, 205, 425, 5], :2] * side, 0, side - 1).astype(int)
    reach = max(2, side // 90)
    parts = [picture[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach].reshape(-1, 3) for x, y in cheeks]
    return np.asarray(np.median(np.concatenate(parts).astype(np.float64), axis=0))


def drawn(box: Box, light_: Floats) -> Pixels:
    """[height, width, 4]: a row of upper teeth."""
    width = box.width / WIDE
    y, x = np.mgrid[0 : box.height * _FINE, 0 : box.width * _FINE].astype(np.float64) / _FINE
    u, v = (x - box.width / 2) / width, (y - ABOVE * box.height / HIGH) / width
    beside = np.abs(u)
    inside, shade = np.zeros_like(u), np.ones_like(u)
    for near, far, below in zip(_EDGES[:-1], _EDGES[1:], _BELOW, strict=True):
        middle, half = (near + far) / 2, (far - near) / 2
        t = (beside - middle) / half
        edge = below - 0.014 * np.abs(t) ** 3.5
        mine = (np.abs(t) <= 1) & (v < edge)
        inside[mine] = 1
        crown = 1 - 0.10 * t**2 - 0.16 * np.clip(np.abs(t) - 0.82, 0, 1) / 0.18
        tip = 1 - 0.12 * np.clip(1 - (edge - v) / 0.02, 0, 1)
        shade = np.where(mine, crown * tip, shade)
    deep = np.clip(1 - 1.55 * beside**2, 0.25, 1)
    colour = _TOOTH * light_ * (shade * deep)[..., None]
    fine = np.dstack([np.clip(colour, 0, 255), inside * 255])
    small = cv2.resize(fine, (box.width, box.height), interpolation=cv2.INTER_AREA)
    return np.clip(cv2.GaussianBlur(small, (0, 0), 0.006 * width), 0, 255).astype(np.uint8)


def tongue(box: Box, light_: Floats) -> Pixels:
    """[height, width, 4]: what rises behind the lower lip, at the height it has when the jaw is down."""
    width = box.width / WIDE
    y, x = np.mgrid[0 : box.height, 0 : box.width].astype(np.float64)
    u, v = (x - box.width / 2) / width, (y - ABOVE * box.height / HIGH) / width
    top = -0.17 + 0.9 * u**2 + 0.02 * np.exp(-((u / 0.04) ** 2))
    alpha = np.clip((v - top) / 0.035, 0, 1) * np.clip((0.42 - np.abs(u)) / 0.12, 0, 1)
    shade = 0.55 + 0.45 * np.clip((v - top) / 0.16, 0, 1)
    colour = _TONGUE * light_ * (shade * (1 - 0.8 * u**2))[..., None]
    return np.asarray(np.clip(np.dstack([colour, alpha * 255]), 0, 255).astype(np.uint8))


def own(picture: Pixels, points: Floats, box: Box) -> Pixels | None:
    """[height, width, 4]: the upper teeth that `picture` shows between its lips; None: it shows none."""
    side = picture.shape[0]
    flat = points[:, :2] * side
    upper, lower = (flat[[at.CORNERS[0], *ring, at.CORNERS[1]]] for ring in (at.UPPER_INNER, at.LOWER_INNER))
    width = float(np.linalg.norm(upper[-1] - upper[0]))
    if np.max(lower[:, 1] - upper[:, 1]) < _SHOWING * width:
        return None
    columns = np.arange(box.left, box.left + box.width)
    top, bottom = (np.interp(columns, line[:, 0], line[:, 1]) for line in (upper, lower))
    part = _part(picture, box)
    luma = part.astype(np.float64) @ _LUMA
    colour = np.ptp(part.astype(np.float64), axis=2) / np.maximum(part.max(axis=2), 1)
    rows = np.arange(box.height)[:, None] + box.top
    between = (rows > top + 0.012 * width) & (rows < bottom - 0.004 * width)
    if not between.any():
        return None
    lip = float(np.median(_colour_of(picture, flat[[0, 17, 37, 267, 84, 314]])))
    bright = float(np.percentile(luma[between], 92))
    white = float(np.percentile(colour[between & (luma > 0.8 * bright)], 25))
    tooth = (
        between
        & (luma > max(_DARKEST_TOOTH, 0.55 * bright))
        & (colour <= max(_COLOURLESS, min(0.45, (white + lip) / 2)))
    )
    if bright < 0.75 * float(_skin(picture, points) @ _LUMA) or tooth.sum() < 0.12 * between.sum():
        return None
    ends, first, last = _row_ends(tooth)
    middle = (upper[0, 0] + upper[-1, 0]) / 2 - box.left
    if first > middle - 0.2 * width or last < middle + 0.2 * width:
        return None
    among = (np.arange(box.width) >= first) & (np.arange(box.width) <= last)
    kept = between & (rows - box.top < ends - 0.5) & among & (luma > 0.45 * bright)
    filled = spread(part, kept)
    alpha = np.clip(ends - np.arange(box.height)[:, None], 0, 1) * among
    reach = cv2.GaussianBlur(alpha, (0, 0), 0.008 * width)
    return np.dstack([filled, np.clip(reach * 255, 0, 255).astype(np.uint8)])


def _colour_of(picture: Pixels, flat: Floats) -> Floats:
    """Saturation 0…1 at points in pixels."""
    x, y = np.clip(flat.astype(int), 0, picture.shape[0] - 1).T
    at_ = picture[y, x].astype(np.float64)
    return np.asarray(np.ptp(at_, axis=1) / np.maximum(at_.max(axis=1), 1))


def _part(picture: Pixels, box: Box) -> Pixels:
    wide = cv2.copyMakeBorder(picture, box.height, box.height, box.width, box.width, cv2.BORDER_REPLICATE)
    top, left = box.top + box.height, box.left + box.width
    return np.asarray(wide[top : top + box.height, left : left + box.width])


def _row_ends(tooth: NDArray[np.bool_]) -> tuple[Floats, int, int]:
    """Below which row each column's upper teeth end, and the first and the last column that has some.

    They are the longest run of a column that begins in the upper half of what shows; the lower row begins below it.
    """
    shown = np.nonzero(tooth.any(axis=1))[0]
    half = (shown[0] + shown[-1]) / 2
    ends, known = np.zeros(tooth.shape[1]), np.zeros(tooth.shape[1], bool)
    for x in range(tooth.shape[1]):
        steps = np.flatnonzero(np.diff(np.concatenate([[0], tooth[:, x].astype(int), [0]])))
        runs = [(end - start, end) for start, end in zip(steps[::2], steps[1::2], strict=True) if start < half]
        if runs:
            ends[x], known[x] = max(runs)[1], True
    if known.sum() < 3:
        return ends, 0, 0
    columns = np.arange(len(ends))
    ends = np.interp(columns, columns[known], ends[known])
    smooth = cv2.GaussianBlur(cv2.medianBlur(ends[None].astype(np.float32), 5), (0, 0), 1.5)[0]
    return smooth.astype(np.float64), int(columns[known][0]), int(columns[known][-1])


def spread(part: Pixels, kept: NDArray[np.bool_]) -> Pixels:
    """Where it is not kept, the colour of the nearest that is."""
    if not kept.any():
        return part
    _, labels = cv2.distanceTransformWithLabels(
        (~kept).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((labels.max() + 1, 3), np.uint8)
    colours[labels[kept]] = part[kept]
    return np.asarray(colours[labels])
