"""A roster that is killed at its first reassignment, right before it is appended or right after.

`python -m tests.reactors.dying before|after`: runs as `greenroom project roster`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from projections import names
from reactors.dispatch import Dispatch
from reactors.processes import project
from reactors.settings import ProjectSettings
from schemas.events import SessionAssigned

append = Dispatch.append


async def killed(self: Dispatch, data: Any, *rest: Any) -> None:
    reassigns = isinstance(data, SessionAssigned)
    if not reassigns or sys.argv[1] == "after":
        await append(self, data, *rest)
    if reassigns:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    Dispatch.append = killed  # type: ignore[method-assign]
    asyncio.run(project(ProjectSettings(), (names.ROSTER,)))
