"""`greenroom project`, or `greenroom live`, as a newer version would be: what this one cannot read, it can."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

from events import codec
from projections import names
from projections.names import Name
from reactors import live
from reactors.processes import project
from reactors.settings import LiveSettings, ProjectSettings

SECOND = {f"urn:greenroom:{name}:2": name for name in ("session.heartbeat", "session.joined", "avatar.ready")}
"""Second versions, with the fields of the first."""


def learn() -> None:
    codec._NAME_OF_SCHEMA.update(SECOND)


if __name__ == "__main__":
    learn()
    if sys.argv[1:] == [names.LIVE]:
        asyncio.run(live.serve(LiveSettings()))
        sys.exit()
    wanted = tuple(cast(Name, name) for name in sys.argv[1:]) or names.ALL
    asyncio.run(project(ProjectSettings(), wanted))
