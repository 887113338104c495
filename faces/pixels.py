"""Planes of YUV 4:2:0 and parts of them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Values = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Patch:
    """Left, top, right, bottom in pixels of luma; all even, so that chroma has it too."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def around(cls, left: float, top: float, right: float, bottom: float, within: Patch) -> Patch:
        return cls(
            max(within.left, int(left) // 2 * 2),
            max(within.top, int(top) // 2 * 2),
            min(within.right, int(right) // 2 * 2 + 2),
            min(within.bottom, int(bottom) // 2 * 2 + 2),
        )

    def within(self, other: Patch) -> Patch:
        """The same, counted from the other's corner."""
        x, y = other.left, other.top
        return Patch(self.left - x, self.top - y, self.right - x, self.bottom - y)

    @property
    def at(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def half(self) -> Patch:
        return Patch(self.left // 2, self.top // 2, self.right // 2, self.bottom // 2)

    @property
    def empty(self) -> bool:
        return self.right <= self.left or self.bottom <= self.top

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, as OpenCV has it."""
        return self.right - self.left, self.bottom - self.top

    @property
    def columns(self) -> Values:
        """[width]: the middles of its pixels."""
        return np.arange(self.left, self.right, dtype=np.float32) + np.float32(0.5)

    @property
    def rows(self) -> Values:
        """[height, 1]"""
        return np.arange(self.top, self.bottom, dtype=np.float32)[:, None] + np.float32(0.5)


@dataclass(frozen=True)
class Frame:
    """The planes of the square on top of one I420 frame: `luma` [side, side], `chroma` [2, side / 2, side / 2], in
    place."""

    luma: Pixels
    chroma: Pixels

    @classmethod
    def of(cls, data: Pixels, side: int, height: int) -> Frame:
        pixels, half = side * height, side // 2
        chroma = data[pixels:].reshape(2, height // 2, half)
        return cls(data[:pixels].reshape(height, side)[:side], chroma[:, :half])


def planes(picture: NDArray[np.floating] | Pixels) -> tuple[Values, Values]:
    """[h, w, 3] RGB → luma [h, w] and chroma [h / 2, w / 2, 2]; BT.601, limited range, as WebRTC has it."""
    red, green, blue = (picture[..., i].astype(np.float32) for i in range(3))
    luma = 16 + 0.256788 * red + 0.504129 * green + 0.097906 * blue
    u = 128 - 0.148223 * red - 0.290993 * green + 0.439216 * blue
    v = 128 + 0.439216 * red - 0.367788 * green - 0.071427 * blue
    height, width = luma.shape
    chroma = np.stack([u, v], axis=-1).reshape(height // 2, 2, width // 2, 2, 2).mean(axis=(1, 3))
    return luma, chroma


def to_bytes(values: NDArray[np.floating]) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def look_up(plane: Pixels, at: Values) -> Pixels:
    """`plane` [h, w] or [h, w, n] at pixel indices `at` [h, w, 2]."""
    empty = np.empty((0, 0), np.float32)
    return np.asarray(cv2.remap(plane, at, empty, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def halved(at: Values, size: tuple[int, int]) -> Values:
    """Where the pixels of chroma are looked up, from where those of luma are."""
    small = shrunk(at, size)
    small *= np.float32(0.5)
    small -= np.float32(0.25)
    return small


def shrunk(values: Values, size: tuple[int, int]) -> Values:
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)


def lay(under: Pixels, over: Pixels | Values, share: Values) -> None:
    """`share` 0…1 of `over` into `under`, in place; `over` may be between two bytes."""
    mixed = under.astype(np.float32)
    mixed += (over - mixed) * share
    mixed += np.float32(0.5)
    under[:] = mixed.astype(np.uint8)


def over(front: Pixels, back: Pixels, share: Pixels) -> Pixels:
    """`front`, which is multiplied by `share` 0…255 already, and the rest `back`."""
    return np.asarray(cv2.add(front, cv2.multiply(back, cv2.bitwise_not(share), scale=1 / 255)))


def multiplied(front: Pixels, share: Pixels) -> Pixels:
    return np.asarray(cv2.multiply(front, share, scale=1 / 255))


def clipped(values: Values) -> Values:
    """To 0…1, in place."""
    return np.clip(values, np.float32(0), np.float32(1), out=values)


def along(columns: Values, line: Values) -> Values:
    """The rows of a line [n, 2] at each column; where it overhangs, near an end, the first of them."""
    return np.interp(columns, np.maximum.accumulate(line[:, 0]), line[:, 1]).astype(np.float32)


def steepness(line: Values) -> Values:
    """What a row's distance from a line is worth in pixels across it."""
    if len(line) < 2:
        return np.ones_like(line)
    steep = np.ones_like(line)
    slope = line[1:] - line[:-1]
    np.divide(1, np.sqrt(1 + slope * slope), out=steep[:-1])
    return steep
