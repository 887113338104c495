"""The mark on its way from the supervisor's key to the frames of a session."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest

from faces.mark.embed import KeyPatterns, Marker
from schemas.events import EventMark, SessionFirstFrame
from schemas.times import now_ms
from tests.builders import task
from tests.clips import KEY
from workers.attempts import HeldAttempt, NotAnEvent
from workers.mark import AHEAD_S, FrameMark, MarkMaker
from workers.messages import Said, Start
from workers.renderers import Format
from workers.settings import WorkerSettings

pytestmark = pytest.mark.unit

FRAME = Format(256, 256, 1)
GREY = bytes([128]) * (256 * 256 * 3 // 2)
TASK = task()


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def expected(number: int, session_id: str = TASK.session_id) -> bytearray:
    return Marker(KeyPatterns(KEY, KEY.tag(session_id)), 256, 256).mark(GREY, number)


def test_frames_are_marked_as_with_the_key_for_as_long_as_the_session_lives() -> None:
    """The session process gets patterns, a minute ahead at least, and never the key."""
    clock = Clock()
    maker = MarkMaker(KEY, TASK, clock)
    plan = maker.plan()
    secret = b"1" * 32
    assert secret not in msgspec.msgpack.encode(plan)
    frames = FrameMark(plan, TASK, FRAME, clock)
    assert frames.on(GREY) == expected(0)
    for second in range(1, 5 * AHEAD_S):
        clock.now = 100.0 + second
        if (more := maker.more()) is not None:
            frames.take(more)
        marked = frames.on(GREY)
        if second % 37 == 0:
            assert marked == expected(25 * second)
    assert frames.facts == EventMark("k1", f"{KEY.tag(TASK.session_id):010x}", 0)


def test_numbers_follow_the_clock_over_a_stall_and_count_ticks_otherwise() -> None:
    clock = Clock()
    frames = FrameMark(MarkMaker(KEY, TASK, clock).plan(), TASK, FRAME, clock)
    for number in range(4):  # a burst
        assert frames.on(GREY) == expected(number)
    clock.now += 0.4
    assert frames.on(GREY) == expected(4)
    clock.now += 7.6
    assert frames.on(GREY) == expected(200)
    assert frames.on(GREY) == expected(201)


def test_the_next_attempt_goes_on_with_the_second_by_the_log() -> None:
    later = msgspec.structs.replace(TASK, first_frame_ms=now_ms() - 90_000)
    frames = FrameMark(MarkMaker(KEY, later).plan(), later, FRAME)
    marked = frames.on(GREY)
    assert 90 * 25 <= frames.facts.frame < 92 * 25
    assert marked == expected(frames.facts.frame)


def test_a_clock_that_is_behind_the_logs_begins_at_nought() -> None:
    later = msgspec.structs.replace(TASK, first_frame_ms=now_ms() + 5_000)
    frames = FrameMark(MarkMaker(KEY, later).plan(), later, FRAME)
    assert frames.on(GREY) == expected(0)


def test_without_more_patterns_the_last_one_stays() -> None:
    clock = Clock()
    frames = FrameMark(MarkMaker(KEY, TASK, clock).plan(), TASK, FRAME, clock)
    frames.on(GREY)
    clock.now += 1000
    assert len(frames.on(GREY)) == len(GREY)


class Log:
    def append(self, data: object) -> None:
        return None


@pytest.mark.parametrize(
    "said", [None, EventMark("k2", f"{KEY.tag('sess_1'):010x}", 0), EventMark("k1", "0000000000", 0)], ids=str
)
def test_a_session_process_says_the_mark_that_it_was_told_or_nothing_it_says_counts(said: EventMark | None) -> None:
    held = HeldAttempt("sess_1", 1, "wrk_1", Log(), 0.0)  # type: ignore[arg-type]
    held.mark = MarkMaker(KEY, msgspec.structs.replace(TASK, session_id="sess_1"))
    with pytest.raises(NotAnEvent, match="mark"):
        held.hear(Said.of(SessionFirstFrame("sess_1", 1, "wrk_1", {}, said)))
    told = EventMark("k1", held.mark.tag, 12)
    held.hear(Said.of(SessionFirstFrame("sess_1", 1, "wrk_1", {}, told)))


def test_a_setting_turns_it_off_and_without_a_key_there_is_none() -> None:
    from faces.mark.keys import BadMarkKeys, MarkKeyring

    spec = MarkKeyring.generate("k7")
    known = WorkerSettings(mark_keys=spec).mark_key()
    assert known is not None
    assert known.key_id == "k7"
    assert WorkerSettings(mark_keys=spec, worker_mark_frames=False).mark_key() is None
    assert WorkerSettings().mark_key() is None
    with pytest.raises(BadMarkKeys):
        WorkerSettings(mark_keys="k1:short").mark_key()
    assert spec not in repr(WorkerSettings(mark_keys=spec))


def test_a_plan_fits_into_a_message() -> None:
    plan = MarkMaker(KEY, TASK).plan()
    assert len(msgspec.msgpack.encode(plan)) < 64 * 1024
    assert "mark" in Start.__struct_fields__
