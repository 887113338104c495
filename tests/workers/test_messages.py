"""The events that cross the pipe: all of a worker's, each said by one of the two processes."""

from __future__ import annotations

from typing import get_args

import pytest

from schemas.events import (
    CATALOGUE,
    SessionDeclined,
    SessionEnded,
    SessionFailed,
    SessionStarting,
    WorkerEvent,
)
from workers.messages import AttemptEvent

pytestmark = pytest.mark.unit

SUPERVISORS_OWN = {SessionDeclined, SessionStarting}


def test_every_event_of_a_worker_is_said_by_its_supervisor_or_by_a_session_process() -> None:
    """A new one is forgotten in neither place: it is one more of `AttemptEvent`, or of those above."""
    of_workers = {known.struct for known in CATALOGUE.values() if issubclass(known.struct, WorkerEvent)}
    assert {*get_args(AttemptEvent), *SUPERVISORS_OWN} == of_workers | {SessionEnded, SessionFailed}
    assert not {*get_args(AttemptEvent)} & SUPERVISORS_OWN
