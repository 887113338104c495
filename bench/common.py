"""What the benchmarks share: own servers, a table on the screen and in `bench/results`, quantiles."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import shlex
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from bench.proxy import Proxy, between
from stack import servers as embedded
from stack.ports import free_ports
from stack.process import ProcessGroup
from tests.clients import environments
from tests.world import World

RESULTS = Path(__file__).with_name("results")


class _Silent:
    def step(self, name: str, done: int, total: int) -> None:
        """Set-up is not what is measured."""


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """A fresh system on fresh servers, gone afterwards."""
    async with breakable() as (made, _, _):
        yield made


@asynccontextmanager
async def breakable(proxied: bool = False) -> AsyncIterator[tuple[World, ProcessGroup, Proxy]]:
    """`world()` with its servers; one that is killed is started again. `proxied`: the way to Kafka can be broken.

    Of a run that failed, what they said stays.
    """
    folder = Path(tempfile.mkdtemp(prefix="greenroom-bench-"))
    jars, binary = embedded.install(_Silent())
    group = ProcessGroup(folder / "logs")
    kafka_port, found_at = free_ports(2)
    try:
        try:
            async with between(found_at, kafka_port) as proxy:
                at = (kafka_port, found_at if proxied else kafka_port)
                made = World(await embedded.start(group, folder, jars, binary, at), folder / "processes")
                await made.open()
                try:
                    yield made, group, proxy
                finally:
                    await made.close()
        finally:
            await group.stop()
    except BaseException:
        print(f"What the servers and processes have said is in {folder}.", file=sys.stderr)
        raise
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)


def peers_python() -> Path:
    """The interpreter of an environment that has what is compared with, as its lock file says; made once."""
    lock = Path(__file__).parent / "peers" / "requirements.lock"
    uv = Path(sys.executable).with_name("uv")

    def make(folder: Path) -> None:
        environments.run(uv, "venv", "--quiet", "--python", sys.executable, folder)
        environments.run(uv, "pip", "sync", "--quiet", "--require-hashes", "--python", folder / "bin" / "python", lock)

    return environments.kept("peers", [lock], make) / "bin" / "python"


def own_memory(process: psutil.Process) -> int:
    """Bytes that are the process' alone; what it shares with others, too, where nobody but root may look."""
    try:
        return int(process.memory_full_info().uss)
    except psutil.AccessDenied:
        return int(process.memory_info().rss)


def quantile(values: Sequence[float], q: float) -> float:
    """The nearest-rank quantile; NaN of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("nan")


def report(
    name: str,
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    notes: Sequence[str],
    command: str | None = None,
) -> None:
    """Print a Markdown table and write it to `bench/results/<name>.md`."""
    lines = [f"# {title}", "", f"`{command or f'make bench-{name}'}` on {machine()}.", ""]
    lines += ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    lines += ["", *(f"- {note}" for note in notes)]
    text = "\n".join(lines) + "\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text)


def with_args(command: str) -> str:
    """As it was called: what a part of it measured is not told as the whole."""
    return f'{command} ARGS="{shlex.join(sys.argv[1:])}"' if sys.argv[1:] else command


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"


def run(main: object) -> None:
    asyncio.run(main)  # type: ignore[arg-type]
