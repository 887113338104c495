"""The ledger entries that the fold of a session makes: what a meter reading bills, what an adjustment adds.

Source of the rules: docs/reference/ledger.md. Each entry goes on with the session's chain, and with
what it has been billed.
"""

from __future__ import annotations

from typing import Literal

from events.codec import Event
from events.metering import Billed, Charge, charge
from events.session_state import State
from schemas.events import Meter, SessionCreated
from schemas.ids import USAGE, derived_id
from schemas.usage import UsageEntry, UsageFacts, chain

_NOTHING = Charge(ms=0, frames=0, total=Billed(), flags=())


def bill(new: State, event: Event, n: int, meter: Meter, append_ms: int) -> UsageEntry:
    """Charge the reading to `new` (a fresh copy) and return its ledger entry."""
    assert new.created is not None  # playing implies created
    cost = charge(meter, append_ms, new.attempt_first_frame_append_ms, new.attempt_billed)
    start = new.attempt_first_frame_ms + new.attempt_billed.ms
    new.n, new.meter, new.attempt_billed = n, meter, cost.total
    new.billed_ms += cost.ms
    new.frames += cost.frames
    new.last_append_ms = append_ms
    credit_us = cost.ms * new.created.rate.multiplier_milli
    return enter(new, new.created, event, "interval", start, credit_us, attempt=new.attempt, n=n, cost=cost)


def enter(
    new: State,
    created: SessionCreated,
    event: Event,
    kind: Literal["interval", "adjustment"],
    from_ms: int,
    credit_us: int,
    attempt: int = 0,
    n: int = 0,
    cost: Charge = _NOTHING,
) -> UsageEntry:
    """The next entry of the session's chain."""
    rate = created.rate
    facts = UsageFacts(  # in the order of its fields: by keyword it takes twice as long
        created.account_id,
        attempt,
        created.avatar_id,
        cost.ms,
        rate.billed_as,
        credit_us,
        event.id,
        cost.flags,
        cost.frames,
        from_ms,
        derived_id(USAGE, event.time_ms, new.session_id, event.id),
        kind,
        rate.multiplier_milli,
        n,
        "usage_event",
        created.quality,
        rate.card,
        new.session_id,
        from_ms + cost.ms,
    )
    entry = chain(facts, new.chain)
    new.chain = entry.hash
    new.credit_us += credit_us
    return entry
