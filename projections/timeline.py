"""How a session went, made of its history: what took how long, which workers tried, how it ended. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import orjson

from projections.history import AttemptFrames, Happened
from schemas.events import EndReason
from schemas.jsons import JsonObject
from schemas.times import to_wire

MOST_EVENTS = 1000
"""Of a session that a timeline is made of; three attempts have some thirty."""

NOTICES = ("session.audio_stalled", "session.audio_resumed")
"""They may come any number of times, and a timeline says nothing of them."""

EndedBy = Literal["customer", "room", "limit", "platform"]
_ENDED_BY: dict[EndReason, EndedBy] = {
    "api_request": "customer",
    "superseded": "customer",
    "idle_timeout": "limit",
    "max_duration": "limit",
    "credit_exhausted": "limit",
    "room_closed": "room",
    "participant_removed": "room",
    "agent_left": "room",
    "worker_drained": "platform",
    "worker_lost": "platform",
    "append_timed_out": "platform",
}
_FAILED_BY: dict[str, EndedBy] = {
    "transport.connect_failed": "room",
    "transport.unauthorized": "room",
    "transport.disconnected": "room",
    "transport.identity_taken": "room",
}
_UNSEEN = AttemptFrames(0, 0, None)


def made(session_id: str, status: str, happened: Sequence[Happened], frames: Mapping[int, AttemptFrames]) -> JsonObject:
    """`status` is the session's as it is shown now: it may be ahead of its history, or behind an end that is in it."""
    tries = _attempts(happened, frames)
    shown = [frames.get(each["attempt"], _UNSEEN) for each in tries]
    reason, by = _end(happened)
    return {
        "object": "session.timeline",
        "session_id": session_id,
        "status": happened[-1].state.status if happened and happened[-1].state.terminal else status,
        "latencies_ms": _latencies(happened),
        "clear_to_silence_ms": _clear_ms(happened),
        "late_frames": sum(each.late for each in shown),
        "dropped_frames": sum(each.dropped for each in shown),
        "skew_ms": shown[-1].skew_ms if shown else None,
        "end_reason": reason,
        "ended_by": by,
        "attempts": tries,
    }


def _latencies(happened: Sequence[Happened]) -> JsonObject:
    """Of the first attempt that came to it; `assigned` … `first_frame` by the worker's own clock."""
    since = happened[0].occurred_ms if happened else 0
    starting = next((h.occurred_ms - since for h in happened if h.type == "session.starting"), None)
    first: dict[str, int] = next((_detail(h)["latencies_ms"] for h in happened if h.type == "session.first_frame"), {})
    return {
        "queued": starting,
        "assigned": first.get("received"),
        "joined": first.get("joined"),
        "published": first.get("published"),
        "first_frame": first.get("first_frame"),
        "first_audio": next((_detail(h)["latency_ms"] for h in happened if h.type == "session.first_audio"), None),
    }


def _clear_ms(happened: Sequence[Happened]) -> int | None:
    """Told with the last word of a worker: the roster's has none."""
    ends = (_detail(h) for h in reversed(happened) if h.type in ("session.ended", "session.failed"))
    found: int | None = next(ends, {}).get("clear_to_silence_ms")
    return found


_TIMES = {
    "session.starting": "started_at",
    "session.joined": "joined_at",
    "session.first_frame": "first_frame_at",
}


def _attempts(happened: Sequence[Happened], frames: Mapping[int, AttemptFrames]) -> list[JsonObject]:
    tries: list[JsonObject] = []
    for each in happened:
        if each.type in ("session.created", "session.assigned"):
            if tries and tries[-1]["outcome"] == "live":
                tries[-1]["outcome"] = "replaced"
            tries.append(_attempt(each, frames.get(each.attempt, _UNSEEN)))
        elif tries and each.type in _TIMES:
            tries[-1][_TIMES[each.type]] = to_wire(each.occurred_ms)
        elif tries and each.type == "session.declined":
            tries[-1]["outcome"] = "declined"
        elif tries and each.type == "session.attempt_lost":
            tries[-1]["outcome"] = "lost"
        elif tries and each.state.terminal:
            tries[-1]["outcome"] = each.state.status
    return tries


def _attempt(assigned: Happened, frames: AttemptFrames) -> JsonObject:
    return {
        "attempt": assigned.attempt,
        "reason": _detail(assigned).get("reason"),
        "assigned_at": to_wire(assigned.occurred_ms),
        **dict.fromkeys(_TIMES.values()),
        "outcome": "live",
        "late_frames": frames.late,
        "dropped_frames": frames.dropped,
        "skew_ms": frames.skew_ms,
    }


def _end(happened: Sequence[Happened]) -> tuple[str | None, EndedBy | None]:
    """(why it ended, who had it end). A failure has a code instead of a reason."""
    if not happened or not happened[-1].state.terminal:
        return None, None
    state = happened[-1].state
    if state.end_reason is not None:
        return state.end_reason, _ENDED_BY[state.end_reason]
    return state.failure_code, _FAILED_BY.get(state.failure_code or "", "platform")


def _detail(happened: Happened) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(happened.detail)
    return found
