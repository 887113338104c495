"""What is billed."""

from __future__ import annotations

import pytest

from workers.meter import MediaMeter
from workers.playback import TICK_SAMPLES

pytestmark = pytest.mark.unit


def test_the_meter_counts_media_time_and_no_stalls() -> None:
    meter = MediaMeter()
    for tick in range(26):
        meter.tick(tick * 0.04, TICK_SAMPLES)
    assert meter.read().billable_ms == 1000
    assert meter.read().frames == 26
    assert meter.read().audio_ms == 26 * 40
    meter.tick(6.0, 0)  # a stall of five seconds is nobody's media time
    assert meter.read().billable_ms == 1000
    meter.pause()
    meter.tick(6.5, 0)
    assert meter.read().billable_ms == 1000
    meter.tick(6.58, 0)
    assert meter.read().billable_ms == 1080
    assert (meter.late_frames, meter.dropped_frames) == (2, 124 + 1)
