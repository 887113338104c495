"""`greenroom export|restore`: the log as files, and back."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import orjson
import typer
from rich.progress import Progress

from cli.console import WAIT_S, err, fail, out, run_to_the_end

if TYPE_CHECKING:
    from events.archive import Manifest
    from projections.archive import Starts

T = TypeVar("T")
Report = Callable[[int, int], None]


def need_archive() -> None:
    """Exit with what to install where Parquet is not there."""
    from importlib.util import find_spec

    if find_spec("pyarrow") is None:
        raise fail("This needs the `archive` extra: pip install 'greenroom[archive]'.", 2)


def export(
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Begun, or brought up to date.", file_okay=False)],
    from_offsets: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help='Where to begin what is not there yet: {"sessions.v1": {"0": 1000}}.'),
    ] = None,
    log_only: Annotated[bool, typer.Option("--log-only", help="Without the ledger. Needs no PostgreSQL.")] = False,
) -> None:
    """Write the log (sessions.v1, avatars.v1, accounts.v1, usage.v1) as Parquet, and the ledger beside it. The next
    call goes on.

    Exit 0: it is complete up to where the log ended when it began. 1: it is not, and what is there is whole.
    """
    need_archive()
    from events.archive import Busy, Damaged
    from events.whole import CannotRead

    starts = _starts(from_offsets) if from_offsets is not None else {}
    try:
        manifest = _with_bar("export", lambda report: _export(to, starts, log_only, report))
    except (Busy, Damaged, CannotRead) as failed:
        raise fail(f"Not exported: {failed}") from None
    records = sum(file.end - file.begin for file in manifest.files)
    out.print(
        f"{records} records in {len(manifest.files)} files" + ("" if log_only else ", and the ledger"), markup=False
    )


async def _export(folder: Path, starts: Starts, log_only: bool, report: Report) -> Manifest:
    from events.settings import LogSettings
    from projections.archive import Export
    from projections.entries import Stored
    from store.database import pool
    from store.settings import StoreSettings

    work = Export(folder, starts, report)
    if log_only:
        return await work.run(LogSettings(), None)
    settings = StoreSettings()
    async with pool(settings.database_url, 1, WAIT_S) as connections, Stored.open(connections) as ledger:
        return await work.run(settings, ledger)


def _starts(path: Path) -> Starts:
    from events.archive import TOPICS

    try:
        said = {
            str(topic): {int(partition): int(offset) for partition, offset in offsets.items()}
            for topic, offsets in orjson.loads(path.read_bytes()).items()
        }
    except (ValueError, AttributeError, TypeError) as wrong:
        raise fail(f"--from-offsets is a JSON object of topics and partitions: {wrong}") from None
    except OSError as wrong:
        raise fail(f"{path} cannot be read: {wrong.strerror}.") from None
    if unknown := said.keys() - {topic.name for topic in TOPICS}:
        raise fail(f"There is no topic {', '.join(sorted(unknown))} in an archive.")
    return said


def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", exists=True, file_okay=False)],
    replication: Annotated[int, typer.Option(help="Copies of each partition.")] = 1,
) -> None:
    """Fill empty topics from an archive: the same offsets, the same append times. Refuses when they hold anything.

    While it runs nobody else may write to them: start no other process before it has ended.
    """
    need_archive()
    from events.archive import Damaged
    from events.producer import TimesNotKept, UnknownOutcome
    from events.restoring import NotRestored, Refused
    from events.restoring import restore as run
    from events.settings import LogSettings
    from events.topics import TopicError

    try:
        total = _with_bar("restore", lambda report: run(LogSettings(), folder, replication, report))
    except (Damaged, Refused, TopicError) as failed:
        raise fail(f"Not restored: {failed}") from None
    except (NotRestored, TimesNotKept, UnknownOutcome) as failed:
        raise fail(f"Not restored: {failed} Delete the topics, and restore again.") from None
    out.print(f"{total} records restored.")


def _with_bar(name: str, work: Callable[[Report], Coroutine[Any, Any, T]]) -> T:
    with Progress(console=err, transient=True) as bar:
        task = bar.add_task(name, total=None)
        return run_to_the_end(work(lambda done, total: bar.update(task, completed=done, total=total)))
