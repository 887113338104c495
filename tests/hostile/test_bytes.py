"""Whatever bytes stand in the log: reading them raises Malformed or Unknown and nothing else, folding raises nothing,
and what comes of it fits every column. Decode, fold, rows and audit, without a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any, cast

import msgspec
import pytest
from aiokafka import ConsumerRecord
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from events import avatars
from events.codec import Event, Malformed, Unknown, decode, encode
from events.fold import Evolved, Rejected
from events.sealing import NO_KEYS
from events.session_state import State, dump_state, load_state
from events.sessions import MOST_CREDIT_US, MOST_SEEN, evolve
from events.topics import partition_of
from projections import audit, history, notices, sessions, usage
from projections.entries import Part
from projections.folding import Change
from reactors import fanout, telling
from schemas.bounds import MOST, MOST_MILLI, MOST_SMALL
from schemas.events import (
    AvatarCreated,
    AvatarDeleted,
    AvatarEvent,
    AvatarFailed,
    AvatarReady,
    Meter,
    SessionAssigned,
    SessionAudioStalled,
    SessionEnded,
    SessionEndRequested,
    SessionEvent,
    SessionFirstFrame,
    SessionHeartbeat,
    SessionStarting,
    UsageAdjusted,
)
from schemas.rates import Rate
from schemas.times import LAST_MS
from store.database import Row
from tests.builders import HIDDEN, T0, beat, created, event, life, record

pytestmark = pytest.mark.unit

SID = "sess_01JDXXXXXXXXXXXXXXXXXXXXXX"
AVATAR = "av_01JDXXXXXXXXXXXXXXXXXXXXXX"
INT4, INT8 = 2**31, 2**63
SMALL = {"attempt", "n", "multiplier_milli", "partition", "seq"}

INTEGERS = [-(10**40), -(2**64), -INT8, -INT4, -1, 0, 1, 2, MOST_MILLI, MOST_SMALL, INT4, MOST, INT8 - 1, INT8, 2**64]
TEXTS = ["", "\0", "a\0b", "\x1b[2J", "\n", "²", "é" * 128, "x" * 129, "x" * 5000, "\U0010ffff", "../../etc", "null"]
OTHERS: list[Any] = [None, True, 1.5, -0.0, [], {}, [[]], {"a": {}}]
leaves = st.one_of(st.sampled_from([*INTEGERS, *TEXTS, *OTHERS]), st.integers(), st.text(max_size=200))
times = st.sampled_from([T0, 0, 1, LAST_MS, T0 - 10**9, T0 + 10**9])

names = st.sampled_from([name for name, _ in encode(event(created(SID)))[1]]) | st.text(max_size=10)
headers = st.lists(st.tuples(names, st.none() | st.binary(max_size=80)), max_size=14)


def fits(column: str, value: Any) -> None:
    """Whether PostgreSQL takes it."""
    if isinstance(value, bool):
        return
    if isinstance(value, int):
        limit = INT4 if column in SMALL else INT8
        assert -limit <= value < limit, (column, value)
    elif isinstance(value, str):
        assert "\0" not in value, column
        assert len(value.encode()) < 2**20, column
        assert not column.endswith("_id") or len(value.encode()) <= 1300, column  # two of them share an index entry


class Consumers:
    """All that is made of one session's records."""

    def __init__(self) -> None:
        self.state: State | None = None
        self.verdict = audit.Verdict()
        part = Part(0, 0, {}, cast(AsyncIterator[list[Row]], None))
        self.audit = audit.Reading(cast(audit.Log, None), 0, part, audit.Scope(), self.verdict)

    def take(self, item: ConsumerRecord[Any, Any]) -> None:
        found = self.audit.fold(item)
        read_all = not self.verdict.unread  # from what it cannot read on, the audit leaves the session
        outcome = read(item, self.state)
        if not isinstance(outcome, tuple):
            assert found is None
            return
        read_event, evolved = outcome
        self.state = evolved.state
        assert load_state(dump_state(self.state)) == self.state
        change = Change(read_event, evolved, item.partition, item.offset, item.timestamp)
        for column, value in zip(SESSIONS_COLUMNS, sessions._row(self.state, item.partition, b""), strict=True):
            fits(column, value)
        assert not read_all or self.state == self.audit.states[SID]
        if evolved.usage is not None:
            assert found == (usage.stored(change) if read_all else None)
            for column, value in zip(usage.STORED, usage.stored(change), strict=True):
                fits(column, value)
        if evolved.transition is not None and self.state.created is not None:
            for (column, _), value in zip(history._COLUMNS, history._row(change), strict=True):
                fits(column, value)
        for said in history._last_heartbeats([change]):
            for column, value in zip(ATTEMPT_COLUMNS, said, strict=True):
                fits(column, value)
        if not evolved.state.hidden:
            for told in fanout._told(change, NO_KEYS):
                for column, value in asdict(telling.delivery("we_1", told)).items():
                    fits(column, value)


ATTEMPT_COLUMNS = ("session_id", "attempt", "n", "late_frames", "dropped_frames", "skew_ms")
SESSIONS_COLUMNS = tuple(name.strip() for name in sessions._UPSERT.split("sessions AS s (")[1].split(")")[0].split(","))


def read(item: ConsumerRecord[Any, Any], state: State | None) -> tuple[Event, Evolved[State]] | Rejected | None:
    from events.sessions import decode_session_event

    try:
        found = decode_session_event(item)
    except (Malformed, Unknown) as unreadable:
        for_postgres = str(unreadable)  # the reason of a parked session is a column
        fits("reason", for_postgres)
        return None
    outcome = evolve(state, found, item.timestamp)
    return outcome if isinstance(outcome, Rejected) else (found, outcome)


@given(st.none() | st.binary(max_size=300), st.none() | st.binary(max_size=600), headers, st.integers(-(2**63), 2**63))
def test_arbitrary_records(key: bytes | None, value: bytes | None, fields: list[Any], at: int) -> None:
    item = record(event(created(SID)), key=key, value=value, headers=fields, at=at, partition=partition_of(key or b""))
    Consumers().take(item)
    with pytest.raises((Malformed, Unknown)):
        decode(item)


@given(st.sampled_from(life(SID)), st.data())
def test_valid_records_with_one_thing_wrong(data_of: SessionEvent, data: st.DataObject) -> None:
    valid = record(event(data_of))
    name = data.draw(st.sampled_from([k for k, _ in valid.headers]))
    value = data.draw(st.none() | st.binary(max_size=40) | st.sampled_from([t.encode() for t in TEXTS]))
    fields = [(k, value if k == name else v) for k, v in valid.headers]
    extra = data.draw(st.sampled_from([[], fields, [(name, value)]]))
    Consumers().take(record(event(data_of), headers=[*fields, *extra]))
    cut = data.draw(st.integers(0, len(valid.value or b"")))
    Consumers().take(record(event(data_of), value=(valid.value or b"")[:cut] + data.draw(st.binary(max_size=9))))


def mutate(content: Any, data: st.DataObject) -> Any:
    """The same JSON with one leaf, anywhere, replaced by something extreme."""
    if isinstance(content, dict) and content:
        name = data.draw(st.sampled_from(sorted(content)))
        return {**content, name: mutate(content[name], data)}
    return data.draw(leaves)


STORY = [
    *life(SID, beats=2)[:-2],
    SessionAssigned(SID, 2, "wrk_2", "worker_lost", expected_seq=4),
    SessionStarting(SID, 2, "wrk_2"),
    SessionFirstFrame(SID, 2, "wrk_2", {}),
    beat(SID, MOST_SMALL, 1500, attempt=2, worker="wrk_2"),
    SessionEndRequested(SID, "api", "api_request"),
    SessionEnded(SID, 2, "api_request", "wrk_2", 1, Meter(MOST, MOST_SMALL, 0)),
    UsageAdjusted(SID, MOST, "why", "who"),
]


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_a_session_of_extreme_events(data: st.DataObject) -> None:
    """Each event may be told at any time, append times may go back, and any leaf may be anything."""
    consumers = Consumers()
    for offset, item in enumerate(STORY):
        told = event(item, data.draw(times))
        value = None
        if data.draw(st.integers(0, 3)) == 0:
            value = msgspec.json.encode(mutate(msgspec.to_builtins(told.data), data))
        consumers.take(record(told, offset, data.draw(times), **({"value": value} if value else {})))


def test_the_largest_that_the_bounds_allow_fits() -> None:
    """The most expensive rate, the longest time and the largest meter, to the end of all times."""
    consumers = Consumers()
    rate = Rate("card", "pro", MOST_MILLI)
    story = [
        created(SID, rate=rate),
        SessionStarting(SID, 1, "wrk_1"),
        SessionFirstFrame(SID, 1, "wrk_1", {}),
        SessionHeartbeat(SID, 1, "wrk_1", MOST_SMALL, Meter(MOST, MOST_SMALL, MOST), None, MOST, MOST, -MOST),
        SessionEnded(SID, 1, "idle_timeout", "wrk_1", 1, Meter(MOST, MOST_SMALL, 0)),
    ]
    for offset, item in enumerate(story):
        consumers.take(record(event(item, LAST_MS), offset, LAST_MS if offset > 2 else 0))
    assert consumers.state is not None
    assert consumers.state.status == "ended"
    assert consumers.state.n == INT4 - 1
    assert consumers.state.billed_ms > LAST_MS


def test_adjustments_never_leave_what_a_bigint_holds() -> None:
    consumers = Consumers()
    consumers.take(record(event(created(SID))))
    for n in range(1100):
        consumers.take(record(event(UsageAdjusted(SID, -MOST if n % 2 else MOST, "why", "who")), n))
    assert consumers.state is not None
    assert consumers.state.credit_us == 0
    assert consumers.verdict.rejected == 0
    for n in range(1100):
        consumers.take(record(event(UsageAdjusted(SID, MOST, "why", "who")), n))
    assert consumers.verdict.rejected > 0
    assert MOST_CREDIT_US - MOST <= consumers.state.credit_us <= MOST_CREDIT_US


def test_a_session_that_never_stops_talking_keeps_a_small_state() -> None:
    """And can still end."""
    state: State | None = None
    said = [created(SID), SessionStarting(SID, 1, "wrk_1")]
    said += [SessionAudioStalled(SID, 1, "wrk_1", 0)] * (MOST_SEEN + 50)
    for item in said:
        outcome = evolve(state, event(item), T0)
        state = outcome.state if isinstance(outcome, Evolved) else state
    assert outcome == Rejected("too_many_events")
    assert state is not None
    assert len(state.seen) == MOST_SEEN
    for again in (UsageAdjusted(SID, 1, "why", "who"), SessionAssigned(SID, 2, "wrk_2", "worker_lost", state.seq)):
        assert evolve(state, event(again), T0) == Rejected("too_many_events")
    ended = evolve(state, event(SessionEnded(SID, 1, "idle_timeout", "wrk_1", 1, Meter(0, 0, 0))), T0)
    assert isinstance(ended, Evolved)
    assert ended.state.terminal


AVATAR_STORY = [
    AvatarCreated(AVATAR, "acct_1", HIDDEN, "avtr1", "a" * 64, None),
    AvatarFailed(AVATAR, "No face was found."),
    AvatarReady(AVATAR, "f" * 64),
    AvatarDeleted(AVATAR),
]


@given(st.lists(st.sampled_from(AVATAR_STORY), max_size=4), st.data())
@example([AVATAR_STORY[0]], None)
def test_an_avatar_of_extreme_events(story: list[AvatarEvent], data: st.DataObject | None) -> None:
    avatar: avatars.Avatar | None = None
    for item in story:
        told = event(item, T0) if data is None else event(item, data.draw(times))
        content = msgspec.to_builtins(item)
        value = msgspec.json.encode(content if data is None else mutate(content, data))
        try:
            found = decode(record(told, value=value))
        except (Malformed, Unknown):
            continue
        outcome = avatars.evolve(avatar, found, T0)
        avatar = outcome.state if isinstance(outcome, Evolved) else avatar
        if avatar is not None:
            for column in ("avatar_id", "account_id", "asset", "face", "failure_reason", "created_ms", "runtime_type"):
                fits(column, getattr(avatar, column))
            if avatar.name is not None:
                fits("name", avatar.name.enc)
                fits("key_id", avatar.name.key_id)


def test_ids_of_any_length_fit_into_notifications() -> None:
    """Two hundred of them did not: PostgreSQL refused the transaction, again and again."""
    ids = [f"{n:03}" + "ж𝄞" * 62 for n in range(300)]
    found = list(notices.payloads(ids))
    assert all(len(payload.encode()) < 8000 for payload in found)
    assert [each for payload in found for each in payload.split("\n")] == ids
    assert list(notices.payloads([])) == []
