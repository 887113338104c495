"""Which events take a session from which status to which: found by driving the fold, not by reading it.

From nothing, every event that could be accepted is tried on every kind of state that can be reached.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct, inspect

from events.codec import Event
from events.fold import Evolved
from events.session_state import State, Status
from events.sessions import RULES, evolve
from schemas.events import TYPE_OF, Meter, SessionAssigned, SessionEvent

_SID, _WORKER = "sess_1", "wrk_1"


@dataclass(frozen=True)
class Transition:
    """`before`: None where nothing was known of the session. `type`: of the event."""

    before: Status | None
    type: str
    after: Status


def transitions() -> set[Transition]:
    """All that the fold accepts, those that leave the status as it is included."""
    found: set[Transition] = set()
    seen: set[object] = set()
    todo: list[State | None] = [None]
    while todo:
        state = todo.pop()
        for event in _events(state):
            outcome = evolve(state, event, event.time_ms)
            if not isinstance(outcome, Evolved):
                continue
            found.add(Transition(state.status if state else None, event.type, outcome.state.status))
            kind = _kind(outcome.state)
            if kind not in seen:
                seen.add(kind)
                todo.append(outcome.state)
    return found


def _kind(state: State) -> object:
    """States that the fold treats alike but for numbers."""
    asked, ending = state.end_requested is not None, state.ending_reason is not None
    return state.status, state.attempt_phase, state.created is None, asked, ending, state.erased_ms is None


def kinds_of_events() -> list[type[SessionEvent]]:
    return [kind for kind in TYPE_OF if issubclass(kind, SessionEvent)]


def _events(state: State | None) -> Iterator[Event]:
    """What anybody could say now and be heard: of the accepted attempt, or with the seq of now."""
    state = state or State(_SID, worker_id=_WORKER, attempt=1)
    at = state.last_append_ms + 1000
    for kind in kinds_of_events():
        name = TYPE_OF[kind]
        for said in ("worker", "roster"):
            data = _said(kind, state, by_roster=said == "roster")
            yield Event(f"evt_{name}_{said}_{state.seq}_{state.n}", name, "tools", _SID, at, data)


def _said(kind: type[SessionEvent], state: State, by_roster: bool) -> SessionEvent:
    """What only the roster says has `expected_seq`, and neither worker nor meter."""
    known: dict[str, Any] = {
        "session_id": _SID,
        "rules": RULES,
        "attempt": state.attempt + 1 if kind is SessionAssigned else state.attempt,
        "worker_id": state.worker_id,
        "n": state.n + 1,
        "meter": Meter(state.meter.billable_ms + 1, state.meter.frames + 1, 0),
        "expected_seq": state.seq,
    }
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        left_out = not field.required and by_roster is not (field.name == "expected_seq")
        if left_out:
            continue
        fields[field.name] = known[field.name] if field.name in known else _any(inspect.type_info(field.type))
    return kind(**fields)


def _any(kind: inspect.Type) -> Any:
    """Some value of that type: the fold looks at none of these."""
    match kind:
        case inspect.Metadata(type=inner):
            return _any(inner)
        case inspect.LiteralType(values=values):
            return values[0]
        case inspect.UnionType(types=types):
            return None if any(isinstance(each, inspect.NoneType) for each in types) else _any(types[0])
        case inspect.StructType(cls=struct):
            return _struct(struct)
        case inspect.DictType():
            return {}
        case inspect.BoolType():
            return False
        case inspect.IntType():
            return 1
    return ""


def _struct(struct: type[Struct]) -> Struct:
    return struct(**{field.name: _any(inspect.type_info(field.type)) for field in msgspec.structs.fields(struct)})
