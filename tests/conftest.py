"""Real servers for the whole run; a fresh database and fresh topics for each module that asks for a world."""

from __future__ import annotations

import gc
import logging
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import settings

from cli.receiver import Receiver
from stack import postgres
from stack import servers as embedded
from stack.ports import free_ports
from stack.process import ProcessGroup
from stack.servers import Servers
from tests.world import World, clear_of_midnight

# A Kafka that a test has taken away is logged at every attempt to reach it, by every client of the tests.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

# Whoever is marked `unit` is part of `make test-fast`: a process that it starts is told here.
_STARTING = frozenset({"subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"})
_unit: list[str] = []


def _refuse_processes(event: str, _: object) -> None:
    if _unit and event in _STARTING:
        raise AssertionError(f"{_unit[0]} is marked unit and starts a process: mark it `processes`")


sys.addaudithook(_refuse_processes)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    if item.get_closest_marker("unit"):
        _unit.append(item.nodeid)
    try:
        return (yield)
    finally:
        _unit.clear()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`-m unit` alone: a module without such tests is not imported, since that takes longer than all of them."""
    if config.option.markexpr == "unit" and collection_path.name.startswith("test_"):
        return True if "mark.unit" not in collection_path.read_text() else None
    return None


# How long an example takes says more of the machine than of what it tests.
settings.register_profile("greenroom", deadline=None)
settings.load_profile("greenroom")

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
    """All fixtures are gone by now, and the loop with them. In a run in lanes (`-n`) each process tells the first."""
    gc.collect()
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left"] = _left.told
    if _left.told:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if session.exitstatus != 0:
        session.config.stash[_FOLDER] = None  # the servers' logs are worth a look


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_testnodedown(node: Any) -> None:
    _left.told += getattr(node, "workeroutput", {}).get("left", [])


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
        started = await embedded.start(group, folder, jars, binary)
        postgres.forgo_fsync(started.database_url)
        yield started
    finally:
        await group.stop()


@pytest_asyncio.fixture(scope="module")
async def world(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    await clear_of_midnight(180)  # for what a module writes first, and its tests then look at
    made = World(servers, Path(tmp_path_factory.mktemp("processes")))
    await made.open()
    try:
        yield made
    finally:
        await made.close()


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Of webhooks: it refuses what is not signed with its secret, which the test tells it."""
    (port,) = free_ports(1)
    async with Receiver(port) as opened:
        yield opened
