"""The lease: whether this process may act for its sessions. Pure; times in seconds on CLOCK_BOOTTIME, which runs on
through a suspend. Source of the rules: docs/reference/worker.md, "Lease"."""

from __future__ import annotations

import time
from typing import Literal

VALID_S = 10.0
OVER_S = 60.0

Phase = Literal["valid", "expired", "over"]


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def phase(renewed_at: float, now: float) -> Phase:
    """`renewed_at`: when the last acknowledged state record was *sent*.

    valid: normal work. expired: goes on playing, starts nothing, rejoins nothing. over: the process exits.
    """
    age = now - renewed_at
    if age < VALID_S:
        return "valid"
    return "expired" if age < OVER_S else "over"
