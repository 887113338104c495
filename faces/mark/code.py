"""From a tag to the 192 signs that carry it, and back from what is left of them.

A tag has 40 bits. A CRC-16 follows, and the eight zeros that bring the coder back to its start; the coder has rate 1/3
and constraint length 9 (generators 557, 663, 711: Larsen, Short convolutional codes with maximal free distance, 1973).
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

TAG_BITS = 40
_CRC_BITS = 16
_GENERATORS = (0o557, 0o663, 0o711)
_LENGTH = 9
_STATES = 1 << (_LENGTH - 1)
WORD = (TAG_BITS + _CRC_BITS + _LENGTH - 1) * len(_GENERATORS)
"""Signs of a coded tag."""

Signs = NDArray[np.int8]
Soft = NDArray[np.float64]
"""WORD numbers: the sign is what was read, its size how surely."""


def coded(tags: Sequence[int] | NDArray[np.uint64]) -> Signs:
    """[n, WORD] of +1 and −1. The code is linear, so a million tags are one product of matrices."""
    zero, rows = _matrix()
    bits = _bits(np.asarray(tags, np.uint64))
    # float32: a product of small integers that BLAS does, and exactly
    odd = (bits.astype(np.float32) @ rows.astype(np.float32)).astype(np.uint8) & 1
    return (1 - 2 * (odd ^ zero).astype(np.int8)).astype(np.int8)


def decoded(soft: Soft) -> int | None:
    """The likeliest tag (Viterbi), or None where its CRC is wrong."""
    if not np.any(soft):
        return None
    before, outputs = _trellis()
    best = np.full(_STATES, -np.inf)
    best[0] = 0.0
    choices = []
    for triple in soft.reshape(-1, len(_GENERATORS)):
        reached = best[before] + outputs @ triple
        choice = reached.argmax(1)
        best = reached[np.arange(_STATES), choice]
        choices.append(choice)
    state, bits = 0, []
    for choice in reversed(choices):
        bits.append(state & 1)
        state = int(before[state, choice[state]])
    value = int("".join(map(str, bits[::-1][: TAG_BITS + _CRC_BITS])), 2)
    tag, crc = value >> _CRC_BITS, value & ((1 << _CRC_BITS) - 1)
    return tag if crc == _crc(tag) else None


def likeness(soft: Soft, tags: Sequence[int] | NDArray[np.uint64]) -> NDArray[np.float64]:
    """For each tag how well it fits, in standard deviations of what a tag of no meaning would reach by chance."""
    size = float(np.sqrt((soft**2).sum()))
    if not size:
        return np.zeros(len(tags))
    scaled = (soft / size).astype(np.float32)
    return np.concatenate(
        [coded(tags[i : i + _AT_ONCE]).astype(np.float32) @ scaled for i in range(0, len(tags), _AT_ONCE)]
        or [np.zeros(0)]
    ).astype(np.float64)


_AT_ONCE = 65_536


def _crc(tag: int) -> int:
    """It begins with ones: silence is no tag."""
    return binascii.crc_hqx(tag.to_bytes(TAG_BITS // 8, "big"), 0xFFFF)


def _bits(tags: NDArray[np.uint64]) -> NDArray[np.uint8]:
    shifts = np.arange(TAG_BITS - 1, -1, -1, dtype=np.uint64)
    return ((tags[:, None] >> shifts) & np.uint64(1)).astype(np.uint8)


@cache
def _matrix() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(the word of tag 0, by what each bit of a tag changes it)."""
    zero = _encoded(0)
    return zero, np.stack([_encoded(1 << (TAG_BITS - 1 - i)) ^ zero for i in range(TAG_BITS)])


def _encoded(tag: int) -> NDArray[np.uint8]:
    value, count = tag << _CRC_BITS | _crc(tag), TAG_BITS + _CRC_BITS
    state, word = 0, []
    for i in range(count + _LENGTH - 1):
        bit = (value >> (count - 1 - i)) & 1 if i < count else 0
        state = (state << 1 | bit) & ((1 << _LENGTH) - 1)
        word += [(state & generator).bit_count() & 1 for generator in _GENERATORS]
    return np.array(word, np.uint8)


@cache
def _trellis() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each state, of its two predecessors: which they are, and the three signs that the step from them says."""
    states = np.arange(_STATES)[:, None]
    before = (states >> 1) | (np.arange(2) << (_LENGTH - 2))
    registers = (before << 1 | states & 1) & ((1 << _LENGTH) - 1)
    signs = [[[1 - 2 * ((int(r) & g).bit_count() & 1) for g in _GENERATORS] for r in row] for row in registers]
    return before, np.array(signs, np.float64)
