"""What a session process says: the events themselves, numbered, each stamped with whose it is."""

from __future__ import annotations

import time
from typing import Any

import pytest

from schemas.events import (
    Meter,
    Segment,
    SessionEnded,
    SessionFailed,
    SessionFirstAudio,
    SessionFirstFrame,
    SessionHeartbeat,
    SessionJoined,
)
from schemas.times import now_ms
from tests.builders import task
from workers.attempts import read
from workers.messages import AttemptEvent, AttemptLimits, Measured, Playing, Said, Start
from workers.meter import MediaMeter
from workers.reporting import Reporter
from workers.stalls import Resumed, Stalled

pytestmark = pytest.mark.unit

TASK = task(audio_source="track", max_duration_ms=1, idle_timeout_ms=1, accepted_ms=0)


class Heard:
    """The pipe's other end."""

    def __init__(self) -> None:
        self.events: list[AttemptEvent] = []
        self.playing: list[Segment | None] = []
        self.measured: list[Measured] = []

    def send(self, message: Said | Playing | Measured) -> None:
        if isinstance(message, Playing):
            self.playing.append(message.segment)
        elif isinstance(message, Measured):
            self.measured.append(message)
        else:
            self.events.append(read(message))


def reporter(**changes: Any) -> tuple[Reporter, Heard]:
    heard = Heard()
    start = Start(TASK, 2, "wrk_1", 0.0, AttemptLimits(1, 1, 1, 1), **changes)
    return Reporter(heard, start), heard  # type: ignore[arg-type]


def test_meter_readings_are_numbered_the_last_one_too() -> None:
    says, heard = reporter()
    meter = MediaMeter()
    meter.tick(0.0, 960)
    says.heartbeat(meter, None)
    says.heartbeat(meter, Segment("a", 20))
    says.ending("idle_timeout")
    says.ended("idle_timeout", meter.read())
    first, second, _, last = heard.events
    assert first == SessionHeartbeat("sess_1", 2, "wrk_1", 1, Meter(0, 1, 20), None, 0, 0, 0)
    assert second == SessionHeartbeat("sess_1", 2, "wrk_1", 2, Meter(0, 1, 20), Segment("a", 20), 0, 0, None)
    assert last == SessionEnded("sess_1", 2, "idle_timeout", worker_id="wrk_1", n=3, meter=Meter(0, 1, 20))


def test_a_failure_before_any_heartbeat_is_the_first_reading() -> None:
    says, heard = reporter()
    says.failed("start_timeout", "Too late.", Meter(0, 0, 0))
    said = SessionFailed("sess_1", 2, "start_timeout", "Too late.", worker_id="wrk_1", n=1, meter=Meter(0, 0, 0))
    assert heard.events == [said]


def test_every_event_says_whose_it_is() -> None:
    says, heard = reporter()
    says.joined()
    says.first_frame()
    says.heartbeat(MediaMeter(), None)
    says.first_audio()
    says.noticed(Stalled(1000))
    says.noticed(Resumed(5000))
    says.expiring(60_000)
    says.synthetic_audio(10_000)
    says.ending("room_closed")
    says.ended("room_closed", Meter(0, 0, 0))
    says.failed("renderer.crashed", "It broke.", Meter(0, 0, 0))
    assert {(event.session_id, event.attempt, event.worker_id) for event in heard.events} == {("sess_1", 2, "wrk_1")}
    assert len(heard.events) == 11


def test_the_first_sound_is_told_once_and_the_median_clear_with_the_last_word() -> None:
    says, heard = reporter()
    for seconds in (0.3, 0.02, 0.04):
        says.first_audio()
        says.measured("clear_to_silence", seconds)
    says.measured("audio_to_mouth", 9.0)
    says.ended("idle_timeout", Meter(0, 0, 0))
    first, last = heard.events
    assert isinstance(first, SessionFirstAudio)
    assert isinstance(last, SessionEnded)
    assert last.clear_to_silence_ms == 40
    assert [each.seconds for each in heard.measured] == [0.3, 0.02, 0.04, 9.0]


def test_a_rejoin_is_no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    says, heard = reporter()
    times = iter(range(1000, 10_000, 1000))
    monkeypatch.setattr("workers.reporting.now_ms", lambda: next(times))
    for _ in range(2):
        says.reached("received")
        says.joined()
        says.reached("published")
    says.first_frame()
    (joined,) = [event for event in heard.events if isinstance(event, SessionJoined)]
    assert set(joined.sdk) == {"livekit", "greenroom"}
    (frame,) = [event for event in heard.events if isinstance(event, SessionFirstFrame)]
    assert list(frame.latencies_ms) == ["received", "joined", "published", "first_frame"]
    assert [frame.latencies_ms[phase] for phase in ("received", "joined", "published")] == [1000, 2000, 3000]


def test_a_clock_that_is_behind_the_customers_makes_no_negative_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.reporting.now_ms", lambda: now_ms() - 10**15)
    says, heard = reporter()
    says.first_frame()
    assert heard.events == [SessionFirstFrame("sess_1", 2, "wrk_1", {"first_frame": 0})]


def test_what_the_agent_waits_for_is_said_at_each_change_and_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    says, heard = reporter()
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for segment in (None, Segment("a", 0), Segment("a", 40)):
        says.playing(segment)
    now += 0.6
    for segment in (Segment("a", 600), Segment("a", 640), Segment("b", 0), None, None):
        says.playing(segment)
    assert heard.playing == [Segment("a", 0), Segment("a", 600), Segment("b", 0), None]
    assert heard.events == []
