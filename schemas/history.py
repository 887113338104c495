"""The history of a session on the wire."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from schemas.pages import Page
from schemas.sessions import SessionResource


class HistoryEvent(BaseModel):
    """What happened, and the session as of it: the same `data` that a webhook of this event carries."""

    seq: int
    type: str
    occurred_at: str
    data: SessionResource


class HeartbeatData(BaseModel):
    """`billable_ms` and `frames` since the heartbeat before, as the ledger has them."""

    attempt: int
    billable_ms: int
    frames: int


class HistoryHeartbeat(BaseModel):
    """`n` counts the heartbeats of an attempt."""

    seq: None
    n: int
    type: Literal["session.heartbeat"]
    occurred_at: str
    data: HeartbeatData


class HistoryPage(Page[HistoryEvent | HistoryHeartbeat]):
    """In order. `next_cursor` goes into `after`."""


class Latencies(BaseModel):
    """Milliseconds since the create was accepted; null: it has not come to that, or was not measured."""

    queued: int | None
    assigned: int | None
    joined: int | None
    published: int | None
    first_frame: int | None
    first_audio: int | None


class AttemptResource(BaseModel):
    """One worker's try. `outcome`: `live`, `ended`, `failed`, `declined`, `lost` with its process,
    or `replaced` by the next one."""

    attempt: int
    reason: str | None
    assigned_at: str
    started_at: str | None
    joined_at: str | None
    first_frame_at: str | None
    outcome: Literal["live", "ended", "failed", "canceled", "declined", "lost", "replaced"]
    late_frames: int
    dropped_frames: int
    skew_ms: int | None


class Timeline(BaseModel):
    """How a session went. `ended_by`: who had it end; `customer`, `room`, `limit` or `platform`."""

    object: Literal["session.timeline"] = "session.timeline"
    session_id: str
    status: str
    latencies_ms: Latencies
    clear_to_silence_ms: int | None
    late_frames: int
    dropped_frames: int
    skew_ms: int | None
    end_reason: str | None
    ended_by: Literal["customer", "room", "limit", "platform"] | None
    attempts: list[AttemptResource]
