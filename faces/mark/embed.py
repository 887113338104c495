"""The mark on frames: one level up or down in U and V, cell by cell. Luma stays as it is. No torch and no OpenCV:
session processes do it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from faces.mark.carriers import FPS, SIDE
from faces.mark.code import Signs, coded
from faces.mark.keys import MarkKey

_PREPARED_AT = 12
"""At this frame the next second is made ready, so that none has to wait for it."""


class Patterns(Protocol):
    """What one stream carries. `delays` [COUNT]: at which frame of a second each carrier changes."""

    @property
    def delays(self) -> NDArray[np.uint8]: ...

    def at(self, second: int) -> Signs:
        """[COUNT] of +1 and −1: what each carrier is once it has changed in this second."""


class KeyPatterns:
    """Made of the key itself, for whoever may have it."""

    def __init__(self, key: MarkKey, tag: int) -> None:
        self._carriers = key.carriers
        self._word = coded([tag])[0]

    @property
    def delays(self) -> NDArray[np.uint8]:
        return self._carriers.delays

    def at(self, second: int) -> Signs:
        return self._carriers.pattern(self._word, second)


def cell_of(width: int) -> int:
    """Pixels of chroma a cell: as codecs divide a frame, in blocks of eight, or a half of one on small frames."""
    return 8 if width >= 512 else 4


@dataclass(frozen=True)
class _Second:
    """What the carriers are once all have changed, and the cells that do, in their order, each with its frame."""

    number: int
    signs: Signs
    cells: NDArray[np.int64]
    delays: NDArray[np.uint8]


class Marker:
    """Marks the I420 frames of one stream, `width` × `height`.

    A frame larger than 32 cells repeats the pattern to the right and below: a part of it is as good as the whole.
    """

    def __init__(self, patterns: Patterns, width: int, height: int) -> None:
        self._patterns = patterns
        self._luma, self._shape = width * height, (2, height // 2, width // 2)
        cell = cell_of(width)
        grid = (2, -(-self._shape[1] // cell), -(-self._shape[2] // cell))
        self._carrier = _tiled(grid)
        """Of each cell."""
        self._delay = patterns.delays[self._carrier]
        self._place = np.unravel_index(np.arange(len(self._carrier)), grid)
        whole = np.zeros((2, grid[1], cell, grid[2], cell), np.uint8)
        self._pixels = whole.transpose(0, 1, 3, 2, 4)  # [plane, row, column] of a cell → its pixels
        self._shift = whole.reshape(2, grid[1] * cell, grid[2] * cell)[:, : self._shape[1], : self._shape[2]]
        """What is added to U and V; 255 is −1."""
        self._now: _Second | None = None
        self._next: _Second | None = None
        self._done = 0
        """Of the changes of this second."""

    def mark(self, frame: bytes, number: int) -> bytearray:
        """A marked copy. `number`: of the frame in its session, 25 a second; it may skip, and repeat."""
        self._advance(*divmod(number, FPS))
        marked = bytearray(frame)
        chroma = np.frombuffer(marked, np.uint8)[self._luma :].reshape(self._shape)
        np.maximum(np.minimum(chroma, 254, out=chroma), 1, out=chroma)  # no sum wraps
        np.add(chroma, self._shift, out=chroma)
        return marked

    def _advance(self, second: int, frame: int) -> None:
        now = self._now
        if now is None or second != now.number:
            now = self._now = self._entered(second)
            self._next, self._done = None, 0
        due = int(np.searchsorted(now.delays, frame, side="right"))
        if due > self._done:
            self._set(now.cells[self._done : due], now.signs)
            self._done = due
        if self._next is None and frame >= _PREPARED_AT:
            self._next = self._second(second + 1, now.signs)

    def _entered(self, second: int) -> _Second:
        """The shift is what it is before this second's first change."""
        now = self._now
        if now is not None and second == now.number + 1:
            self._set(now.cells[self._done :], now.signs)
            return self._next or self._second(second, now.signs)
        before = self._patterns.at(second - 1)  # the first frame, or a jump
        self._set(np.arange(len(self._carrier)), before)
        return self._second(second, before)

    def _second(self, number: int, before: Signs) -> _Second:
        signs = self._patterns.at(number)
        changed = np.flatnonzero((signs != before)[self._carrier])
        cells = changed[np.argsort(self._delay[changed], kind="stable")]
        return _Second(number, signs, cells, self._delay[cells])

    def _set(self, cells: NDArray[np.int64], signs: Signs) -> None:
        planes, rows, columns = (each[cells] for each in self._place)
        values = signs[self._carrier[cells]].view(np.uint8)
        self._pixels[planes, rows, columns] = values[:, None, None]


def _tiled(grid: tuple[int, int, int]) -> NDArray[np.int64]:
    """The carrier of each cell of [planes, rows, columns], flat."""
    planes, rows, columns = np.indices(grid)
    carriers: NDArray[np.int64] = (planes * SIDE + rows % SIDE) * SIDE + columns % SIDE
    return carriers.reshape(-1)
