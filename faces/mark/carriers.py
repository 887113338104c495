"""Which cell of the frame carries what, second by second.

The mark is 32 × 32 cells in U and as many in V: 2,048 carriers, each one level up or down. A key says which of them are

- `sync`, 768: known signs. They say that the mark is there, where it lies, and the second to eight;
- `session`, 768: the coded tag, four times;
- `time`, 512: which second it is.

Each kind has four groups. One group is renewed each second, so each carrier every four: sync changes its sign, the
others take signs of their epoch, which are the key's. Within that second each carrier has a frame of its own at which
it changes: one in 150 a frame, so that nothing pulses. What stands still in the picture cancels out over the changes.
"""

from __future__ import annotations

import hashlib
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from faces.mark.code import WORD, Signs

SIDE = 32
"""Cells."""
COUNT = 2 * SIDE * SIDE
FPS = 25
GROUPS = 4
EPOCH_S = 4
CYCLE_S = 2 * EPOCH_S
"""After so many seconds the sync carriers are what they were."""
SECONDS = 65_536
"""After which the second begins anew: 18 hours."""
_SYNC = _SESSION = GROUPS * WORD
_TIME = COUNT - _SYNC - _SESSION
TIME_GROUP = _TIME // GROUPS
EPOCHS = SECONDS // EPOCH_S + 1
_BLOCK = 64
"""Epochs whose time signs are made at once."""

Places = NDArray[np.int64]
"""Numbers of carriers: plane, row and column of [2, SIDE, SIDE], flat."""


class Carriers:
    """Those of one secret. `sync`, `session`, `time`: by group; `delays`: of each carrier, the frame of the second."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        order = np.argsort(np.frombuffer(self._bytes("cells", 8 * COUNT), "<u8"), kind="stable")
        self.sync: Places = order[:_SYNC].reshape(GROUPS, -1)
        self.session: Places = order[_SYNC : _SYNC + _SESSION].reshape(GROUPS, WORD)
        self.time: Places = order[_SYNC + _SESSION :].reshape(GROUPS, TIME_GROUP)
        self.sync_signs: Signs = self._signs("sync", _SYNC).reshape(GROUPS, -1)
        spread = np.frombuffer(self._bytes("delays", 2 * COUNT), "<u2").astype(np.uint32)
        self.delays: NDArray[np.uint8] = (spread * FPS >> 16).astype(np.uint8)
        self.session_signs = lru_cache(4096)(self._session_signs)
        self._time_block = lru_cache(2 * GROUPS)(self._signs_of_block)

    def pattern(self, word: Signs, second: int) -> Signs:
        """[COUNT]: what each carrier is once it has changed in this second. `word`: a coded tag."""
        signs = np.empty(COUNT, np.int8)
        for group in range(GROUPS):
            epoch = epoch_of(second, group)
            signs[self.sync[group]] = self.sync_signs[group] * (1 - 2 * (epoch & 1))
            signs[self.session[group]] = word * self.session_signs(group, epoch)
            signs[self.time[group]] = self._time_signs(group, epoch)
        return signs

    @cached_property
    def time_table(self) -> NDArray[np.float32]:
        """[GROUPS, EPOCHS, TIME_GROUP]: 33 MB, made where a mark is looked for."""
        blocks = range(-(-EPOCHS // _BLOCK))
        groups = [np.concatenate([self._time_block(group, block) for block in blocks]) for group in range(GROUPS)]
        return np.stack(groups)[:, :EPOCHS].astype(np.float32)

    def _session_signs(self, group: int, epoch: int) -> Signs:
        return self._signs(f"session {group} {epoch}", WORD)

    def _time_signs(self, group: int, epoch: int) -> Signs:
        block: Signs = self._time_block(group, epoch // _BLOCK)[epoch % _BLOCK]
        return block

    def _signs_of_block(self, group: int, block: int) -> Signs:
        return self._signs(f"time {group} {block}", _BLOCK * TIME_GROUP).reshape(_BLOCK, TIME_GROUP)

    def _signs(self, label: str, count: int) -> Signs:
        bits = np.unpackbits(np.frombuffer(self._bytes(label, -(-count // 8)), np.uint8), count=count)
        return bits.astype(np.int8) * 2 - 1

    def _bytes(self, label: str, count: int) -> bytes:
        return hashlib.shake_256(self._secret + label.encode()).digest(count)


def epoch_of(second: int, group: int) -> int:
    """Seconds before 0 and beyond the last are those of the circle."""
    return (second % SECONDS + group) // EPOCH_S
