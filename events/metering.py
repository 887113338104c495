"""What a meter reading bills: pure arithmetic on integers. Source of the rules: docs/reference/ledger.md."""

from __future__ import annotations

from msgspec import Struct

from schemas.events import Meter

GRACE_MS = 2000
"""How far a reading may run ahead of the time that the log saw pass since the attempt's first frame."""

BOUNDED = "bounded"
"""Flag of an entry whose meter claimed more than the bound."""
_WITHIN: tuple[str, ...] = ()
_BEYOND = (BOUNDED,)


class Billed(Struct, frozen=True, gc=False):
    """What one attempt has billed so far. Both numbers only grow."""

    ms: int = 0
    frames: int = 0


class Charge(Struct, frozen=True, gc=False):
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
    accepted, frames, flags = meter.billable_ms, meter.frames, _WITHIN
    if accepted > bound:
        accepted, flags = max(0, bound), _BEYOND
        # a reading of 0 is beyond the bound when the broker's clock was set back: there is nothing to scale
        frames = frames * accepted // meter.billable_ms if meter.billable_ms else 0
    ms, more = accepted - billed.ms, frames - billed.frames
    if ms < 0:  # `max` takes as long as all the rest
        ms = 0
    if more < 0:
        more = 0
    return Charge(ms, more, Billed(billed.ms + ms, billed.frames + more), flags)
