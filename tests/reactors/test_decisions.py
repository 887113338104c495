"""The roster's decisions and the webhook rules: pure."""

from __future__ import annotations

import pytest

from events.fold import Evolved
from events.session_state import State
from events.sessions import evolve
from events.settings import LogSettings
from reactors.decisions import MAX_DECLINES, Assign, Close, Decision, Fail, RequestEnd, decide, own_slot
from reactors.telling import wanted
from schemas.events import (
    Segment,
    SessionAssigned,
    SessionAttemptLost,
    SessionDeclined,
    SessionEndRequested,
    SessionEvent,
    SessionFirstFrame,
    SessionStarting,
)
from store.accounts import new_secret, well_formed
from tests.builders import T0, beat, created, event, session_id

pytestmark = pytest.mark.unit

SID = session_id()


def state(*items: SessionEvent) -> State:
    found: State | None = None
    for data in items:
        outcome = evolve(found, event(data), T0)
        assert isinstance(outcome, Evolved)
        found = outcome.state
    assert found is not None
    return found


QUEUED = state(created(SID))
PLAYED = [created(SID), SessionStarting(SID, 1, "wrk_1"), SessionFirstFrame(SID, 1, "wrk_1", {})]
PLAYING = state(*PLAYED)
CRASHED = SessionAttemptLost(SID, 1, "wrk_1", "process_crashed", None)
DECLINED = state(created(SID), SessionDeclined(SID, 1, "wrk_1", "no_slot"))
LOST, BLANK = (
    state(*PLAYED, SessionAttemptLost(SID, 1, "wrk_1", reason, None)) for reason in ("process_hung", "renderer_lost")
)
LOST_ENDING = state(*PLAYED, SessionEndRequested(SID, "api", "api_request"), CRASHED)
ENDING = state(created(SID), SessionStarting(SID, 1, "wrk_1"), SessionEndRequested(SID, "api", "api_request"))


@pytest.mark.parametrize(
    ("given", "after_ms", "gone", "dropped", "expected"),
    [
        (QUEUED, 19_000, False, False, None),
        (QUEUED, 20_001, False, False, Assign("start_timeout")),
        (QUEUED, 45_001, False, False, Fail("start_timeout")),
        (QUEUED, 1_000, True, False, Assign("worker_lost")),
        (QUEUED, 1_000, False, True, None),  # not started: it cannot be missing yet
        (DECLINED, 10, False, False, Assign("declined")),
        (PLAYING, 300_000, False, False, None),
        (PLAYING, 300_000, True, False, Assign("worker_lost", otherwise=Fail("worker_lost"))),
        (PLAYING, 300_000, False, True, Assign("worker_lost", otherwise=Fail("worker_lost"))),
        (PLAYING, 615_000, False, False, None),
        (PLAYING, 615_001, False, False, RequestEnd("max_duration")),
        (LOST, 300_000, False, False, Assign("worker_lost", otherwise=Fail("renderer.crashed"))),
        (LOST, 1_000, False, False, Assign("worker_lost")),
        (LOST_ENDING, 1_000, False, False, Close("api_request")),
        (ENDING, 29_000, False, False, None),
        (ENDING, 1_000, True, False, Close("api_request")),
        (ENDING, 30_001, False, False, Close("api_request")),
    ],
)
def test_decisions(given: State, after_ms: int, gone: bool, dropped: bool, expected: Decision | None) -> None:
    assert decide(given, T0 + after_ms, gone, dropped) == expected


def test_three_attempts_are_the_most() -> None:
    items: list[SessionEvent] = [created(SID)]
    for attempt in (2, 3):
        seq = state(*items).seq
        items.append(SessionAssigned(SID, attempt, f"wrk_{attempt}", "worker_lost", seq))
    assert decide(state(*items), T0 + 1, True, False) == Fail("worker_lost")


def test_three_lost_attempts_are_a_crash() -> None:
    items = [*PLAYED, CRASHED]
    for attempt in (2, 3):
        items.append(SessionAssigned(SID, attempt, "wrk_1", "worker_lost", state(*items).seq))
        items.append(SessionStarting(SID, attempt, "wrk_1"))
        assert own_slot(state(*items)) is None
        items.append(SessionAttemptLost(SID, attempt, "wrk_1", "process_crashed", None))
        assert own_slot(state(*items)) == "last"  # perhaps it is the machine
    assert decide(state(*items), T0 + 1, False, False) == Fail("renderer.crashed")


SPEAKING = state(*PLAYED, beat(SID, 1, 1000, segment=Segment("seg_1", 40)))
OLDER = state(created(SID, rules=1), *PLAYED[1:])


@pytest.mark.parametrize(
    ("given", "since_ms", "expected"),
    [
        (PLAYING, -1, Assign("worker_draining")),  # it has spoken since
        (PLAYING, 0, None),  # what it said is of before
        (SPEAKING, -4_000, None),
        (SPEAKING, -4_001, Assign("worker_draining")),  # there is no more time to wait for the end of the utterance
        (OLDER, -10_000, None),
        (QUEUED, -10_000, None),  # it declines that
        (ENDING, -10_000, None),
    ],
)
def test_what_a_draining_worker_plays_is_moved_when_it_is_silent(
    given: State, since_ms: int, expected: Decision | None
) -> None:
    assert decide(given, T0, False, False, draining_since=T0 + since_ms) == expected


def test_handovers_are_no_lost_attempts() -> None:
    items = list(PLAYED)
    for attempt in range(2, 6):
        items.append(SessionAssigned(SID, attempt, "wrk_1", "worker_draining", state(*items).seq))
        items += [SessionStarting(SID, attempt, "wrk_1"), SessionFirstFrame(SID, attempt, "wrk_1", {})]
    items.append(SessionAttemptLost(SID, 5, "wrk_1", "process_crashed", None))
    assert decide(state(*items), T0 + 1, False, False) == Assign("worker_lost")
    assert own_slot(state(*items)) == "first"


def test_the_successor_of_who_declined_waits_as_that_one_would_have() -> None:
    handed = [*PLAYED, SessionAssigned(SID, 2, "wrk_2", "worker_draining", state(*PLAYED).seq)]
    declined = [*handed, SessionDeclined(SID, 2, "wrk_2", "draining")]
    again = state(*declined, SessionAssigned(SID, 3, "wrk_3", "declined", state(*declined).seq))
    assert (again.handed_over, again.handovers) == (True, 1)
    lost = state(*declined, SessionAssigned(SID, 3, "wrk_3", "worker_lost", state(*declined).seq))
    assert not lost.handed_over


def test_what_an_attempt_left_open_is_not_forgotten_by_one_that_never_played() -> None:
    crashed = [*PLAYED, SessionAttemptLost(SID, 1, "wrk_1", "process_crashed", Segment("seg_1", 40))]
    again = [*crashed, SessionAssigned(SID, 2, "wrk_1", "worker_lost", state(*crashed).seq)]
    again += [SessionStarting(SID, 2, "wrk_1"), SessionAttemptLost(SID, 2, "wrk_1", "renderer_lost", None)]
    assert state(*again).segment == Segment("seg_1", 40)


def test_a_crash_stays_where_the_face_is_loaded_and_a_lost_renderer_does_not() -> None:
    assert (own_slot(LOST), own_slot(BLANK), own_slot(PLAYING)) == ("first", "last", None)


def test_a_session_that_only_full_workers_are_left_for_ends() -> None:
    """It was shown as running for its whole duration, without a picture."""
    items: list[SessionEvent] = [created(SID), SessionStarting(SID, 1, "wrk_1")]
    items.append(SessionAssigned(SID, 2, "wrk_2", "worker_lost", state(*items).seq))
    items.append(SessionDeclined(SID, 2, "wrk_2", "no_slot"))
    soon, late = (decide(state(*items), T0 + ms, False, False) for ms in (1_000, 60_000))
    assert soon == Assign("declined")
    assert late == Assign("declined", otherwise=Fail("worker_lost"))
    for attempt in range(3, 2 + MAX_DECLINES):
        items.append(SessionAssigned(SID, attempt, f"wrk_{attempt}", "declined", state(*items).seq))
        items.append(SessionDeclined(SID, attempt, f"wrk_{attempt}", "no_slot"))
    assert decide(state(*items), T0 + 1_000, False, False) == Fail("worker_lost")


def test_a_terminal_session_needs_nothing() -> None:
    over = state(created(SID), SessionEndRequested(SID, "api", "api_request"))
    assert decide(over, T0 + 10**9, True, True) is None


@pytest.mark.parametrize(
    ("patterns", "kind", "expected"),
    [
        (["*"], "session.ended", True),
        (["session.*"], "session.ended", True),
        (["session.ended"], "session.ended", True),
        (["session.failed", "avatar.*"], "session.ended", False),
        (["sess*"], "session.ended", False),
    ],
)
def test_which_events_an_endpoint_wants(patterns: list[str], kind: str, expected: bool) -> None:
    assert wanted(kind, patterns) is expected


def test_keys_carry_a_checksum() -> None:
    secret = new_secret()
    assert well_formed(secret)
    assert not well_formed(secret[:-1] + ("0" if secret[-1] != "0" else "1"))
    assert not well_formed("sk_short")


def test_secrets_do_not_show_in_settings() -> None:
    assert "hush" not in repr(LogSettings(join_secret="hush"))


def test_whoever_has_nothing_left_is_ended_once() -> None:
    for found in (QUEUED, PLAYING, DECLINED):
        assert decide(found, T0, False, False, exhausted=True) == RequestEnd("credit_exhausted")
    assert decide(ENDING, T0, False, False, exhausted=True) is None
    assert decide(ENDING, T0, True, False, exhausted=True) == Close("api_request")
