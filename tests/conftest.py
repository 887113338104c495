"""Real servers for the whole run; a fresh database and fresh topics for each module that asks for a world."""

from __future__ import annotations

import gc
import logging
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from stack import servers as embedded
from stack.process import ProcessGroup
from stack.servers import Servers
from tests.world import World

# A Kafka that a test has taken away is logged at every attempt to reach it, by every client of the tests.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

_FOLDER = pytest.StashKey[Path | None]()


def pytest_configure(config: pytest.Config) -> None:
    """A folder of its own for each run: pytest's shared one is locked anew by whichever run starts next, and the
    PostgreSQL of every other run, which is another user's process, loses its files with it."""
    if config.option.basetemp is None:
        config.option.basetemp = tempfile.mkdtemp(prefix="greenroom-tests-")
        config.stash[_FOLDER] = Path(config.option.basetemp)


class _Left(logging.Handler):
    """What asyncio says of tasks that were dropped while they waited: somebody did not stop what it had started."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "was destroyed but it is pending" in (message := record.getMessage()):
            self.told.append(message)


_left = _Left()
logging.getLogger("asyncio").addHandler(_left)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """All fixtures are gone by now, and the loop with them."""
    gc.collect()
    if _left.told:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if session.exitstatus != 0:
        session.config.stash[_FOLDER] = None  # the servers' logs are worth a look


def pytest_unconfigure(config: pytest.Config) -> None:
    folder = config.stash.get(_FOLDER, None)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for message in _left.told:
        terminalreporter.write_line(f"LEFT BEHIND: {message}", red=True)


class _Silent:
    def step(self, name: str, done: int, total: int) -> None:
        """Nobody looks."""


@pytest_asyncio.fixture(scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    """Kafka, PostgreSQL and LiveKit."""
    folder = tmp_path_factory.mktemp("servers")
    jars, binary = embedded.install(_Silent())
    group = ProcessGroup(folder / "logs")
    try:
        yield await embedded.start(group, folder, jars, binary)
    finally:
        await group.stop()


@pytest_asyncio.fixture(scope="module")
async def world(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    made = World(servers, Path(tmp_path_factory.mktemp("processes")))
    await made.open()
    try:
        yield made
    finally:
        await made.close()
