"""What the agent is told."""

from __future__ import annotations

import pytest

from workers.agent_link import AgentLink
from workers.playback import Finish

pytestmark = pytest.mark.unit


def test_reports_that_nobody_takes_do_not_pile_up() -> None:
    link = AgentLink(lambda: None)
    for n in range(5000):
        link.finished(Finish(str(n), 0.0, True))
    assert link._queue.qsize() < 5000
