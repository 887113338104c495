"""The mark on frames: one level up or down in U and V, cell by cell. Luma stays as it is. Where a picture is grey, a
tint shows most, and red and green sooner than blue and yellow: there V is left alone. No torch and no OpenCV: session
processes do it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from faces.mark.carriers import FPS, SIDE
from faces.mark.code import Signs, coded
from faces.mark.keys import MarkKey

_GREY, _COLOURED = 5, 8
"""Levels from 128: up to which a cell becomes grey, from which it is no longer."""
_LOOK_AT, _PATTERN_AT, _ORDER_AT = 6, 12, 18
"""At these frames the next second is made ready, a part of it at each, so that none has to wait for it."""


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
    """What the carriers are once all have changed, and the cells that do, in their order: which, where they lie, what
    they become, and how many of them have changed by each frame."""

    number: int
    signs: Signs
    cells: NDArray[np.int64]
    places: NDArray[np.int64]
    become: Signs
    by_frame: list[int]


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
        self._places = np.stack(np.unravel_index(np.arange(len(self._carrier)), grid))
        whole = np.zeros((2, grid[1], cell, grid[2], cell), np.uint8)
        self._pixels = whole.transpose(0, 1, 3, 2, 4)  # [plane, row, column] of a cell → its pixels
        self._shift = whole.reshape(2, grid[1] * cell, grid[2] * cell)[:, : self._shape[1], : self._shape[2]]
        """What is added to U and V; 255 is −1."""
        middle = cell // 2
        self._middles = np.s_[:, middle::cell, middle::cell]
        self._is_grey = np.zeros(grid[1:], bool)
        self._loud = np.ones(len(self._carrier), np.int8)
        """Of each cell; 0: it is left alone."""
        self._signs = np.zeros(len(self._carrier), np.int8)
        """Of each cell, now."""
        self._now: _Second | None = None
        self._looked = False
        self._pattern: Signs | None = None
        self._next: _Second | None = None
        self._done = 0
        """Of the changes of this second."""

    def mark(self, frame: bytes, number: int) -> bytearray:
        """A marked copy. `number`: of the frame in its session, 25 a second; it may skip, and repeat."""
        marked = bytearray(frame)
        chroma = np.frombuffer(marked, np.uint8)[self._luma :].reshape(self._shape)
        self._advance(*divmod(number, FPS), chroma)
        np.clip(chroma, 1, 254, out=chroma)  # no sum wraps; a tenth of the time of minimum and maximum
        np.add(chroma, self._shift, out=chroma)
        return marked

    def _advance(self, second: int, frame: int, chroma: NDArray[np.uint8]) -> None:
        now = self._now
        if now is None:
            self._look(chroma)
        if now is None or second != now.number:
            now = self._now = self._entered(second)
            self._looked, self._pattern, self._next, self._done = False, None, None, 0
        self._change(now, now.by_frame[frame])
        if frame >= _LOOK_AT and not self._looked:
            self._look(chroma)
            self._looked = True
        elif frame >= _PATTERN_AT and self._pattern is None:
            self._pattern = self._patterns.at(second + 1)
        elif frame >= _ORDER_AT and self._pattern is not None and self._next is None:
            self._next = self._second(second + 1, self._pattern, now.signs)

    def _look(self, chroma: NDArray[np.uint8]) -> None:
        """Once a second: where the picture is grey, by the middle of each cell."""
        seen = chroma[self._middles].astype(np.int16) - 128
        away = np.abs(seen).max(0)
        rows, columns = away.shape
        before = self._is_grey[:rows, :columns]
        grey = away < np.where(before, _COLOURED, _GREY + 1)
        other = np.flatnonzero(grey != before)
        self._is_grey[:rows, :columns] = grey
        if len(other):
            self._loud[self._is_grey.size :] = ~self._is_grey.reshape(-1)
            cells = self._is_grey.size + other // columns * self._is_grey.shape[1] + other % columns
            self._write(cells, self._places[:, cells])

    def _entered(self, second: int) -> _Second:
        """The shift is what it is before this second's first change."""
        now = self._now
        if now is not None and second == now.number + 1:
            self._change(now, len(now.cells))
            return self._next or self._second(second, self._patterns.at(second), now.signs)
        before = self._patterns.at(second - 1)  # the first frame, or a jump
        self._signs[:] = before[self._carrier]
        self._write(np.s_[:], self._places)
        return self._second(second, self._patterns.at(second), before)

    def _second(self, number: int, signs: Signs, before: Signs) -> _Second:
        changed = np.flatnonzero((signs != before)[self._carrier])
        cells = changed[np.argsort(self._delay[changed], kind="stable")]
        by_frame: list[int] = np.searchsorted(self._delay[cells], np.arange(FPS), side="right").tolist()
        return _Second(number, signs, cells, self._places[:, cells], signs[self._carrier[cells]], by_frame)

    def _change(self, second: _Second, due: int) -> None:
        """Up to the cell `due` of this second."""
        if due > self._done:
            some, self._done = slice(self._done, due), due
            cells = second.cells[some]
            self._signs[cells] = second.become[some]
            self._write(cells, second.places[:, some])

    def _write(self, cells: NDArray[np.int64] | slice, places: NDArray[np.int64]) -> None:
        values = (self._signs[cells] * self._loud[cells]).view(np.uint8)
        planes, rows, columns = places
        self._pixels[planes, rows, columns] = values[:, None, None]


def _tiled(grid: tuple[int, int, int]) -> NDArray[np.int64]:
    """The carrier of each cell of [planes, rows, columns], flat."""
    planes, rows, columns = np.indices(grid)
    carriers: NDArray[np.int64] = (planes * SIDE + rows % SIDE) * SIDE + columns % SIDE
    return carriers.reshape(-1)
