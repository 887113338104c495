"""An attempt as its supervisor knows it: what it takes from the process, and what it says in its place."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from schemas.events import (
    Meter,
    Segment,
    SessionAttemptLost,
    SessionEnded,
    SessionEnding,
    SessionFailed,
    SessionFirstFrame,
    SessionHeartbeat,
    SessionStarting,
)
from workers import metrics
from workers.attempts import HeldAttempt, NotAnEvent, read
from workers.messages import AttemptEvent, Measured, Playing, Said

pytestmark = pytest.mark.unit

BEAT = SessionHeartbeat("sess_1", 2, "wrk_1", 1, Meter(35_000, 875, 1200), None, 0, 0, None)
LAST = SessionEnded("sess_1", 2, "idle_timeout", worker_id="wrk_1", n=2, meter=Meter(36_000, 900, 1200))


class Log:
    def __init__(self) -> None:
        self.appended: list[Any] = []

    def append(self, data: Any) -> None:
        self.appended.append(data)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def attempt(log: Log) -> HeldAttempt:
    return HeldAttempt("sess_1", 2, "wrk_1", log, deadline=0.0)  # type: ignore[arg-type]


def test_what_the_process_says_is_appended_as_it_is(attempt: HeldAttempt, log: Log) -> None:
    attempt.started()
    said: list[AttemptEvent] = [SessionFirstFrame("sess_1", 2, "wrk_1", {}), BEAT, LAST]
    for event in said:
        assert not attempt.over
        assert attempt.hear(Said.of(event)) == event
    assert attempt.over
    assert log.appended == [SessionStarting("sess_1", 2, "wrk_1"), *said]


def test_a_failure_is_the_last_word_too(attempt: HeldAttempt) -> None:
    attempt.hear(Said.of(SessionFailed("sess_1", 2, "renderer.crashed", "x", worker_id="wrk_1", n=1)))
    assert attempt.over


@pytest.mark.parametrize(
    "changes",
    [{"session_id": "sess_2"}, {"attempt": 1}, {"attempt": 3}, {"worker_id": "wrk_2"}],
    ids=str,
)
@pytest.mark.parametrize("event", [BEAT, LAST], ids=["heartbeat", "ended"])
def test_what_is_of_another_attempt_is_not_appended(
    attempt: HeldAttempt, log: Log, event: Any, changes: dict[str, Any]
) -> None:
    with pytest.raises(NotAnEvent):
        attempt.hear(Said.of(msgspec.structs.replace(event, **changes)))
    assert (log.appended, attempt.n, attempt.over) == ([], 0, False)


def test_an_end_in_the_rosters_words_is_not_a_workers(attempt: HeldAttempt) -> None:
    with pytest.raises(NotAnEvent):
        attempt.hear(Said.of(SessionEnded("sess_1", 2, "worker_lost", expected_seq=3)))


@pytest.mark.parametrize("n", [0, 2, 2**30])
def test_readings_are_counted_one_by_one(attempt: HeldAttempt, log: Log, n: int) -> None:
    """It is the supervisor who says the number behind the last, if the process dies."""
    with pytest.raises(NotAnEvent, match="number"):
        attempt.hear(Said.of(msgspec.structs.replace(BEAT, n=n)))
    assert (attempt.n, log.appended) == (0, [])


def test_of_a_process_that_never_came_the_last_reading_is_said(attempt: HeldAttempt, log: Log) -> None:
    attempt.hear(Said.of(BEAT))
    latest = msgspec.structs.replace(BEAT, n=2, meter=Meter(40_000, 1000, 1300))
    attempt.hear(Said.of(latest))
    attempt.failed("start_timeout", "It never came.")
    last = SessionFailed("sess_1", 2, "start_timeout", "It never came.", worker_id="wrk_1", n=3, meter=latest.meter)
    assert log.appended[-1] == last
    assert attempt.over


def test_a_process_that_died_loses_its_attempt_and_no_more(attempt: HeldAttempt, log: Log) -> None:
    attempt.segment = Segment("seg_1", 1400)
    attempt.lost("process_hung")
    assert log.appended == [SessionAttemptLost("sess_1", 2, "wrk_1", "process_hung", Segment("seg_1", 1400))]
    assert attempt.over


def test_ended_before_a_process_had_it(attempt: HeldAttempt, log: Log) -> None:
    attempt.ended("api_request")
    assert log.appended == [
        SessionEnding("sess_1", 2, "wrk_1", "api_request"),
        SessionEnded("sess_1", 2, "api_request", worker_id="wrk_1", n=1, meter=Meter(0, 0, 0)),
    ]
    assert attempt.over


def test_an_event_arrives_as_it_was_said() -> None:
    event = SessionEnding("sess_1", 2, "wrk_1", "idle_timeout")
    assert read(Said.of(event)) == event


@pytest.mark.parametrize(
    "said",
    [
        Said("session.starting", b'{"session_id":"sess_1","attempt":1,"worker_id":"wrk_1"}'),
        Said("session.unheard_of", b"{}"),
        Said("session.ending", b"{}"),
        Said("session.ending", b"\xff\xfe"),
        Said("session.ending", b""),
        Said("session.ending", b'{"session_id":"sess_1","attempt":1,"worker_id":"wrk_1","reason":"whim"}'),
        Said("session.ending", b'{"x":' * 100_000),
    ],
    ids=["the supervisor's", "unknown", "nothing in it", "no text", "empty", "reason", "deep"],
)
def test_what_is_no_event_of_a_session_process(said: Said) -> None:
    with pytest.raises(NotAnEvent):
        read(said)


def counted(metric: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(metric, labels) or 0.0


def beat(n: int, frames: int, late: int, dropped: int) -> Said:
    return Said.of(SessionHeartbeat("sess_1", 2, "wrk_1", n, Meter(frames * 40, frames, 0), None, late, dropped, None))


def test_frames_are_counted_over_all_heartbeats(attempt: HeldAttempt) -> None:
    """And a process that counts back takes nothing back."""
    names = [f"greenroom_worker_{each}_total" for each in ("frames", "late_frames", "dropped_frames")]
    before = [counted(name) for name in names]
    for said in (beat(1, 100, 2, 1), beat(2, 250, 2, 1), beat(3, 10, 0, 0), beat(4, 60, 5, 4)):
        attempt.hear(said)
    assert [counted(name) - was for name, was in zip(names, before, strict=True)] == [300, 7, 5]


def test_a_first_frame_is_measured_at_the_points_that_we_know(log: Log) -> None:
    """Whatever points a process makes up: none becomes a label. A later attempt is no start."""
    first, again = (HeldAttempt("sess_1", number, "wrk_1", log, deadline=0.0) for number in (1, 2))  # type: ignore[arg-type]
    before = counted("greenroom_first_frame_seconds_sum", phase="first_frame")
    latencies = {"received": 30, "first_frame": 500} | {f"made up {n}": 1 for n in range(100)}
    for attempt in (first, again):
        attempt.hear(Said.of(SessionFirstFrame("sess_1", attempt.number, "wrk_1", latencies)))
    assert counted("greenroom_first_frame_seconds_sum", phase="first_frame") - before == pytest.approx(0.5)
    phases = {sample.labels.get("phase") for family in metrics.REGISTRY.collect() for sample in family.samples}
    assert phases == {None, *metrics.PHASES}


def test_an_attempt_is_over_once(attempt: HeldAttempt) -> None:
    """Also when its process says more than its last word, or its supervisor says it in its place."""

    def over() -> float:
        families = [family for family in metrics.REGISTRY.collect() if family.name == "greenroom_worker_attempts"]
        return sum(sample.value for family in families for sample in family.samples)

    before = over()
    attempt.hear(Said.of(BEAT))
    attempt.hear(Said.of(LAST))
    assert over() == before + 1
    assert counted("greenroom_worker_attempts_total", result="ended", reason="idle_timeout") >= 1
    attempt.hear(Said.of(LAST))
    assert over() == before + 1


@pytest.mark.parametrize("segment", [Segment("x" * 129, 0), Segment("seg_1", -1)], ids=["long", "negative"])
def test_an_utterance_that_is_none_is_not_kept(attempt: HeldAttempt, segment: Segment) -> None:
    """It would stand in the log, as large as its process likes, if the attempt is lost."""
    with pytest.raises(NotAnEvent):
        attempt.note(Playing(segment))
    assert attempt.segment is None


@pytest.mark.parametrize("seconds", [-0.001, 1e9, float("nan"), float("inf")])
def test_a_measure_that_is_none_is_not_counted(attempt: HeldAttempt, seconds: float) -> None:
    counts = "greenroom_worker_audio_to_mouth_seconds_count"
    before = counted(counts)
    attempt.note(Measured("audio_to_mouth", 0.12))
    with pytest.raises(NotAnEvent):
        attempt.note(Measured("audio_to_mouth", seconds))
    assert counted(counts) == before + 1


def test_an_event_that_kafka_would_not_take_is_none() -> None:
    with pytest.raises(NotAnEvent, match="bytes"):
        read(Said("session.joined", b"x" * 100_000))
