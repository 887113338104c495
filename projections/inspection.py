"""A session as its log tells it: every record, what the fold made of it and why, and the session at any point. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from msgspec import structs

from events.codec import Event, Malformed, Record, Unknown
from events.fold import Evolved
from events.refusals import WHY
from events.session_state import State
from events.sessions import decode_session_event, evolve
from projections.resources import ERASED
from schemas.events import Encrypted, SessionHeartbeat
from schemas.jsons import JsonObject
from schemas.times import to_wire
from schemas.usage import UsageEntry

_ENCRYPTED = set(Encrypted.__struct_fields__)

Verdict = Literal["accepted", "rejected", "malformed", "unknown"]


@dataclass(frozen=True)
class Line:
    """One record. `why`: of a rejected one its stable word and a sentence, of one that is not read the reason."""

    offset: int
    append_ms: int
    verdict: Verdict
    event: Event | None = None
    why: tuple[str, str] | None = None
    seq: int | None = None
    status: str = ""
    usage: UsageEntry | None = None


@dataclass(frozen=True)
class Attempt:
    attempt: int
    worker_id: str
    since_ms: int
    first_frame_ms: int | None
    n: int
    billed_ms: int
    frames: int


@dataclass
class Inspection:
    """`state`: as of the last of `lines`, None when none was accepted."""

    session_id: str
    partition: int
    lines: list[Line] = field(default_factory=list)
    attempts: dict[int, Attempt] = field(default_factory=dict)
    state: State | None = None
    account_erased: bool = False

    @property
    def erased(self) -> bool:
        """Nobody can open what is encrypted any more: its account is erased, or the session, at the point looked at."""
        return self.account_erased or (self.state is not None and self.state.erased_ms is not None)

    @property
    def entries(self) -> list[UsageEntry]:
        return [line.usage for line in self.lines if line.usage is not None]


@dataclass(frozen=True)
class Until:
    """Where to stop: after the lifecycle event `seq`, or before what was appended later than `append_ms`."""

    seq: int | None = None
    append_ms: int | None = None

    def over(self, found: Inspection, record: Record) -> bool:
        reached = self.seq is not None and found.state is not None and found.state.seq >= self.seq
        return reached or (self.append_ms is not None and record.timestamp > self.append_ms)


def inspect(session_id: str, partition: int, records: Iterable[Record], until: Until | None = None) -> Inspection:
    """`records`: all of the session's key in its partition, in order. From an unknown one on nothing is folded."""
    found = Inspection(session_id, partition)
    parked = False
    for record in records:
        if until is not None and until.over(found, record):
            break
        line = _left(record, "its session is parked from here on") if parked else _line(found, record)
        parked = parked or line.verdict == "unknown"
        found.lines.append(line)
    return found


def _line(found: Inspection, record: Record) -> Line:
    try:
        event = decode_session_event(record)
    except Malformed as broken:
        return Line(record.offset, record.timestamp, "malformed", why=("malformed", f"It can never be read: {broken}."))
    except Unknown as unknown:
        return _left(record, f"{unknown}; from here on the session is parked")
    outcome = evolve(found.state, event, record.timestamp)
    if not isinstance(outcome, Evolved):
        why = (outcome.reason, WHY[outcome.reason])
        return Line(record.offset, record.timestamp, "rejected", event, why, status=_status(found.state))
    found.state = outcome.state
    _attempt(found, outcome.state)
    seq = None if outcome.transition is None else outcome.state.seq
    status = outcome.state.status
    return Line(record.offset, record.timestamp, "accepted", event, seq=seq, status=status, usage=outcome.usage)


def _left(record: Record, why: str) -> Line:
    return Line(record.offset, record.timestamp, "unknown", why=("unknown", f"It is not read: {why}."))


def _status(state: State | None) -> str:
    return state.status if state is not None else ""


def _attempt(found: Inspection, state: State) -> None:
    """What is known of the attempt by now; the last word on one that was replaced is from before it was."""
    if state.attempt:
        known = found.attempts.get(state.attempt)
        found.attempts[state.attempt] = Attempt(
            state.attempt,
            state.worker_id,
            known.since_ms if known else state.attempt_append_ms,
            state.attempt_first_frame_ms or None,
            state.n,
            state.attempt_billed.ms,
            state.attempt_billed.frames,
        )


# As JSON


def shown(found: Inspection) -> JsonObject:
    """The whole of it. Times as on the wire; what is encrypted stays so, and what is erased says so."""
    state: JsonObject | None = None
    if found.state is not None:
        state = msgspec.to_builtins(structs.replace(found.state, seen=()))
    told: JsonObject = {
        "session_id": found.session_id,
        "partition": found.partition,
        "state": state,
        "attempts": [_shown_attempt(each) for each in found.attempts.values()],
        "events": [_shown_line(line) for line in found.lines],
        "usage": [_shown_entry(entry) for entry in found.entries],
    }
    return _without(told) if found.erased else told


def _without(told: JsonObject) -> JsonObject:
    """In the place of each ciphertext, which no key opens any more, that it is erased."""

    def shown(value: object) -> object:
        if isinstance(value, dict):
            return ERASED if value.keys() == _ENCRYPTED else {name: shown(each) for name, each in value.items()}
        return [shown(each) for each in value] if isinstance(value, list) else value

    return {name: shown(value) for name, value in told.items()}


def _shown_attempt(attempt: Attempt) -> JsonObject:
    first = attempt.first_frame_ms
    return {
        "attempt": attempt.attempt,
        "worker_id": attempt.worker_id,
        "since": to_wire(attempt.since_ms),
        "first_frame": to_wire(first) if first is not None else None,
        "n": attempt.n,
        "billed_ms": attempt.billed_ms,
        "frames": attempt.frames,
    }


def _shown_line(line: Line) -> JsonObject:
    event = line.event
    told: JsonObject = {
        "offset": line.offset,
        "recorded_at": to_wire(line.append_ms),
        "verdict": line.verdict,
        "seq": line.seq,
        "n": number(event),
        "status": line.status or None,
        "reason": line.why[0] if line.why else None,
        "explanation": line.why[1] if line.why else None,
        "usage": line.usage.facts.id if line.usage else None,
    }
    if event is not None:
        told |= {
            "id": event.id,
            "type": event.type,
            "source": event.source,
            "time": to_wire(event.time_ms),
            "data": msgspec.to_builtins(event.data),
        }
    return told


def _shown_entry(entry: UsageEntry) -> JsonObject:
    facts: JsonObject = msgspec.to_builtins(entry.facts)
    return {**facts, "prev_hash": entry.prev_hash, "hash": entry.hash}


def number(event: Event | None) -> int | None:
    """The `n` of a heartbeat, which has no seq."""
    return event.data.n if event is not None and isinstance(event.data, SessionHeartbeat) else None
