"""The events that cross the pipe: all of a worker's, each said by one of the two processes."""

from __future__ import annotations

from typing import get_args

import pytest

from schemas.events import (
    CURRENT,
    SessionDeclined,
    SessionEnded,
    SessionEnding,
    SessionFailed,
    SessionStarting,
    WorkerEvent,
)
from workers.messages import AttemptEvent, NotAnEvent, Said

pytestmark = pytest.mark.unit

SUPERVISORS_OWN = {SessionDeclined, SessionStarting}


def test_every_event_of_a_worker_is_said_by_its_supervisor_or_by_a_session_process() -> None:
    """A new one is forgotten in neither place: it is one more of `AttemptEvent`, or of those above."""
    of_workers = {struct for _, struct in CURRENT.values() if issubclass(struct, WorkerEvent)}
    assert {*get_args(AttemptEvent), *SUPERVISORS_OWN} == of_workers | {SessionEnded, SessionFailed}
    assert not {*get_args(AttemptEvent)} & SUPERVISORS_OWN


def test_an_event_arrives_as_it_was_said() -> None:
    event = SessionEnding("sess_1", 2, "wrk_1", "idle_timeout")
    assert Said.of(event).event() == event


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
        said.event()
