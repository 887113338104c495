"""The fold of a session: a pure function of state and event that decides what happened.

Kafka has no expected-version append, so order is decided here, by the log's order alone. Every consumer calls
`evolve`: projections, reactors, audit, tests. An event that it rejects stays in the log and changes nothing, for
everybody, for ever. It is total: no clock, no I/O, no exception for any event. A released version of the rules is
frozen with golden logs (`tests/events/golden`), because a changed fold would re-bill the past.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from events.codec import Event, Malformed, Record, Unknown, decode
from events.entries import bill, enter
from events.fold import Evolved, Fold, Rejected
from events.metering import Billed
from events.session_state import TERMINAL, State, copied
from events.topics import SESSIONS, partition_of
from schemas.bounds import ID_CHARS
from schemas.events import (
    CANCELED,
    Meter,
    SessionAssigned,
    SessionAttemptLost,
    SessionAudioResumed,
    SessionAudioStalled,
    SessionCreated,
    SessionDeclined,
    SessionEnded,
    SessionEnding,
    SessionEndRequested,
    SessionErased,
    SessionEvent,
    SessionExpiring,
    SessionFailed,
    SessionFirstAudio,
    SessionFirstFrame,
    SessionHeartbeat,
    SessionJoined,
    SessionStarting,
    SessionSyntheticAudioStarted,
    UsageAdjusted,
    WorkerEvent,
)

_MOST_KEY = 4 * ID_CHARS

RULES = 2
"""The version that new sessions are created under. 2: an attempt may be lost while its worker lives."""

MOST_SEEN = 10_000
"""Events of one session that may come any number of times are rejected from here on, so that its state stays small."""
MOST_CREDIT_US = 2**62
"""How far adjustments may take a session's credit: what it still bills fits a bigint then."""

Outcome = Evolved[State] | Rejected
_Rule = Callable[[State, Event, Any, int], Outcome]


def decode_session_event(record: Record) -> Event:
    """`codec.decode` of a record of `sessions.v1`.

    Malformed besides: a record outside of its key's partition, which has no place in its session's order. Unknown
    besides: a session created under rules that this software lacks.
    """
    key = record.key
    if key is None or len(key) > _MOST_KEY or partition_of(key) != record.partition:
        raise Malformed("the key is no session id, or its partition another one")
    event = decode(record)
    if isinstance(event.data, SessionCreated) and event.data.rules not in _RULES_OF:
        raise Unknown(f"rules {event.data.rules} of the fold are not known here")
    return event


def evolve(state: State | None, event: Event, append_ms: int) -> Outcome:
    """What `event`, appended to the log at `append_ms`, makes of `state` (None: nothing known of the session)."""
    data = event.data
    if not isinstance(data, SessionEvent) or data.session_id != event.subject:
        return Rejected("not_of_this_session")
    if state is None:
        return _first(event, data, append_ms)
    if event.id in state.seen:
        return Rejected("duplicate")
    rule = _rules(state).get(type(data))
    if rule is None:
        return Rejected("no_rule")
    if state.status in TERMINAL and not isinstance(data, (UsageAdjusted, SessionErased)):
        return Rejected("terminal")
    return rule(state, event, data, append_ms)


def _rules(state: State) -> dict[type[Struct], _Rule]:
    """Those that the session was created under; without a create, which all rules begin with, the oldest will do."""
    return _RULES_1 if state.created is None else _RULES_OF[state.created.rules]


def _first(event: Event, data: SessionEvent, append_ms: int) -> Outcome:
    if isinstance(data, SessionCreated):
        return _created(State(data.session_id), event, data, append_ms)
    if isinstance(data, SessionEndRequested):
        # An end before its create: the create, if it ever comes, changes nothing.
        return _end_requested(State(data.session_id), event, data, append_ms)
    return Rejected("unknown_session")


def _accept(state: State, event: Event, append_ms: int) -> State:
    """A copy with the event counted as the next lifecycle event."""
    new = copied(state)
    new.seq += 1
    new.last_ms = max(state.last_ms, event.time_ms)
    new.last_append_ms = append_ms
    new.seen = (*state.seen, event.id)
    return new


def _stale(state: State, data: WorkerEvent | SessionEnded | SessionFailed) -> Rejected | None:
    """A worker's event counts only when worker and attempt equal the accepted assignment."""
    if data.attempt != state.attempt or data.worker_id != state.worker_id:
        return Rejected("stale_attempt")
    if state.attempt_phase == "declined":
        return Rejected("declined")
    if state.attempt_phase == "lost":
        return Rejected("attempt_lost")
    return None


def _created(state: State, event: Event, data: SessionCreated, append_ms: int) -> Outcome:
    if state.seq:
        return Rejected("already_created")
    new = _accept(state, event, append_ms)
    new.created = data
    new.created_ms = event.time_ms
    new.attempt, new.worker_id, new.attempt_append_ms = data.attempt, data.worker_id, append_ms
    return Evolved(new, event.type)


def _assigned(state: State, event: Event, data: SessionAssigned, append_ms: int) -> Outcome:
    if data.expected_seq != state.seq:
        return Rejected("seq_mismatch")
    if state.status == "ending":
        return Rejected("ending")
    if data.attempt != state.attempt + 1:
        return Rejected("wrong_attempt")
    if len(state.seen) >= MOST_SEEN:
        return Rejected("too_many_events")
    new = _accept(state, event, append_ms)
    new.attempt, new.worker_id, new.attempt_append_ms = data.attempt, data.worker_id, append_ms
    new.attempt_phase, new.loss = "assigned", None
    handed_over = data.reason == "worker_draining"
    new.handed_over = handed_over or (data.reason == "declined" and state.handed_over)
    new.handovers += handed_over
    new.n, new.meter, new.attempt_billed = 0, Meter(0, 0, 0), Billed()
    new.attempt_first_frame_ms = new.attempt_first_frame_append_ms = 0
    return Evolved(new, event.type)


def _declined(state: State, event: Event, data: SessionDeclined, append_ms: int) -> Outcome:
    if stale := _stale(state, data):
        return stale
    if state.attempt_phase != "assigned":
        return Rejected("already_started")
    new = _accept(state, event, append_ms)
    new.attempt_phase = "declined"
    new.declines += 1
    return Evolved(new, event.type)


def _starting(state: State, event: Event, data: SessionStarting, append_ms: int) -> Outcome:
    if stale := _stale(state, data):
        return stale
    if state.attempt_phase != "assigned":
        return Rejected("already_started")
    new = _accept(state, event, append_ms)
    new.attempt_phase = "started"
    new.started_ms = state.started_ms or new.last_ms
    if state.status == "queued":
        new.status = "starting"
    return Evolved(new, event.type)


def _during(state: State, event: Event, data: WorkerEvent, append_ms: int) -> Outcome:
    """Joined, expiring, the first sound and the notices about audio: recorded, no change of status."""
    if stale := _stale(state, data):
        return stale
    if state.attempt_phase == "assigned":
        return Rejected("not_started")
    if len(state.seen) >= MOST_SEEN:
        return Rejected("too_many_events")
    return Evolved(_accept(state, event, append_ms), event.type)


def _first_frame(state: State, event: Event, data: SessionFirstFrame, append_ms: int) -> Outcome:
    if stale := _stale(state, data):
        return stale
    if state.attempt_phase != "started":
        return Rejected("not_started" if state.attempt_phase == "assigned" else "already_playing")
    new = _accept(state, event, append_ms)
    new.attempt_phase = "playing"
    new.attempt_first_frame_ms, new.attempt_first_frame_append_ms = new.last_ms, append_ms
    new.first_frame_ms = state.first_frame_ms or new.last_ms
    if state.status == "starting":
        new.status = "running"
    return Evolved(new, event.type)


def _heartbeat(state: State, event: Event, data: SessionHeartbeat, append_ms: int) -> Outcome:
    if stale := _stale(state, data):
        return stale
    if state.attempt_phase != "playing":
        return Rejected("no_first_frame")
    if data.n <= state.n:
        return Rejected("n_not_growing")
    if data.meter.billable_ms < state.meter.billable_ms or data.meter.frames < state.meter.frames:
        return Rejected("meter_went_back")
    new = copied(state)
    new.segment = data.segment
    return Evolved(new, None, bill(new, event, data.n, data.meter, append_ms))


def _attempt_lost(state: State, event: Event, data: SessionAttemptLost, append_ms: int) -> Outcome:
    """Nothing of the attempt counts any more. An ending session is closed by the roster then."""
    if stale := _stale(state, data):
        return stale
    if state.attempt_phase == "assigned":
        return Rejected("not_started")
    new = _accept(state, event, append_ms)
    new.attempt_phase, new.loss = "lost", data.reason
    if state.attempt_phase == "playing":  # else it has not told the agent yet what an attempt before left open
        new.segment = data.segment
    return Evolved(new, event.type)


def _end_requested(state: State, event: Event, data: SessionEndRequested, append_ms: int) -> Outcome:
    if data.expected_seq is not None and data.expected_seq != state.seq:
        return Rejected("seq_mismatch")
    if state.end_requested is not None or state.status == "ending":
        return Rejected("already_ending")
    new = _accept(state, event, append_ms)
    new.end_requested = data.reason
    if state.started:
        new.status = "ending"
        return Evolved(new, event.type)
    new.status = "canceled"
    new.end_reason = data.reason
    new.ended_ms = new.last_ms
    return Evolved(new, CANCELED)


def _ending(state: State, event: Event, data: SessionEnding, append_ms: int) -> Outcome:
    if stale := _stale(state, data):
        return stale
    if state.attempt_phase == "assigned":
        return Rejected("not_started")
    if state.ending_reason is not None:
        return Rejected("already_ending")
    new = _accept(state, event, append_ms)
    new.status = "ending"
    new.ending_reason = data.reason
    return Evolved(new, event.type)


def _ended(state: State, event: Event, data: SessionEnded, append_ms: int) -> Outcome:
    outcome = _closing(state, event, data, append_ms)
    if isinstance(outcome, Evolved):
        outcome.state.status = "ended"
        outcome.state.end_reason = data.reason
    return outcome


def _failed(state: State, event: Event, data: SessionFailed, append_ms: int) -> Outcome:
    outcome = _closing(state, event, data, append_ms)
    if isinstance(outcome, Evolved):
        outcome.state.status = "failed"
        outcome.state.failure_code, outcome.state.failure_message = data.code, data.message
    return outcome


def _closing(state: State, event: Event, data: SessionEnded | SessionFailed, append_ms: int) -> Outcome:
    """A terminal event: from the roster with the seq that it saw, from the worker with its final meter."""
    if data.expected_seq is not None:
        if data.expected_seq != state.seq:
            return Rejected("seq_mismatch")
    else:
        if stale := _stale(state, data):
            return stale
        if state.attempt_phase == "assigned":
            return Rejected("not_started")
    new = _accept(state, event, append_ms)
    new.ended_ms = new.last_ms
    new.segment = None
    usage = None
    if data.meter is not None and data.expected_seq is None and state.attempt_phase == "playing":
        # A final reading below the last one bills nothing; the end itself still counts.
        usage = bill(new, event, state.n + 1, data.meter, append_ms)
    return Evolved(new, event.type, usage)


def _adjusted(state: State, event: Event, data: UsageAdjusted, append_ms: int) -> Outcome:
    if state.created is None:
        return Rejected("unknown_session")
    if len(state.seen) >= MOST_SEEN:
        return Rejected("too_many_events")
    if abs(state.credit_us + data.credit_us) > MOST_CREDIT_US:
        return Rejected("out_of_range")
    new = copied(state)
    new.seen = (*state.seen, event.id)
    return Evolved(new, None, enter(new, state.created, event, "adjustment", event.time_ms, data.credit_us))


def _erased(state: State, event: Event, data: SessionErased, append_ms: int) -> Outcome:
    """Nothing of it is billed otherwise: what was encrypted is no part of any other rule."""
    if state.created is None:
        return Rejected("unknown_session")
    if state.status not in TERMINAL:
        return Rejected("still_running")
    if state.erased_ms is not None:
        return Rejected("already_erased")
    new = _accept(state, event, append_ms)
    new.erased_ms = new.last_ms
    return Evolved(new, event.type)


_RULES_1: dict[type[Struct], _Rule] = {
    SessionCreated: _created,
    SessionAssigned: _assigned,
    SessionDeclined: _declined,
    SessionStarting: _starting,
    SessionJoined: _during,
    SessionFirstFrame: _first_frame,
    SessionFirstAudio: _during,
    SessionHeartbeat: _heartbeat,
    SessionExpiring: _during,
    SessionAudioStalled: _during,
    SessionAudioResumed: _during,
    SessionSyntheticAudioStarted: _during,
    SessionEndRequested: _end_requested,
    SessionEnding: _ending,
    SessionEnded: _ended,
    SessionFailed: _failed,
    SessionErased: _erased,
    UsageAdjusted: _adjusted,
}
_RULES_2: dict[type[Struct], _Rule] = {**_RULES_1, SessionAttemptLost: _attempt_lost}

_RULES_OF = {1: _RULES_1, 2: _RULES_2}

FOLD = Fold(SESSIONS, decode_session_event, evolve)
