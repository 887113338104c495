"""Latencies in buckets of 2 % each, so that they can be added up, and percentiles of the sum be read within 1 %.

The scheme is that of DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees", VLDB 2019), for whole milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

ACCURACY = 0.01
_GROWTH = (1 + ACCURACY) / (1 - ACCURACY)
_LOG = math.log(_GROWTH)


def bucket(ms: int) -> int:
    """Which one `ms` falls in; all below 1 ms in that of 1 ms."""
    return math.ceil(math.log(max(1, ms)) / _LOG)


def middle_ms(number: int) -> float:
    """No value of the bucket is further from this than ACCURACY of itself."""
    return 2 * _GROWTH**number / (_GROWTH + 1)


def percentiles(counts: Mapping[int, int], wanted: Sequence[float]) -> list[int | None]:
    """Bucket → count; returns for each of `wanted` (0 to 1) the value of nearest rank, in ms. None: there is none."""
    total = sum(counts.values())
    if total <= 0:
        return [None] * len(wanted)
    found: list[int | None] = []
    for share in wanted:
        rank, passed = max(1, math.ceil(share * total)), 0
        for number in sorted(counts):
            passed += counts[number]
            if passed >= rank:
                found.append(round(middle_ms(number)))
                break
    return found
