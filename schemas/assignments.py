"""What an assigned worker needs and nobody else may read: the plaintext inside `assignment.assign`."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from schemas.avatars import RuntimeType, Shape
from schemas.events import Quality
from schemas.labels import Label
from schemas.moods import Mood


class Task(Struct, frozen=True):
    """`max_duration_ms` is what remains of it; `accepted_ms` the time of the customer's POST, for latencies."""

    session_id: str
    account_id: str
    url: str
    room_name: str
    worker_identity: str
    worker_token: str
    audio_source: Literal["data_stream", "track"]
    subscribe_to_identity: str | None
    synthetic_audio_if_no_input: bool
    avatar_id: str
    quality: Quality
    max_duration_ms: int
    idle_timeout_ms: int
    accepted_ms: int
    request_id: str | None = None
    runtime_type: RuntimeType = "avtr1"
    face: str | None = None
    """Asset of the avatar's built face; None for stock avatars, which ship with the worker."""
    mood: Mood = "neutral"
    first_frame_ms: int | None = None
    """When an earlier attempt showed the session's first frame, by the log; the mark counts its seconds from there."""
    handover: bool = False
    """The attempt before still plays in the room: be ready to draw before you join, which throws it out."""
    resume_played_ms: int | None = None
    """The open segment's position when an earlier attempt was lost; its agent still waits for that segment's end."""
    shape: Shape = "square"
    label: Label | None = None
    """Drawn on each frame."""
    traceparent: str | None = None
    """Of the span of its create, where traces are on: what any attempt does follows from it."""
