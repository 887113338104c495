"""Live windows computed a second way: all at once from the whole log, with sets and sorted lists instead of sums."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from events.codec import Event
from events.fold import Evolved
from events.session_state import State
from events.sessions import evolve
from schemas.events import SessionErased, UsageAdjusted

Place = tuple[str, str, int]
"""(dimension, key, the minute's beginning)."""


@dataclass
class Told:
    started: set[str] = field(default_factory=set)
    status: dict[str, str] = field(default_factory=dict)
    first_frames: list[int] = field(default_factory=list)
    billable_ms: int = 0
    credit_us: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    stalls: int = 0
    late: int = 0


def minute(time_ms: int, append_ms: int) -> int:
    earliest = append_ms - 120_000
    return min(append_ms, max(earliest, time_ms)) // 60_000 * 60_000


def recompute(log: Iterable[tuple[Event, int]]) -> dict[Place, Told]:
    """(event, append time) in the log's order → what each minute holds."""
    found: dict[Place, Told] = defaultdict(Told)
    states: dict[str, State] = {}
    at: dict[str, int] = {}
    last: dict[tuple[str, int], State] = {}
    for event, append_ms in log:
        sid = event.subject
        before = states.get(sid)
        outcome = evolve(before, event, append_ms)
        if not isinstance(outcome, Evolved):
            continue
        state = states[sid] = outcome.state
        if isinstance(event.data, (UsageAdjusted, SessionErased)):
            continue
        if state.created is None:
            continue
        at[sid] = max(minute(event.time_ms, append_ms), at.get(sid, 0))
        last[sid, at[sid]] = state
        for place in _places(state, at[sid]):
            told = found[place]
            if event.type == "session.created":
                told.started.add(sid)
            if state.first_frame_ms is not None and (before is None or before.first_frame_ms is None):
                told.first_frames.append(state.first_frame_ms - state.created_ms)
            if outcome.usage is not None:
                told.billable_ms += outcome.usage.facts.billable_ms
                told.credit_us += outcome.usage.facts.credit_us
            told.stalls += event.type == "session.audio_stalled"
            told.late += event.time_ms < append_ms - 120_000
            if state.status == "failed" and state.failure_code:
                told.failures[state.failure_code] += 1
    for (sid, start), state in last.items():
        for place in _places(state, start):
            found[place].status[sid] = state.status
    return dict(found)


def _places(state: State, start: int) -> list[Place]:
    assert state.created is not None
    return [
        ("all", "", start),
        ("account", state.created.account_id, start),
        ("worker", state.worker_id, start),
        ("quality", state.created.quality, start),
    ]


def measures(told: Told) -> dict[str, int]:
    """As `live_counts` has them, without the buckets of first frames."""
    counted = {
        "starts": len(told.started),
        "billable_ms": told.billable_ms,
        "credit_us": told.credit_us,
        "audio_stalls": told.stalls,
        "late": told.late,
        **{f"active:{status}": n for status, n in Counter(told.status.values()).items()},
        **{f"failure:{code}": n for code, n in told.failures.items()},
    }
    return {name: value for name, value in counted.items() if value}


def differences(rows: Iterable[tuple[int, str, str, str, int]], log: Iterable[tuple[Event, int]]) -> list[str]:
    """`rows`: (minute, dimension, key, measure, value) as they are stored. What is not as the log says."""
    stored: dict[Place, dict[str, int]] = defaultdict(dict)
    for minute_ms, dimension, key, measure, value in rows:
        if value:
            stored[dimension, key, minute_ms][measure] = value
    wanted = recompute(log)
    wrong = [f"{place}: nothing in the log" for place in stored.keys() - wanted.keys()]
    for place, told in wanted.items():
        counts = stored.get(place, {})
        plain = {name: value for name, value in counts.items() if not name.startswith("first_frame:")}
        if plain != measures(told):
            wrong.append(f"{place}: {plain} is stored, the log says {measures(told)}")
        buckets = {int(name.split(":")[1]): n for name, n in counts.items() if name.startswith("first_frame:")}
        wrong += [f"{place}: {each}" for each in latencies_wrong(buckets, told.first_frames)]
    return wrong


def latencies_wrong(buckets: Mapping[int, int], exact: list[int]) -> list[str]:
    """Each percentile of the buckets is within 1 % (and half a millisecond, of rounding) of that of the values."""
    from projections.latencies import percentiles

    if sum(buckets.values()) != len(exact):
        return [f"{sum(buckets.values())} first frames instead of {len(exact)}"]
    shares = (0.5, 0.95, 0.99)
    wrong = []
    for share, found in zip(shares, percentiles(buckets, shares), strict=True):
        if exact:
            value = max(1, sorted(exact)[max(1, math.ceil(share * len(exact))) - 1])
            if found is None or abs(found - value) > 0.01 * value + 0.5:
                wrong.append(f"p{share} is {found}, exactly {value}")
    return wrong
