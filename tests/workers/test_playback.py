"""Utterances that wait, cut into ticks: every sample once, in order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.playback import (
    MOST_UNPLAYED,
    MOST_UTTERANCES,
    RATE,
    TICK_SAMPLES,
    Playback,
    TooMuchUnplayed,
    to_mono,
)

pytestmark = pytest.mark.unit


def pcm(samples: int, value: int = 1000) -> np.ndarray:
    return np.full(samples, value, np.int16)


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


def test_a_track_is_heard_after_a_clear() -> None:
    playback = Playback()
    track = playback.open("TR_1")
    track.started, track.awaited = True, False
    playback.feed(track, pcm(3 * TICK_SAMPLES))
    assert playback.tick().speech == TICK_SAMPLES
    assert playback.interrupt(0) == []
    assert playback.tick().speech == 0
    playback.feed(track, pcm(TICK_SAMPLES))
    assert playback.tick().speech == TICK_SAMPLES


def test_stereo_becomes_mono() -> None:
    assert to_mono(np.array([100, 300, -100, -300], np.int16).tobytes(), 2).tolist() == [200, -200]
