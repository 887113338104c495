"""The audio net at work for any number of streams, on a CPU or a GPU, one tick of all of them at a time.

What it remembers of a stream is a row in each of three tensors. A step gathers rows, hears, and puts them back: sizes
are those of a few buckets and buffers stay where they are, so that a GPU runs it as one recorded graph, and nothing in
it waits for the device. The host waits once, for the answer.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from faces import lips
from faces.hearing import MELS, TAIL, TICK, LogMel
from faces.lips import LipNet
from faces.visemes import VISEMES

Pcm = NDArray[np.int16]

BUCKETS = (1, 2, 4, 8, 16, 32, 64)
"""Batches of a GPU: one that is not full is filled up with nobody."""
SHAPES = 3
_SILENCE = float(np.log(1e-7))
_HIDDEN = 128
_NOBODY = 0
"""A row that is written and never read."""
_FIRST_ROWS = 256
_WARM_UP = 3
"""Steps before one is recorded: libraries choose their ways in the first ones."""


class Row:
    """One stream's place. It is free again when nobody has this object any more."""

    __slots__ = ("__weakref__", "number")

    def __init__(self, number: int) -> None:
        self.number = number


class Bench:
    """Static buffers of one bucket: `rows` [size], `fresh` [size, TICK] of int16, `out` [size, SHAPES + visemes]."""

    def __init__(self, size: int, device: torch.device) -> None:
        apart = device.type != "cpu"
        pinned = apart and torch.cuda.is_available()
        self.size = size
        self.rows = torch.full((size,), _NOBODY, dtype=torch.int64, device=device)
        self.fresh = torch.zeros((size, TICK), dtype=torch.int16, device=device)
        self.out = torch.zeros((size, SHAPES + len(VISEMES)), device=device)
        self._apart = apart
        self._rows_here = torch.full_like(self.rows, _NOBODY, device="cpu", pin_memory=pinned) if apart else self.rows
        self._fresh_here = torch.zeros_like(self.fresh, device="cpu", pin_memory=pinned) if apart else self.fresh
        self.graph: torch.cuda.CUDAGraph | None = None

    def fill(self, rows: Sequence[int], ticks: Sequence[Pcm]) -> None:
        """What the device had before has been answered: the buffers are free."""
        nobody = [_NOBODY] * (self.size - len(rows))
        self._rows_here.copy_(torch.tensor([*rows, *nobody]))
        np.stack(ticks, out=self._fresh_here.numpy()[: len(rows)])
        if self._apart:
            self.rows.copy_(self._rows_here, non_blocking=True)
            self.fresh.copy_(self._fresh_here, non_blocking=True)


class Listening:
    """`buckets`: sizes of batches, the largest of which is what one step takes; none: a batch is as large as it is."""

    def __init__(self, device: torch.device, net: LipNet | None = None, buckets: Sequence[int] | None = None) -> None:
        self._device = device
        on_gpu = device.type == "cuda"
        self._graphs = on_gpu and torch.cuda.is_available()
        if self._graphs:
            torch.backends.cudnn.allow_tf32 = False  # fp32 as on a CPU: else convolutions round to ten bits
        self._net = lips.load(device) if net is None else net
        self._mel = LogMel(device)
        self._buckets = tuple(buckets) if buckets is not None else BUCKETS if on_gpu else ()
        self._benches: dict[int, Bench] = {}
        self._lock = threading.Lock()
        """Streams are opened in threads, while others are heard."""
        self._free: list[int] = []
        self._rows = 0
        self._tails = torch.zeros((0, TAIL), device=device)
        self._mels = torch.zeros((0, lips.HISTORY, MELS), device=device)
        self._states = torch.zeros((0, _HIDDEN), device=device)
        self._grow()
        if self._graphs:
            for size in self._buckets:  # now: recording takes longer than a tick
                self._bench(size)

    @property
    def net(self) -> LipNet:
        return self._net

    # Rows

    def open(self) -> Row:
        """A stream that has heard nothing yet."""
        with self._lock:
            if not self._free:
                self._grow()
            row = Row(self._free.pop())
        self.forget(row)
        weakref.finalize(row, self._free.append, row.number)
        return row

    def forget(self, row: Row) -> None:
        """Whatever it has heard."""
        with self._lock:
            self._tails[row.number].zero_()
            self._mels[row.number].fill_(_SILENCE)
            self._states[row.number].zero_()

    def _grow(self) -> None:
        """Twice as many rows. Graphs know where the old ones were: they are recorded anew."""
        more = self._rows or _FIRST_ROWS
        self._tails, self._mels, self._states = (
            torch.cat([had, had.new_zeros((more, *had.shape[1:]))]) for had in (self._tails, self._mels, self._states)
        )
        self._benches.clear()
        self._free.extend(range(self._rows + more - 1, max(self._rows, _NOBODY + 1) - 1, -1))
        self._rows += more

    # Steps

    @torch.inference_mode()
    def __call__(self, rows: Sequence[Row], ticks: Sequence[Pcm]) -> tuple[list[list[float]], list[list[float]]]:
        """The next 40 ms of each: shapes [3] and shares of visemes [15], of the tick before this one."""
        most = self._buckets[-1] if self._buckets else len(rows)
        heard: list[list[float]] = []
        with self._lock:
            for first in range(0, len(rows), most):
                heard += self._batch([row.number for row in rows[first : first + most]], ticks[first : first + most])
        return [each[:SHAPES] for each in heard], [each[SHAPES:] for each in heard]

    def _batch(self, rows: list[int], ticks: Sequence[Pcm]) -> list[list[float]]:
        size = next((bucket for bucket in self._buckets if bucket >= len(rows)), len(rows))
        bench = self._bench(size)
        bench.fill(rows, ticks)
        if bench.graph is not None:
            bench.graph.replay()
        else:
            self.step(bench)
        answer: list[list[float]] = bench.out[: len(rows)].tolist()  # the one wait for the device
        return answer

    @torch.inference_mode()
    def _bench(self, size: int) -> Bench:
        if size not in self._benches:
            if not self._buckets:
                self._benches.clear()  # of a CPU: batches of all sizes come, one after the other
            bench = Bench(size, self._device)
            if self._graphs:
                self._record(bench)
            self._benches[size] = bench  # last: one that could not be recorded is made anew, not replayed empty
        return self._benches[size]

    def step(self, bench: Bench) -> None:
        """On the device alone: neither waits for it nor depends on what is in a tensor."""
        tails, had, states = (each.index_select(0, bench.rows) for each in (self._tails, self._mels, self._states))
        pcm = torch.cat([tails, bench.fresh.float() / 32768], dim=1)
        mels = torch.cat([had, self._mel(pcm)], dim=1)
        reading, now = self._net(mels, states[None])
        self._tails.index_copy_(0, bench.rows, pcm[:, -TAIL:])
        self._mels.index_copy_(0, bench.rows, mels[:, -lips.HISTORY :])
        self._states.index_copy_(0, bench.rows, now[0])
        torch.cat([reading.shapes[:, -1], torch.softmax(reading.visemes[:, -1], dim=-1)], dim=1, out=bench.out)

    def _record(self, bench: Bench) -> None:
        """As a graph. All of its rows are nobody's meanwhile."""
        beside = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(beside):
            for _ in range(_WARM_UP):
                self.step(bench)
        torch.cuda.current_stream(self._device).wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step(bench)
        bench.graph = graph
