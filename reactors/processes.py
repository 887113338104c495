"""`greenroom project …` and `greenroom deliver`: the processes, put together."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, assert_never

import structlog
from prometheus_client import CollectorRegistry

from events import metrics as events_metrics
from events import tracing
from events.avatars import FOLD as AVATARS_FOLD
from events.avatars import Avatar
from events.consumer import LogConsumer
from events.dead_letters import DeadLetters
from events.producer import EventProducer
from events.sealing import Keyring
from events.session_state import State
from events.sessions import FOLD as SESSIONS_FOLD
from events.signing import SigningKey
from projections import metrics as projections_metrics
from projections import names
from projections.avatars import AvatarsProjection
from projections.folding import Projection
from projections.handling import FoldingHandler
from projections.history import HistoryProjection
from projections.names import Name
from projections.progress import Progress
from projections.sessions import SessionsProjection
from projections.together import Together
from projections.usage import UsageProjection
from reactors import metrics, roster_metrics
from reactors.counting import count
from reactors.days import Sealer
from reactors.deliver import Deliverer
from reactors.directory import Directory
from reactors.dispatch import Dispatch
from reactors.fanout import AvatarFanOut, FanOut
from reactors.publishing import Publisher
from reactors.roster import Roster
from reactors.settings import DeliverSettings, ProjectSettings
from reactors.spending import Spending
from schemas.background import until_one_ends
from schemas.internal_port import opened
from store import database
from store import metrics as store_metrics
from store.data_keys import DataKeys
from store.database import Pool, pool

log = structlog.get_logger()

_CONNECTIONS = 6
DELIVER_TOLD: Sequence[CollectorRegistry] = (metrics.REGISTRY, store_metrics.REGISTRY)
"""What a deliverer's /metrics says."""


async def project(settings: ProjectSettings, wanted: Sequence[Name]) -> None:
    """Run these (of `projections/names.py`) until SIGTERM. The roster has a fold of its own, and a clock."""
    # Short-lived objects only, and most of them exempt: the default thresholds would spend a third of the time on them.
    gc.set_threshold(500_000, 20, 100)
    keyring = Keyring(settings.master_keys.get_secret_value())
    async with AsyncExitStack() as stack:
        connections = await stack.enter_async_context(pool(settings.database_url, _CONNECTIONS))
        producer = await stack.enter_async_context(EventProducer(settings))
        work: list[Coroutine[Any, Any, None]] = [count(connections, wanted)]
        progresses: list[Progress] = []
        publisher = Publisher(connections, producer)
        found = [_projection(name, connections, keyring, producer, publisher) for name in wanted]
        shared = [projection for projection in found if projection is not None]
        if shared:
            work.append(Together(settings, connections, shared).run())
            progresses += [projection.progress for projection in shared]
        for of_avatars in _of_avatars(wanted, DataKeys(connections, keyring)):
            # Each by itself: what one has forgotten of an avatar must not become what the other knows of it.
            handler = FoldingHandler(connections, AVATARS_FOLD, [of_avatars], log=settings)
            work.append(LogConsumer(settings, AVATARS_FOLD.topic, f"project-{of_avatars.name}", handler).run())
            progresses.append(of_avatars.progress)
        if names.USAGE in wanted:
            work.append(publisher.run())
            work.extend(_sealer(settings, connections, producer))
        if names.ROSTER in wanted:
            dispatch = Dispatch(connections, producer, keyring)
            directory = Directory(settings, connections, dispatch)
            spending = Spending(connections)
            roster = Roster(settings, connections, directory, dispatch, spending)
            folding = FoldingHandler(connections, SESSIONS_FOLD, [roster], log=settings)
            work.append(LogConsumer(settings, SESSIONS_FOLD.topic, "project-roster", folding).run())
            work.extend((directory.run(), roster.run(), spending.run()))
            progresses.append(roster.progress)

        async def ready() -> Sequence[str]:
            behind = [missing for progress in progresses if (missing := progress.missing) is not None]
            return [*behind, *await database.missing(connections)]

        port = opened("project", settings.metrics_host, settings.metrics_port, ready, project_told(wanted))
        await stack.enter_async_context(port)
        if names.ROSTER in wanted:
            await stack.enter_async_context(tracing.opened("project"))
        await until_stopped(work)


def project_told(wanted: Sequence[Name]) -> Sequence[CollectorRegistry]:
    """What its /metrics says."""
    roster = (roster_metrics.REGISTRY,) if names.ROSTER in wanted else ()
    return (projections_metrics.REGISTRY, *roster, events_metrics.REGISTRY, store_metrics.REGISTRY)


def _sealer(settings: ProjectSettings, connections: Pool, producer: EventProducer) -> list[Coroutine[Any, Any, None]]:
    """Raises NoSigningKey for one that is none."""
    spec = settings.signing_key.get_secret_value()
    if not spec:
        log.warning("no day is sealed: GREENROOM_SIGNING_KEY is not set")
        return []
    return [Sealer(settings, connections, producer, SigningKey(spec)).run()]


def _projection(
    name: Name, connections: Pool, keyring: Keyring, producer: EventProducer, publisher: Publisher
) -> Projection[State] | None:
    """What reads `sessions.v1` and has no clock of its own."""
    match name:
        case names.SESSIONS:
            return SessionsProjection()
        case names.USAGE:
            return UsageProjection(DeadLetters(producer), publisher)
        case names.HISTORY:
            return HistoryProjection()
        case names.WEBHOOKS:
            return FanOut(DataKeys(connections, keyring))
        case names.AVATARS | names.AVATAR_WEBHOOKS | names.ROSTER:
            return None  # of another topic; with a clock
        case _:
            assert_never(name)


def _of_avatars(wanted: Sequence[Name], keys: DataKeys) -> list[Projection[Avatar]]:
    """What reads `avatars.v1`."""
    found: list[Projection[Avatar]] = [AvatarsProjection()] if names.AVATARS in wanted else []
    return [*found, AvatarFanOut(keys)] if names.AVATAR_WEBHOOKS in wanted else found


async def deliver(settings: DeliverSettings) -> None:
    keyring = Keyring(settings.master_keys.get_secret_value())
    async with AsyncExitStack() as stack:
        connections = await stack.enter_async_context(pool(settings.database_url, _CONNECTIONS))
        deliverer = Deliverer(connections, keyring, settings)

        async def ready() -> Sequence[str]:
            return [*deliverer.missing, *await database.missing(connections)]

        port = opened("deliver", settings.metrics_host, settings.deliver_metrics_port, ready, DELIVER_TOLD)
        await stack.enter_async_context(port)
        await until_stopped([deliverer.run()])


async def until_stopped(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all of it until SIGTERM or Ctrl-C, or until one part fails: then its error ends the process."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await until_one_ends(stop.wait(), *work)
