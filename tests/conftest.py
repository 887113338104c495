"""Real servers for the whole run; a fresh database and fresh topics for each module that asks for a world."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from stack import servers as embedded
from stack.process import Supervisor
from stack.servers import Servers
from tests.world import World

# A Kafka that a test has taken away is logged at every attempt to reach it, by every client of the tests.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


class _Silent:
    def step(self, name: str, done: int, total: int) -> None:
        """Nobody looks."""


@pytest_asyncio.fixture(scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    """Kafka, PostgreSQL and LiveKit."""
    folder = tmp_path_factory.mktemp("servers")
    jars, binary = embedded.install(_Silent())
    supervisor = Supervisor(folder / "logs")
    try:
        yield await embedded.start(supervisor, folder, jars, binary)
    finally:
        await supervisor.stop()


@pytest_asyncio.fixture(scope="module")
async def world(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    made = World(servers, Path(tmp_path_factory.mktemp("processes")))
    await made.open()
    try:
        yield made
    finally:
        await made.close()
