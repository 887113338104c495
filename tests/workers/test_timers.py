"""When a session ends by itself."""

from __future__ import annotations

import pytest

from workers.timers import Timers

pytestmark = pytest.mark.unit


def test_timers() -> None:
    timers = Timers.begin(0, idle_s=30, duration_s=600)
    assert timers.over(29.9) is None
    timers.active(20)
    assert timers.over(49.9) is None
    assert timers.over(50) == "idle_timeout"
    timers.active(590)
    assert timers.expires_in_ms(539) is None
    assert timers.expires_in_ms(540) == 60_000
    assert timers.expires_in_ms(541) is None  # once
    assert timers.over(600) == "max_duration"


def test_short_sessions_do_not_warn() -> None:
    assert Timers.begin(0, 30, 20).expires_in_ms(1) is None


def test_time_counts_from_the_first_frame() -> None:
    timers = Timers.begin(0, idle_s=5, duration_s=20)
    timers.active(8)
    timers.first_frame(7)
    assert timers.over(11.9) is None
    assert timers.over(12) == "idle_timeout"
    timers.active(26)
    assert timers.over(26.9) is None
    assert timers.over(27) == "max_duration"


def test_an_agent_that_is_away_for_long_has_left() -> None:
    timers = Timers.begin(0, idle_s=600, duration_s=600, absence_s=10)
    timers.agent(False, 5)
    timers.first_frame(6)  # it may leave before that
    timers.agent(False, 9)  # still away: counted from when it left
    assert timers.over(15) is None
    assert timers.over(15.1) == "agent_left"
    timers.agent(True, 16)
    assert timers.over(300) is None
