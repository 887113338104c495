"""What the roster keeps in mind, on a virtual clock."""

from __future__ import annotations

import pytest
from msgspec import structs

from events.session_state import State
from reactors.noticed import ASKED_AGAIN_AFTER_S, MISSED_RECORDS, Asked, Dropped
from schemas.events import WorkerState
from tests.builders import Clock, session_id

pytestmark = pytest.mark.unit

SID = session_id()
SAID = WorkerState("wrk_1", "ready", 4, ["mock"], "cpu", "", 0, [], [], "0", 0, "")
HELD = structs.replace(SAID, held=[(SID, 2)])
PLAYING = State(SID, attempt=2, worker_id="wrk_1", attempt_phase="playing")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def asked(clock: Clock) -> Asked:
    return Asked(clock)


def test_it_is_asked_once_and_again_when_no_answer_comes(asked: Asked, clock: Clock) -> None:
    assert asked.may_ask(SID, 3)
    clock.now += ASKED_AGAIN_AFTER_S - 0.1
    assert not asked.may_ask(SID, 3)
    clock.now += 0.2
    assert asked.may_ask(SID, 3)
    assert not asked.may_ask(SID, 3)


def test_a_session_that_has_moved_on_may_be_asked_for_at_once(asked: Asked) -> None:
    assert asked.may_ask(SID, 3)
    assert asked.may_ask(SID, 4)
    assert asked.may_ask(session_id(), 3)


def test_a_task_is_no_decision(asked: Asked) -> None:
    assert asked.may_ask(SID, 1)
    assert asked.may_send_task(SID, 1)
    assert not asked.may_send_task(SID, 1)
    assert asked.may_send_task(SID, 2)


def test_what_came_to_nothing_may_be_asked_at_the_next_tick(asked: Asked) -> None:
    assert asked.may_ask(SID, 3)
    asked.take_back(SID, 3)
    assert asked.may_ask(SID, 3)
    asked.take_back(SID, 99)  # never asked


def test_it_does_not_grow_without_bound(asked: Asked) -> None:
    for seq in range(25_000):
        assert asked.may_ask(SID, seq)
    assert len(asked._at) <= 10_000
    assert not asked.may_ask(SID, 24_999)


def test_missing_in_two_records_after_the_first_is_dropped() -> None:
    missing = Dropped()
    assert [missing.dropped(PLAYING, SAID, records) for records in range(1, MISSED_RECORDS + 3)] == [
        *[False] * MISSED_RECORDS,
        True,
        True,
    ]


def test_the_same_record_counts_once() -> None:
    missing = Dropped()
    assert not any(missing.dropped(PLAYING, SAID, 7) for _ in range(50))


def test_one_that_is_listed_again_begins_anew() -> None:
    missing = Dropped()
    assert not any(missing.dropped(PLAYING, SAID, records) for records in (1, 2))
    assert not missing.dropped(PLAYING, HELD, 3)
    assert not any(missing.dropped(PLAYING, SAID, records) for records in (4, 5))
    assert missing.dropped(PLAYING, SAID, 6)


def test_another_attempt_that_is_listed_does_not_count() -> None:
    missing, other = Dropped(), structs.replace(SAID, held=[(SID, 1)])
    assert [missing.dropped(PLAYING, other, records) for records in (1, 2, 3)] == [False, False, True]


def test_what_was_not_started_cannot_be_missing() -> None:
    missing, assigned = Dropped(), State(SID, attempt=2, worker_id="wrk_1")
    assert not any(missing.dropped(assigned, SAID, records) for records in range(1, 10))


def test_what_is_forgotten_is_counted_from_the_beginning() -> None:
    missing = Dropped()
    for records in (1, 2, 3):
        missing.dropped(PLAYING, SAID, records)
    missing.forget(SID)
    assert not missing.dropped(PLAYING, SAID, 4)
    missing.clear()
    assert not missing.dropped(PLAYING, SAID, 5)


def test_an_attempt_is_not_missed_for_the_one_before() -> None:
    """It was moved away in its first second: its worker's next record had not come yet."""
    missing = Dropped()
    for records in range(1, 9):
        assert not missing.dropped(
            structs.replace(PLAYING, attempt_phase="lost"), structs.replace(SAID, held=[]), records
        )
    for records in range(1, MISSED_RECORDS + 1):
        assert not missing.dropped(PLAYING, structs.replace(SAID, held=[]), records)
    later = structs.replace(PLAYING, attempt=3)
    assert not missing.dropped(later, structs.replace(SAID, held=[]), MISSED_RECORDS + 1)
