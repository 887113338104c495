"""`greenroom project …` and `greenroom deliver`: the processes, put together."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import structlog
from prometheus_client import start_http_server

from events.avatars import FOLD as AVATARS_FOLD
from events.consumer import LogConsumer
from events.dead_letters import DeadLetters
from events.producer import EventProducer
from events.sealing import Keyring
from events.session_state import State
from events.sessions import FOLD as SESSIONS_FOLD
from projections import names
from projections.avatars import AvatarsProjection
from projections.folding import FoldingHandler, Projection
from projections.sessions import SessionsProjection
from projections.together import Together
from projections.usage import UsageProjection
from reactors.deliver import Deliverer
from reactors.directory import Directory
from reactors.dispatch import Dispatch
from reactors.fanout import FanOut
from reactors.roster import Roster
from reactors.settings import ProjectSettings
from store.accounts import DataKeys
from store.database import Pool, pool
from store.settings import WebhookSettings

log = structlog.get_logger()

_CONNECTIONS = 6


async def project(settings: ProjectSettings, wanted: Sequence[str]) -> None:
    """Run these (of `projections/names.py`) until SIGTERM. The roster has a fold of its own, and a clock."""
    # Short-lived objects only: the default thresholds spend a third of the time looking for cycles.
    gc.set_threshold(50_000, 20, 100)
    keyring = Keyring(settings.master_keys.get_secret_value())
    async with AsyncExitStack() as stack:
        connections = await stack.enter_async_context(pool(settings.database_url, _CONNECTIONS))
        if settings.metrics_port:
            server, _ = start_http_server(settings.metrics_port, addr="127.0.0.1")
            stack.callback(server.shutdown)
        producer = await stack.enter_async_context(EventProducer(settings))
        work: list[Awaitable[None]] = []
        shared = _shared(wanted, connections, keyring, producer)
        if shared:
            work.append(Together(settings, connections, shared).run())
        if names.AVATARS in wanted:
            avatars = FoldingHandler(connections, AVATARS_FOLD, [AvatarsProjection()])
            work.append(LogConsumer(settings, AVATARS_FOLD.topic, "project-avatars", avatars).run())
        if names.ROSTER in wanted:
            dispatch = Dispatch(connections, producer, keyring)
            directory = Directory(settings, connections, dispatch)
            roster = Roster(settings, connections, directory, dispatch)
            folding = FoldingHandler(connections, SESSIONS_FOLD, [roster])
            work.append(LogConsumer(settings, SESSIONS_FOLD.topic, "project-roster", folding).run())
            work.extend((directory.run(), roster.run()))
        await until_stopped(work)


def _shared(
    wanted: Sequence[str], connections: Pool, keyring: Keyring, producer: EventProducer
) -> list[Projection[State]]:
    """Those of `wanted` that read `sessions.v1` and have no clock of their own."""
    made: dict[str, Callable[[], Projection[State]]] = {
        names.SESSIONS: SessionsProjection,
        names.USAGE: lambda: UsageProjection(DeadLetters(producer)),
        names.WEBHOOKS: lambda: FanOut(DataKeys(connections, keyring)),
    }
    return [make() for name, make in made.items() if name in wanted]


async def deliver(settings: WebhookSettings) -> None:
    keyring = Keyring(settings.master_keys.get_secret_value())
    async with pool(settings.database_url, _CONNECTIONS) as connections:
        await until_stopped([Deliverer(connections, keyring, settings).run()])


async def until_stopped(work: Sequence[Awaitable[None]]) -> None:
    """Run all of it until SIGTERM or Ctrl-C, or until one part fails: then its error ends the process."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopping: asyncio.Future[object] = asyncio.ensure_future(stop.wait())
    tasks: list[asyncio.Future[object]] = [asyncio.ensure_future(w) for w in work]
    done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in (stopping, *tasks):
        task.cancel()
    await asyncio.gather(stopping, *tasks, return_exceptions=True)
    for task in done - {stopping}:
        task.result()
