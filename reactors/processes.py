"""`greenroom project …` and `greenroom deliver`: the processes, put together."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack

import structlog
from prometheus_client import start_http_server

from events.consumer import LogConsumer
from events.dead_letters import DeadLetters
from events.producer import EventProducer
from events.sealing import Keyring
from events.topics import AVATARS, SESSIONS
from projections.avatars import AvatarsProjection
from projections.folding import FoldingHandler, Projection
from projections.sessions import SessionsProjection
from projections.usage import UsageProjection
from reactors.deliver import Deliverer
from reactors.directory import Directory
from reactors.fanout import FanOut
from reactors.roster import Roster
from reactors.settings import ProjectSettings
from store.accounts import DataKeys
from store.database import Pool, pool
from store.settings import WebhookSettings

log = structlog.get_logger()

NAMES = ("sessions", "usage", "avatars", "webhooks", "roster")
_ALONE = ("avatars", "roster")
"""Not of the shared fold of `sessions.v1`."""
_CONNECTIONS = 6


async def project(settings: ProjectSettings, names: Sequence[str]) -> None:
    """Run these projections until SIGTERM. The pure ones share one fold; the roster has its own, and a clock."""
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
        shared = [_projection(name, connections, keyring, producer) for name in names if name not in _ALONE]
        if shared:
            group = "project-" + "-".join(p.name for p in shared)
            work.append(LogConsumer(settings, SESSIONS, group, FoldingHandler(connections, shared)).run())
        if "avatars" in names:
            avatars = AvatarsProjection(connections)
            work.append(LogConsumer(settings, AVATARS, "project-avatars", avatars).run())
        if "roster" in names:
            directory = Directory(settings, connections, producer)
            roster = Roster(settings, connections, producer, directory, keyring)
            work.append(LogConsumer(settings, SESSIONS, "project-roster", FoldingHandler(connections, [roster])).run())
            work.extend((directory.run(), roster.run()))
        await until_stopped(work)


def _projection(name: str, connections: Pool, keyring: Keyring, producer: EventProducer) -> Projection:
    if name == "sessions":
        return SessionsProjection()
    if name == "usage":
        return UsageProjection(DeadLetters(producer))
    return FanOut(DataKeys(connections, keyring))


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
