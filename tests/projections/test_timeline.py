"""What a timeline says of a history: pure."""

from __future__ import annotations

from typing import Any

import pytest

from events.fold import Evolved
from events.session_state import State
from events.sessions import evolve
from projections.history import AttemptFrames, Happened, Position, _encode
from projections.timeline import made
from schemas.events import (
    SessionAssigned,
    SessionDeclined,
    SessionEnded,
    SessionEndRequested,
    SessionErased,
    SessionEvent,
    SessionFailed,
    SessionFirstAudio,
    SessionFirstFrame,
    SessionStarting,
)
from tests.builders import T0, created, event, life

pytestmark = pytest.mark.unit


def history(*data: SessionEvent, every_ms: int = 100) -> list[Happened]:
    """Each event `every_ms` after the one before."""
    state: State | None = None
    found = []
    for n, each in enumerate(data):
        outcome = evolve(state, event(each, T0 + n * every_ms, f"evt_{n}"), T0 + n * every_ms)
        assert isinstance(outcome, Evolved), outcome
        state = outcome.state
        if outcome.transition:
            found.append(
                Happened(Position(state.seq), outcome.transition, state.last_ms, state.attempt, _encode(each), state)
            )
    return found


def timeline(*data: SessionEvent, frames: dict[int, AttemptFrames] | None = None) -> dict[str, Any]:
    happened = history(*data)
    return made("sess_1", happened[-1].state.status if happened else "queued", happened, frames or {})


def test_an_end_in_the_history_is_one_whatever_is_shown_elsewhere_yet() -> None:
    happened = history(*life("sess_1"))
    assert made("sess_1", "starting", happened, {})["status"] == "ended"
    assert made("sess_1", "running", happened[:2], {})["status"] == "running"


def test_a_whole_life() -> None:
    data = life("sess_1")
    data[3] = SessionFirstFrame(
        "sess_1", 1, "wrk_1", {"received": 12, "joined": 80, "published": 140, "first_frame": 150}
    )
    found = timeline(*data, frames={1: AttemptFrames(4, 2, -7)})
    assert found["latencies_ms"] == {
        "queued": 100,
        "assigned": 12,
        "joined": 80,
        "published": 140,
        "first_frame": 150,
        "first_audio": None,
    }
    assert (found["end_reason"], found["ended_by"]) == ("api_request", "customer")
    assert (found["late_frames"], found["dropped_frames"], found["skew_ms"]) == (4, 2, -7)
    [attempt] = found["attempts"]
    assert attempt["outcome"] == "ended"
    assert attempt["assigned_at"] < attempt["started_at"] < attempt["joined_at"] < attempt["first_frame_at"]


def test_what_was_heard_and_how_soon_it_was_silent() -> None:
    """The first sound counts, of whichever attempt; of the rest the last word tells."""
    found = timeline(
        created("sess_1"),
        SessionStarting("sess_1", 1, "wrk_1"),
        SessionFirstFrame("sess_1", 1, "wrk_1", {}),
        SessionFirstAudio("sess_1", 1, "wrk_1", 2300),
        SessionAssigned("sess_1", 2, "wrk_2", "worker_lost", 4),
        SessionStarting("sess_1", 2, "wrk_2"),
        SessionFirstFrame("sess_1", 2, "wrk_2", {}),
        SessionFirstAudio("sess_1", 2, "wrk_2", 9000),
        SessionEnded("sess_1", 2, "api_request", "wrk_2", clear_to_silence_ms=35),
        SessionErased("sess_1"),
    )
    assert (found["latencies_ms"]["first_audio"], found["clear_to_silence_ms"]) == (2300, 35)


def test_nothing_yet() -> None:
    found = timeline()
    assert found["attempts"] == []
    assert set(found["latencies_ms"].values()) == {None}
    assert found["end_reason"] is found["ended_by"] is None


def test_each_attempt_has_its_outcome() -> None:
    found = timeline(
        created("sess_1"),
        SessionDeclined("sess_1", 1, "wrk_1", "draining"),
        SessionAssigned("sess_1", 2, "wrk_2", "declined", 2),
        SessionStarting("sess_1", 2, "wrk_2"),
        SessionAssigned("sess_1", 3, "wrk_3", "worker_lost", 4),
        SessionStarting("sess_1", 3, "wrk_3"),
        frames={2: AttemptFrames(1, 0, None), 3: AttemptFrames(2, 5, 3)},
    )
    assert [(a["attempt"], a["reason"], a["outcome"]) for a in found["attempts"]] == [
        (1, None, "declined"),
        (2, "declined", "replaced"),
        (3, "worker_lost", "live"),
    ]
    assert (found["late_frames"], found["dropped_frames"], found["skew_ms"]) == (3, 5, 3)
    assert found["latencies_ms"]["queued"] == 300


@pytest.mark.parametrize(
    ("end", "reason", "by"),
    [
        (SessionEnded("sess_1", 1, "idle_timeout", "wrk_1"), "idle_timeout", "limit"),
        (SessionEnded("sess_1", 1, "room_closed", "wrk_1"), "room_closed", "room"),
        (SessionEnded("sess_1", 1, "worker_lost", expected_seq=4), "worker_lost", "platform"),
        (SessionFailed("sess_1", 1, "transport.unauthorized", "no", "wrk_1"), "transport.unauthorized", "room"),
        (SessionFailed("sess_1", 1, "renderer.crashed", "oh", "wrk_1"), "renderer.crashed", "platform"),
    ],
)
def test_who_had_it_end(end: SessionEvent, reason: str, by: str) -> None:
    found = timeline(*life("sess_1")[:4], end)
    assert (found["end_reason"], found["ended_by"]) == (reason, by)


def test_canceled() -> None:
    found = timeline(created("sess_1"), SessionEndRequested("sess_1", "api", "api_request"))
    assert (found["status"], found["ended_by"], found["attempts"][0]["outcome"]) == ("canceled", "customer", "canceled")
