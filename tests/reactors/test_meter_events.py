"""How fast meter events are sent; what becomes of them: tests/cli/test_usage.py."""

from __future__ import annotations

import pytest

from reactors.meter_events import Pace
from tests.builders import Clock

pytestmark = pytest.mark.unit


def test_so_many_in_a_second_and_no_burst_after_a_pause() -> None:
    clock = Clock()
    pace = Pace(10, clock)
    assert [pace.wait_s() for _ in range(3)] == pytest.approx([0, 0.1, 0.2])
    clock.now += 0.25
    assert pace.wait_s() == pytest.approx(0.05)
    clock.now += 60
    assert [pace.wait_s() for _ in range(2)] == pytest.approx([0, 0.1])
