"""How often a key may create: the headers that say so, and attempts, which each process counts for itself.

What was admitted is counted in the database, in admission's own round trip, for all processes together. An attempt that
is refused has cost this process something and the database nothing, so it is counted here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from api.errors import RateLimited
from store.admitting import CreateRate

ATTEMPTS_PER_CREATE = 6
"""A key may ask this many times as often as it may create."""
_MOST_KEYS = 10_000
_MINUTE_S = 60.0


def headers(rate: CreateRate | None) -> dict[str, str]:
    if rate is None:
        return {}
    return {
        "RateLimit-Limit": str(rate.limit),
        "RateLimit-Remaining": str(rate.remaining),
        "RateLimit-Reset": str(rate.reset_s),
    }


def limited(rate: CreateRate, retry_s: float) -> RateLimited:
    return RateLimited(retry_s, headers(rate))


class Attempts:
    """One bucket per key, which holds a minute's attempts."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, per_create: int = ATTEMPTS_PER_CREATE) -> None:
        self._clock = clock
        self._per_create = per_create
        self._full_at: dict[str, float] = {}

    def take(self, key_id: str, per_minute: int) -> None:
        """`per_minute`: what is attempted, such as creates. Raises RateLimited."""
        limit, now = per_minute * self._per_create, self._clock()
        one = _MINUTE_S / limit
        full_at = max(now, self._full_at.get(key_id, now)) + one
        if full_at - now > _MINUTE_S + one / 2:
            raise limited(CreateRate(limit, 0, math.ceil(full_at - one - now)), full_at - now - _MINUTE_S)
        if len(self._full_at) >= _MOST_KEYS:
            self._full_at = {key: at for key, at in self._full_at.items() if at > now}
        self._full_at[key_id] = full_at
