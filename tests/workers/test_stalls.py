"""Stalls: when one begins by media time, and that each is told once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.stalls import MOST_TOLD, STALLED_S, Resumed, Stalled, StallWatch

pytestmark = pytest.mark.unit

TICKS = round(STALLED_S / 0.04)


def watched(*runs: tuple[bool, int]) -> list[Stalled | Resumed]:
    """What is told of so many ticks each, starved or not, in media time of 40 ms a tick."""
    watch, told, at_ms = StallWatch(), list[Stalled | Resumed](), 0
    for starved, ticks in runs:
        for _ in range(ticks):
            notice = watch.tick(starved, at_ms)
            told += [notice] if notice is not None else []
            at_ms += 40
    return told


def test_a_stall_is_told_after_three_seconds_with_the_time_at_which_it_began() -> None:
    assert watched((False, 25), (True, TICKS - 1)) == []
    assert watched((False, 25), (True, 10 * TICKS)) == [Stalled(1000)]
    assert watched((False, 25), (True, TICKS), (False, 9)) == [Stalled(1000), Resumed(1000 + TICKS * 40)]


def test_a_pause_that_is_shorter_is_none_and_does_not_add_up() -> None:
    assert watched(*[(True, TICKS - 1), (False, 1)] * 5) == []


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3 * TICKS)), max_size=30))
def test_begins_and_ends_take_turns(runs: list[tuple[bool, int]]) -> None:
    told = watched(*runs)
    assert [type(each) for each in told] == [Stalled, Resumed] * (len(told) // 2) + [Stalled] * (len(told) % 2)
    times = [each.since_ms for each in told]
    assert times == sorted(times)


def test_an_agent_that_stalls_without_end_does_not_fill_the_log() -> None:
    watch, told = StallWatch(), 0
    for _ in range(MOST_TOLD + 10):
        for _ in range(TICKS):
            told += watch.tick(True, 0) is not None
        assert watch.stalled
        told += watch.tick(False, 0) is not None
        assert not watch.stalled
    assert told == 2 * MOST_TOLD
