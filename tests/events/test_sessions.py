"""The fold: examples of each rule, and a state machine that feeds it everything that a log can hold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from events.codec import Event
from events.fold import Evolved, Rejected
from events.metering import GRACE_MS
from events.session_state import TERMINAL, State, dump_state, load_state
from events.sessions import evolve
from schemas.events import (
    Meter,
    SessionAssigned,
    SessionDeclined,
    SessionEnded,
    SessionEndRequested,
    SessionErased,
    SessionEvent,
    SessionFailed,
    SessionFirstFrame,
    SessionStarting,
    UsageAdjusted,
    WorkerEvent,
)
from schemas.usage import GENESIS, UsageEntry
from tests.builders import T0, beat, created, event, life, session_id

pytestmark = pytest.mark.unit

SID = session_id()
ORDER = ["queued", "starting", "running", "ending", "ended"]


def fold(*items: SessionEvent | tuple[SessionEvent, int]) -> tuple[State, list[UsageEntry]]:
    """Fold accepted events, one second apart unless a time is given."""
    state: State | None = None
    usage = []
    at = T0
    for item in items:
        data, at = item if isinstance(item, tuple) else (item, at + 1000)
        outcome = evolve(state, event(data, at), at)
        assert isinstance(outcome, Evolved), (data, outcome)
        state = outcome.state
        if outcome.usage:
            usage.append(outcome.usage)
    assert state is not None
    return state, usage


def rejected(state: State | None, data: SessionEvent, at: int = T0 + 60_000) -> str:
    outcome = evolve(state, event(data, at), at)
    assert isinstance(outcome, Rejected), outcome
    return outcome.reason


PLAYING = (
    created(SID),
    SessionStarting(SID, 1, "wrk_1"),
    SessionFirstFrame(SID, 1, "wrk_1", {}),
)


def test_a_whole_life() -> None:
    state, usage = fold(*life(SID))
    assert (state.status, state.end_reason, state.seq) == ("ended", "api_request", 6)
    assert state.billed_ms == 3500
    assert [u.facts.billable_ms for u in usage] == [1000, 1000, 1000, 500]
    assert state.credit_us == 3500 * 1000
    assert usage[0].prev_hash == GENESIS
    assert [u.prev_hash for u in usage[1:]] == [u.hash for u in usage[:-1]]
    assert [u.facts.n for u in usage] == [1, 2, 3, 4]
    assert usage[-1].facts.to_ms == usage[0].facts.from_ms + 3500


def test_replaying_gives_the_same_ids_and_hashes() -> None:
    events = [event(data, T0 + i * 1000) for i, data in enumerate(life(SID))]

    def run() -> list[UsageEntry]:
        state, found = None, []
        for i, item in enumerate(events):
            outcome = evolve(state, item, T0 + i * 1000)
            assert isinstance(outcome, Evolved)
            state = load_state(dump_state(outcome.state))
            found += [outcome.usage] if outcome.usage else []
        return found

    assert run() == run()


def test_the_fold_does_not_change_its_input() -> None:
    state, _ = fold(*PLAYING)
    before = dump_state(state)
    evolve(state, event(beat(SID, 1, 1000)), T0 + 9000)
    evolve(state, event(SessionEnded(SID, 1, "idle_timeout", "wrk_1", 1, Meter(5, 1, 0))), T0 + 9000)
    assert dump_state(state) == before


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (SessionStarting(SID, 1, "wrk_2"), "stale_attempt"),
        (SessionStarting(SID, 2, "wrk_1"), "stale_attempt"),
        (SessionStarting(SID, 1, "wrk_1"), "already_started"),
        (SessionFirstFrame(SID, 1, "wrk_1", {}), "already_playing"),
        (created(SID), "already_created"),
        (SessionAssigned(SID, 2, "wrk_2", "worker_lost", expected_seq=1), "seq_mismatch"),
        (SessionAssigned(SID, 3, "wrk_2", "worker_lost", expected_seq=3), "wrong_attempt"),
        (SessionEndRequested(SID, "roster", "max_duration", expected_seq=9), "seq_mismatch"),
        (SessionDeclined(SID, 1, "wrk_1", "no_slot"), "already_started"),
        (SessionEnded(SID, 1, "idle_timeout", "wrk_2", 1, Meter(0, 0, 0)), "stale_attempt"),
        (SessionEnded(SID, 1, "worker_lost", expected_seq=2), "seq_mismatch"),
    ],
)
def test_what_a_playing_session_rejects(data: SessionEvent, reason: str) -> None:
    state, _ = fold(*PLAYING)
    assert rejected(state, data) == reason


def test_heartbeats_must_grow() -> None:
    state, _ = fold(*PLAYING, beat(SID, 3, 900))
    assert rejected(state, beat(SID, 3, 1000)) == "n_not_growing"
    assert rejected(state, beat(SID, 4, 800)) == "meter_went_back"
    assert rejected(fold(*PLAYING[:2])[0], beat(SID, 1, 10)) == "no_first_frame"
    gaps_are_allowed, _ = fold(*PLAYING, beat(SID, 3, 900), beat(SID, 9, 1900))
    assert gaps_are_allowed.billed_ms == 1900


def test_a_terminal_session_accepts_adjustments_only() -> None:
    state, _ = fold(*life(SID))
    assert rejected(state, beat(SID, 99, 99_000)) == "terminal"
    assert rejected(state, SessionEndRequested(SID, "api", "api_request")) == "terminal"
    outcome = evolve(state, event(UsageAdjusted(SID, -1_000_000, "goodwill", "op")), T0 + 99_000)
    assert isinstance(outcome, Evolved)
    assert outcome.usage is not None
    assert (outcome.usage.facts.kind, outcome.usage.facts.n, outcome.usage.facts.attempt) == ("adjustment", 0, 0)
    assert outcome.usage.prev_hash == state.chain
    assert outcome.state.credit_us == state.credit_us - 1_000_000
    assert outcome.state.seq == state.seq


def test_what_is_over_is_erased_once_and_bills_as_before() -> None:
    state, _ = fold(*life(SID))
    outcome = evolve(state, event(SessionErased(SID), T0 + 99_000), T0 + 99_500)
    assert isinstance(outcome, Evolved)
    erased = outcome.state
    assert (outcome.transition, outcome.usage, erased.erased_ms) == ("session.erased", None, T0 + 99_000)
    assert (erased.status, erased.ended_ms, erased.seq) == (state.status, state.ended_ms, state.seq + 1)
    assert (erased.chain, erased.billed_ms) == (state.chain, state.billed_ms)
    assert rejected(erased, SessionErased(SID)) == "already_erased"
    adjusted = evolve(erased, event(UsageAdjusted(SID, -1, "goodwill", "op")), T0 + 100_000)
    assert isinstance(adjusted, Evolved)
    for playing in (fold(*life(SID)[:4])[0], fold(*life(SID)[:1])[0]):
        assert rejected(playing, SessionErased(SID)) == "still_running"


def test_the_same_event_twice_counts_once() -> None:
    first = event(created(SID), event_id="evt_1")
    outcome = evolve(None, first, T0)
    assert isinstance(outcome, Evolved)
    assert evolve(outcome.state, first, T0 + 5) == Rejected("duplicate")


def test_an_end_before_the_start_cancels() -> None:
    state, _ = fold(created(SID), SessionEndRequested(SID, "api", "api_request"))
    assert (state.status, state.end_reason, state.hidden) == ("canceled", "api_request", False)
    assert rejected(state, SessionStarting(SID, 1, "wrk_1")) == "terminal"


def test_an_end_before_its_create_leaves_nothing_to_see() -> None:
    state, _ = fold(SessionEndRequested(SID, "api", "append_timed_out"))
    assert state.hidden
    assert rejected(state, created(SID)) == "terminal"


def test_a_create_that_was_never_acknowledged_is_hidden() -> None:
    state, _ = fold(created(SID), SessionEndRequested(SID, "api", "append_timed_out"))
    assert (state.status, state.hidden) == ("canceled", True)


def test_settling_changes_nothing_when_the_create_is_there() -> None:
    state, _ = fold(created(SID))
    assert rejected(state, SessionEndRequested(SID, "roster", "append_timed_out", expected_seq=0)) == "seq_mismatch"


def test_reassignment_starts_a_new_meter_and_keeps_the_first_times() -> None:
    state, usage = fold(
        *PLAYING,
        beat(SID, 1, 1000),
        SessionAssigned(SID, 2, "wrk_2", "worker_lost", expected_seq=3),
        SessionStarting(SID, 2, "wrk_2"),
        SessionFirstFrame(SID, 2, "wrk_2", {}),
        beat(SID, 1, 500, attempt=2, worker="wrk_2"),
    )
    assert (state.status, state.attempt, state.billed_ms) == ("running", 2, 1500)
    assert state.first_frame_ms == T0 + 3000
    assert usage[1].facts.from_ms > usage[0].facts.to_ms
    assert rejected(state, beat(SID, 2, 9000)) == "stale_attempt"


def test_a_wild_clock_bills_no_more_than_the_log_saw() -> None:
    state, usage = fold(*PLAYING, (beat(SID, 1, 3_600_000), T0 + 8000))
    assert state.billed_ms == 5000 + GRACE_MS
    assert usage[0].facts.flags == ("bounded",)
    assert usage[0].facts.frames == 3_600_000 // 40 * 7000 // 3_600_000


def test_a_final_reading_below_the_last_bills_nothing_and_still_ends() -> None:
    state, usage = fold(*PLAYING, beat(SID, 1, 900), SessionEnded(SID, 1, "idle_timeout", "wrk_1", 2, Meter(5, 1, 0)))
    assert (state.status, state.billed_ms, usage[-1].facts.billable_ms) == ("ended", 900, 0)


def test_failed_before_a_first_frame_bills_nothing() -> None:
    failed = SessionFailed(SID, 1, "transport.connect_failed", "no", "wrk_1", 1, Meter(900, 20, 0))
    state, usage = fold(created(SID), SessionStarting(SID, 1, "wrk_1"), failed)
    assert (state.status, state.billed_ms, usage) == ("failed", 0, [])


@pytest.mark.parametrize("skew_ms", [-3_600_000, -300_000, 300_000, 3_600_000])
def test_no_clock_but_the_logs_decides(skew_ms: int) -> None:
    """An emitter whose clock is off by minutes, or an hour, is billed the same: only ids and shown times tell of it."""

    def lived(by_ms: int) -> list[tuple[str, int, int, int]]:
        state, entries = None, []
        for n, data in enumerate(life(SID)):
            outcome = evolve(state, event(data, T0 + 1000 * n + by_ms, f"evt_{n}"), T0 + 1000 * n)
            assert isinstance(outcome, Evolved)
            state = outcome.state
            entries += [outcome.usage.facts] if outcome.usage else []
        assert state is not None
        assert state.status == "ended"
        return [(f.event_id, f.billable_ms, f.credit_us, f.to_ms - f.from_ms) for f in entries]

    assert lived(skew_ms) == lived(0) != []


def test_what_comes_an_hour_late_is_billed_as_it_was_metered() -> None:
    """The broker was away, the worker was not: its readings are appended all at once."""
    now = T0 + 3_600_000
    state, usage = fold(*PLAYING, *((beat(SID, n, n * 5000), now) for n in range(1, 720)))
    assert (state.billed_ms, len(usage)) == (719 * 5000, 719)
    assert {facts for entry in usage for facts in entry.facts.flags} == set()


def test_times_never_go_back() -> None:
    state, _ = fold((created(SID), T0 + 5000), (SessionStarting(SID, 1, "wrk_1"), T0))
    assert state.started_ms == T0 + 5000


WORKERS = st.sampled_from(["wrk_1", "wrk_2", "wrk_3"])
ATTEMPTS = st.integers(1, 4)
REASONS = st.sampled_from(["api_request", "superseded", "max_duration", "append_timed_out"])
SEQS = st.one_of(st.none(), st.integers(0, 12))


class AnyLog(RuleBasedStateMachine):
    """Duplicates, reordering, zombies, late and impossible events: the promises hold at each step."""

    state: State | None
    usage: list[UsageEntry]

    @initialize()
    def start(self) -> None:
        self.state, self.usage, self.at, self.skew = None, [], T0, 0
        self.statuses: list[str] = []
        self.past: list[Event] = []
        self.first_frames: dict[int, int] = {}
        self.metered: dict[int, int] = {}
        self.accepted_starts: list[int] = []

    def put(self, data: SessionEvent, wait: int = 400, *, event_id: str | None = None) -> None:
        """By an emitter whose clock is off by as much as it is now."""
        self.at += wait
        item = event(data, self.at + self.skew, event_id)
        self.past.append(item)
        self.take(item)

    def take(self, item: Any) -> None:
        before = dump_state(self.state) if self.state else None
        outcome = evolve(self.state, item, self.at)
        if self.state is not None:
            assert dump_state(self.state) == before  # pure
        if isinstance(outcome, Rejected):
            return
        old, new = self.state, outcome.state
        grew = 0 if outcome.transition is None else 1
        assert new.seq == (old.seq if old else 0) + grew  # I5
        if old is not None and old.terminal:
            assert isinstance(item.data, UsageAdjusted)
        if isinstance(item.data, WorkerEvent):
            assert old is not None
            assert (item.data.attempt, item.data.worker_id) == (old.attempt, old.worker_id)  # I4
        if isinstance(item.data, SessionFirstFrame):
            self.first_frames[new.attempt] = self.at
        if outcome.usage is not None:
            self.usage.append(outcome.usage)
            if outcome.usage.facts.kind == "interval":
                self.metered[new.attempt] = max(self.metered.get(new.attempt, 0), item.data.meter.billable_ms)
        self.state = new
        self.statuses.append(new.status)

    @rule(skew=st.sampled_from([-3_600_000, -300_000, 0, 300_000, 3_600_000]))
    def another_clock(self, skew: int) -> None:
        self.skew = skew

    @rule(wait=st.integers(0, 3000))
    def create(self, wait: int) -> None:
        self.put(created(SID), wait)

    @rule(worker=WORKERS, attempt=ATTEMPTS)
    def starting(self, worker: str, attempt: int) -> None:
        self.put(SessionStarting(SID, attempt, worker))

    @rule(worker=WORKERS, attempt=ATTEMPTS)
    def first_frame(self, worker: str, attempt: int) -> None:
        self.put(SessionFirstFrame(SID, attempt, worker, {}))

    @rule(worker=WORKERS, attempt=ATTEMPTS, n=st.integers(0, 20), ms=st.integers(0, 10**7), wait=st.integers(0, 9000))
    def heartbeat(self, worker: str, attempt: int, n: int, ms: int, wait: int) -> None:
        self.put(beat(SID, n, ms, attempt=attempt, worker=worker), wait)

    @rule(wait=st.integers(0, 9000))
    def honest_life_goes_on(self, wait: int) -> None:
        """What the assigned worker would say next, so that deep states are reached often."""
        state = self.state
        if state is None:
            self.put(created(SID), wait)
        elif state.attempt_phase == "assigned":
            self.put(SessionStarting(SID, state.attempt, state.worker_id), wait)
        elif state.attempt_phase == "started":
            self.put(SessionFirstFrame(SID, state.attempt, state.worker_id, {}), wait)
        else:
            next_beat = beat(
                SID, state.n + 1, state.meter.billable_ms + wait, attempt=state.attempt, worker=state.worker_id
            )
            self.put(next_beat, wait)

    @rule(worker=WORKERS)
    def reassign(self, worker: str) -> None:
        if self.state is not None:
            self.put(SessionAssigned(SID, self.state.attempt + 1, worker, "worker_lost", self.state.seq))

    @rule(worker=WORKERS, attempt=ATTEMPTS, seq=st.integers(0, 12))
    def stale_decision(self, worker: str, attempt: int, seq: int) -> None:
        self.put(SessionAssigned(SID, attempt, worker, "declined", seq))

    @rule(worker=WORKERS, attempt=ATTEMPTS)
    def decline(self, worker: str, attempt: int) -> None:
        self.put(SessionDeclined(SID, attempt, worker, "no_slot"))

    @rule(reason=REASONS, seq=SEQS)
    def end_request(self, reason: Any, seq: int | None) -> None:
        self.put(SessionEndRequested(SID, "api", reason, seq))

    @rule(worker=WORKERS, attempt=ATTEMPTS, ms=st.integers(0, 10**7), roster=st.booleans(), seq=st.integers(0, 12))
    def end(self, worker: str, attempt: int, ms: int, roster: bool, seq: int) -> None:
        if roster:
            self.put(SessionEnded(SID, attempt, "worker_lost", expected_seq=seq))
        else:
            self.put(SessionEnded(SID, attempt, "idle_timeout", worker, 99, Meter(ms, 1, 1)))

    @rule(credit=st.integers(-(10**9), 10**9))
    def adjust(self, credit: int) -> None:
        self.put(UsageAdjusted(SID, credit, "why", "who"))

    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        if self.past:
            self.at += 10
            self.take(data.draw(st.sampled_from(self.past)))

    @invariant()
    def status_never_goes_back(self) -> None:
        if len(getattr(self, "statuses", [])) < 2:
            return
        old, new = self.statuses[-2:]
        if old in TERMINAL:
            assert new == old
        elif new in ORDER:
            assert ORDER.index(new) >= ORDER.index(old)

    @invariant()
    def billed_time_is_proven_time(self) -> None:
        """I2, I3."""
        if getattr(self, "state", None) is None:
            return
        intervals = [u.facts for u in self.usage if u.facts.kind == "interval"]
        assert self.state is not None
        assert self.state.billed_ms == sum(f.billable_ms for f in intervals)
        for facts in intervals:
            assert facts.billable_ms >= 0
            assert facts.credit_us == facts.billable_ms * facts.multiplier_milli
            started = self.first_frames[facts.attempt]
            billed = sum(f.billable_ms for f in intervals if f.attempt == facts.attempt)
            assert billed <= self.at - started + GRACE_MS
            # a meter that disagrees with its intervals: no more than it says, and all of that where nothing is bounded
            bounded = any(f.flags for f in intervals if f.attempt == facts.attempt)
            assert billed <= self.metered[facts.attempt]
            assert bounded or billed == self.metered[facts.attempt]
        prev = GENESIS
        for entry in self.usage:
            assert entry.prev_hash == prev
            prev = entry.hash


@pytest.mark.unit
class TestAnyLog(AnyLog.TestCase):  # type: ignore[misc,valid-type]
    settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
