"""What a meter reading bills: pure arithmetic on integers. Source of the rules: docs/ledger.md."""

from __future__ import annotations

from msgspec import Struct

from schemas.events import Meter

GRACE_MS = 2000
"""How far a reading may run ahead of the time that the log saw pass since the attempt's first frame."""

BOUNDED = "bounded"
"""Flag of an entry whose meter claimed more than the bound."""


class Billed(Struct, frozen=True):
    """What one attempt has billed so far. Both numbers only grow."""

    ms: int = 0
    frames: int = 0


class Charge(Struct, frozen=True):
    """What one reading adds. `total` is what the attempt has billed with it."""

    ms: int
    frames: int
    total: Billed
    flags: tuple[str, ...]


def charge(meter: Meter, append_ms: int, first_frame_append_ms: int, billed: Billed) -> Charge:
    """Bill `max(0, min(cumulative, bound) − billed so far)`; frames are scaled like the time.

    The bound is the log's own time since it appended this attempt's first frame, plus a grace: a worker with a
    wild clock cannot bill more than the log saw pass.
    """
    bound = append_ms - first_frame_append_ms + GRACE_MS
    if meter.billable_ms <= bound:
        return _charge(meter.billable_ms, meter.frames, billed, ())
    accepted = max(0, bound)
    # a reading of 0 is beyond the bound when the broker's clock was set back: there is nothing to scale
    frames = meter.frames * accepted // meter.billable_ms if meter.billable_ms else 0
    return _charge(accepted, frames, billed, (BOUNDED,))


def _charge(accepted_ms: int, frames: int, billed: Billed, flags: tuple[str, ...]) -> Charge:
    ms = max(0, accepted_ms - billed.ms)
    more = max(0, frames - billed.frames)
    return Charge(ms, more, Billed(billed.ms + ms, billed.frames + more), flags)
