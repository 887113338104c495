"""Events for tests, with everything unimportant filled in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiokafka import ConsumerRecord
from msgspec import structs

from events.codec import Event, encode, new_event
from events.sessions import RULES
from events.topics import SESSIONS, partition_of
from schemas.assignments import Task
from schemas.events import (
    AvatarEvent,
    Encrypted,
    EventTransport,
    Meter,
    Segment,
    SessionCreated,
    SessionEnded,
    SessionEnding,
    SessionEvent,
    SessionFirstFrame,
    SessionHeartbeat,
    SessionJoined,
    SessionStarting,
    WorkerState,
)
from schemas.ids import SESSION, new_id
from schemas.rates import FIRST
from schemas.times import now_ms

HIDDEN = Encrypted("AAAA", "dk_test")
T0 = 1_764_000_000_000


def created(sid: str, *, worker: str = "wrk_1", account: str = "acct_1", **changes: Any) -> SessionCreated:
    data = SessionCreated(
        session_id=sid,
        rules=RULES,
        account_id=account,
        api_key_id="key_1",
        avatar_id="av_demo",
        transport=EventTransport("livekit", HIDDEN, HIDDEN, HIDDEN, "data_stream", None, False),
        quality="standard",
        max_duration_seconds=600,
        idle_timeout_seconds=30,
        metadata=HIDDEN,
        plan="self_hosted",
        rate=FIRST.rate("standard"),
        worker_id=worker,
        attempt=1,
    )
    return structs.replace(data, **changes)


def event(data: SessionEvent | AvatarEvent, at: int = T0, event_id: str | None = None) -> Event:
    subject = data.session_id if isinstance(data, SessionEvent) else data.avatar_id
    return structs.replace(new_event(data, source="tests", subject=subject, event_id=event_id), time_ms=at)


def record(item: Event, offset: int = 0, at: int = T0, **changes: Any) -> ConsumerRecord[bytes, bytes]:
    """The event as Kafka hands it out; `changes` are to the record itself (key, value, headers, partition …)."""
    value, headers = encode(item)
    key = item.subject.encode()
    fields = {"key": key, "value": value, "headers": headers, "partition": partition_of(key), **changes}
    return ConsumerRecord(
        topic=SESSIONS.name,
        offset=offset,
        timestamp=at,
        timestamp_type=1,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        **fields,
    )


def session_id() -> str:
    return new_id(SESSION)


def beat(
    sid: str, n: int, ms: int, *, attempt: int = 1, worker: str = "wrk_1", segment: Segment | None = None
) -> SessionHeartbeat:
    return SessionHeartbeat(sid, attempt, worker, n, Meter(ms, ms // 40, ms), segment, 0, 0, None)


def life(sid: str, *, beats: int = 3, worker: str = "wrk_1", account: str = "acct_1") -> list[SessionEvent]:
    """A whole session: `beats` heartbeats a second apart, then the end half a second later."""
    events: list[SessionEvent] = [
        created(sid, worker=worker, account=account),
        SessionStarting(sid, 1, worker),
        SessionJoined(sid, 1, worker, {}),
        SessionFirstFrame(sid, 1, worker, {}),
    ]
    events += [beat(sid, n, n * 1000, worker=worker) for n in range(1, beats + 1)]
    final = Meter(beats * 1000 + 500, beats * 25 + 12, 0)
    events.append(SessionEnding(sid, 1, worker, "api_request"))
    events.append(SessionEnded(sid, 1, "api_request", worker, beats + 1, final))
    return events


def task(**changes: Any) -> Task:
    """What a worker is told of a session."""
    usual = Task(
        session_id="sess_1",
        account_id="acct_1",
        url="ws://127.0.0.1:1",
        room_name="room",
        worker_identity="avatar",
        worker_token="token",
        audio_source="data_stream",
        subscribe_to_identity=None,
        synthetic_audio_if_no_input=False,
        avatar_id="av_demo",
        quality="mock",
        max_duration_ms=600_000,
        idle_timeout_ms=600_000,
        accepted_ms=now_ms(),
    )
    return structs.replace(usual, **changes)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def worker_state(worker_id: str, slots: int, qualities: Sequence[str] = ("mock",), public_key: str = "") -> WorkerState:
    """What a ready worker says that holds nothing, unsigned."""
    return WorkerState(
        worker_id=worker_id,
        phase="ready",
        slots=slots,
        qualities=list(qualities),
        device="none",
        public_key=public_key,
        partition=0,
        held=[],
        avatars=[],
        version="0",
        started_ms=0,
        mac="",
    )
