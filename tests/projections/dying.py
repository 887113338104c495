"""A usage projection that is killed at its first commit, right before it or right after it, again and again.

`python -m tests.projections.dying EVENTS`: one life after the other, until one finds nothing left to do. Prints how
often it died before a commit, and how often after one.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from events import consumer
from events.consumer import Batches, LogConsumer
from events.sessions import FOLD
from events.topics import SESSIONS
from projections import checkpoints
from projections.checkpoints import Step
from projections.folding import SessionsFolded
from projections.handling import FoldingHandler
from projections.usage import UsageProjection
from reactors.settings import ProjectSettings
from store.database import Connection, pool

KINDS = ("before", "after")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Dying(UsageProjection):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    async def committed(self, folded: SessionsFolded) -> None:
        if self._kind == "after":
            die()


class UntilTheEnd(FoldingHandler[Any]):
    """Ends its process when it has stored all `events` of the log."""

    def __init__(self, events: int, *given: Any) -> None:
        super().__init__(*given)
        self._events = events

    async def handle(self, batches: Batches) -> None:
        await super().handle(batches)
        if not batches and sum(self.positions().values()) >= self._events:
            os._exit(0)


async def live(kind: str, group: str, events: int) -> None:
    advance = checkpoints.advance

    async def last_statement(connection: Connection, topic: str, steps: Sequence[Step]) -> None:
        await advance(connection, topic, steps)
        if kind == "before":
            die()

    checkpoints.advance = last_statement
    consumer.BATCH = 60
    settings = ProjectSettings()
    async with pool(settings.database_url, 3) as connections:
        await LogConsumer(settings, SESSIONS, group, UntilTheEnd(events, connections, FOLD, [Dying(kind)])).run()


def main(events: int) -> None:
    deaths = Counter[str]()
    for n, kind in enumerate(itertools.cycle(KINDS)):
        child = os.fork()
        if child == 0:
            # a group of its own: the one before is still taken for alive for some seconds
            asyncio.run(live(kind, f"dying-{n}", events))
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            print(*(deaths[each] for each in KINDS))
            sys.exit(os.WEXITSTATUS(status))
        deaths[kind] += 1


if __name__ == "__main__":
    main(int(sys.argv[1]))
