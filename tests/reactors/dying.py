"""A roster that is killed at its first reassignment, right before it is appended or right after.

`python -m tests.reactors.dying before|after`: runs as `greenroom project roster`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from events.consumer import LogConsumer
from projections import names
from reactors import processes
from reactors.dispatch import Dispatch
from reactors.settings import ProjectSettings
from schemas.events import SessionAssigned

append = Dispatch.append


async def killed(self: Dispatch, data: Any, *rest: Any) -> None:
    reassigns = isinstance(data, SessionAssigned)
    if not reassigns or sys.argv[1] == "after":
        await append(self, data, *rest)
    if reassigns:
        os.kill(os.getpid(), signal.SIGKILL)


def alone(settings: Any, topic: Any, group: str, handler: Any) -> LogConsumer:
    """In a group of its own: a member that was killed is taken for alive for some seconds, and keeps others waiting."""
    return LogConsumer(settings, topic, f"dying-{sys.argv[1]}", handler)


if __name__ == "__main__":
    vars(processes)["LogConsumer"] = alone
    Dispatch.append = killed  # type: ignore[assignment, method-assign]
    asyncio.run(processes.project(ProjectSettings(), (names.ROSTER,)))
