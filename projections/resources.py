"""From fold states and ledger entries to what customers see of them."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from events.sealing import NO_KEYS, KeySet, SealError, field_aad
from events.session_state import State
from events.topics import SESSIONS
from projections.summaries import Entry
from projections.usage import totals
from schemas.events import Encrypted, EventTransport
from schemas.jsons import JsonObject
from schemas.sessions import ERASED_AT, REDACTED
from schemas.times import to_wire

ERASED = "[erased]"
_IDENTIFYING = ("url", "room_name", "worker_identity", "subscribe_to_identity")
"""Of a transport: what can identify people."""


def resource(state: State, keys: KeySet) -> JsonObject:
    """The resource as of `state`. Erasable fields that do not open say so; of an erased session none does."""
    created = state.created
    assert created is not None  # hidden sessions are never shown
    transport = created.transport
    erasable = {
        "url": transport.url,
        "room_name": transport.room_name,
        "worker_identity": transport.worker_identity,
        "subscribe_to_identity": transport.subscribe_to_identity,
        "metadata": created.metadata,
    }
    may_open = keys if state.erased_ms is None else NO_KEYS
    return resource_of(
        state, {name: opened(state.session_id, name, field, may_open) for name, field in erasable.items() if field}
    )


def erase(shown: JsonObject) -> None:
    """Makes of a resource what `resource` makes of the same state without any key."""
    transport = shown["transport"]
    for name in _IDENTIFYING:
        if transport[name] is not None:
            transport[name] = ERASED
    shown["metadata"] = {name: value for name, value in shown["metadata"].items() if name == ERASED_AT}


def opened(subject: str, name: str, field: Encrypted, keys: KeySet) -> str:
    """An erasable field of a session or an avatar, in the clear; one that does not open says so."""
    try:
        return keys.decrypt(field, field_aad(subject, name))
    except SealError:  # whatever stands in the log must not stop those who tell of it
        return ERASED


def resource_of(state: State, clear: Mapping[str, str]) -> JsonObject:
    """As plain data in the documented order. `clear`: the erasable fields by name, for who knows them unopened."""
    created = state.created
    assert created is not None  # hidden sessions are never shown
    seconds, frames = totals(state)
    ended = to_wire(state.ended_ms) if state.ended_ms is not None else None
    return {
        "id": state.session_id,
        "object": "session",
        "status": state.status,
        "avatar_id": created.avatar_id,
        "transport": _transport(created.transport, clear),
        "quality": created.quality,
        "max_duration_seconds": created.max_duration_seconds,
        "idle_timeout_seconds": created.idle_timeout_seconds,
        "metadata": _metadata(state, clear),
        "created_at": to_wire(state.created_ms),
        "started_at": _time(state.started_ms),
        "first_frame_at": _time(state.first_frame_ms),
        "ended_at": ended if state.status in ("ended", "canceled") else None,
        "failed_at": ended if state.status == "failed" else None,
        "failure": _failure(state),
        "usage": {"billable_seconds": seconds, "frames": frames},
    }


def _metadata(state: State, clear: Mapping[str, str]) -> JsonObject:
    if state.erased_ms is not None:
        return {ERASED_AT: to_wire(state.erased_ms)}
    text = clear.get("metadata", ERASED)
    found: JsonObject = {} if text == ERASED else orjson.loads(text or "{}")
    return found


def _transport(transport: EventTransport, clear: Mapping[str, str]) -> JsonObject:
    return {
        "type": transport.type,
        "url": clear.get("url"),
        "room_name": clear.get("room_name"),
        "worker_token": REDACTED,
        "worker_identity": clear.get("worker_identity"),
        "audio_source": transport.audio_source,
        "subscribe_to_identity": clear.get("subscribe_to_identity"),
        "synthetic_audio_if_no_input": transport.synthetic_audio_if_no_input,
    }


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else to_wire(time_ms)


def _failure(state: State) -> dict[str, str] | None:
    if state.status != "failed":
        return None
    return {"code": state.failure_code or "", "message": state.failure_message or ""}


_BEFORE_TIMES = (
    "id",
    "object",
    "account_id",
    "session_id",
    "avatar_id",
    "attempt",
    "n",
    "kind",
    "quality",
    "billed_as",
    "multiplier_milli",
    "rate_card",
)


def ledger_entry(entry: Entry) -> JsonObject:
    """As `schemas.usage.UsageEventResource` has it."""
    facts = entry.facts
    shown: JsonObject = {name: facts[name] for name in _BEFORE_TIMES}
    shown |= {"from": to_wire(_int(facts["from_ms"])), "to": to_wire(_int(facts["to_ms"]))}
    shown |= {name: facts[name] for name in ("billable_ms", "frames", "credit_us")}
    return shown | {
        "flags": [flag for flag in str(facts["flags"]).split(",") if flag],
        "event_id": facts["event_id"],
        "prev_hash": entry.prev_hash,
        "hash": entry.hash,
        "source": {"topic": SESSIONS.name, "partition": entry.partition, "offset": entry.offset},
        "recorded_at": to_wire(entry.recorded_ms),
    }


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value
