"""Projections that share one fold of `sessions.v1`. One that is far behind the others, a new one say, catches up alone
and then joins: nobody else reads again what it has read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import structlog
from aiokafka.errors import KafkaError

from events.consumer import LogConsumer
from events.session_state import State
from events.sessions import FOLD
from events.settings import LogSettings
from projections import checkpoints
from projections.folding import Projection
from projections.handling import FoldingHandler
from schemas.background import until_one_ends
from store.database import DatabaseUnreachable, Pool

log = structlog.get_logger()

ALONE_BEYOND = 100_000
"""Events behind the foremost: a few seconds of folding. Below, all read from where the last one is."""
JOINS_WITHIN = 20_000
_LOOK_EVERY_S = 1.0


class Together:
    """The consumers of these projections, from start to cancellation."""

    def __init__(
        self,
        settings: LogSettings,
        pool: Pool,
        projections: Sequence[Projection[State]],
        *,
        alone_beyond: int = ALONE_BEYOND,
        joins_within: int = JOINS_WITHIN,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._projections = projections
        self._alone_beyond = alone_beyond
        self._joins_within = joins_within

    async def run(self) -> None:
        """If the process dies anywhere in here, the next one asks the checkpoints who is behind, as this one did.

        Raises what its consumers raise. When they were only stopped to begin anew, an outage is waited for.
        """
        began = False
        while True:
            try:
                behind = await self._behind()
                await self._consume_all(behind)
            except (DatabaseUnreachable, KafkaError, TimeoutError) as failed:
                if not began:
                    raise
                log.warning("projections not joined yet", error=repr(failed))
                await asyncio.sleep(_LOOK_EVERY_S)
            began = True

    async def _consume_all(self, behind: Mapping[str, int]) -> None:
        """Until one that is alone may join the others."""
        alone = [p for p in self._projections if behind[p.name] > self._alone_beyond]
        groups = [[p for p in self._projections if p not in alone], *([p] for p in alone)]
        for projection in alone:
            log.info("catching up alone", projection=projection.name, events=behind[projection.name])
        work = [self._consume(group) for group in groups if group]
        if alone:
            work.append(self._until_one_may_join([p.name for p in alone]))
        await until_one_ends(*work)

    async def _consume(self, group: Sequence[Projection[State]]) -> None:
        name = "project-" + "-".join(projection.name for projection in group)
        handler = FoldingHandler(self._pool, FOLD, group, log=self._settings)
        await LogConsumer(self._settings, FOLD.topic, name, handler).run()

    async def _until_one_may_join(self, alone: Sequence[str]) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                behind = await self._behind()
            except DatabaseUnreachable:
                continue
            if joining := [name for name in alone if behind[name] <= self._joins_within]:
                log.info("caught up; joining the others", projections=joining)
                return

    async def _behind(self) -> dict[str, int]:
        """Projection → by how many events it is behind the foremost."""
        async with self._pool.connection() as connection:
            at = {p.name: await checkpoints.positions(connection, p.name, FOLD.topic.name) for p in self._projections}
        return events_behind(at)


def events_behind(at: Mapping[str, Mapping[int, int]]) -> dict[str, int]:
    """Name → partition → next offset; returns name → events until the foremost of each partition is reached."""
    foremost: dict[int, int] = {}
    for positions in at.values():
        for partition, offset in positions.items():
            foremost[partition] = max(offset, foremost.get(partition, 0))
    return {
        name: sum(offset - positions.get(partition, 0) for partition, offset in foremost.items())
        for name, positions in at.items()
    }
