"""`greenroom replay`: projections made again from the log, beside the live ones, whose places they then take."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from cli.console import WAIT_S, err, fail, out, run_folding, run_to_the_end, with_database

if TYPE_CHECKING:
    from store.database import Connection, Pool
    from store.settings import StoreSettings

_CONNECTIONS = 4
_GOES_ON = "The same command goes on where this one ended; --abandon forgets it."

Rebuilt = Literal["sessions", "usage", "history", "avatars", "all"]


def replay(
    projection: Annotated[Rebuilt | None, typer.Argument(help="`all` makes all of them again.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Which versions there are, and how far each is.")] = False,
    abandoned: Annotated[bool, typer.Option("--abandon", help="Forget what is being filled.")] = False,
) -> None:
    """Make a projection again from the log while everything goes on, and put it in the place of the live one.

    It may be stopped or killed at any moment, and goes on when it is called again. Started several times at once, the
    processes share the work. Exit 0: it is in its place. 1: it is not; the live one is as it was.
    """
    if listed:
        _list(projection)
        return
    if projection is None:
        raise fail("Say which projection, or --list.")
    from projections.versions import REBUILT

    wanted = REBUILT if projection == "all" else (projection,)
    with _sentences():
        run_to_the_end(_abandon(wanted) if abandoned else _replay(wanted), run=run_folding)


@contextmanager
def _sentences() -> Iterator[None]:
    from projections.rebuilding import NoRoom, NotReplaced
    from projections.versions import Superseded

    try:
        yield
    except NotReplaced as failed:
        raise fail(f"Not replaced: {failed}") from None
    except NoRoom as failed:
        raise fail(f"{failed} The live projection is as it was. Make room: {_GOES_ON}") from None
    except Superseded as failed:
        raise fail(
            f"{failed} Somebody has abandoned it, or it has taken its place: see `greenroom replay --list`."
        ) from None
    except KeyboardInterrupt:
        raise fail(f"Stopped. {_GOES_ON}", 130) from None


async def _replay(wanted: Sequence[str]) -> None:
    from projections.rebuilding import fold_of
    from store.database import pool
    from store.settings import StoreSettings

    settings = StoreSettings()
    async with pool(settings.database_url, _CONNECTIONS, WAIT_S) as connections:
        finished = [name for name in wanted if await _finish(connections, name)]
        left = [name for name in wanted if name not in finished]
        for topic in dict.fromkeys(fold_of(name).topic.name for name in left):
            await _rebuild(settings, connections, [name for name in left if fold_of(name).topic.name == topic])


async def _finish(connections: Pool, name: str) -> bool:
    """Drop what is left over of a call that was killed. Whether it had come as far as to replace the live one."""
    from projections import rebuilding, versions

    async with connections.connection() as connection:
        standing = await versions.of(connection, name)
    for version in await rebuilding.drop_leftover(connections, name):
        out.print(f"{version.schema} is dropped.")
    if not any(version.number < standing.active.number for version in standing.leftover):
        return False
    out.print(f"{standing.active.schema} was in its place already. Call it again to make it once more.")
    return True


async def _rebuild(settings: StoreSettings, connections: Pool, shared: Sequence[str]) -> None:
    from projections import rebuilding

    async with connections.connection() as connection:
        await rebuilding.refuse_full_disk(connection, shared)
    filled = await rebuilding.begin(connections, shared)
    for version, fresh in filled:
        err.print(f"{version.name}: {'filling' if fresh else 'going on with'} {version.schema}")
    began, first = time.monotonic(), list[int]()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    ) as bar:
        task = bar.add_task(", ".join(shared), total=None)

        def tell(done: int, total: int) -> None:
            first.append(done)
            del first[1:-1]
            bar.update(task, completed=done, total=total)

        await rebuilding.Rebuild(settings, connections, [version for version, _ in filled], tell).run()
    took_s, done = time.monotonic() - began, first[-1] - first[0]
    err.print(f"{done} events in {took_s:.1f} s ({done / took_s:.0f}/s)")
    for version, _ in filled:
        out.print(f"{version.schema} is in its place.")
        for old in await rebuilding.drop_leftover(connections, version.name):
            out.print(f"{old.schema} is dropped.")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


async def _abandon(wanted: Sequence[str]) -> None:
    from projections import rebuilding
    from store.database import pool
    from store.settings import DatabaseSettings

    async with pool(DatabaseSettings().database_url, 1, WAIT_S) as connections:
        found = [version for name in wanted if (version := await rebuilding.abandon(connections, name)) is not None]
        for name in wanted:
            await rebuilding.drop_leftover(connections, name)
    if not found:
        raise fail(f"Nothing is being filled of {', '.join(wanted)}.")
    for version in found:
        out.print(f"{version.schema} is dropped.")


def _list(projection: str | None) -> None:
    table = Table("projection", "schema", "since", "size", "being filled", "events", "to be dropped")
    for row in with_database(lambda connection: _rows(connection, projection)):
        table.add_row(*row)
    out.print(table)


async def _rows(connection: Connection, projection: str | None) -> list[list[str]]:
    from projections import checkpoints, versions
    from projections.rebuilding import fold_of

    rows = []
    for standing in await versions.everything(connection):
        active, building = standing.active, standing.building
        if projection not in (None, "all", active.name):
            continue
        size = await versions.size(connection, active.schema)
        events = ""
        if building is not None:
            topic = fold_of(active.name).topic.name
            done, live = [
                sum((await checkpoints.positions(connection, name, topic)).values())
                for name in (building.consumer, active.name)
            ]
            events = f"{done} of {live}"
        rows.append(
            [
                active.name,
                active.schema,
                f"{standing.swapped_at:%Y-%m-%d %H:%M}" if standing.swapped_at else "",
                decimal(size),
                building.schema if building else "",
                events,
                ", ".join(old.schema for old in standing.leftover),
            ]
        )
    return rows
