"""The pure parts of a session process: lease, meter, timers, playback, mock frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.agent_link import AgentLink
from workers.ears import Choice
from workers.lease import phase
from workers.meter import MediaMeter
from workers.playback import (
    MOST_UNPLAYED,
    MOST_UTTERANCES,
    RATE,
    TICK_SAMPLES,
    Finish,
    Playback,
    TooMuchUnplayed,
    to_mono,
)
from workers.renderers import FORMATS
from workers.renderers.mock import MockRenderer
from workers.timers import Timers
from workers.watch import must_leave

pytestmark = pytest.mark.unit


def pcm(samples: int, value: int = 1000) -> np.ndarray:
    return np.full(samples, value, np.int16)


@pytest.mark.parametrize(
    ("age", "expected"), [(0, "valid"), (9.9, "valid"), (10, "expired"), (59.9, "expired"), (60, "over")]
)
def test_lease(age: float, expected: str) -> None:
    assert phase(100.0, 100.0 + age) == expected


@pytest.mark.parametrize(
    ("pause", "lease", "leaves"),
    [(0.1, "valid", False), (30, "valid", False), (2.1, "expired", True), (1.9, "expired", False), (0, "over", True)],
)
def test_a_paused_process_without_a_lease_leaves(pause: float, lease: str, leaves: bool) -> None:
    assert must_leave(pause, lease) is leaves  # type: ignore[arg-type]


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


def test_segments_play_in_order_and_without_gaps() -> None:
    playback = Playback()
    first = playback.open("a")
    playback.feed(first, pcm(1000, 1))
    first.complete = True
    second = playback.open("b")
    playback.feed(second, pcm(1500, 2))
    tick = playback.tick()
    assert (tick.speech, tick.started, [f.segment_id for f in tick.done]) == (1920, ("a", "b"), ["a"])
    assert tick.pcm[:1000].tolist() == [1] * 1000
    assert tick.pcm[1000:].tolist() == [2] * 920
    rest = playback.tick()
    assert (rest.speech, rest.started, rest.done) == (580, (), ())
    assert not rest.pcm[580:].any()
    second.complete = True
    assert [f.segment_id for f in playback.tick().done] == ["b"]


def test_an_interruption_counts_only_what_left_the_source() -> None:
    playback = Playback()
    segment = playback.open("a")
    playback.feed(segment, pcm(RATE))
    for _ in range(10):
        playback.tick()
    playback.open("b")
    first, second = playback.interrupt(queued_s=0.06)
    assert first.position_s == pytest.approx(0.4 - 0.06)
    assert (first.interrupted, second.interrupted, second.position_s) == (True, True, 0)
    playback.feed(segment, pcm(100))
    assert playback.tick().speech == 0  # the rest of a cleared stream is ignored


def test_a_newer_header_overtakes_the_segment_before_and_cuts_nothing_off() -> None:
    """The SDK may hand a header over before the last chunks of the stream before it."""
    playback = Playback()
    first = playback.open("a")
    second = playback.open("b")
    assert (playback.overtaken(first), playback.overtaken(second)) == (True, False)
    playback.feed(second, pcm(10, 2))
    playback.feed(first, pcm(10, 1))
    assert playback.tick().pcm[:20].tolist() == [1] * 10 + [0] * 10  # the second waits for its end
    first.complete = True
    tick = playback.tick()
    assert [f.segment_id for f in tick.done] == ["a"]
    assert tick.pcm[:10].tolist() == [2] * 10


def test_segments_do_not_pile_up() -> None:
    playback = Playback()
    for n in range(MOST_UTTERANCES):
        playback.open(str(n))
    with pytest.raises(TooMuchUnplayed):
        playback.open("one more")
    assert len(playback.interrupt(0)) == MOST_UTTERANCES
    playback.open("again")


def test_the_first_who_publishes_is_heard_for_the_session() -> None:
    choice = Choice(None)
    assert choice.wants("ann", "t1")
    assert not choice.wants("bob", "t2")
    assert not choice.wants("ann", "t3")  # one at a time
    assert not choice.ended("t2")
    assert choice.ended("t1")
    assert not choice.wants("bob", "t2")
    assert choice.wants("ann", "t3")
    choice.begin()  # another connection
    assert not choice.wants("bob", "t4")
    assert choice.wants("ann", "t5")


def test_the_pinned_participant_is_heard_and_nobody_else() -> None:
    choice = Choice("ann")
    assert not choice.wants("bob", "t1")
    assert choice.wants("ann", "t2")


def test_reports_that_nobody_takes_do_not_pile_up() -> None:
    link = AgentLink(lambda: None)
    for n in range(5000):
        link.finished(Finish(str(n), 0.0, True))
    assert link._queue.qsize() < 5000


def test_ten_minutes_are_the_most() -> None:
    playback = Playback()
    segment = playback.open("a")
    playback.feed(segment, np.zeros(MOST_UNPLAYED, np.int16))
    with pytest.raises(TooMuchUnplayed):
        playback.feed(segment, pcm(1))
    playback.drop(segment)
    assert playback.waiting_samples == 0


@given(st.lists(st.integers(1, 5000), max_size=30), st.lists(st.booleans(), max_size=60))
def test_every_sample_is_played_once_and_in_order(chunks: list[int], ticks_between: list[bool]) -> None:
    playback, played, sent, value = Playback(), [], [], 0
    segment = playback.open("a")
    for i, size in enumerate(chunks):
        block = ((np.arange(value, value + size) % 30_000) + 1).astype(np.int16)
        value += size
        sent.append(block)
        playback.feed(segment, block)
        if i < len(ticks_between) and ticks_between[i]:
            tick = playback.tick()
            assert len(tick.pcm) == TICK_SAMPLES
            played.append(tick.pcm[: tick.speech])
    segment.complete = True
    while playback.current:
        tick = playback.tick()
        played.append(tick.pcm[: tick.speech])
    assert np.array_equal(np.concatenate([*played, pcm(0)]), np.concatenate([*sent, pcm(0)]))


def test_stereo_becomes_mono() -> None:
    assert to_mono(np.array([100, 300, -100, -300], np.int16).tobytes(), 2).tolist() == [200, -200]


@pytest.mark.parametrize("quality", ["lite", "standard", "pro", "mock"])
def test_mock_frames(quality: str) -> None:
    renderer, frame = MockRenderer(), FORMATS[quality]
    face = renderer.load("av_demo")
    quiet, loud = renderer.open(face, frame.width), renderer.open(face, frame.width)
    quiet.push(pcm(TICK_SAMPLES, 0))
    loud.push(pcm(TICK_SAMPLES, 8000))
    still, open_mouth = renderer.step([quiet, loud])
    assert still is not None
    assert open_mouth is not None
    assert len(still) == len(open_mouth) == frame.width * frame.height * 3 // 2
    assert np.frombuffer(open_mouth, np.uint8).mean() > np.frombuffer(still, np.uint8).mean()
    loud.clear()
    assert renderer.step([quiet]) != [still]  # the clock goes on
