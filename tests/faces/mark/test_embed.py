"""What the mark does to frames."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faces.mark.carriers import COUNT, EPOCH_S, FPS, GROUPS, SECONDS, Carriers
from faces.mark.code import coded
from faces.mark.embed import KeyPatterns, Marker
from tests.clips import KEY, chroma, picture
from workers.renderers import FORMATS, PORTRAIT

pytestmark = pytest.mark.unit

SIZES = sorted({(each.width, each.height) for each in (*FORMATS.values(), *PORTRAIT.values())})


def marker(width: int = 256, height: int = 256) -> Marker:
    return Marker(KeyPatterns(KEY, KEY.tag("sess_1")), width, height)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_luma_stays_and_chroma_moves_by_one_level(width: int, height: int) -> None:
    frame, marks = picture(width, height), marker(width, height)
    for number in (0, 1, 24, 25, 99, 7, 7, 10_000):
        after = marks.mark(frame, number)
        assert after[: width * height] == frame[: width * height]
        moved = chroma(bytes(after), width, height).astype(int) - chroma(frame, width, height)
        assert set(np.unique(moved)) <= {-1, 0, 1}
        assert (moved[0] != 0).all()
        assert (moved[1] != 0).mean() > 0.6  # but where it is grey


def test_of_grey_v_is_left_alone() -> None:
    frame, marks = np.full((384, 256), 128, np.uint8), marker()
    chroma_before = frame[256:].reshape(2, 128, 128)
    chroma_before[1, :, 64:] = 140
    for number in range(60):
        after = marks.mark(frame.tobytes(), number)
        moved = chroma(bytes(after), 256, 256).astype(int) - chroma_before
        assert (np.abs(moved[0]) == 1).all()
        assert (moved[1, :, :64] == 0).all()
        assert (np.abs(moved[1, :, 64:]) == 1).all()
    chroma_before[:] = 140
    for number in range(60, 100):
        after = marks.mark(frame.tobytes(), number)
    assert (chroma(bytes(after), 256, 256) != 140).all()


def test_frames_without_room_for_a_level_do_not_wrap() -> None:
    frame = np.tile(np.array([0, 255], np.uint8), 256 * 256 * 3 // 4).tobytes()
    after = np.frombuffer(marker().mark(frame, 0), np.uint8).astype(int)
    assert np.abs(after - np.frombuffer(frame, np.uint8)).max() <= 2


def test_a_frame_that_is_shown_again_is_not_marked_twice() -> None:
    frame, marks = picture(256, 256), marker()
    before = bytes(frame)
    once = marks.mark(frame, 5)
    assert frame == before
    assert marks.mark(frame, 5) == once


@given(st.lists(st.integers(0, 60 * FPS), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_a_frame_is_marked_alike_whatever_came_before_it(numbers: list[int]) -> None:
    """A resumed attempt goes on where the one before would have been; a stall leaves some out."""
    plain, marks = bytes([100]) * (256 * 256 * 3 // 2), marker()
    for number in sorted(numbers):
        followed, fresh = marks.mark(plain, number), marker().mark(plain, number)
        assert followed == fresh


def test_a_stream_changes_a_little_each_frame_and_each_carrier_every_four_seconds() -> None:
    plain, marks = bytes([100]) * (256 * 256 * 3 // 2), marker()
    frames = [chroma(bytes(marks.mark(plain, n)), 256, 256)[:, ::4, ::4].astype(int) for n in range(50 * FPS)]
    changed = [int((one != other).sum()) for one, other in pairwise(frames)]
    assert max(changed) < COUNT / 40  # nothing pulses
    sync = np.zeros(COUNT, bool)
    sync[KEY.carriers.sync.reshape(-1)] = True
    now, later = frames[30 * FPS + 12].reshape(-1), frames[34 * FPS + 12].reshape(-1)
    assert (now[sync] - 100 == -(later[sync] - 100)).all()


def test_carriers_of_a_key_are_all_there_once() -> None:
    carriers = KEY.carriers
    kinds = [carriers.sync, carriers.session, carriers.time]
    assert sorted(np.concatenate([each.reshape(-1) for each in kinds])) == list(range(COUNT))
    assert {int(each) for each in carriers.delays} == set(range(FPS))


def test_the_seconds_go_round() -> None:
    carriers, word = Carriers(b"x"), coded([1])[0]
    assert np.array_equal(carriers.pattern(word, SECONDS + 5), carriers.pattern(word, 5))
    assert np.array_equal(carriers.pattern(word, -1), carriers.pattern(word, SECONDS - 1))
    sync = carriers.sync.reshape(-1)
    last, first = carriers.pattern(word, SECONDS - 1)[sync], carriers.pattern(word, SECONDS)[sync]
    assert int((last != first).sum()) == len(sync) // GROUPS  # one group, as in any second
    assert SECONDS % (2 * EPOCH_S) == 0
